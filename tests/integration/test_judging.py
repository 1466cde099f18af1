"""The judge in the worker: what is stored, what it costs, and how far it can be trusted in the end."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from shadow.records import NOISE_FLOOR, EvaluatorSpec
from shadow.simulator import Quality, Script, SimModel, Simulator
from shadow.worker import NoiseFloor, WorkerLimits
from tests.support.judging import JUDGES
from tests.support.shadowing import (
    PRIMARY,
    batch,
    candidate,
    eventually_async,
    question,
    running,
    workshop,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shadow.records import Batch
    from tests.support.shadowing import Workshop


RIVALS = (
    SimModel(name="right"),
    SimModel(name="wrong", quality=Quality(wrong=1.0)),
    SimModel(name="half-wrong", quality=Quality(wrong=0.5)),
)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(Script(models=(*JUDGES, *RIVALS))) as simulator:
        yield simulator


def judged_by(model: str, **options: Any) -> tuple[EvaluatorSpec, ...]:
    return (EvaluatorSpec(type="llm-pairwise", options={"model": model, **options}, quality=True),)


def asked(number: int, *rivals: str, said: str | None = None, **given: Any) -> Batch:
    """An exchange in which the primary answered a sum, right unless it is told otherwise."""
    text = said or f"I get {number + 10}."
    answer = {
        "id": "msg",
        "type": "message",
        "role": "assistant",
        "model": PRIMARY,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 12, "output_tokens": 6},
    }
    prompt = question(prompt=f"What is {number} + 10?", max_tokens=100)
    return batch(number, *rivals, request=prompt, response=json.dumps(answer).encode(), **given)


async def judged(shop: Workshop, count: int, rival: str, **given: Any) -> dict[str, Any]:
    await shop.add(*(asked(number, rival, **given) for number in range(count)))
    async with running(shop.worker()):
        await shop.ended(count, within_s=90)
    (task,) = (await shop.stats())["tasks"]
    (comparison,) = task["comparisons"]
    found: dict[str, Any] = comparison
    return found


async def test_a_pair_is_judged_in_both_orders_and_every_call_is_kept_with_its_cost(
    tmp_path: Path, simulator: Simulator
) -> None:
    rival = candidate("wrong", simulator.base_url)
    spec = judged_by("truthful", control_rate=0.01)
    async with workshop(tmp_path, rival, evaluators=spec, judges=["truthful"], judges_at=simulator.base_url) as shop:
        comparison = await judged(shop, 1, "wrong")
        pair = await shop.store.reader.pair("exchange-0000:wrong")
        spent = await shop.spent()
        (answer,) = await shop.answers()

    assert pair is not None
    (score,) = pair["scores"]
    assert (score["role"], score["value"], score["status"]) == ("pair", -1.0, "scored")
    first, second, *controls = pair["judgements"]
    assert [each["control"] for each in controls] == ["half", "half"]  # drawn by the ids of exchange and candidate
    assert (first["judge_order"], second["judge_order"]) == ("primary_first", "candidate_first")
    assert {(each["model"], each["status"], each["winner"]) for each in pair["judgements"]} == {
        ("truthful", "ruled", "primary")
    }
    assert first["input_tokens"] > 0
    assert first["latency_ms"] > 0
    cost = sum(each["cost_usd"] for each in pair["judgements"])
    assert cost == pytest.approx(score["cost_usd"])
    assert spent["spent_usd"] == pytest.approx(answer["cost_billed_usd"] + cost, abs=1e-8)
    assert spent["reserved_usd"] == 0
    assert comparison["judge"]["judgements"] == 1
    assert comparison["judge"]["cost_usd"] == pytest.approx(cost)
    assert len(simulator.log.calls(model="truthful")) == 4


async def test_identical_answers_cost_no_judgement(tmp_path: Path, simulator: Simulator) -> None:
    rival = candidate("right", simulator.base_url)
    async with workshop(
        tmp_path, rival, evaluators=judged_by("truthful"), judges=["truthful"], judges_at=simulator.base_url
    ) as shop:
        await shop.add(*(asked(number, "right", said=f"The answer is {number + 10}.") for number in range(3)))
        async with running(shop.worker()):
            await shop.ended(3)
        (task,) = (await shop.stats())["tasks"]

    assert simulator.log.calls(model="truthful") == []
    block = task["comparisons"][0]["judge"]
    assert (block["identical"], block["judgements"], block["calls"], block["cost_usd"]) == (3, 0, 0, 0.0)
    assert block["reason"].endswith("all pairs were identical, it was never asked")
    assert task["comparisons"][0]["tie_rate"] == 1.0


async def test_a_judge_that_looks_ends_trusted(tmp_path: Path, simulator: Simulator) -> None:
    rival = candidate("half-wrong", simulator.base_url)
    spec = judged_by("truthful", control_rate=1.0)
    async with workshop(tmp_path, rival, evaluators=spec, judges=["truthful"], judges_at=simulator.base_url) as shop:
        comparison = await judged(shop, 25, "half-wrong")

    block = comparison["judge"]
    assert block["trusted"] is True, block["reason"]
    assert block["control_pass_rate"]["value"] == 1.0
    assert block["control_pass_rate"]["n"] == 25
    assert block["flip_rate"] == 0.0
    assert 0 < block["control_cost_usd"] < block["cost_usd"]
    assert comparison["scored"] == 25  # controls are no pairs


async def test_candidates_beside_one_live_answer_put_one_control_between_them(
    tmp_path: Path, simulator: Simulator
) -> None:
    names = ["half-wrong", "wrong"]
    rivals = [candidate(name, simulator.base_url) for name in names]
    spec = judged_by("truthful", control_rate=1.0)
    async with workshop(tmp_path, *rivals, evaluators=spec, judges=["truthful"], judges_at=simulator.base_url) as shop:
        await shop.add(*(asked(number, *names) for number in range(6)))
        async with running(shop.worker()):
            await shop.ended(12, within_s=90)
        (task,) = (await shop.stats())["tasks"]

    # They put the same question, so that two of them prove no more than one.
    assert [each["judge"]["control_pass_rate"]["n"] for each in task["comparisons"]] == [6, 6]


@pytest.mark.parametrize(
    ("model", "flips"), [("always-a", 1.0), ("always-tie", 0.0), ("random", None)], ids=["always A", "tie", "random"]
)
async def test_a_judge_that_does_not_look_ends_untrusted(
    tmp_path: Path, simulator: Simulator, model: str, flips: float | None
) -> None:
    rival = candidate("half-wrong", simulator.base_url)
    spec = judged_by(model, control_rate=1.0)
    async with workshop(tmp_path, rival, evaluators=spec, judges=[model], judges_at=simulator.base_url) as shop:
        comparison = await judged(shop, 25, "half-wrong")

    block = comparison["judge"]
    assert block["trusted"] is False
    assert "controls, at most" in block["reason"]
    assert flips is None or block["flip_rate"] == flips
    if model == "always-a":
        assert comparison["tie_rate"] == 1.0
        assert "its ruling changes with the order of the answers in 25 of 25 (100%) pairs" in block["reason"]
        assert block["control_pass_rate"]["value"] == 0.0


@pytest.mark.parametrize("model", ["prose", "ten", "empty", "injected", "refusing"])
async def test_a_judge_without_rulings_leaves_pairs_missing_counted_and_itself_untrusted(
    tmp_path: Path, simulator: Simulator, model: str
) -> None:
    rival = candidate("wrong", simulator.base_url)
    async with workshop(
        tmp_path, rival, evaluators=judged_by(model), judges=[model], judges_at=simulator.base_url
    ) as shop:
        comparison = await judged(shop, 20, "wrong")
        (task,) = (await shop.stats(max_missing=1.0))["tasks"]
        spent = await shop.spent()
        answers = await shop.answers()

    assert "it gave no ruling" not in task["comparisons"][0]["judge"]["reason"]
    block = comparison["judge"]
    assert comparison["scored"] == 0
    assert comparison["left_out"] == {"missing": 20}
    assert (block["judgements"], block["failed"], block["missing"]) == (0, 20, 1.0)
    assert block["parse_failures"] == block["failed_calls"] == block["calls"]
    assert block["trusted"] is False
    assert "it gave no ruling for 20 of 20 (100%) pairs" in block["reason"]
    candidate_usd = sum(row["cost_billed_usd"] for row in answers)
    assert spent["spent_usd"] == pytest.approx(candidate_usd + block["cost_usd"], abs=1e-6)
    assert block["cost_usd"] > 0


async def test_two_answers_of_the_primary_are_judged_without_a_control_and_tell_whether_it_invents_a_difference(
    tmp_path: Path, simulator: Simulator
) -> None:
    rival, again = candidate("wrong", simulator.base_url), candidate(PRIMARY, simulator.base_url)
    spec = judged_by("truthful", control_rate=1.0)
    async with workshop(tmp_path, rival, evaluators=spec, judges=["truthful"], judges_at=simulator.base_url) as shop:
        for number in range(6):
            made = asked(number, "wrong", conversation=f"{number:032x}")
            twin = msgspec.structs.replace(made.jobs[0], candidate=NOISE_FLOOR)
            await shop.add(dataclasses.replace(made, jobs=[*made.jobs, twin]))
        async with running(shop.worker(noise_floor=NoiseFloor(primary=again, rate=1, first=0))):
            await shop.ended(6, within_s=90)
            await eventually_async(
                lambda: asyncio.sleep(0, len(simulator.log.calls(model="truthful")) >= 6 * 4 + 6 * 2),
                within_s=60,
                what="the judgements of all pairs",
            )
        (task,) = (await shop.stats())["tasks"]
        judge_usd = await shop.store.reader.judge_spent_usd(day=shop.now().date().isoformat())
        spent = await shop.spent()

    block = task["comparisons"][0]["judge"]
    assert block["aa_evidence"]["n"] == 6
    assert block["aa_evidence"]["greater"] < 1 / 0.05
    assert block["control_pass_rate"]["n"] == 6  # of the pairs alone
    assert judge_usd > block["cost_usd"]
    assert spent["reserved_usd"] == 0


async def test_what_a_judge_says_is_redacted_and_with_content_none_not_kept(
    tmp_path: Path, simulator: Simulator
) -> None:
    rival = candidate("wrong", simulator.base_url)
    async with workshop(
        tmp_path,
        rival,
        evaluators=judged_by("prose"),
        judges=["prose"],
        judges_at=simulator.base_url,
        content="none",
    ) as shop:
        await judged(shop, 1, "wrong")
        pair = await shop.store.reader.pair("exchange-0000:wrong")

    assert pair is not None
    assert {each["reason"] for each in pair["judgements"]} == {"what was said is not kept (content: none)"}
    (score,) = pair["scores"]
    assert score["reason"] == "no ruling: the judge gave no ruling in the form that was asked for"


async def test_a_judge_without_a_price_is_never_asked_and_the_pair_says_why(
    tmp_path: Path, simulator: Simulator
) -> None:
    rival = candidate("wrong", simulator.base_url)
    async with workshop(
        tmp_path, rival, evaluators=judged_by("of-no-list"), judges=["truthful"], judges_at=simulator.base_url
    ) as shop:
        comparison = await judged(shop, 2, "wrong")
        pair = await shop.store.reader.pair("exchange-0000:wrong")

    assert pair is not None
    assert pair["scores"][0]["status"] == "failed"
    assert (
        "the price of the judge of-no-list is unknown, so it is not asked; add prices: {" in pair["scores"][0]["reason"]
    )
    assert comparison["left_out"] == {"missing": 2}
    assert simulator.log.calls(model="of-no-list") == []


async def test_a_pair_whose_judge_cannot_be_paid_is_not_sent_at_all(tmp_path: Path, simulator: Simulator) -> None:
    rival = candidate("wrong", simulator.base_url)
    async with workshop(
        tmp_path,
        rival,
        evaluators=judged_by("truthful"),
        judges=["truthful"],
        judges_at=simulator.base_url,
        # enough for the candidate many times over, and not for its judge
        limits=WorkerLimits(budget_usd_per_day=0.02),
    ) as shop:
        await shop.add(asked(1, "wrong"))
        async with running(shop.worker()):
            tally = await shop.ended(1)

    assert tally == {("wrong", "skipped", "over_budget"): 1}
    assert simulator.log.calls() == []


async def test_a_burst_with_the_judge_on_never_costs_more_than_the_cap(tmp_path: Path, simulator: Simulator) -> None:
    cap_usd = 0.5
    rival = candidate("half-wrong", simulator.base_url)
    async with workshop(
        tmp_path,
        rival,
        evaluators=judged_by("truthful", control_rate=0.5),
        judges=["truthful"],
        judges_at=simulator.base_url,
        limits=WorkerLimits(budget_usd_per_day=cap_usd, max_concurrency=64),
    ) as shop:
        await shop.add(*(asked(number, "half-wrong") for number in range(100)))
        most = 0.0
        async with running(shop.worker("one"), shop.worker("two")):
            while sum((await shop.tally()).values()) == 0 or any(
                state in {"pending", "leased", "sent"} for _, state, _ in await shop.tally()
            ):
                spent = await shop.spent()
                most = max(most, spent["spent_usd"] + spent["reserved_usd"])
        spent = await shop.spent()
        answers = await shop.answers()
        tally = await shop.tally()
        judge_usd = await shop.store.reader.judge_spent_usd(day=shop.now().date().isoformat())

    assert most <= cap_usd
    assert spent["reserved_usd"] == 0
    assert tally["half-wrong", "done", None] > 0
    assert tally["half-wrong", "skipped", "over_budget"] > 0
    assert spent["spent_usd"] == pytest.approx(sum(row["cost_billed_usd"] for row in answers) + judge_usd, abs=1e-5)


async def test_grades_of_both_answers_are_compared_and_the_primary_is_graded_once_with_a_control(
    tmp_path: Path, simulator: Simulator
) -> None:
    names = ["half-wrong", "wrong"]
    rivals = [candidate(name, simulator.base_url) for name in names]
    options = {"model": "truthful", "rubric": "Is it right?", "control_rate": 1.0}
    spec = (EvaluatorSpec(type="llm-rubric", options=options, quality=True),)
    async with workshop(tmp_path, *rivals, evaluators=spec, judges=["truthful"], judges_at=simulator.base_url) as shop:
        await shop.add(*(asked(number, *names) for number in range(20)))
        async with running(shop.worker()):
            await shop.ended(40, within_s=90)
        (task,) = (await shop.stats())["tasks"]
        pairs = [await shop.store.reader.pair(f"exchange-0000:{name}") for name in names]
        spent, answers = await shop.spent(), await shop.answers()
        judge_usd = await shop.store.reader.judge_spent_usd(day=shop.now().date().isoformat())

    wrong = next(each for each in task["comparisons"] if each["candidate"] == "wrong")
    assert wrong["quality_diff"]["mean"] == -0.5
    assert (wrong["scored"], wrong["judge"]["judgements"], wrong["judge"]["flip_rate"]) == (20, 20, None)
    for comparison in task["comparisons"]:  # one control an exchange, whoever's pair it came with
        block = comparison["judge"]
        assert (block["control_pass_rate"]["n"], block["control_pass_rate"]["value"]) == (20, 1.0)
        assert block["trusted"] is True, block["reason"]
    assert len(simulator.log.calls(model="truthful")) == 20 * (1 + 1 + 2)  # primary, control, two candidates
    assert None not in pairs
    grades = [
        sorted((each["role"], each["judge_order"], each["grade"]) for each in pair["judgements"])
        for pair in pairs
        if pair is not None
    ]
    graded, again = sorted(grades, key=len, reverse=True)
    assert [each for each in again if each[0] == "primary"] == [("primary", "none", 5)]
    assert [each[1] for each in graded if each[0] == "primary"] == ["single", "single"]
    assert spent["spent_usd"] == pytest.approx(sum(row["cost_billed_usd"] for row in answers) + judge_usd, abs=1e-6)
    assert spent["reserved_usd"] == 0
