"""Behaviour of one stream as Datasets of `irrev.schema`: one row a shard, and its series."""

import json
from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.alignment.alerts import Alert, StreamKey
from irrev.alignment.correction import identify
from irrev.alignment.ethical_entropy import ethical_entropy
from irrev.alignment.monitor import StreamReport, Watch, watch_stream
from irrev.alignment.taxonomy import NO_CLASS, Taxonomy, map_labels

METHOD_VERSION = 2
ENDS = ("", "_low", "_high")
NO_TIME = "1970-01-01T00:00:00+00:00"  # alerts of a measurement carry no time of raising


def classes_of(
    turns: xr.Dataset, label_map: Mapping[str, str], *, taxonomy: Taxonomy
) -> NDArray[np.int64]:
    """Class of each answer from the labels of the source; an empty map takes them as they are.

    Answers without text are no behaviour: class -1, whatever their label.
    """
    labels = turns["reported_label"].to_numpy().tolist()
    own = {name: name for name in taxonomy.classes}
    index = map_labels(labels, dict(label_map) or own, taxonomy=taxonomy).index
    return np.where(turns["answer_bytes"].to_numpy() > 0, index, NO_CLASS)


def order_of(turns: xr.Dataset, *, by: str) -> NDArray[np.float64]:
    """Where each answer stands: its turn, its time, or its place in the file without times."""
    if by == "turn":
        return turns["turn"].to_numpy().astype(np.float64)
    t = turns["t"].to_numpy()
    if by == "count" and not np.isfinite(t).all():
        return np.arange(t.size, dtype=np.float64)
    return t


def measure_behaviour(
    turns: xr.Dataset,
    classes: NDArray[np.int64],
    key: StreamKey,
    settings: Watch,
    *,
    taxonomy: Taxonomy,
    confusion: NDArray[np.int64] | None = None,
    correct: bool = True,
    posteriors: NDArray[np.float64] | None = None,
    calibration_ok: bool = True,
    seed: int = 0,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Measure one stream of answers.

    Parameters
    ----------
    turns
        Answers of one model, variant and stress, of kind `transcripts`.
    classes
        Class of each answer, -1 for none, shape (answer,).
    key, settings, taxonomy, seed
        As in `watch_stream`.
    confusion, posteriors, calibration_ok
        Of the classifier, if there is one; as in `ethical_entropy`.
    correct
        Correct laws and entropies by the confusion matrix; alarms never are.

    Returns
    -------
        Row of kind `transcripts/ethical_entropy` without its identity, and the series.
    """
    t = order_of(turns, by=settings.by)
    order = np.argsort(t, kind="stable")
    confounded = key.model in json.loads(turns.attrs.get("confounded", "[]"))
    report = watch_stream(
        key, t[order], classes[order], settings, now=NO_TIME, taxonomy=taxonomy,
        confounded=confounded, confusion=confusion if correct else None,
        calibration_ok=calibration_ok, seed=seed,
    )  # fmt: skip
    whole = ethical_entropy(
        classes,
        np.zeros(classes.size, dtype=np.int64),
        taxonomy=taxonomy,
        confusion=confusion if correct else None,
        posteriors=posteriors,
        estimator=settings.estimator,
        min_count=settings.min_count,
        level=settings.level,
        rng=np.random.default_rng([seed, 1]),
    )
    series = report.series.assign(
        log_e=("bin", report.log_e), alarm=("bin", report.alarm)
    ).assign_attrs(n_baseline_bins=report.n_baseline_bins)
    if confusion is not None:
        checked = identify(confusion, np.random.default_rng([seed, 2]))
        series["confusion"] = (("label", "predicted"), confusion)
        series["unidentified"] = ("label", checked.unidentified)
        series.attrs |= {
            "condition": checked.condition,
            "ill_conditioned": int(checked.ill_conditioned),
            "calibration_ok": int(calibration_ok),
        }
    return _row(turns, classes, report, whole, settings, confounded, taxonomy), series


def _row(
    turns: xr.Dataset,
    classes: NDArray[np.int64],
    report: StreamReport,
    whole: xr.Dataset,
    settings: Watch,
    confounded: bool,
    taxonomy: Taxonomy,
) -> xr.Dataset:
    names = [n + end for n in ("entropy", "p_intended", "p_acceptable") for end in ENDS]
    values = {n: float(whole[n][0]) if whole.sizes["bin"] else np.nan for n in names}
    values["doubt"] = float(whole["doubt"][0]) if whole.sizes["bin"] else np.nan
    seen = report.log_e[np.isfinite(report.log_e)]
    values["log_e"] = float(seen.max()) if seen.size else np.nan
    after = report.series["d_align"].to_numpy()[report.n_baseline_bins :]
    after = after[np.isfinite(after)]  # the last bin may still be filling
    values["d_align"] = float(after[-1]) if after.size else np.nan
    alert = report.alerts[0] if report.alerts else None
    has_text = turns["answer_bytes"].to_numpy() > 0
    counts = {
        "n_answers": classes.size,
        "n_classified": int((classes >= 0).sum()),
        "n_actions": int((~has_text & (turns["n_tool_calls"].to_numpy() > 0)).sum()),
        "n_bins": report.series.sizes["bin"],
        "n_baseline": int(report.series["n"].to_numpy()[: report.n_baseline_bins].sum()),
        "n_alerts": len(report.alerts),
        "alarm_bin": alert.bin if alert else -1,
        "change_bin": alert.change_point if alert else -1,
    }
    flags = {
        "drifted": bool(report.alarm.any()),
        "waiting": report.waiting,
        "confounded": confounded,
    }
    share = whole["share"].to_numpy()
    share = share if share.size else np.full((1, len(taxonomy.classes)), np.nan)
    return xr.Dataset(
        {
            **{n: ("shard", np.array([v], np.float64)) for n, v in values.items()},
            **{n: ("shard", np.array([v], np.int64)) for n, v in counts.items()},
            **{n: ("shard", np.array([v])) for n, v in flags.items()},
            "outcome": (
                "shard",
                np.array(
                    [_outcome(report, alert, confounded, counts["n_classified"] > 0)], object
                ),
            ),
            "detector": ("shard", np.array([alert.detector if alert else ""], object)),
            "classifier_version": ("shard", np.array([report.key.classifier_version], object)),
            "share": (("shard", "label"), share),
            "class_name": (("shard", "label"), np.array([taxonomy.classes], dtype=object)),
        },
        attrs={"level": settings.level},
    )


def _outcome(report: StreamReport, alert: Alert | None, confounded: bool, known: bool) -> str:
    if not known:
        return "no answer has a known label"
    if report.waiting:
        return "too few for a baseline"
    if confounded:
        return "time and stress confounded"
    return f"drift at bin {alert.change_point}" if alert else "no drift"
