"""Text classifier: calibration, grouped validation, storage."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from irrev.alignment.classifier import (
    BehaviourClassifier,
    calibration_error,
    fit_classifier,
    fit_temperature,
    group_folds,
    leave_one_out,
)
from irrev.errors import InputError


def clouds(rng, *, n=600, n_classes=5, d=8, distance=3.0):
    """Gaussian clouds with orthogonal centres: any classifier's accuracy is known to be high."""
    y = rng.integers(0, n_classes, n)
    return rng.standard_normal((n, d)) + distance * np.eye(n_classes, d)[y], y


def test_fit_classifier__reaches_the_accuracy_of_the_best_rule(rng):
    """Bayes rule of orthogonal unit clouds, measured on 20,000 fresh points."""
    V, y = clouds(rng, n=2000)
    model = fit_classifier(V, y, [str(i) for i in range(y.size)], rng=rng)
    fresh, truth = clouds(rng, n=20_000)
    best = np.mean(fresh[:, :5].argmax(axis=1) == truth)
    spread = np.sqrt(best * (1 - best) / y.size)
    # the loss of fitting 45 numbers to 1,600 points is of order 45 / 3,200
    assert model.validation.balanced_accuracy == pytest.approx(best, abs=4 * spread + 0.015)
    assert model.calibration_ok
    assert not model.validation.identification.unidentified.any()
    P = model.predict_proba(fresh)
    np.testing.assert_allclose(P.sum(axis=1), 1)


def test_fit_classifier__grouped_split_shows_memory_that_a_row_split_would_hide(rng):
    """Labels random per prompt, vectors that name the prompt: nothing can be learnt."""
    n_groups, per_group = 60, 8
    group = np.repeat(np.arange(n_groups), per_group)
    y = rng.integers(0, 2, n_groups)[group]
    V = np.eye(n_groups)[group] + 0.01 * rng.standard_normal((group.size, n_groups))
    grouped = fit_classifier(V, y, [str(g) for g in group], penalty=0.01, rng=rng)
    by_row = fit_classifier(V, y, [str(i) for i in range(group.size)], penalty=0.01, rng=rng)
    chance = 4 * 0.5 / np.sqrt(n_groups)
    assert grouped.validation.balanced_accuracy == pytest.approx(0.5, abs=chance)
    assert by_row.validation.balanced_accuracy > 0.95


def test_fit_classifier__class_without_examples_is_unidentified_and_never_predicted(rng):
    V, y = clouds(rng, n_classes=2)
    model = fit_classifier(V, np.where(y == 1, 4, 0), [str(i) for i in range(y.size)], rng=rng)
    assert model.validation.identification.unidentified.tolist()[1:4] == [True] * 3
    assert (model.predict_proba(V)[:, 1:4] == 0).all()


def test_leave_one_out__shows_what_grouped_figures_hide(rng):
    """In each stress another direction carries the label: no transfer."""
    stress = rng.integers(0, 4, 800)
    y = rng.integers(0, 2, 800)
    V = 0.1 * rng.standard_normal((800, 4))
    V[np.arange(800), stress] += np.where(y == 1, 1.0, -1.0)
    names = [f"attack{s}" for s in stress]
    grouped = fit_classifier(V, y, [str(i) for i in range(800)], rng=rng).validation
    out = leave_one_out(V, y, names, n_classes=5)
    assert grouped.balanced_accuracy > 0.95
    assert max(out.values()) < 0.75


def test_fit_temperature__finds_the_scale_of_the_logits(rng):
    """Labels drawn from softmax(z / 3): the maximum is at T = 3, s.e. from the curvature."""
    z = 4 * rng.standard_normal((4000, 5))
    P = np.exp(z / 3) / np.exp(z / 3).sum(axis=1, keepdims=True)
    labels = (P.cumsum(axis=1) < rng.random((4000, 1))).sum(axis=1)
    variance = (P * (z / 3) ** 2).sum(axis=1) - ((P * z / 3).sum(axis=1)) ** 2
    error = 1 / np.sqrt(variance.sum())  # of ln T
    T = fit_temperature(z, labels)
    assert np.log(T) == pytest.approx(np.log(3), abs=4 * error + 1e-4)
    assert calibration_error(P, labels) < 4 * np.sqrt(15 / 4000)


def test_behaviour_classifier__comes_back_from_its_dataset(rng):
    V, y = clouds(rng)
    model = fit_classifier(V, y, [str(i) for i in range(y.size)], encoder="e", rng=rng)
    back = BehaviourClassifier.from_dataset(model.to_dataset())
    assert back.version == model.version
    np.testing.assert_array_equal(back.predict_proba(V), model.predict_proba(V))


def test_behaviour_classifier__version_changes_with_the_temperature(rng):
    from dataclasses import replace

    V, y = clouds(rng)
    model = fit_classifier(V, y, [str(i) for i in range(y.size)], rng=rng)
    assert replace(model, temperature=2.0).version != model.version


def test_group_folds__never_split_a_group_and_are_even(rng):
    groups = rng.integers(0, 40, 500).astype(str).astype(object)
    fold = group_folds(groups, 5, rng)
    assert all(np.unique(fold[groups == g]).size == 1 for g in set(groups))
    assert np.ptp(np.bincount(fold)) <= 25  # one group of about 12, twice


def test_fit_classifier__wants_two_classes(rng):
    with pytest.raises(InputError, match="add labelled texts of another"):
        fit_classifier(np.ones((5, 2)), np.zeros(5, dtype=int), list("abcde"), rng=rng)
