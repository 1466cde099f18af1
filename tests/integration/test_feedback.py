"""What users say later: kept by the rules for content, shown at the exchange, and used to score again."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gateway.settings import RedactionRule
from shadow.compare import Keeper
from shadow.evaluators import build_evaluators
from shadow.golden import load_golden
from shadow.records import EvaluatorSpec
from shadow.redaction import Redactor, Scrubber
from shadow.rescoring import Rescorer
from shadow.simulator import Simulator
from tests.support.admin import NOW, admin_port, settings
from tests.support.shadowing import ANSWER, batch, candidate, question, running, workshop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import httpx2

    from shadow.store import Store
    from tests.support.shadowing import Workshop

KEY = "sk-live-key-of-the-app-0123456789"
KEEPER = Keeper(mode="redacted", redactor=Redactor([RedactionRule(name="email")]), scrubber=Scrubber([KEY]))
EQUALS = EvaluatorSpec(type="equals", quality=True)
LENGTH = EvaluatorSpec(type="word-count", options={"max": 3})
EXPECTED = '{"answer": 4}'


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
async def shop(tmp_path: Path, simulator: Simulator) -> AsyncIterator[Workshop]:
    """A store with one exchange whose answers are scored, with nothing known of what is right."""
    async with workshop(tmp_path, candidate("rival", simulator.base_url), evaluators=(EQUALS, LENGTH)) as shop:
        await shop.add(batch(1, "rival"))
        async with running(shop.worker()):
            await shop.ended(1)
        yield shop


async def said(store: Store, client: httpx2.AsyncClient, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = await client.post("/feedback", json=body)
    return answer.status_code, answer.json()


def port(shop: Workshop, keeper: Keeper | None = KEEPER) -> Any:
    chosen = settings(keep_text=None if keeper is None else keeper.reference, candidates=("rival",))
    return admin_port(shop.store.reader, lambda: chosen, feedback=shop.store.feedback, now=shop.now)


async def scores(shop: Workshop) -> dict[tuple[str, str], Any]:
    pair = await shop.store.reader.pair("exchange-0001:rival")
    assert pair is not None
    return {(score["evaluator"], score["role"]): score["value"] or score["status"] for score in pair["scores"]}


def rescorer(shop: Workshop) -> Rescorer:
    evaluators = {"default": build_evaluators((EQUALS, LENGTH), config_dir=".")}
    return Rescorer(feedback=shop.store.feedback, evaluators=evaluators, keeper=KEEPER, now=shop.now)


async def test_a_score_is_kept_shown_at_the_exchange_and_in_the_stats_of_the_primary_alone(shop: Workshop) -> None:
    async with port(shop) as client:
        status, kept = await said(shop.store, client, request_id="exchange-0001", score=0.25)
        assert (status, kept["feedback"]["score"], kept["feedback"]["expected"]) == (200, 0.25, None)
        assert "nothing about any candidate" in kept["note"]
        exchange = (await client.get("/exchanges/exchange-0001")).json()
        stats = (await client.get("/stats")).json()
    assert exchange["feedback"]["score"] == 0.25
    (task,) = [task for task in stats["tasks"] if task["task"] == "default"]
    by_role = {row["role"]: row["quality"]["by_evaluator"] for row in task["models"]}
    assert by_role["primary"]["feedback"]["avg"] == 0.25
    assert by_role["primary"]["feedback"]["n"] == 1
    assert by_role["primary"]["feedback"]["decides"] is False
    assert "feedback" not in by_role["candidate"]


async def test_an_expected_text_posted_later_scores_again_what_is_kept_and_only_what_it_concerns(
    shop: Workshop,
) -> None:
    before = await scores(shop)
    assert before["equals", "primary"] == before["equals", "candidate"] == "not_applicable"
    async with port(shop) as client:
        status, kept = await said(shop.store, client, request_id="exchange-0001", expected=EXPECTED)
        assert (status, kept["feedback"]["rescored_at"]) == (200, None)
        assert await rescorer(shop).once() == 1
        assert await rescorer(shop).once() == 0
        pair = (await client.get("/pairs/exchange-0001:rival")).json()
        assert (pair["quality_primary"], pair["quality_candidate"], pair["quality_diff"]) == (1.0, 1.0, 0.0)
        first_rescored = (await client.get("/exchanges/exchange-0001")).json()["feedback"]["rescored_at"]
        assert first_rescored is not None
        after = await scores(shop)
        assert {key: value for key, value in after.items() if key[0] == "word-count"} == {
            key: value for key, value in before.items() if key[0] == "word-count"
        }

        again = await said(shop.store, client, request_id="exchange-0001", expected=EXPECTED)
        assert again[1]["feedback"]["rescored_at"] == first_rescored  # the same again is nothing
        assert await rescorer(shop).once() == 0

        await said(shop.store, client, request_id="exchange-0001", expected="five", score=0)
        assert await rescorer(shop).once() == 1
        pair = (await client.get("/pairs/exchange-0001:rival")).json()
    assert (pair["quality_primary"], pair["quality_candidate"]) == (0.0, 0.0)
    assert len([score for score in pair["scores"] if score["evaluator"] == "equals"]) == 2


async def test_an_expected_text_that_comes_before_the_answer_is_used_when_it_is_scored(
    tmp_path: Path, simulator: Simulator
) -> None:
    async with workshop(tmp_path, candidate("rival", simulator.base_url), evaluators=(EQUALS,)) as shop:
        await shop.add(batch(1, "rival"))
        async with port(shop) as client:
            assert (await said(shop.store, client, request_id="exchange-0001", expected=EXPECTED))[0] == 200
        assert await rescorer(shop).once() == 0  # its job has not ended
        async with running(shop.worker()):
            await shop.ended(1)
        assert await scores(shop) == {("equals", "primary"): 1.0, ("equals", "candidate"): 1.0}


async def test_without_kept_content_there_is_nothing_to_score_again_and_no_text_is_taken(
    tmp_path: Path, simulator: Simulator
) -> None:
    async with workshop(tmp_path, candidate("rival", simulator.base_url), evaluators=(EQUALS,), content="none") as shop:
        await shop.add(batch(1, "rival"))
        async with running(shop.worker()):
            await shop.ended(1)
        async with port(shop, keeper=None) as client:
            status, refused = await said(shop.store, client, request_id="exchange-0001", expected="secret words")
            assert (status, refused["error"]["type"]) == (409, "not_kept")
            assert (await said(shop.store, client, request_id="exchange-0001", score=1))[0] == 200
        async with port(shop) as client:  # as after a change of the settings
            assert (await said(shop.store, client, request_id="exchange-0001", expected=EXPECTED))[0] == 200
        assert await rescorer(shop).once() == 1
        assert set((await scores(shop)).values()) == {"not_applicable"}
    assert b"secret words" not in (tmp_path / "shadow.db").read_bytes()


class Broken:
    """Evaluators with a fault of ours."""

    async def score_free(self, primary: Any, candidate: Any) -> Any:
        raise KeyError(f"a secret prompt {primary} {candidate}")


async def test_an_exchange_that_cannot_be_scored_again_holds_up_no_other(
    shop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    async with port(shop) as client:
        await said(shop.store, client, request_id="exchange-0001", expected=EXPECTED)
    broken: Any = {"default": Broken()}
    again = Rescorer(feedback=shop.store.feedback, evaluators=broken, keeper=KEEPER, now=shop.now)
    assert await again.once() == 1
    assert await again.once() == 0
    assert "could not be scored again: KeyError" in caplog.text
    assert "secret prompt" not in caplog.text
    assert (await scores(shop))["equals", "primary"] == "not_applicable"


async def test_what_redaction_changes_is_kept_redacted_and_never_used(shop: Workshop, tmp_path: Path) -> None:
    async with port(shop) as client:
        text = f"write to ada@example.org with {KEY}"
        status, kept = await said(shop.store, client, request_id="exchange-0001", expected=text)
        assert status == 200
        assert kept["feedback"]["expected_changed"] is True
        assert "ada@example.org" not in kept["feedback"]["expected"]
        assert "not used to score" in kept["note"]
        assert await rescorer(shop).once() == 0
    names = ("shadow.db", "shadow.db-wal")
    files = b"".join((tmp_path / name).read_bytes() for name in names if (tmp_path / name).exists())
    assert b"ada@example.org" not in files
    assert KEY.encode() not in files


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"request_id": "unknown", "score": 1}, 404, "no exchange has this id"),
        ({"request_id": "exchange-0001"}, 400, "say something"),
        ({"score": 1}, 400, "missing required field `request_id`"),
        ({"request_id": "", "score": 1}, 400, "length >= 1"),
        ({"request_id": "exchange-0001", "score": 1.5}, 400, "<= 1"),
        ({"request_id": "exchange-0001", "score": True}, 400, "got `bool`"),
        ({"request_id": "exchange-0001", "scoer": 1}, 400, "unknown field `scoer`"),
        ({"request_id": "exchange-0001", "expected": 3}, 400, "Expected `str"),
        ([], 400, "must be a JSON object"),
        ({"request_id": "exchange-0001", "expected": "x" * (300 << 10)}, 413, "at most 262144 bytes"),
    ],
)
async def test_what_cannot_be_taken_is_one_sentence(shop: Workshop, body: Any, status: int, sentence: str) -> None:
    async with port(shop) as client:
        answer = await client.post("/feedback", json=body)
    assert answer.status_code == status
    assert sentence in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"content-type": "text/plain"}, b"{}", 415),
        ({"content-type": "application/json", "origin": "http://evil.example"}, b"{}", 403),
        ({"content-type": "application/json", "sec-fetch-site": "cross-site"}, b"{}", 403),
        ({"content-type": "application/json"}, b"[" * 100_000, 400),
        ({"content-type": "application/json"}, b'{"request_id": "exchange-0001", "score": NaN}', 400),
        ({"content-type": "application/json"}, b"\xff\xfe", 400),
    ],
)
async def test_the_guard_and_the_reader_hold_for_feedback(
    shop: Workshop, headers: dict[str, str], content: bytes, status: int
) -> None:
    async with port(shop) as client:
        assert (await client.post("/feedback", headers=headers, content=content)).status_code == status


async def test_a_process_that_keeps_no_feedback_says_so(shop: Workshop) -> None:
    async with admin_port(shop.store.reader) as client:
        answer = await client.post("/feedback", json={"request_id": "x", "score": 1})
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "no_feedback")


async def test_feedback_goes_with_its_exchange(shop: Workshop) -> None:
    async with port(shop) as client:
        await said(shop.store, client, request_id="exchange-0001", score=1)
    assert await shop.store.reader.prune(before=shop.now() + timedelta(days=1)) == 1
    assert await shop.store.reader.feedback(since=NOW - timedelta(days=9999), until=shop.now()) == []


async def test_a_golden_case_says_what_is_right_for_both_sides_in_any_dialect(
    tmp_path: Path, simulator: Simulator
) -> None:
    file = tmp_path / "golden.jsonl"
    file.write_text(json.dumps({"prompt": "What is 2 + 2? Answer as JSON.", "expected": EXPECTED}))
    async with workshop(
        tmp_path,
        candidate("rival", simulator.base_url),
        evaluators=(EQUALS,),
        golden=load_golden(str(file)),
    ) as shop:
        await shop.add(
            batch(1, "rival"),
            batch(2, "rival", response=ANSWER.replace(b": 4", b": 5")),
            batch(3, "rival", request=question(prompt="Something else. Answer as JSON.")),
        )
        async with running(shop.worker()):
            await shop.ended(3)
        answers = {row["exchange_id"]: row for row in await shop.answers()}
    assert [answers[f"exchange-000{n}"]["quality_primary"] for n in (1, 2, 3)] == [1.0, 0.0, None]
    assert [answers[f"exchange-000{n}"]["quality_candidate"] for n in (1, 2, 3)] == [1.0, 1.0, None]
