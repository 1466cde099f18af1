"""`make simulate` in its short form: the demands hold, and what it simulates is what the product does."""

import gzip
import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from bench.simulate import money, quality, weekly
from bench.simulate.__main__ import SEED, SIMULATIONS, demand, lines, main, markdown, run, value
from bench.simulate.recorded import recorded
from bench.simulate.streams import (
    ALONE,
    NEVER,
    Row,
    Size,
    coin,
    half_widths,
    log_e,
    losses,
    promoted,
    proved,
    rounded_down,
    watch_log_e,
)
from shadow.entry import Admitted, Place, enter
from shadow.verdict import CostTest, Differences, Evidence, FailureShares, Rules, Watch, decide, log_e_value
from shadow.verdict import rounded_down as product_rounded_down
from shadow.verdict.headline import half_width

pytestmark = pytest.mark.no_cover  # smaller tests cover the same lines

SHORT = Size.short()
MORNING = datetime(2026, 11, 2, 8, tzinfo=UTC)


VERDICTS = (*quality.SIMULATIONS, *money.SIMULATIONS)
"""Years of weekly runs have a file of their own."""


@pytest.mark.parametrize("simulation", VERDICTS, ids=[each.__name__ for each in VERDICTS])
def test_every_demand_holds(simulation: object) -> None:
    assert callable(simulation)
    rows = list(simulation(np.random.default_rng([SEED, 0]), SHORT))

    assert rows
    assert [line for row in rows if not row.holds for line in lines(row)] == []


def test_every_line_that_must_be_shown_is_simulated() -> None:
    assert len(SIMULATIONS) == len(set(SIMULATIONS)) == sum(len(each.SIMULATIONS) for each in (quality, money, weekly))


def _evidence(values: np.ndarray, *, margin: float) -> Evidence:
    counts = {value: int((values == value).sum()) for value in (-1.0, 0.0, 1.0)}
    cost = CostTest(w_usd=1.0, min_saving=0.05)
    for _ in range(60):
        cost = cost.add(candidate_usd=0.1, primary_usd=1.0, reserve_usd=1.0)
    return Evidence(
        primary="p",
        candidate="c",
        alpha=ALONE,
        rules=Rules(margin=margin),
        quality=Differences(good=counts, bad=counts),
        cost=cost,
        failures=FailureShares(candidate={0.0: 1000}),
    )


def test_streams_are_promoted_and_rejected_when_decide_says_so() -> None:
    values = coin(np.random.default_rng(1), (6, 600), worse=0.02, better=0.04)
    for stream, promotion in zip(values, promoted(values, 0.05), strict=True):
        assert 50 < promotion < 600
        assert decide(_evidence(stream[:promotion], margin=0.05)).state == "promote"
        assert decide(_evidence(stream[: promotion - 1], margin=0.05)).state == "undecided"
    bad = losses(np.random.default_rng(2), (6, 600), 0.4)
    for stream, rejection in zip(bad, proved(bad, -0.05, "less"), strict=True):
        assert decide(_evidence(stream[:rejection], margin=0.05)).state == "reject"
        assert decide(_evidence(stream[: rejection - 1], margin=0.05)).state == "insufficient_data"


def test_evidence_over_arrays_is_that_of_the_product() -> None:
    values = np.random.default_rng(3).choice([-1.0, -0.25, 0.0, 1.0], size=(3, 120))
    whole, watched = log_e(values, -0.05, "less"), watch_log_e(values, 0.05)
    for stream, logs, watch_logs in zip(values, whole, watched, strict=True):
        watch = Watch()
        counts: dict[float, int] = {}
        for step, each in enumerate(map(float, stream)):
            watch, counts[each] = watch.add(each), counts.get(each, 0) + 1
            assert logs[step] == pytest.approx(log_e_value(counts, -0.05, "less"), rel=1e-9)
            assert watch_logs[step] == pytest.approx(watch.log_e_value(0.05), rel=1e-9)


def test_intervals_over_arrays_are_those_of_the_product() -> None:
    widths = half_widths(np.array([2.0, 2.0]), np.array([50, 700]), 0.05)

    assert widths == pytest.approx([half_width(2.0, 50, 0.05), half_width(2.0, 700, 0.05)])


def test_rounding_over_arrays_is_that_of_the_product() -> None:
    values = np.random.default_rng(5).uniform(-1, 1, 200)

    assert list(rounded_down(values)) == [product_rounded_down(float(value)) for value in values]


