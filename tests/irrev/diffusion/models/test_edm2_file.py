"""Reading EDM2 pickles: what a published file looks like, and what must be refused."""

import collections
import os
import pickle
import sys
import types

import pytest
import torch

from irrev.diffusion.models.edm2 import Edm2Config, Edm2Denoiser
from irrev.diffusion.models.edm2_file import load_edm2, main, read_edm2, write_edm2
from irrev.diffusion.records import diffusion_piece
from irrev.errors import FormatError
from tests.irrev.diffusion.models.tiny import EDM2, edm2_weights

SOURCE = "import os; os.makedirs('executed')"  # what the original loader would run


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A pickle of the published layout, written by stand-ins of the original modules' names."""
    persistence = types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("never called here")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj
    util = types.ModuleType("dnnlib.util")
    util.EasyDict = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    for name, module in {
        "torch_utils": types.ModuleType("torch_utils"),
        "torch_utils.persistence": persistence,
        "dnnlib": types.ModuleType("dnnlib"),
        "dnnlib.util": util,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)

    class Persistent:
        def __init__(self, class_name, state):
            self.meta = {
                "type": "class",
                "version": 6,
                "module_src": SOURCE,
                "class_name": class_name,
                "state": state,
            }

        def __reduce__(self):
            return _reconstruct_persistent_obj, (self.meta,)

    def build(tree, keywords):
        state = {
            "training": False,
            "_parameters": collections.OrderedDict(),
            "_buffers": collections.OrderedDict(),
            "_modules": collections.OrderedDict(),
            "_init_kwargs": util.EasyDict(keywords),
        }
        for name, value in tree.items():
            if not isinstance(value, dict):
                half = value.half()
                frozen = name in ("freqs", "phases")
                kind = "_buffers" if frozen else "_parameters"
                state[kind][name] = half if frozen else torch.nn.Parameter(half)
            elif name in ("enc", "dec"):
                box = torch.nn.ModuleDict()
                box._modules = collections.OrderedDict((k, build(v, {})) for k, v in value.items())
                state["_modules"][name] = box
            else:
                state["_modules"][name] = build(value, keywords if name == "unet" else {})
        return Persistent("Module", state)

    tree = {}
    for name, value in edm2_weights().items():
        *parents, leaf = name.split(".")
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[leaf] = value
    keywords = {k: list(v) if isinstance(v, tuple) else v for k, v in EDM2.__dict__.items()}
    path = tmp_path / "net.pkl"
    content = {"ema": build(tree, keywords), "loss_fn": util.EasyDict(kind="x"), "names": {1, 2}}
    path.write_bytes(pickle.dumps(content))
    return path


def test_read_edm2__recovers_every_tensor_and_runs_nothing(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights, config = read_edm2(published)
    expected = edm2_weights()
    assert set(weights) == set(expected)
    for name, value in expected.items():
        assert torch.equal(weights[name], value.half())
    assert Edm2Config.from_keywords(config) == EDM2
    assert not (tmp_path / "executed").exists()


def test_write_edm2__round_trip_gives_the_same_denoiser(published, tmp_path):
    weights, config = read_edm2(published)
    write_edm2(weights, config, tmp_path / "out")
    again, kept = load_edm2(tmp_path / "out")
    x = torch.ones(1, 3, 8, 8)
    one = Edm2Denoiser(weights, Edm2Config.from_keywords(config))(x, 1.0, torch.tensor([2]))
    two = Edm2Denoiser(again, Edm2Config.from_keywords(kept))(x, 1.0, torch.tensor([2]))
    assert torch.equal(one, two)


def test_main__converts_and_refuses_like_the_reader(published, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["edm2_file", str(published), str(out)])
    assert main() == 0
    assert "63 tensors" in capsys.readouterr().out
    assert load_edm2(out)[0].keys() == edm2_weights().keys()
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(Hostile(os.system, "touch executed")))
    monkeypatch.setattr(sys, "argv", ["edm2_file", str(tmp_path / "bad.pkl"), str(out)])
    assert main() == 2
    assert "do not load this file" in capsys.readouterr().err


def test_diffusion_piece__takes_converted_networks(published, tmp_path):
    """A conditional network in bfloat16 with its unconditional partner, as a GPU node runs it."""
    weights, config = read_edm2(published)
    write_edm2(weights, config, tmp_path / "net")
    plain = Edm2Config(**{**EDM2.__dict__, "label_dim": 0})
    keywords = {**config, "label_dim": 0}
    write_edm2(edm2_weights(plain), keywords, tmp_path / "gnet")
    model = {
        "kind": "edm2", "path": str(tmp_path / "net"), "reference": str(tmp_path / "gnet"),
        "dtype": "bfloat16",
    }  # fmt: skip
    made = diffusion_piece(
        None, model=model, piece={"states": "generate", "guidance": 1.4},
        levels={"n": 4, "sigma_min": 0.05, "sigma_max": 80.0}, partitions={}, classes=[1, 3],
        schedules=[], trace_states=0, n_paths=4, batch=4, level=0.95, draws=5, seed=0,
    )  # fmt: skip
    row = made["row"]
    assert int(row.n_rows[0]) == 3 * 4 * 4
    assert row.precision.item() == "bfloat16"
    # Unit roundoff is 4e-3, and D/sigma of the golden fill is of size 100: a few per cent of it.
    assert 1e-3 < float(row.precision_rms[0]) < 4.0


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "payload",
    [
        Hostile(os.system, "touch executed"),
        Hostile(eval, "open('executed', 'w')"),
        {"ema": Hostile(exec, "open('executed', 'w')")},
        Hostile(__import__, "os"),
        Hostile(getattr, (), "__class__"),
        Hostile(torch.load, "x.pt"),
    ],
)
def test_read_edm2__refuses_hostile_pickles_by_name(payload, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps(payload))
    with pytest.raises(FormatError, match=r"the pickle asks for .*do not load this file"):
        read_edm2(path)
    assert not (tmp_path / "executed").exists()


def test_read_edm2__inner_tensors_are_read_without_pickle_code(tmp_path):
    """A storage whose bytes are a hostile pickle goes through weights_only and fails."""
    inner = pickle.dumps(Hostile(os.system, "touch executed"), protocol=2)
    opcodes = b"\x80\x04ctorch.storage\n_load_from_bytes\n" + pickle.dumps(inner)[2:-1] + b"\x85R."
    path = tmp_path / "bad.pkl"
    path.write_bytes(opcodes)
    with pytest.raises(FormatError, match="not an EDM2 pickle"):
        read_edm2(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an EDM2 pickle"),
        (b"PK\x03\x04zip", "not an EDM2 pickle"),
        (pickle.dumps({"net": 1}), r"no network under 'ema' among \['net'\]"),
        (pickle.dumps([1, 2]), "no network under 'ema' among list"),
    ],
)
def test_read_edm2__says_what_is_wrong_with_other_files(content, message, tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message):
        read_edm2(path)
