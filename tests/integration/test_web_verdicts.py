"""Verdicts and epochs on the admin port, over real sockets and a ledger that a bookkeeper has kept."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from shadow.ledger import Facts
from shadow.stats import ConversationRules
from shadow.store import open_store
from shadow.store.base import StoreError
from shadow.switch import SwitchAdvisor
from shadow.web import VerdictApi
from tests.support.admin import admin_port, settings
from tests.support.ledger import START, Books, judging, plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    async with await open_store(f"sqlite:///{tmp_path / 'shadow.db'}") as store:
        yield Books(store=store)


@asynccontextmanager
async def port(books: Books) -> AsyncIterator[httpx2.AsyncClient]:
    verdicts = VerdictApi(books.store.ledger, books.bookkeeper(), tasks=lambda: ("default", "quiet"))
    chosen = settings(candidates=("rival",), conversations=books.rules)
    async with admin_port(books.store.reader, lambda: chosen, verdicts=verdicts, now=lambda: books.now) as client:
        yield client


async def get(client: httpx2.AsyncClient, path: str, status: int = 200) -> Any:
    answer = await client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


def validate(document: Any, name: str, value: Any) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema_rs.validator_for(schema).validate(value)


async def test_a_verdict_is_shown_with_all_it_rests_on(books: Books) -> None:
    await books.conversations(80)
    await books.bookkeeper().catch_up()
    async with port(books) as client:
        (verdict,) = (await get(client, "/verdicts"))["verdicts"]
        document = await get(client, "/openapi.json")
        validate(document, "Verdicts", await get(client, "/verdicts"))
    assert (verdict["task"], verdict["primary"], verdict["candidate"]) == ("default", "primary", "rival")
    assert (verdict["verdict"], verdict["conversations"], verdict["open"]) == ("promote", 80, 0)
    assert verdict["epoch"]["number"] == 1
    assert verdict["epoch"]["candidate_alpha"] == pytest.approx(0.04)
    low, high = verdict["quality_diff"]["ci"]
    assert low < verdict["quality_diff"]["mean"] == 0 < high
    assert verdict["quality_diff"]["level"] == pytest.approx(0.92)
    assert verdict["cost_ratio"]["value"] == pytest.approx(0.25)
    assert verdict["cost_per_quality_point_usd"]["candidate"]["value"] == pytest.approx(0.001)
    assert verdict["cost_per_quality_point_usd"]["ratio"]["ci"] == pytest.approx([0.25, 0.25])
    assert verdict["spent_usd"] == pytest.approx(0.08)
    assert verdict["why"].endswith(".")


async def test_stats_and_verdicts_say_the_same_about_the_epoch(books: Books) -> None:
    await books.conversations(20, candidate=0.5)
    await books.bookkeeper().catch_up()
    async with port(books) as client:
        (verdict,) = (await get(client, "/verdicts"))["verdicts"]
        stats = await get(client, "/stats")
        validate(await get(client, "/openapi.json"), "Stats", stats)
    (comparison,) = stats["tasks"][0]["comparisons"]
    for name in comparison["scope"]["epoch"]:
        assert comparison[name] == verdict[name], name


async def test_an_old_epoch_stays_readable_by_its_number(books: Books) -> None:
    await books.conversations(5)
    await books.bookkeeper().catch_up()
    async with port(books) as client:
        opened = await client.post("/epochs", json={"because": "a new prompt"})
        assert opened.status_code == 201
        (epoch,) = opened.json()["epochs"]
        assert (epoch["number"], epoch["because"]) == (2, "a new prompt")
        now = (await get(client, "/verdicts"))["verdicts"]
        old = (await get(client, "/verdicts?epoch=1"))["verdicts"]
        both = (await get(client, "/verdicts?epoch=all"))["verdicts"]
    assert [(each["epoch"]["number"], each["conversations"]) for each in now] == [(2, 0)]
    assert [(each["epoch"]["number"], each["conversations"]) for each in old] == [(1, 5)]
    assert len(both) == 2


async def test_stats_tell_no_cost_of_former_prices_and_no_switch_to_a_candidate_that_is_gone(books: Books) -> None:
    await books.conversations(80)
    await books.bookkeeper().catch_up()
    chosen = settings(candidates=("rival",), conversations=books.rules)
    verdicts = VerdictApi(books.store.ledger, switch=SwitchAdvisor(config_file="config.yaml"))
    async with admin_port(books.store.reader, lambda: chosen, verdicts=verdicts, now=lambda: books.now) as client:
        document = await get(client, "/openapi.json")
        (one,) = (await get(client, "/verdicts"))["verdicts"]
        assert (one["verdict"], one["ended"], one["switch"]["change"]) == ("promote", None, "primary.model: rival")

        await books.bookkeeper(plan(candidates={})).catch_up()
        (gone,) = (await get(client, "/stats"))["tasks"][0]["comparisons"]
        assert (gone["verdict"], gone["switch"]) == ("promote", None)
        assert gone["ended"] == "rival is not among shadow.candidates any more"
        assert gone["more_needed"]["reason"] == f"the comparison has ended: {gone['ended']}"
        validate(document, "Verdicts", await get(client, "/verdicts"))

        await books.bookkeeper(facts=Facts(prices="p2")).catch_up()
        (dearer,) = (await get(client, "/stats"))["tasks"][0]["comparisons"]
        validate(document, "Stats", await get(client, "/stats"))
        assert dearer["window"]["cost_ratio"]["value"] == pytest.approx(0.25), "at prices of the past"
        assert dearer["cost_ratio"]["value"] is dearer["cost_per_quality_point_usd"]["ratio"]["value"] is None
        assert "cost_ratio" in dearer["scope"]["epoch"]
        assert dearer["projected_saving_usd_per_month"]["value"] is None


async def test_before_the_first_conversation_there_is_no_verdict(books: Books) -> None:
    await books.turn("c1")
    await books.bookkeeper().catch_up()
    async with port(books) as client:
        (verdict,) = (await get(client, "/verdicts"))["verdicts"]
        assert await get(client, "/verdicts?candidate=nobody") == {"verdicts": []}
        assert await get(client, "/verdicts?primary=primary&task=default") != {"verdicts": []}
    assert (verdict["verdict"], verdict["conversations"], verdict["open"]) == ("insufficient_data", 0, 1)
    assert verdict["quality_diff"]["ci"] is None
    assert verdict["quality_diff"]["reason"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/verdicts?epoch=first", "epoch must be a number, or all"),
        ("/verdicts?epoch=-1", "epoch must be a number, or all"),
        ("/verdicts?since=7d", "is no parameter of this path"),
    ],
)
async def test_a_wrong_parameter_is_told(books: Books, path: str, told: str) -> None:
    async with port(books) as client:
        assert told in (await get(client, path, 400))["error"]["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"task": 1}', b'{"reason": "x"}', b'{"because": "%s"}' % (b"x" * 600)])
async def test_a_wrong_body_begins_no_epoch(books: Books, body: bytes) -> None:
    await books.conversations(1)
    await books.bookkeeper().catch_up()
    async with port(books) as client:
        answer = await client.post("/epochs", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400, answer.text
        huge = await client.post("/epochs", content=b" " * 70_000, headers={"content-type": "application/json"})
        assert huge.status_code == 400
        form = await client.post("/epochs", content=b"{}", headers={"content-type": "text/plain"})
        assert form.status_code == 415
        foreign = await client.post("/epochs", json={}, headers={"origin": "http://evil.example"})
        assert foreign.status_code == 403
    assert [view["number"] for view in await books.store.ledger.views()] == [1]


async def test_an_epoch_of_one_task_leaves_the_others_alone(books: Books) -> None:
    keeper = books.bookkeeper(plan(judging={"default": judging(), "support": judging()}))
    await books.turn("c1")
    await books.turn("c2", task="support")
    await keeper.catch_up()
    async with port(books) as client:
        opened = await client.post("/epochs", json={"task": "support"})
        quiet = await client.post("/epochs", json={"task": "quiet"})
        unknown = await client.post("/epochs", json={"task": "suport"})
        every = await client.post("/epochs", headers={"content-type": "application/json"})
    assert [epoch["task"] for epoch in opened.json()["epochs"]] == ["support"]
    assert opened.json()["epochs"][0]["because"] == "begun by POST /epochs"
    assert (quiet.status_code, quiet.json()) == (200, {"epochs": []})
    assert unknown.status_code == 400
    assert unknown.json()["error"]["message"] == "there is no task 'suport'; known: default, quiet, support"
    assert (every.status_code, [each["task"] for each in every.json()["epochs"]]) == (201, ["default", "support"])


async def test_without_a_ledger_there_is_nothing_and_it_is_said(books: Books) -> None:
    async with admin_port(books.store.reader) as client:
        assert await get(client, "/verdicts") == {"verdicts": []}
        assert (await client.post("/epochs", json={})).status_code == 503


class Gone:
    """A ledger whose file cannot be read."""

    async def views(self, **_: object) -> list[dict[str, Any]]:
        raise StoreError("shadow.db: disk I/O error")


async def test_a_store_that_is_gone_is_503(books: Books) -> None:
    async with admin_port(books.store.reader, verdicts=VerdictApi(Gone())) as client:
        assert (await get(client, "/verdicts", 503))["error"]["message"] == "shadow.db: disk I/O error"


async def test_a_conversation_is_over_by_the_same_rules_in_the_window(books: Books) -> None:
    books.rules = ConversationRules(idle_s=30, max_turns=5, max_age_s=600)
    await books.conversations(2)
    async with port(books) as client:
        (comparison,) = (await get(client, f"/stats?since={START.isoformat().replace('+00:00', 'Z')}"))["tasks"][0][
            "comparisons"
        ]
    assert comparison["verdict"] is None
    assert (comparison["conversations"], comparison["open"]) == (2, 0)
