"""Rows of learned protocols: exact prices, intervals, checks, methods."""

import numpy as np
import pytest

from irrev import schema
from irrev.control.records import TASKS, choose_method, make_task, price_point
from irrev.control.systems import carry_particle, erase_bit, translate_trap
from irrev.errors import InputError

SMALL = {"n_intervals": 5, "dt": 0.02, "n_iterations": 120, "n_trajectories": 300}
SMALL |= {"n_evaluation": 4000, "duration": 1.0, "rate": 0.1}


@pytest.mark.parametrize("kind", ["translate_trap", "carry_particle", "stiffen_trap"])
def test_price_point__solved_tasks_reach_the_optimum_of_their_chain(kind):
    weight = 4.0 if kind == "carry_particle" else 0.0
    made = price_point(task={"kind": kind}, error_weight=weight, **SMALL)
    row, curves = made["row"], made["curves"]
    least = float(row["best_work"][0]) + weight * float(row["best_error"][0])
    assert 0 <= float(row["over_best"][0]) <= 0.01 * least
    spread = float(row["work_high"][0] - row["work_low"][0])  # 3.9 standard errors
    assert float(row["work"][0]) == pytest.approx(float(row["exact_work"][0]), abs=spread)
    assert float(row["first_law"][0]) < 1e-10
    assert str(row["notes"].item()) == ""
    assert np.isfinite(curves["best_value"]).all()
    exact = curves["curve_value"].to_numpy()[:, 0]
    assert np.all(np.diff(exact) > 0)
    # Jumps: the learned ends lie off the start control by more than a fifth of the way.
    jump = abs(float(curves["value"][0, 0] - curves["start_value"][0]))
    assert jump > 0.2 * abs(exact[-1] - exact[0])


def test_price_point__row_is_valid_and_repeats(tmp_path):
    one, two = (
        price_point(task={"kind": "erase_bit"}, error_weight=10.0, seed=3, **SMALL | {"dt": 0.005})
        for _ in range(2)
    )
    assert one["row"].identical(two["row"])
    known = {v.name for v in schema.KINDS["protocols/response"].variables}
    assert set(map(str, one["row"].variables)) <= known
    row = one["row"]
    low, high = float(row["task_error_low"][0]), float(row["task_error_high"][0])
    assert 0 < low < float(row["task_error"][0]) < high < 1
    assert float(row["work"][0]) > float(row["bound"][0])
    assert "times the bound" in str(row["outcome"].item())


def test_price_point__a_coarse_step_is_told():
    """Near the stability limit an Euler trap decays too fast: work lies below the exact bound."""
    made = price_point(
        task={"kind": "translate_trap", "stiffness": 4.0}, duration=1.0, error_weight=0.0,
        n_intervals=9, dt=0.12, n_iterations=150, n_trajectories=300, n_evaluation=200_000,
    )  # fmt: skip
    assert "lower dt" in str(made["row"]["notes"].item())


@pytest.mark.parametrize(
    ("task", "method"),
    [
        (translate_trap(), "response"),
        (carry_particle(), "response"),
        (erase_bit(1.0, width=0.1), "response"),
        (translate_trap(mass=1.0), "pathwise"),
        (translate_trap(mass=1.0, mobility=0.1, substeps=40), "response"),
    ],
)
def test_choose_method__pathwise_only_at_low_friction(task, method):
    assert choose_method(task) == method


def test_make_task__steps_are_at_most_dt_long():
    for kind in TASKS:
        task = make_task(kind, {}, duration=1.0, n_intervals=3, dt=0.005)
        assert task.dt <= 0.005
        assert task.n_intervals * task.substeps * task.dt == pytest.approx(1.0)


def test_make_task__names_the_known_tasks():
    with pytest.raises(InputError, match="erase is no task; there are: translate_trap"):
        make_task("erase", {}, duration=1.0, n_intervals=3, dt=0.1)
