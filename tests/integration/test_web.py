"""The admin port over real sockets and a real SQLite file: what it answers, and that it answers as it is documented."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from shadow.records import Outcome, StoredContent
from shadow.stats.brief import brief
from shadow.store import open_store
from shadow.store.base import StoreError
from shadow.web import VerdictApi, WeeklyApi
from shadow.web.dashboard.pages import ROOM
from tests.support.admin import (
    CANDIDATE,
    NOW,
    PRICES,
    PRIMARY,
    add_exchange,
    add_pair,
    admin_port,
    exchange,
    settings,
    url_of,
)
from tests.support.ledger import Books
from tests.support.runfacts import plan
from tests.support.storedruns import add_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2

    from shadow.store.base import Store

UNTRUSTED = "</script><img src=x onerror=alert(1)>\u2028\U0001f600"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await open_store(url_of(tmp_path)) as opened:
        yield opened


@pytest.fixture
async def filled(store: Store) -> Store:
    """Three pairs, one exchange that was not sampled, one that failed, one that waits."""
    content = StoredContent(prompt='{"messages": []}', primary_output="yes", candidate_output=UNTRUSTED)
    await add_pair(store, exchange(1), q_prim=1.0, q_cand=0.5, content=content)
    await add_pair(store, exchange(2), q_prim=0.5, q_cand=1.0)
    await add_pair(store, exchange(3), q_prim=1.0, q_cand=0.0)
    await add_exchange(store, exchange(4), job=False)
    await add_exchange(store, exchange(5, outcome=Outcome.ERROR_HTTP, status=529, usage=None), job=False)
    await add_exchange(store, exchange(6))
    return store


async def get(client: httpx2.AsyncClient, path: str, status: int = 200) -> Any:
    answer = await client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


async def sentence(client: httpx2.AsyncClient, path: str, status: int) -> str:
    return str((await get(client, path, status))["error"]["message"])


# ---- what it answers


async def test_stats_show_each_model_and_the_comparison(filled: Store) -> None:
    async with admin_port(filled.reader) as client:
        stats = await get(client, "/stats")
    assert (stats["since"], stats["until"]) == ("2026-11-13T12:00:00Z", "2026-11-20T12:00:00Z")
    (task,) = stats["tasks"]
    primary, candidate = task["models"]
    assert (primary["model"], primary["role"], primary["requests"]) == (PRIMARY, "primary", 6)
    assert primary["outcomes"] == {"ok": 5, "error_http": 1}
    assert primary["cost_usd"]["total"] == pytest.approx(5 * 100 * 1e-4)  # priced by asking for stats
    assert primary["cost_usd"]["unpriced"] == 0
    assert primary["quality"]["avg"] == pytest.approx(2.5 / 3)
    assert (candidate["model"], candidate["requests"], candidate["avg_quality"]) == (CANDIDATE, 3, 0.5)
    assert candidate["cost_per_quality_point"] == pytest.approx(3 * 100 * 2e-5 / 1.5)
    (comparison,) = task["comparisons"]
    assert (comparison["pairs"], comparison["quality_diff"]["mean"]) == (3, pytest.approx(-1 / 3))
    assert comparison["cost_ratio"]["value"] == pytest.approx(0.2)
    assert comparison["latency_diff_ms"]["p50"] == pytest.approx(-400, rel=0.01)
    assert comparison["coverage"] == {
        "eligible": 6,
        "sampled": 4,
        "not_sampled": 2,
        "sent": 3,
        "skipped": {},
        "dropped": {},
        "pending": 1,
    }
    assert stats["budget"]["spent_usd"] == pytest.approx(3 * 100 * 2e-5, abs=1e-8)


async def test_a_stream_that_was_cut_has_no_known_cost_in_stats(store: Store) -> None:
    """Its first event tells one token of output; the rest of the bill is not known."""
    await add_exchange(store, exchange(1, outcome=Outcome.ABORTED, streamed=True), job=False)
    await add_exchange(store, exchange(2), job=False)
    async with admin_port(store.reader) as client:
        (primary,) = (await get(client, "/stats"))["tasks"][0]["models"]
    assert primary["cost_usd"]["unpriced"] == 1
    assert primary["cost_usd"]["per_request"] == pytest.approx(100 * 1e-4)


async def test_a_window_leaves_out_what_began_before_or_after_it(filled: Store) -> None:
    async with admin_port(filled.reader) as client:
        stats = await get(client, "/stats?since=2m&until=1m")
        assert stats["tasks"][0]["models"][0]["requests"] == 1  # x2; x1 began at `until`, which is excluded
        inside = await get(client, "/stats?since=150s&until=90s")
        assert inside["read"] == {"since": inside["since"], "until": inside["until"], "reason": None}
        assert inside["tasks"][0]["models"][0]["requests"] == 1  # x2 alone, to the second


async def test_a_window_of_many_exchanges_is_read_from_sums_and_in_whole_minutes(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shadow.web.app.ROW_BY_ROW", 0)
    async with admin_port(filled.reader) as client:
        widened = await get(client, "/stats?since=150s&until=90s")
        assert widened["read"] == {"since": "2026-11-20T11:57:00Z", "until": "2026-11-20T11:59:00Z", "reason": None}
        assert widened["tasks"][0]["models"][0]["requests"] == 2  # x3 and x2
        exact = await get(client, "/stats?since=2026-11-20T12:58:00+01:00&until=2026-11-20T11:59:00Z")
        assert exact["since"] == "2026-11-20T11:58:00Z"
        assert exact["tasks"][0]["models"][0]["requests"] == 1


async def test_stats_of_one_model_and_one_task(filled: Store) -> None:
    async with admin_port(filled.reader) as client:
        one_model = await get(client, f"/stats?model={CANDIDATE}")
        assert [row["model"] for row in one_model["tasks"][0]["models"]] == [CANDIDATE]
        no_such_task = await get(client, "/stats?task=support")
        assert [(task["task"], task["models"]) for task in no_such_task["tasks"]] == [("support", [])]


async def test_where_there_is_no_room_for_a_task_it_is_told_of_briefly_and_pages_count_it_nevertheless(
    filled: Store,
) -> None:
    await add_pair(filled, exchange(8, id="z", task="support"), q_prim=1.0, q_cand=0.5)
    await add_exchange(filled, exchange(9, id="zz", task="void"), job=False)
    chosen = settings(tasks=("quiet", "default", "support"))
    async with admin_port(filled.reader, lambda: chosen) as client:
        document = await get(client, "/openapi.json")
        whole, narrow, wide = [await get(client, f"/stats{query}") for query in ("", "?room=1", "?room=1000")]
        validate(document, "Stats", narrow)
        pages = []
        for room in (100, 2):
            with pytest.MonkeyPatch.context() as patch:
                for name in ROOM:
                    patch.setitem(ROOM, name, room)
                pages.append({name: (await client.get(f"/ui/{name}")).text for name in ("", "cost", "health")})

    assert [task["task"] for task in whole["tasks"]] == ["quiet", "default", "support", "void"]
    assert (whole["more_tasks"], wide) == ([], whole)
    # a task without traffic needs no room, and the first one with any always has some
    assert narrow["tasks"] == whole["tasks"][:2]
    assert narrow["more_tasks"] == [brief(task) for task in whole["tasks"][2:]]
    assert [len(task["models"]) for task in narrow["more_tasks"]] == [2, 1]
    # what pages add up over all tasks is the same, however few they show
    glances = [re.findall(r'<th scope="row"><a href="([^"]*)">(?:<[^>]*>)*(\w+)', page[""]) for page in pages]
    assert glances[0] == [(f"#task-{n}", name) for n, name in enumerate(("default", "support", "void", "quiet"), 1)]
    assert glances[1] == [
        ("#task-1", "default"),
        *((f"/ui/?task={name}", name) for name in ("quiet", "support", "void")),
    ]
    for name, told in (("cost", "charts four"), ("health", "Waiting for a candidate")):
        broad, slim = (page[name].partition(told)[2].partition("<h2")[0] for page in pages)
        assert broad == slim != "", name


async def test_one_page_reads_a_window_once_and_tells_of_one_moment(filled: Store) -> None:
    read: list[tuple[object, ...]] = []
    whole = filled.reader.exchanges

    async def counted(**window: Any) -> Any:
        read.append(tuple(window.values()))
        return await whole(**window)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filled.reader, "exchanges", counted)
        async with admin_port(filled.reader) as client:
            for path in ("", "latency", "report", "report.html"):
                read.clear()
                assert (await client.get(f"/ui/{path}")).status_code == 200
                assert len(read) == 1, path
            read.clear()
            await get(client, "/stats")
            await get(client, "/latency")
            assert len(read) == 2


async def test_curves_of_several_tasks_are_asked_for_at_once(filled: Store) -> None:
    await add_pair(filled, exchange(8, id="z", task="support"), q_prim=1.0, q_cand=0.5)
    await add_exchange(filled, exchange(9, id="zz", task="void"), job=False)
    async with admin_port(filled.reader) as client:
        answers = {
            query: (await get(client, f"/latency{query}"))["tasks"]
            for query in ("", "?task=void&task=support", "?task=void", "?task=", "?task=none&task=nothing")
        }
        assert await sentence(client, "/latency?task=a&task=" + "a" * 513, 400)
    by_name = {task["task"]: task for task in answers[""]}
    assert list(by_name) == ["default", "support", "void"]
    assert answers["?task=void&task=support"] == [by_name["support"], by_name["void"]]
    assert answers["?task=void"] == [by_name["void"]]
    assert answers["?task="] == answers[""]
    assert answers["?task=none&task=nothing"] == []


async def test_a_model_of_unknown_price_is_said_with_the_line_to_add(store: Store) -> None:
    await add_exchange(store, exchange(1, model="my-model"), job=False)
    async with admin_port(store.reader) as client:
        cost = (await get(client, "/stats"))["tasks"][0]["models"][0]["cost_usd"]
    assert (cost["total"], cost["unpriced"]) == (None, 1)
    assert cost["add_to_config"] == PRICES.missing_line("my-model")
    assert "my-model" in cost["add_to_config"]


async def test_pairs_come_page_by_page_worst_or_newest_first(filled: Store) -> None:
    async with admin_port(filled.reader) as client:
        first = await get(client, "/pairs?sort=worst&limit=2")
        assert [pair["quality_diff"] for pair in first["pairs"]] == [-1.0, -0.5]
        second = await get(client, f"/pairs?sort=worst&limit=2&cursor={first['next_cursor']}")
        assert [pair["exchange_id"] for pair in second["pairs"]] == ["x2"]
        assert second["next_cursor"] is None
        newest = await get(client, "/pairs")
        assert [pair["exchange_id"] for pair in newest["pairs"]] == ["x1", "x2", "x3"]
        assert (await get(client, "/pairs?candidate=other"))["pairs"] == []


async def test_a_pair_shows_untrusted_text_as_a_json_string_and_nothing_else(filled: Store) -> None:
    async with admin_port(filled.reader) as client:
        answer = await client.get(f"/pairs/x1:{CANDIDATE}")
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        pair = answer.json()
        assert pair["content"]["candidate_output"] == UNTRUSTED
        assert {(score["role"], score["value"]) for score in pair["scores"]} == {("primary", 1.0), ("candidate", 0.5)}
        escaped = await get(client, "/pairs/x2:openai%2Fgpt-4o")
        assert (escaped["id"], escaped["content"]) == (f"x2:{CANDIDATE}", None)


async def test_an_exchange_is_found_by_the_id_its_answer_carried(filled: Store) -> None:
    async with admin_port(filled.reader) as client:
        found = await get(client, "/exchanges/x6")
    assert (found["id"], found["outcome"], found["jobs"][0]["state"]) == ("x6", "ok", "pending")


@pytest.mark.parametrize("path", ["/exchanges/none", "/pairs/none:gpt-4o", "/pairs/none"])
async def test_an_unknown_id_is_404_with_a_sentence(store: Store, path: str) -> None:
    async with admin_port(store.reader) as client:
        assert "may be older than retention_days" in await sentence(client, path, 404)


async def test_more_exchanges_than_one_pricing_chunk_are_all_priced(store: Store) -> None:
    records = [exchange(number, id=f"many{number}") for number in range(60)]
    for record in records:
        await add_exchange(store, record, job=False)
    chunks = SmallChunks(store.reader)
    async with admin_port(chunks) as client:  # type: ignore[arg-type]
        cost = (await get(client, "/stats"))["tasks"][0]["models"][0]["cost_usd"]
    assert (cost["unpriced"], chunks.asked) == (0, 1)


class SmallChunks:
    """A reader that counts how often it was asked for prices."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    async def price_pending(self, price: Any, *, limit: int) -> int:
        self.asked += 1
        return int(await self._reader.price_pending(price, limit=limit))


