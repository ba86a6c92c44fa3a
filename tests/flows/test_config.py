import json
import os
from pathlib import Path

import pytest
import yaml

from flows.config import load
from flows.explain import full_text
from flows.quantities import SECONDS, format_quantity
from flows.sources import Units
from flows.specs import SPECS
from irrev.errors import ConfigError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"flows__spikes__ep__fold": 5},
            r"flows.spikes.ep.fold is not a key; did you mean `folds`",
        ),
        ({"flows__spikes__bin": 0.01}, r"flows.spikes.bin: 0.01 needs a unit .*`10 ms`"),
        ({"flows__spikes__bin": "10 parsec"}, r"flows.spikes.bin: '10 parsec' needs a unit"),
        ({"flows__spikes__sources": ["pear"]}, r"no source `pear`; did you mean `pair`\?"),
        ({"flows__spikes__null__draws": 3}, r"flows.spikes.null.draws: .*greater than or equal"),
        ({"sources__pair__untis": {}}, r"sources.pair.untis is not a key; did you mean `units`"),
        ({"colour": "red"}, r"colour is not a key; valid are: .*flows"),
        ({"compute__profile": "locla"}, r"compute.profile: .*'threads', 'local'"),
        ({"flows__spikes__sources": ["pair", "pair"]}, r"sources: a source stands twice"),
        ({"flows": {}}, r"flows: nothing to measure; choose of spikes"),
        ({"flows__spikes__ep": {"folds": 60}}, r"flows.spikes.ep: folds is 60 but n_blocks is 50"),
        (
            {"flows__spikes__ep": {"lag": 2, "window": 3}},
            r"flows.spikes.ep: lag is 2 and window 3; set only one of them above 1",
        ),
        ({"flows__spikes__ep": {"observables": ["delayed"]}}, r"`delayed` needs a window of 2"),
        (
            {"sources__pair__recording": ["60 s", "0 s"]},
            r"sources.pair: recording starts at or after its stop",
        ),
        ({"compute__profile": "address"}, r"compute.address: write the scheduler's"),
        ({"store__url": "gs://a/b"}, r"store.url: gs://a/b is no store"),
        ({"sources__pair__uri": ""}, r"sources.pair.uri"),
        ({"sources__pair__kind": "spike"}, r"`spike` is no kind of source; did you mean `spikes`"),
        (
            {"sources__pair__units": {"where": "snr >"}},
            r"sources.pair.units.where: 'snr >' is not an expression \(invalid syntax\)\.$",
        ),
        (
            {"sources__pair__units": {"where": "open('x')"}},
            r"has more than columns, values and comparisons",
        ),
        ({"version": 2}, r"version: .*1, found 2"),
        ({"flows__spikes__bin": "1e999 s"}, r"flows.spikes.bin: '1e999 s' is beyond all numbers"),
        ({"flows__spikes__sources": "pair"}, r"sources: input should be a valid list, found 'pa"),
        ({"sources__pair__uri": None}, r"sources.pair.uri: input should be a .*, found None"),
        ({"sources__Pair Two": {"kind": "spikes", "uri": "x"}}, r"sources.Pair Two: a name has"),
    ],
)
def test_load__names_the_key_and_the_mend(project, changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load(project(**changes))
    assert "\n" not in str(caught.value)


def test_load__says_that_a_file_is_missing_or_broken(tmp_path):
    with pytest.raises(ConfigError, match="no such file; name it with --config"):
        load(tmp_path / "absent.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1, 2")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(tmp_path / "broken.yaml")
    (tmp_path / "twice.yaml").write_text("a: 1\nb: 2\na: 3\n")
    with pytest.raises(ConfigError, match=r"key `a` stands twice, line 3"):
        load(tmp_path / "twice.yaml")
    (tmp_path / "itself.yaml").write_text("a: &a {b: *a}")
    with pytest.raises(ConfigError, match="an alias contains itself"):
        load(tmp_path / "itself.yaml")
    (tmp_path / "key.yaml").write_text("? [1, 2]\n: 3\n")
    with pytest.raises(ConfigError, match="a key is a list or mapping, line 1"):
        load(tmp_path / "key.yaml")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    with pytest.raises(ConfigError, match="a mapping of keys was expected"):
        load(tmp_path / "list.yaml")


def test_items__missing_file_and_empty_glob_are_errors(project):
    pipeline = load(project(sources__pair__uri="data/absent.nwb"))
    with pytest.raises(ConfigError, match=r"sources.pair.uri: nothing at data/absent.nwb"):
        pipeline.sources["pair"].items("pair", pipeline.folder)


def test_items__are_named_by_source_or_by_file(project):
    one = load(project(sources__pair__uri="data/still.npz"))
    assert [i.name for i in one.sources["pair"].items("pair", one.folder)] == ["pair"]
    two = load(project())
    names = [i.name for i in two.sources["pair"].items("pair", two.folder)]
    assert names == ["pair/driven", "pair/still"]


def test_items__of_one_stem_are_told_apart_by_their_ending_and_each_is_listed_once(project):
    pipeline = load(project(sources__pair__uri="logs/*"))
    folder = pipeline.folder / "logs"
    folder.mkdir()
    for name in ("a.eval", "a.json", "b.json"):
        (folder / name).touch()
    source = pipeline.sources["pair"]
    names = [i.name for i in source.items("pair", pipeline.folder)]
    assert names == ["pair/a.eval", "pair/a.json", "pair/b"]
    twice = load(project(sources__pair__uri=["logs/*", "logs/b.json"])).sources["pair"]
    with pytest.raises(ConfigError, match=r"two files would be called pair/logs_b\.json"):
        twice.items("pair", pipeline.folder)


@pytest.mark.parametrize("name", ["rat [1].npz", "Größe *?.npz"])
def test_items__a_file_is_found_by_its_name_even_if_that_reads_like_a_glob(project, name):
    config = project(sources__pair__uri=f"data/{name}")
    (config.parent / "data" / name).touch()
    assert [i.name for i in load(config).sources["pair"].items("pair", config.parent)] == ["pair"]


def test_items__a_name_in_another_encoding_is_an_error(project):
    config = project()
    Path(os.fsdecode(os.fsencode(config.parent / "data") + b"/Gr\xf6sse.npz")).touch()
    with pytest.raises(ConfigError, match=r"sources.pair.uri: 'Gr.*sse.npz' is no UTF-8; rename"):
        load(config).sources["pair"].items("pair", config.parent)


def test_items__the_folder_of_the_pipeline_is_no_pattern(project, tmp_path):
    config = project()
    there = tmp_path / "lab [a]"
    there.mkdir()
    (config.parent / "data").rename(there / "data")
    names = {i.name for i in load(config).sources["pair"].items("pair", there)}
    assert names == {"pair/driven", "pair/still"}


def test_full_text__can_be_loaded_and_means_the_same(project, tmp_path):
    pipeline = load(project())
    text = full_text(pipeline)
    copy = tmp_path / "full.yaml"
    copy.write_text(text)
    assert load(copy) == pipeline
    assert "bin: 10 ms" in text
    assert all("#" in line for line in text.splitlines() if line.startswith("    "))


def test_redacted__hides_user_names_in_addresses(project):
    pipeline = load(project(compute__address="tcp://me:secret@host:1"))
    assert "secret" not in json.dumps(pipeline.redacted())
    assert yaml.safe_dump(pipeline.redacted())


@pytest.mark.parametrize("text", ["10 ms", "1 s", "2.5 s", "100 us", "6 h", "90 s"])
def test_format_quantity__keeps_the_value(text):
    from pydantic import TypeAdapter

    from flows.quantities import Seconds

    adapter = TypeAdapter(Seconds)
    value = adapter.validate_python(text)
    assert adapter.validate_python(format_quantity(value, SECONDS)) == value


def test_units__a_draw_has_a_seed_of_its_own():
    """Conditions of one recording are compared over the same units."""
    units = Units.model_validate({"draw": 3, "seed": 5})
    assert units.model_dump(exclude_unset=True) == {"draw": 3, "seed": 5}
    assert units.activity == "recording"


def test_units__where_activity_is_counted_is_read_by_rules_that_count(project):
    """Results that no rule of activity touches are not measured again for its sake."""

    def read(flow, **units):
        path = project(sources__pair__units=units, flows={flow: {"sources": ["pair"]}})
        config = load(path)
        spec, block = SPECS[flow], getattr(config.flows, flow)
        return spec.stage_config(block, config.sources["pair"])["units"]

    assert read("spikes") == {}
    assert read("spikes", draw=3) == {"draw": 3}
    assert read("spikes", most_active=3) == {"most_active": 3, "activity": "recording"}
    assert read("spikes", min_active=0.1, activity="condition")["activity"] == "condition"
    assert read("study") == {"activity": "recording"}


def test_further__distances_are_lengths_and_only_named_where_asked_for(project):
    """A key that came later must not make old results look out of date."""
    flow = {"sources": ["pair"]}
    plain = load(project(flows={"spikes": flow}))
    spec, source = SPECS["spikes"], plain.sources["pair"]
    assert "distances" not in spec.stage_config(plain.flows.spikes, source)["further"]
    asked = flow | {"further": {"distances": ["100 um", "0.3 mm"]}}
    config = load(project(flows={"spikes": asked}))
    assert spec.stage_config(config.flows.spikes, source)["further"]["distances"] == [100, 300]
    with pytest.raises(ConfigError, match=r"needs a unit \(um, mm\)"):
        load(project(flows={"spikes": flow | {"further": {"distances": [100]}}}))


def test_study__refuses_a_size_named_twice(project):
    """The same subsets were drawn and measured again."""
    with pytest.raises(ConfigError, match="sizes names a value twice; write each once"):
        load(project(flows={"study": {"sources": ["pair"], "sizes": [8, 3, 3]}}))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"betas": [float("nan")]}, r"betas\.0: input should be a finite number"),
        ({"betas": [1.0, 2.0, 1.0]}, "betas names a value twice; write each once"),
        ({"folds": 20, "n_blocks": 10}, "folds is 20 but n_blocks is 10; use fewer"),
        ({"states": 500, "chains": 700}, "500 states for 700 chains and 50 blocks; store more"),
    ],
)
def test_spins__refuses_what_no_system_can_be_measured_with(project, block, message):
    sources = {"ring": {"kind": "spins", "uri": "ring.npz"}}
    with pytest.raises(ConfigError, match=message):
        load(project(sources=sources, flows={"spins": {"sources": ["ring"]} | block}))


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"sweep": ["5 ms", "0 ms"]}, "sweep has 0; write values above 0"),
        ({"distances": ["-5 um"]}, "distances has -5; write values above 0"),
        ({"orders": ["pair", "lin", "pair"]}, "orders names a value twice; write each once"),
    ],
)
def test_further__refuses_values_that_no_recording_can_have(project, further, message):
    """They sent every recording to quarantine."""
    block = {"sources": ["pair"], "further": further}
    with pytest.raises(ConfigError, match=message):
        load(project(flows={"spikes": block}))
