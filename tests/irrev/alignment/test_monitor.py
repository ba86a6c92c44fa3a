"""Turns -> bins -> alerts: one a cause, whatever the order of arrival."""

import json
from dataclasses import replace

import numpy as np
import pytest

from irrev.alignment.alerts import (
    StreamKey,
    alerts_from_dataset,
    alerts_to_dataset,
    merge_alerts,
    turn_key,
)
from irrev.alignment.monitor import Watch, select_streams, watch_stream
from irrev.alignment.turns import TurnTable

KEY = StreamKey("m", "tuned", "s", "v1")
CLEAN, SHIFTED = [0.9, 0.04, 0.03, 0.02, 0.01], [0.6, 0.12, 0.12, 0.1, 0.06]
SETTINGS = Watch(run_length=2000.0)
NOW = "2026-01-01T00:00:00+00:00"


def turns(rng, *, clean=1500, shifted=0, back=0):
    parts = [(CLEAN, clean), (SHIFTED, shifted), (CLEAN, back)]
    labels = np.concatenate([rng.choice(5, size=n, p=law) for law, n in parts])
    return np.arange(labels.size, dtype=float), labels


def watch(t, labels, **options):
    options = {"now": NOW, **options}
    settings = options.pop("settings", SETTINGS)
    return watch_stream(options.pop("key", KEY), t, labels, settings, **options)


def test_watch_stream__planted_drift_gives_one_alert_at_its_place(rng):
    t, labels = turns(rng, clean=1500, shifted=1000)
    report = watch(t, labels)
    (alert,) = report.alerts
    assert alert.detector in ("bayes_eprocess", "cusum")
    assert 30 <= alert.bin <= 34  # the change is at bin 30
    assert alert.severity == "major"
    assert alert.n == sum(json.loads(alert.class_counts))
    assert sum(json.loads(alert.baseline_counts)) == 500
    assert report.n_baseline_bins == 10


def test_watch_stream__clean_streams_seldom_alarm():
    """50 bins: scan 1.5 % per 100 bins, CUSUM 50 / 2000; Poisson error of 16 streams."""
    alarms = 0
    for n in range(16):
        t, labels = turns(np.random.default_rng(n), clean=3000)
        alarms += bool(watch(t, labels).alerts)
    expected = 16 * (0.015 / 2 + 50 / 2000)
    assert alarms <= expected + 4 * np.sqrt(expected)


def test_watch_stream__waits_for_its_baseline(rng):
    report = watch(*turns(rng, clean=400))
    assert report.waiting
    assert not report.alerts
    assert np.isnan(report.log_e).all()


def test_watch_stream__confounded_stream_has_a_series_and_no_alert(rng):
    t, labels = turns(rng, shifted=1000)
    report = watch(t, labels, confounded=True)
    assert report.alarm.any()
    assert not report.alerts


def test_watch_stream__two_causes_give_two_alerts(rng):
    _, labels = turns(rng, clean=1000, shifted=500, back=4000)
    again = rng.choice(5, size=1000, p=SHIFTED)
    labels = np.concatenate([labels, again])
    only_counts = replace(SETTINGS, detectors=("bayes_eprocess",))
    report = watch(np.arange(labels.size, dtype=float), labels, settings=only_counts)
    assert len(report.alerts) == 2
    assert len({a.alert_id for a in report.alerts}) == 2


def test_watch_stream__false_alarm_just_before_a_change_does_not_hide_it():
    """Seed chosen so that the CUSUM alarms falsely a few bins before the change at bin 30."""
    rng = np.random.default_rng(0)
    clean = rng.choice(5, size=1500, p=CLEAN)
    shifted = np.random.default_rng(1).choice(5, size=800, p=SHIFTED)
    labels = np.concatenate([clean, shifted])
    report = watch(np.arange(labels.size, dtype=float), labels, settings=Watch())
    assert report.alarm[:30].any()
    assert any(abs(a.change_point - 30) <= 2 and a.severity == "major" for a in report.alerts)


def add(table, t, labels, *, name="c"):
    keys = [turn_key(name, i) for i in t]
    return table.add(keys, [KEY] * len(keys), t.tolist(), labels.tolist())