async def test_a_full_chunk_of_prices_is_followed_by_another(store: Store) -> None:
    class Full(SmallChunks):
        async def price_pending(self, price: Any, *, limit: int) -> int:
            await super().price_pending(price, limit=limit)
            return limit if self.asked < 3 else 0

    reader = Full(store.reader)
    async with admin_port(reader) as client:  # type: ignore[arg-type]
        await get(client, "/stats")
    assert reader.asked == 3


async def test_health_is_answered_while_stats_are_added_up(store: Store) -> None:
    class Slow(SmallChunks):
        """Holds the answer of /stats until the test lets go."""

        def __init__(self, reader: Any) -> None:
            super().__init__(reader)
            self.entered, self.may_go = asyncio.Event(), asyncio.Event()

        async def dropped(self) -> Any:
            self.entered.set()
            await self.may_go.wait()
            return await self._reader.dropped()

    reader = Slow(store.reader)
    async with admin_port(reader) as client:  # type: ignore[arg-type]
        asking = asyncio.create_task(get(client, "/stats"))
        await reader.entered.wait()
        assert await get(client, "/healthz") == {"status": "ok"}
        reader.may_go.set()
        assert (await asking)["tasks"]


async def test_the_home_page_says_what_this_port_is(store: Store) -> None:
    off = settings(shadow_off_reason="no key for <b>candidates</b>")
    async with admin_port(store.reader, lambda: off) as client:
        answer = await client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    for link in ("/stats", "/pairs", "/openapi.json"):
        assert f'href="{link}' in answer.text
    assert "&lt;b&gt;candidates&lt;/b&gt;" in answer.text


