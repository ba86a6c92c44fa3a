"""Speed of the behaviour methods: entropy with intervals, drift, the monitor."""

import numpy as np
import pytest

from flows.config import load
from irrev.alignment.alerts import StreamKey
from irrev.alignment.drift import bayes_eprocess
from irrev.alignment.ethical_entropy import ethical_entropy
from irrev.alignment.monitor import Watch, watch_stream
from irrev.alignment.turns import TurnTable
from irrev.entropy import nsb_entropy

LAW = [0.9, 0.04, 0.03, 0.02, 0.01]
KEY = StreamKey("m", "v", "s", "c")


def labels(n):
    return np.random.default_rng(0).choice(5, size=n, p=LAW)


@pytest.mark.parametrize("n", [10_000, 1_000_000])
def test_ethical_entropy_speed(benchmark, n):
    classes, bins = labels(n), np.arange(n) // 50
    rng = np.random.default_rng(0)
    benchmark(ethical_entropy, classes, bins, n_draws=100, rng=rng)


@pytest.mark.parametrize("n_bins", [200, 20_000])
def test_bayes_eprocess_speed(benchmark, n_bins):
    counts = np.random.default_rng(0).multinomial(50, LAW, size=n_bins)
    benchmark(bayes_eprocess, counts, [900, 40, 30, 20, 10])


@pytest.mark.parametrize("n_bins", [100, 10_000])
def test_nsb_entropy_speed(benchmark, n_bins):
    counts = np.random.default_rng(0).multinomial(50, LAW, size=n_bins)
    benchmark(nsb_entropy, counts)


@pytest.mark.parametrize("n", [10_000, 1_000_000])
def test_turn_table_replay_speed(benchmark, n):
    """Add a thousand known turns to a table that has them."""
    keys = np.arange(n)
    table = TurnTable.empty().add(keys, [KEY] * n, keys.astype(float), labels(n))
    few = keys[:1000]
    benchmark(table.add, few, [KEY] * 1000, few.astype(float), labels(1000))


@pytest.mark.parametrize("n", [2_000, 200_000])
def test_watch_stream_speed(benchmark, n):
    """The CUSUM's threshold is simulated for every stream: a constant part of about a second."""
    t = np.arange(n, dtype=float)
    settings = Watch(n_draws=100)
    benchmark.pedantic(watch_stream, (KEY, t, labels(n), settings), {"now": ""}, rounds=2)


@pytest.mark.parametrize("n", [10_000, 1_000_000])
def test_monitor_without_new_text_speed(benchmark, n, tmp_path):
    """Everything that a night without news costs: a flow run over a store of n turns, 50 streams.

    Excluded: starting Python and the API. The state is written as the monitor writes it.
    """
    from prefect.testing.utilities import prefect_test_harness

    from flows.monitor import monitor
    from irrev.alignment.alerts import alerts_to_dataset
    from irrev.schema import validate
    from storage.layout import ALERTS, TURNS
    from storage.repository import Repository

    (tmp_path / "logs").mkdir()
    row = '{"id": "a", "model": "m", "text": "x", "label": "aligned", "t": 1.7e9}\n'
    for i in range(30):
        (tmp_path / "logs" / f"day{i}.jsonl").write_text(row.replace('"a"', f'"a{i}"'))
    config = tmp_path / "pipeline.yaml"
    fields = "{id: id, model: model, text: text, label: label, t: t}"
    config.write_text(
        "project: bench\n"
        f"sources: {{logs: {{kind: transcripts, uri: 'logs/*.jsonl', fields: {fields}}}}}\n"
        "flows: {monitor: {sources: [logs]}}\n"
        "alerts: [{kind: file, path: alerts.jsonl}]\n"
    )
    with prefect_test_harness(server_startup_timeout=180):
        monitor(str(config))  # the files are on record from now on
        repo = Repository.open(load(config).store_ref())
        streams = [KEY._replace(model=f"m{i}") for i in range(50)]
        t = np.arange(n, dtype=float)
        table = TurnTable.empty().add(t, [streams[i % 50] for i in range(n)], t, labels(n))
        state = validate(table.to_dataset(), "alignment/turns")
        attrs = repo.read(TURNS).attrs
        repo.commit(
            {TURNS: state.assign_attrs(attrs), ALERTS: alerts_to_dataset([])},
            message="state",
            metadata={},
        )
        done = benchmark.pedantic(monitor, (str(config),), rounds=3)
    assert (done.n_files, done.n_turns) == (0, 0)