def test_late_losers_enter_in_the_order_simulated_however_often_one_looks() -> None:
    chance = np.random.default_rng(4)
    values = losses(chance, (1, 150), 0.2)[0]
    starts = np.cumsum(chance.exponential(1 / 30, 150))
    closes = starts + np.where(values < 0, 8.0, 0.5)
    entered: list[str] = []
    last: Place | None = None
    for hour in np.arange(0, 16, 0.1):
        known = [
            Admitted(
                conversation=f"{number}",
                started_at=MORNING + timedelta(hours=float(starts[number])),
                standing="settled" if closes[number] <= hour else "open",
            )
            for number in np.flatnonzero(starts <= hour)
            if f"{number}" not in entered
        ]
        entry = enter(known, last=last, known_until=MORNING + timedelta(hours=float(hour)))
        entered += [each.conversation for each in entry.entering]
        last = entry.last
        assert not entry.late
        assert entered == [f"{number}" for number in range(len(entered))]
    assert len(entered) == 150


def test_no_tie_enters_alone_once_the_judge_has_no_money() -> None:
    known = [
        Admitted(
            conversation=f"{n}", started_at=MORNING + timedelta(minutes=n), standing="pending" if n % 3 else "settled"
        )
        for n in range(60)
    ]
    later = MORNING + timedelta(days=1)

    assert [each.conversation for each in enter(known, last=None, known_until=later).entering] == ["0"]
    assert enter(known, last=None, known_until=later, judge_has_money=False).entering == []


def test_the_same_seed_gives_the_same_table() -> None:
    one, other = (run(size=SHORT, only="identical") for _ in range(2))

    assert one == other
    assert "| A/A, conversations of 10 identical turns |" in markdown(one)


def test_a_missed_demand_is_named_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missed = Row(name="a rule", counted="wrong", measured=0.2, error=0.01, at_most=0.05, others={"other": 0.5})
    monkeypatch.setattr("bench.simulate.__main__.SIMULATIONS", (_named(missed),))
    monkeypatch.setattr("sys.argv", ["simulate", "--short"])

    assert main() == 1
    told = capsys.readouterr().out
    assert f"seed {SEED}" in told
    assert "MISSED: a rule: 20.0 % ± 1.0 %, required ≤ 5 %" in told


def _named(row: Row) -> object:
    def simulation(_: object, __: object) -> list[Row]:
        return [row]

    return simulation


def test_a_met_demand_ends_with_0_and_is_written_as_a_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    met = Row(name="a rule", counted="right", measured=1.0, error=None, at_least=0.9, note="a note")
    table = f"{tmp_path}/table.md"
    monkeypatch.setattr("bench.simulate.__main__.SIMULATIONS", (_named(met),))
    monkeypatch.setattr("sys.argv", ["simulate", "--markdown", table])

    assert main() == 0
    assert "1 of 1 demands met" in capsys.readouterr().out
    with open(table, encoding="utf-8") as written:  # noqa: PTH123
        assert "| a rule | right | ≥ 90 % | **100.0 %** (a note) |  |" in written.read()


def _write(path: Path, answers: list[dict[str, object]]) -> None:
    path.parent.mkdir()
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(f"{json.dumps(answer)}\n" for answer in answers)


def test_recorded_answers_are_promoted_where_that_is_right_and_not_where_it_is_wrong(tmp_path: Path) -> None:
    arena = [
        {"id": number, "model": model, "score": float(number % 5 > 0 or model == "good"), "cost_usd": cost}
        for number in range(40)
        for model, cost in (("good", 0.001), ("poor", 0.003))
    ]
    _write(tmp_path / "routerarena" / "responses.jsonl.gz", arena)
    gsm8k = [{"mixtral_ok": number % 3 > 0, "gpt4_ok": True} for number in range(30)]
    _write(tmp_path / "routellm" / "gsm8k.jsonl.gz", gsm8k)

    rows = list(recorded(tmp_path, np.random.default_rng(6), SHORT))

    assert [(row.name.partition(": ")[2], row.measured > 0.9, row.holds) for row in rows] == [
        ("poor for good", False, True),
        ("good for poor", True, True),
        ("Mixtral-8x7B for gpt-4-1106, quality alone", False, True),
        ("gpt-4-1106 for Mixtral-8x7B, quality alone", True, True),
    ]
    assert rows[1].note.startswith("truth over 40 prompts: +0.200, costs 0.33 times as much; promoted after ")


def test_numbers_are_told_with_their_error_and_unit() -> None:
    none = Row(name="", counted="", measured=0.0, error=0.003, at_most=0.05)
    count = Row(name="", counted="", measured=float(NEVER), error=None, at_most=50, unit="n")
    money_row = Row(name="", counted="", measured=0.0, error=None, at_most=0.0, unit="$")

    assert value(none) == "0.0 % (error below 0.3 %)"
    assert (value(count), count.holds, demand(count)) == ("never", False, "≤ 50")
    assert (value(money_row), demand(money_row)) == ("$0.00", "0")
    assert math.isclose(ALONE, 0.04)