async def test_settings_are_asked_for_each_request_so_a_reload_is_seen(store: Store) -> None:
    current = [settings()]
    async with admin_port(store.reader, lambda: current[0]) as client:
        assert (await get(client, "/openapi.json"))["info"]["version"] == "1.2.3"
        current[0] = settings(version="2.0.0", token="t")
        await get(client, "/openapi.json", 401)


async def test_the_default_window_ends_now(store: Store) -> None:
    await add_exchange(store, exchange(1), job=False)
    async with admin_port(store.reader, now=lambda: NOW + timedelta(days=7)) as client:
        assert (await get(client, "/stats"))["tasks"][0]["models"] == []


# ---- when the store is gone


class Gone:
    """A reader whose store cannot be used."""

    def __getattr__(self, name: str) -> Any:
        async def refuse(*_args: Any, **_given: Any) -> Any:
            raise StoreError("shadow.db: disk I/O error; free some space")

        return refuse

    async def health(self) -> dict[str, Any]:
        return {"ok": False, "reason": "shadow.db: disk I/O error", "schema": 0, "pending_jobs": 0}


async def test_without_a_store_the_process_is_healthy_and_not_ready() -> None:
    async with admin_port(Gone()) as client:  # type: ignore[arg-type]
        assert await get(client, "/healthz") == {"status": "ok"}
        assert await get(client, "/readyz", 503) == {"ready": False, "reason": "shadow.db: disk I/O error"}
        for path in ("/stats", "/pairs", "/pairs/x:y", "/exchanges/x"):
            assert await sentence(client, path, 503) == "shadow.db: disk I/O error; free some space"


