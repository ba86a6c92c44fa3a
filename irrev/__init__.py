"""Irreversibility and entropy production in real data."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # one line a function here, one in _HOMES
    from irrev.alignment.classifier import fit_classifier as fit_classifier
    from irrev.alignment.classifier import load_classifier as load_classifier
    from irrev.alignment.classifier import save_classifier as save_classifier
    from irrev.alignment.correction import correct_counts as correct_counts
    from irrev.alignment.drift import bayes_eprocess as bayes_eprocess
    from irrev.alignment.drift import drift_test as drift_test
    from irrev.alignment.ethical_entropy import entropy_reduction as entropy_reduction
    from irrev.alignment.ethical_entropy import ethical_entropy as ethical_entropy
    from irrev.alignment.fisher import lambda_max as lambda_max
    from irrev.alignment.gamma import gamma_ml as gamma_ml
    from irrev.alignment.monitor import watch_stream as watch_stream
    from irrev.alignment.second_law import audit_abstract as audit_abstract
    from irrev.alignment.second_law import gamma_crit as gamma_crit
    from irrev.alignment.second_law import gamma_for as gamma_for
    from irrev.alignment.second_law import goal_entropy as goal_entropy
    from irrev.binning import SpikeBins as SpikeBins
    from irrev.binning import bin_spikes as bin_spikes
    from irrev.control.bounds import bit_flip as bit_flip
    from irrev.control.bounds import erasure_bound as erasure_bound
    from irrev.control.bounds import translation_optimum as translation_optimum
    from irrev.control.protocols import learn_protocol as learn_protocol
    from irrev.control.protocols import parametrise as parametrise
    from irrev.control.response import protocol_gradient as protocol_gradient
    from irrev.control.well_bound import well_bound as well_bound
    from irrev.diffusion.class_entropy import class_entropy as class_entropy
    from irrev.diffusion.guidance import compare_guidance as compare_guidance
    from irrev.diffusion.guidance import prompt_entropy as prompt_entropy
    from irrev.diffusion.information import information_profile as information_profile
    from irrev.diffusion.line import speed_accuracy_line as speed_accuracy_line
    from irrev.diffusion.models.build import build_denoiser as build_denoiser
    from irrev.diffusion.models.diffusers import load_stable_diffusion as load_stable_diffusion
    from irrev.diffusion.prices import schedule_prices as schedule_prices
    from irrev.diffusion.schedules import edm_grid as edm_grid
    from irrev.diffusion.schedules import entropic_grid as entropic_grid
    from irrev.diffusion.speed_accuracy import velocity_cost as velocity_cost
    from irrev.ep.compare import compare_ep as compare_ep
    from irrev.ep.conditioned import area_ep as area_ep
    from irrev.ep.conditioned import conditioned_ep as conditioned_ep
    from irrev.ep.current_bounds import current_bounds as current_bounds
    from irrev.ep.hierarchy import hierarchy_ep as hierarchy_ep
    from irrev.ep.learn import learn_ep as learn_ep
    from irrev.ep.maxent import maxent_ep as maxent_ep
    from irrev.ep.multipartite import multipartite_ep as multipartite_ep
    from irrev.ep.neep import neep_ep as neep_ep
    from irrev.ep.networks import network_ep as network_ep
    from irrev.ep.path_ep import learn_force as learn_force
    from irrev.ep.path_ep import learn_temporal_score as learn_temporal_score
    from irrev.ep.path_ep import path_ep as path_ep
    from irrev.ep.plugin import plugin_ep as plugin_ep
    from irrev.ep.streaming import stream_ep as stream_ep
    from irrev.ep.sweep import sweep_bins as sweep_bins
    from irrev.ep.underdamped import underdamped_ep as underdamped_ep
    from irrev.ep.witness import witness as witness
    from irrev.ep.witness_null import required_samples as required_samples
    from irrev.ep.witness_null import witness_power as witness_power
    from irrev.ep.witness_parametric import fit_ou as fit_ou
    from irrev.ep.witness_parametric import fit_var as fit_var
    from irrev.ep.witness_parametric import scalar_test as scalar_test
    from irrev.ep.witness_welch import welch_witness as welch_witness
    from irrev.readers import open_source as open_source
    from irrev.readers.selection import conditions as conditions
    from irrev.readers.selection import select_units as select_units
    from irrev.semantic.embeddings import open_encoder as open_encoder
    from irrev.semantic.scoring import faithfulness as faithfulness
    from irrev.semantic.scoring import faithfulness_from_counts as faithfulness_from_counts
    from irrev.semantic.topics import fit_topics as fit_topics
    from irrev.semantic.topics import load_topics as load_topics
    from irrev.semantic.topics import save_topics as save_topics

__version__ = "0.1.0"

# public name -> its module, imported when the name is first used
_HOMES = {
    "bit_flip": "irrev.control.bounds",
    "erasure_bound": "irrev.control.bounds",
    "learn_protocol": "irrev.control.protocols",
    "parametrise": "irrev.control.protocols",
    "protocol_gradient": "irrev.control.response",
    "translation_optimum": "irrev.control.bounds",
    "well_bound": "irrev.control.well_bound",
    "build_denoiser": "irrev.diffusion.models.build",
    "class_entropy": "irrev.diffusion.class_entropy",
    "compare_guidance": "irrev.diffusion.guidance",
    "edm_grid": "irrev.diffusion.schedules",
    "entropic_grid": "irrev.diffusion.schedules",
    "information_profile": "irrev.diffusion.information",
    "load_stable_diffusion": "irrev.diffusion.models.diffusers",
    "prompt_entropy": "irrev.diffusion.guidance",
    "schedule_prices": "irrev.diffusion.prices",
    "speed_accuracy_line": "irrev.diffusion.line",
    "velocity_cost": "irrev.diffusion.speed_accuracy",
    "SpikeBins": "irrev.binning",
    "area_ep": "irrev.ep.conditioned",
    "compare_ep": "irrev.ep.compare",
    "conditioned_ep": "irrev.ep.conditioned",
    "neep_ep": "irrev.ep.neep",
    "sweep_bins": "irrev.ep.sweep",
    "audit_abstract": "irrev.alignment.second_law",
    "bayes_eprocess": "irrev.alignment.drift",
    "bin_spikes": "irrev.binning",
    "conditions": "irrev.readers.selection",
    "correct_counts": "irrev.alignment.correction",
    "current_bounds": "irrev.ep.current_bounds",
    "drift_test": "irrev.alignment.drift",
    "entropy_reduction": "irrev.alignment.ethical_entropy",
    "ethical_entropy": "irrev.alignment.ethical_entropy",
    "faithfulness": "irrev.semantic.scoring",
    "faithfulness_from_counts": "irrev.semantic.scoring",
    "fit_classifier": "irrev.alignment.classifier",
    "load_classifier": "irrev.alignment.classifier",
    "save_classifier": "irrev.alignment.classifier",
    "fit_ou": "irrev.ep.witness_parametric",
    "fit_topics": "irrev.semantic.topics",
    "fit_var": "irrev.ep.witness_parametric",
    "gamma_crit": "irrev.alignment.second_law",
    "gamma_for": "irrev.alignment.second_law",
    "gamma_ml": "irrev.alignment.gamma",
    "goal_entropy": "irrev.alignment.second_law",
    "hierarchy_ep": "irrev.ep.hierarchy",
    "lambda_max": "irrev.alignment.fisher",
    "learn_ep": "irrev.ep.learn",
    "learn_force": "irrev.ep.path_ep",
    "learn_temporal_score": "irrev.ep.path_ep",
    "load_topics": "irrev.semantic.topics",
    "maxent_ep": "irrev.ep.maxent",
    "multipartite_ep": "irrev.ep.multipartite",
    "network_ep": "irrev.ep.networks",
    "open_encoder": "irrev.semantic.embeddings",
    "open_source": "irrev.readers",
    "path_ep": "irrev.ep.path_ep",
    "plugin_ep": "irrev.ep.plugin",
    "required_samples": "irrev.ep.witness_null",
    "save_topics": "irrev.semantic.topics",
    "scalar_test": "irrev.ep.witness_parametric",
    "select_units": "irrev.readers.selection",
    "stream_ep": "irrev.ep.streaming",
    "underdamped_ep": "irrev.ep.underdamped",
    "watch_stream": "irrev.alignment.monitor",
    "welch_witness": "irrev.ep.witness_welch",
    "witness": "irrev.ep.witness",
    "witness_power": "irrev.ep.witness_null",
}


if not TYPE_CHECKING:  # a checker shall still find misspelt names

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used, so that `import irrev` stays light."""
        if name not in _HOMES:
            raise AttributeError(f"module 'irrev' has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
