import numpy as np
import pytest

from irrev.errors import InputError
from irrev.semantic.alternating import minimise_divergence


@pytest.mark.parametrize("n_topics", [3, 5, 8, 23])
@pytest.mark.parametrize("seed", range(4))
def test_minimise_divergence__reaches_the_closed_form_from_above(n_topics, seed):
    """Stops at a relative change of 1e-12 a step; linear convergence with a rate up to about
    0.99 leaves a hundred times that."""
    rng = np.random.default_rng(seed)
    audit = minimise_divergence(*rng.dirichlet(np.ones(n_topics), 3), rng=rng)
    assert audit.converged
    assert audit.gap == pytest.approx(0, abs=100 * 1e-12 * max(audit.closed_form, 1))


@pytest.mark.parametrize("seed", range(4))
def test_minimise_divergence__never_rises_from_the_second_step_on(seed):
    rng = np.random.default_rng(seed)
    audit = minimise_divergence(*rng.dirichlet(np.ones(6), 3), rng=rng)
    assert np.diff(audit.objective[1:]).max() <= 1e-9


def test_minimise_divergence__says_when_it_stopped_early(rng):
    audit = minimise_divergence(*rng.dirichlet(np.ones(5), 3), rng=rng, max_steps=3)
    assert not audit.converged
    assert audit.steps == 3
    assert audit.gap > 0


def test_minimise_divergence__drops_topics_that_the_context_lacks(rng):
    audit = minimise_divergence([2, 1, 1], [3, 0, 1], [1, 1, 2], rng=rng)
    assert audit.divergence == pytest.approx(np.log(2) / 4, abs=1e-10)


@pytest.mark.parametrize(
    ("question", "answer", "message"),
    [
        ([1, 1, 0], [1, 1, 2], r"topics \[2\] are in one of question and answer only"),
        ([0, 0, 0], [1, 1, 2], r"a text has no sentence"),
    ],
)
def test_minimise_divergence__refuses_what_has_no_inner_optimum(rng, question, answer, message):
    with pytest.raises(InputError, match=message):
        minimise_divergence(question, [1, 1, 1], answer, rng=rng)
