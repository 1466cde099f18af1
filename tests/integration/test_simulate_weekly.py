"""The simulated years hold what is demanded, in a short form, and are what the product does."""

from __future__ import annotations

import numpy as np
import pytest

from bench.simulate import weekly
from bench.simulate.streams import Size
from shadow.drift import Asking, drift_of

pytestmark = pytest.mark.no_cover  # smaller tests cover the same lines

SHORT = Size.short()


@pytest.mark.parametrize("simulation", weekly.SIMULATIONS, ids=[each.__name__ for each in weekly.SIMULATIONS])
def test_every_demand_holds(simulation: object) -> None:
    assert callable(simulation)
    rows = list(simulation(np.random.default_rng([20261127, 9]), SHORT))
    assert rows
    assert [row.name for row in rows if not row.holds] == []


def test_the_arrays_say_what_the_product_says() -> None:
    chance = np.random.default_rng(3)
    runs, prompts = 10, 30
    answers = (chance.random((runs, prompts, 2)) < chance.random(prompts)[None, :, None]).astype(float)
    askings = [
        Asking(run=week, prompt=str(at), qualities=list(answers[week, at]))
        for week in range(runs)
        for at in range(prompts)
    ]
    # The first answer against the oldest unused one of the prompt: from the third run on it is two runs old.
    differences = [answers[1, :, 0] - answers[0, :, 0], answers[2, :, 0] - answers[0, :, 1]]
    differences += [answers[week, :, 0] - answers[week - 2, :, 1] for week in range(3, runs)]
    counts = np.zeros((1, runs, 2))
    for week, each in enumerate(differences, start=1):
        counts[0, week] = ((each < 0).sum(), (each > 0).sum())
    worse, better = weekly.drift_log_e(counts)
    for last in range(1, runs):
        report = drift_of([asking for asking in askings if asking.run <= last], alpha=1e-30)
        assert report.now is not None
        assert report.now.mean == pytest.approx(float(np.mean(differences[:last])))
        assert (worse[0, last], better[0, last]) == pytest.approx((report.log_e_worse, report.log_e_better), abs=1e-9)


def test_the_simulated_panel_pairs_a_hundred_prompts_a_run_with_answers_of_before() -> None:
    always = weekly.drift_counts(np.random.default_rng(1), 3, noise=0.0)
    assert not always.any()
    lost = weekly.drift_counts(np.random.default_rng(1), 3, noise=0.0, drop=0.9, at=20)
    assert not lost[:, :20].any()
    # Nine of ten prompts are right, all of them are lost: of 100 that were asked before, then of the 75 two runs old.
    assert 80 <= lost[:, 20, 0].mean() <= 100
    assert 55 <= lost[:, 21, 0].mean() <= 75
    assert not lost[:, 22:].any()