async def test_the_reason_is_not_told_to_strangers() -> None:
    async with admin_port(Gone(), lambda: settings(token="secret")) as client:  # type: ignore[arg-type]
        assert (await get(client, "/readyz", 503))["reason"] == "the store is not usable"
        told = await client.get("/readyz", headers={"authorization": "Bearer secret"})
        assert told.json()["reason"] == "shadow.db: disk I/O error"


async def test_a_closed_store_is_503(tmp_path: Path) -> None:
    store = await open_store(url_of(tmp_path))
    async with admin_port(store.reader) as client:
        assert await get(client, "/readyz") == {"ready": True}
        await store.close()
        await get(client, "/readyz", 503)
        await get(client, "/stats", 503)


async def test_a_fault_of_ours_is_500_and_tells_nothing() -> None:
    class Broken(Gone):
        async def pairs(self, **_given: Any) -> Any:
            raise RuntimeError("secret detail")

    async with admin_port(Broken()) as client:  # type: ignore[arg-type]
        answer = await client.get("/pairs")
    assert (answer.status_code, answer.headers["cache-control"]) == (500, "no-store")
    assert "secret" not in answer.text


# ---- parameters


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("since=yesterday", "since must be a time like"),
        ("since=2026-11-01T00:00:00", "since needs a zone"),
        ("since=2026-11-01", "since needs a zone"),
        ("until=1x", "until must be a time like"),
        ("since=9999999w", "since lies outside the calendar"),
        ("since=0001-01-01T00:00:00%2B14:00", "since lies outside the calendar"),
        ("until=0001-01-02T00:00:00Z", "since lies outside the calendar"),
        ("since=1h&until=2h", "since (2026-11-20T11:00:00+00:00) must lie before until"),
        ("since=1h&since=2h", "since is given more than once"),
        ("modell=gpt-4o", "'modell' is no parameter of this path; known here: since, until, task, model, room"),
        ("task=" + "a" * 513, "task may hold at most 512 characters, not 513"),
        ("room=0", "room must be a whole number from 1 to 1000, not '0'"),
        ("room=1001", "room must be"),
        ("room=%D9%A1", "room must be"),
    ],
)
async def test_a_bad_window_is_400_and_names_the_parameter(store: Store, query: str, named: str) -> None:
    async with admin_port(store.reader) as client:
        assert (await sentence(client, f"/stats?{query}", 400)).startswith(named)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("limit=0", "limit must be a whole number from 1 to 200, not '0'"),
        ("limit=201", "limit must be"),
        ("limit=-1", "limit must be"),
        ("limit=1e2", "limit must be"),
        ("limit=" + "9" * 5000, "limit must be"),
        ("limit=%D9%A1", "limit must be"),  # a digit of another script
        ("sort=best", "sort must be worst or newest, not 'best'"),
        ("cursor=nonsense", "cursor must be the next_cursor of an earlier page"),
        ("model=x", "'model' is no parameter of this path"),
        ("show=best", "show must be one of"),
    ],
)
async def test_a_bad_page_is_400_and_names_the_parameter(store: Store, query: str, named: str) -> None:
    async with admin_port(store.reader) as client:
        assert (await sentence(client, f"/pairs?{query}", 400)).startswith(named)


