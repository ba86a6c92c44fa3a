import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irrev.errors import ConvergenceError, InputError
from irrev.semantic import bridge as module
from irrev.semantic.bridge import (
    bridge_divergence,
    contraction_rate,
    kernel_scale,
    solve_bridge,
    topic_kernel,
)
from irrev.semantic.entropy_production import bridge_ep, independent_ep, system_entropy_change
from irrev.semantic.faithfulness import smoothed

P_C, P_Q, P_A = (np.array([p]) for p in ([0.2, 0.3, 0.5], [0.5, 0.25, 0.25], [0.25, 0.25, 0.5]))
LINE = -np.abs(np.arange(3)[:, None] - np.arange(3))
# ln b is within 1e-10 / (1 - rate) of its limit; sums of 3 such terms, both ways.
SINKHORN = 1e-9


def case(seed, n_topics=5, n_triplets=3):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(n_topics), (3, n_triplets)) * 0.9 + 0.1 / n_topics
    return p, topic_kernel(rng.normal(size=(n_topics, 2)))


@pytest.mark.parametrize(
    ("eps", "divergence", "total", "medium"),
    [
        (1, 0.239632, 0.023269, 0.013201),
        (5, 0.176345, 0.011316, 0.001249),
        (1e6, 0.173287, 0.010068, 0.0),
    ],
)
def test_bridge__matches_the_worked_example(eps, divergence, total, medium):
    to_answer, to_question = (solve_bridge(P_C, p, LINE / eps) for p in (P_A, P_Q))
    ep = bridge_ep(P_C, P_A, to_answer)
    d = bridge_divergence(P_C, P_A, to_answer, to_question)
    assert d == pytest.approx(divergence, abs=5.1e-7)
    assert ep == pytest.approx(total, abs=5.1e-7)
    assert ep - system_entropy_change(P_C, P_A) == pytest.approx(medium, abs=5.1e-7)


@given(st.integers(0, 10_000))
def test_bridge__closed_forms_equal_the_sums_they_stand_for(seed):
    (p_c, p_q, p_a), kernel = case(seed)
    to_answer, to_question = (solve_bridge(p_c, p, kernel) for p in (p_a, p_q))
    joint, goal = to_answer.plan(kernel), to_question.plan(kernel)
    assert joint.sum(2) == pytest.approx(p_c, abs=SINKHORN)
    assert joint.sum(1) == pytest.approx(p_a, abs=SINKHORN)
    d = bridge_divergence(p_c, p_a, to_answer, to_question)
    assert d == pytest.approx((joint * np.log(joint / goal)).sum((1, 2)), abs=SINKHORN)
    step = joint / p_c[:, :, None]
    backward = p_a[:, None, :] * step.transpose(0, 2, 1)
    ep = (joint * np.log(joint / backward)).sum((1, 2))
    assert bridge_ep(p_c, p_a, to_answer) == pytest.approx(ep, abs=SINKHORN)


@given(st.integers(0, 10_000))
def test_bridge__geometry_only_adds_to_the_divergence(seed):
    (p_c, p_q, p_a), kernel = case(seed)
    to_answer, to_question = (solve_bridge(p_c, p, kernel) for p in (p_a, p_q))
    exact = (p_a * np.log(p_a / p_q)).sum(1)
    assert (bridge_divergence(p_c, p_a, to_answer, to_question) >= exact - SINKHORN).all()
    assert (bridge_ep(p_c, p_a, to_answer) >= 0).all()


def test_bridge__a_flat_kernel_gives_the_independent_ep(released):
    p_c, p_a = smoothed(released.context), smoothed(released.answer)
    flat = solve_bridge(p_c, p_a, np.zeros((23, 23)))
    assert bridge_ep(p_c, p_a, flat) == pytest.approx(independent_ep(p_c, p_a), abs=SINKHORN)


def test_bridge__equal_mixes_produce_nothing():
    still = solve_bridge(P_C, P_C, LINE)
    assert bridge_ep(P_C, P_C, still) == pytest.approx(0, abs=SINKHORN)


@pytest.mark.parametrize("seed", range(6))
def test_solve_bridge__contracts_at_least_as_fast_as_guaranteed(seed, monkeypatch):
    """Hilbert distance of successive ln b between two tolerances, against (rate)^sweeps."""
    (p_c, _, p_a), kernel = case(seed, n_topics=6, n_triplets=1)
    limit = solve_bridge(p_c, p_a, kernel).log_b
    distances = []
    for tolerance in (1e-2, 1e-6):
        monkeypatch.setattr(module, "TOLERANCE", tolerance)
        found = solve_bridge(p_c, p_a, kernel)
        distances.append((found.sweeps, np.ptp(found.log_b - limit)))
    (early, far), (late, near) = distances
    # The reference itself is 1e-10 off: that much is granted to both distances.
    assert near - 1e-9 <= contraction_rate(kernel) ** (late - early) * (far + 1e-9)


def test_solve_bridge__small_eps_goes_through_logarithms():
    """Kernel entries down to exp(-220): beyond where products of exponentials are safe."""
    kernel = 110 * LINE
    found = solve_bridge(P_C, np.array([[0.21, 0.3, 0.49]]), kernel)
    assert found.plan(kernel).sum(2) == pytest.approx(P_C, abs=SINKHORN)


def test_solve_bridge__a_batch_equals_a_loop(released):
    p_c, p_a = smoothed(released.context), smoothed(released.answer)
    kernel = topic_kernel(np.random.default_rng(0).normal(size=(23, 4)))
    batch = bridge_ep(p_c, p_a, solve_bridge(p_c, p_a, kernel))
    for i in range(10):
        one = slice(i, i + 1)
        alone = bridge_ep(p_c[one], p_a[one], solve_bridge(p_c[one], p_a[one], kernel))
        assert alone == pytest.approx(batch[one], abs=SINKHORN)


def test_solve_bridge__says_how_to_mend_zeros_and_keeps_work_of_a_slow_one(monkeypatch):
    with pytest.raises(InputError, match="smooth the counts"):
        solve_bridge(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]]), np.zeros((2, 2)))
    monkeypatch.setattr(module, "MAX_SWEEPS", 2)
    with pytest.raises(ConvergenceError, match="raise eps") as caught:
        solve_bridge(P_C, P_A, LINE)
    assert caught.value.best.log_a.shape == (1, 3)


def test_topic_kernel__default_length_is_the_mean_squared_distance():
    centroids = np.array([[0.0], [1.0], [3.0]])
    assert kernel_scale(centroids) == pytest.approx((1 + 4 + 9) / 3)
    assert topic_kernel(centroids)[0, 1] == pytest.approx(-3 / 14)
    with pytest.raises(InputError, match="eps=-1 must be above 0"):
        topic_kernel(centroids, eps=-1)


def test_topic_kernel__one_topic_has_a_flat_kernel():
    assert topic_kernel(np.ones((1, 3))).tolist() == [[0.0]]