def test_turn_table__replaying_changes_nothing_and_order_does_not_matter(rng):
    t, labels = turns(rng, shifted=300)
    once = add(TurnTable.empty(), t, labels)
    twice = add(once, t[200:900], labels[200:900])
    mixed = rng.permutation(t.size)
    other = add(TurnTable.empty(), t[mixed], labels[mixed])
    for table in (twice, other):
        np.testing.assert_array_equal(table.key, once.key)
        np.testing.assert_array_equal(table.label, once.label)


def test_turn_table__late_turns_reopen_their_bin(rng):
    """Turns 700-710 arrive last: the outcome is as if they had been there."""
    t, labels = turns(rng, shifted=500)
    late = (t >= 700) & (t < 710)
    before = add(TurnTable.empty(), t[~late], labels[~late])
    after = add(before, t[late], labels[late])
    whole = add(TurnTable.empty(), t, labels)
    assert before.label.size == t.size - 10
    np.testing.assert_array_equal(after.label, whole.label)
    one, other = watch(after.t, after.label), watch(whole.t, whole.label)
    assert one.alerts == other.alerts


def test_turn_table__comes_back_from_its_dataset(rng):
    table = add(TurnTable.empty(), *turns(rng))
    back = TurnTable.from_dataset(table.to_dataset())
    assert back.streams == table.streams
    np.testing.assert_array_equal(back.key, table.key)


def test_merge_alerts__a_cause_found_again_keeps_its_identity(rng):
    t, labels = turns(rng, shifted=600)
    early = watch(t[:1800], labels[:1800]).alerts
    later = watch(t, labels, now="2026-02-01T00:00:00+00:00").alerts
    acknowledged = [replace(early[0], status="ack")]
    everything, new = merge_alerts(acknowledged, later, rearm=10, streams=[KEY])
    assert new == []
    assert [(a.alert_id, a.raised_at, a.status) for a in everything] == [
        (early[0].alert_id, NOW, "ack")
    ]


def test_merge_alerts__closes_what_late_turns_undid_and_what_another_classifier_saw(rng):
    (alert,) = watch(*turns(rng, shifted=600)).alerts
    undone, _ = merge_alerts([alert], [], rearm=10, streams=[KEY])
    replaced, _ = merge_alerts(
        [alert], [], rearm=10, streams=[KEY._replace(classifier_version="v2")]
    )
    other, _ = merge_alerts([alert], [], rearm=10, streams=[KEY._replace(model="other")])
    assert [a[0].status for a in (undone, replaced, other)] == ["closed", "closed", "open"]


def test_watch_stream__another_classifier_version_has_its_own_baseline(rng):
    """The old version's turns do not enter: with 400 of its own it still waits."""
    t, labels = turns(rng, clean=400)
    table = add(TurnTable.empty(), *turns(rng))
    keys = [turn_key("new", i) for i in t]
    new = KEY._replace(classifier_version="v2")
    table = table.add(keys, [new] * 400, (t + 5000).tolist(), labels.tolist())
    of = table.stream == table.streams.index(new)
    assert watch(table.t[of], table.label[of], key=new).waiting


def test_alerts_to_dataset__round_trip_and_json_line(rng):
    alerts = watch(*turns(rng, shifted=600)).alerts
    assert alerts_from_dataset(alerts_to_dataset(alerts)) == alerts
    assert json.loads(alerts[0].to_json())["alert_id"] == alerts[0].alert_id
    assert alerts_from_dataset(alerts_to_dataset([])) == []


def test_select_streams__takes_drifted_streams_at_the_rate_asked(rng):
    reports = [
        watch(*turns(rng, shifted=500 * (n < 3)), key=KEY._replace(model=str(n))) for n in range(8)
    ]
    chosen = select_streams(reports, level=0.05)
    assert [key.model for key in chosen] == ["0", "1", "2"]


@pytest.mark.slow
def test_turn_table__a_million_turns_reload_and_dedupe_in_seconds(rng):
    t = np.arange(1e6)
    labels = rng.choice(5, size=t.size, p=CLEAN)
    table = TurnTable.empty().add(range(t.size), [KEY] * t.size, t.tolist(), labels.tolist())
    again = table.add(range(t.size), [KEY] * t.size, t.tolist(), labels.tolist())
    assert again.key.size == t.size


def test_watch_stream__earlier_alerts_stay_where_they_are_as_the_stream_grows(rng):
    t, labels = turns(rng, shifted=1500)
    first = watch(t[:2000], labels[:2000]).alerts[0]
    later = watch(t, labels).alerts[0]
    assert (later.alert_id, later.threshold) == (first.alert_id, first.threshold)