async def test_a_path_without_parameters_takes_none(store: Store) -> None:
    async with admin_port(store.reader) as client:
        assert (await sentence(client, "/pairs/a:b?x=1", 400)).endswith("known here: none")


@pytest.mark.parametrize("since", ["2026-11-01T00:00:00Z", "2026-11-01T02:00:00+0200", "2w", "3600s", "90m", ""])
async def test_times_may_be_written_in_many_ways(store: Store, since: str) -> None:
    async with admin_port(store.reader) as client:
        await get(client, f"/stats?since={since}&until=")


# ---- the document


def strict(schema: Any) -> Any:
    """The same schema, but an undocumented field is a fault."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    copied = {name: strict(value) for name, value in schema.items()}
    if "properties" in copied and "additionalProperties" not in copied:
        copied["additionalProperties"] = False
    return copied


def validate(document: Any, name: str, answer: Any, *, all_documented: bool = True) -> None:
    schemas = document["components"]["schemas"]
    root = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    jsonschema_rs.validator_for(strict(root) if all_documented else root).validate(answer)


async def test_every_answer_is_as_the_document_says(filled: Store) -> None:
    await add_pair(filled, exchange(7, id="y"), q_prim=1.0, q_cand=1.0, redaction_changed=True)
    async with admin_port(filled.reader, reload=lambda: None) as client:
        document = await get(client, "/openapi.json")
        for path, name in (
            ("/stats", "Stats"),
            ("/verdicts", "Verdicts"),
            ("/latency", "Latency"),
            ("/healthz", "Health"),
            ("/readyz", "Ready"),
        ):
            validate(document, name, await get(client, path))
        for path, name in (("/pairs", "PairPage"), (f"/pairs/x1:{CANDIDATE}", "Pair"), ("/exchanges/x1", "Exchange")):
            validate(document, name, await get(client, path), all_documented=False)
        validate(document, "Error", await get(client, "/stats?x=1", 400))
        reloaded = await client.post("/reload", json={})
        validate(document, "ReloadAsked", reloaded.json())


async def test_an_empty_stats_answer_is_as_the_document_says(store: Store) -> None:
    async with admin_port(store.reader) as client:
        validate(await get(client, "/openapi.json"), "Stats", await get(client, "/stats"))


class Ready:
    """A timetable that takes every word."""

    next_at = NOW
    is_working = False

    def ask(self) -> bool:
        return True


async def test_every_route_is_documented_and_every_documented_route_answers(filled: Store) -> None:
    called: list[str] = []
    await add_run(filled)
    weekly = WeeklyApi(
        trends=filled.trends,
        outbox=filled.watching,
        reader=filled.reader,
        plan=plan,
        verdicts=filled.ledger,
        timetable=Ready,
    )
    verdicts = VerdictApi(filled.ledger, Books(store=filled, now=NOW).bookkeeper())
    doors: dict[str, Any] = {
        "verdicts": verdicts, "feedback": filled.feedback, "runs": filled.runs, "weekly": weekly,
    }  # fmt: skip
    async with admin_port(filled.reader, reload=lambda: called.append("reload"), **doors) as client:
        document = await get(client, "/openapi.json")
        bodies = {"/feedback": {"request_id": "x1", "score": 1}}
        ids = {
            "/pairs/{id}": f"/pairs/x1:{CANDIDATE}",
            "/exchanges/{id}": "/exchanges/x1",
            "/runs/{id}": "/runs/run-1",
        }
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                json_headers = {"content-type": "application/json"}
                answer = await client.request(
                    method, ids.get(path, path), headers=json_headers, json=bodies.get(path) or {}
                )
                assert str(answer.status_code) in operation["responses"], path
                assert answer.status_code < 300, path
    assert called == ["reload"]
    assert set(document["paths"]) == {
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/stats",
        "/verdicts",
        "/latency",
        "/pairs",
        "/pairs/{id}",
        "/exchanges/{id}",
        "/runs",
        "/runs/{id}",
        "/trends",
        "/alerts",
        "/openapi.json",
        "/labels",
        "/labels/next",
        "/feedback",
        "/reload",
        "/epochs",
    }


async def test_the_schemas_are_valid_and_every_reference_leads_somewhere(store: Store) -> None:
    async with admin_port(store.reader) as client:
        answer = await client.get("/openapi.json")
    schemas = answer.json()["components"]["schemas"]
    for schema in schemas.values():
        jsonschema_rs.meta.validate(schema)
    assert set(re.findall(r'"#/components/schemas/(\w+)"', answer.text)) == set(schemas)


# ---- paths and methods


@pytest.mark.parametrize("path", ["/nothing", "/stats/", "//stats", "/stats%2F..%2Fpairs", "/static/x.js"])
async def test_an_unknown_path_is_404_and_points_to_the_list(store: Store, path: str) -> None:
    async with admin_port(store.reader) as client:
        answer = await client.get(str(client.base_url).rstrip("/") + path)
    assert answer.status_code == 404
    assert "/openapi.json lists them" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", "/stats", {"GET", "HEAD"}), ("DELETE", "/pairs", {"GET", "HEAD"}), ("GET", "/reload", {"POST"})],
)
async def test_a_wrong_method_is_405_with_what_is_allowed(
    store: Store, method: str, path: str, allowed: set[str]
) -> None:
    async with admin_port(store.reader) as client:
        answer = await client.request(method, path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == allowed


async def test_head_answers_without_a_body(store: Store) -> None:
    async with admin_port(store.reader) as client:
        answer = await client.head("/stats")
    assert (answer.status_code, answer.content) == (200, b"")


# ---- reload


async def test_reload_asks_the_supervisor(store: Store) -> None:
    asked: list[int] = []
    async with admin_port(store.reader, reload=lambda: asked.append(1)) as client:
        answer = await client.post("/reload", json={})
        assert (answer.status_code, answer.json()["reload"]) == (202, "asked")
        bare = await client.post("/reload", headers={"content-type": "application/json; charset=utf-8"})
        assert bare.status_code == 202
    assert asked == [1, 1]


async def test_reload_without_a_supervisor_says_what_to_do(store: Store) -> None:
    async with admin_port(store.reader) as client:
        answer = await client.post("/reload", json={})
    assert answer.status_code == 503
    assert "restart it" in answer.json()["error"]["message"]


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
async def test_a_post_that_a_form_could_send_is_refused(store: Store, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    async with admin_port(store.reader, reload=refuse_to_be_called) as client:
        answer = await client.post("/reload", content=b"{}", headers=headers)
    assert answer.status_code == 415


def refuse_to_be_called() -> None:
    pytest.fail("a refused request reached the supervisor")
