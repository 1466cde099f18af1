"""What machines scrape and what people watch: today's figures for Prometheus, and the live table of `top`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from gateway.commands.top import view
from shadow.records import Batch, Outcome
from shadow.store import open_store
from shadow.web.metrics import MAX_MODELS
from tests.integration.test_cli import CONFIG, run, write
from tests.support.admin import CANDIDATE, NOW, PRIMARY, add_exchange, add_pair, admin_port, exchange, settings
from tests.support.stored import url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shadow.store.sqlite.store import SqliteStore


LABELS = ("task", "role", "model", "outcome", "kind", "le", "candidate", "state", "reason", "part", "version")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with await open_store(url(tmp_path / "shadow.db")) as opened:
        yield opened


async def scraped(store: SqliteStore, **given: Any) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels."""
    async with admin_port(store.reader, lambda: settings(**given)) as client:
        answer = await client.get("/metrics", headers={"authorization": "Bearer t"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["cache-control"] == "no-store"
    families = list(text_string_to_metric_families(answer.text))
    assert not [family.name for family in families if family.name.startswith(("python_", "process_"))]
    samples = [sample for family in families for sample in family.samples]
    return {(one.name, *(one.labels[label] for label in LABELS if label in one.labels)): one.value for one in samples}


async def test_todays_figures_are_there_for_prometheus(store: SqliteStore) -> None:
    await add_pair(store, exchange(1, latency_ms=800.0), q_prim=1.0, q_cand=1.0)
    await add_exchange(store, exchange(2, outcome=Outcome.ERROR_HTTP), job=False)
    await add_exchange(store, exchange(24 * 60), job=False)  # yesterday
    await store.intake.write(Batch(dropped={"tee_full": 3}))
    found = await scraped(store)

    assert found["shadow_requests_total", "default", "primary", PRIMARY, "ok"] == 1
    assert found["shadow_requests_total", "default", "primary", PRIMARY, "error_http"] == 1
    assert found["shadow_requests_total", "default", "candidate", CANDIDATE, "ok"] == 1
    assert found["shadow_latency_seconds_count", "default", "primary", PRIMARY] == 1
    assert found["shadow_latency_seconds_bucket", "default", "primary", PRIMARY, "0.5"] == 0
    assert found["shadow_latency_seconds_bucket", "default", "primary", PRIMARY, "1.0"] == 1
    assert found["shadow_latency_seconds_sum", "default", "primary", PRIMARY] == pytest.approx(0.8)
    assert found["shadow_tokens_total", "default", "primary", PRIMARY, "input"] == 180
    assert found["shadow_jobs_total", CANDIDATE, "sent", ""] == 1
    assert found["shadow_dropped_total", "tee_full"] == 3
    assert found["shadow_budget_usd", "cap"] == 5
    assert found["shadow_pending_jobs",] == 0
    assert found["shadow_on",] == 1
    assert found["shadow_gateway_info", "1.2.3"] == 1


async def test_names_that_clients_choose_cannot_make_lines_without_bound(store: SqliteStore) -> None:
    many = [exchange(1, id=f"y{n}", model=f"model-{n}" + "x" * 500, conversation="c") for n in range(300)]
    await store.intake.write(Batch(exchanges=[*many, *(exchange(1, id=f"z{n}", model=None) for n in range(3))]))
    found = await scraped(store)

    models = {key[3] for key in found if key[0] == "shadow_requests_total"}
    assert len(models) == MAX_MODELS + 1
    assert max(map(len, models)) <= 100
    assert found["shadow_requests_total", "default", "primary", "(other)", "ok"] == 303 - 3 - (MAX_MODELS - 1)
    assert found["shadow_requests_total", "default", "primary", "(unknown)", "ok"] == 3


async def test_the_metrics_are_behind_the_same_guard(store: SqliteStore) -> None:
    async with admin_port(store.reader, lambda: settings(token="t")) as client:
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.get("/metrics", headers={"authorization": "Bearer t", "host": "evil"})).status_code == 421
        assert (await client.get("/metrics?x=1", headers={"authorization": "Bearer t"})).status_code == 400
        assert (await client.post("/metrics", headers={"authorization": "Bearer t"})).status_code == 405


# --- top ---


async def test_top_lays_the_stats_out_and_steers_no_terminal(store: SqliteStore) -> None:
    await add_pair(store, exchange(1, model="evil\x1b[2Jmodel"), q_prim=1.0, q_cand=1.0)
    async with admin_port(store.reader, lambda: settings(shadow_off_reason="no key")) as client:
        stats = (await client.get("/stats")).json()
    console = Console(width=200, record=True)
    with console.capture() as printed:
        console.print(view(stats, since="7d"))
    text = printed.get()

    assert "\x1b" not in text
    assert "evil?[2Jmodel" in text
    assert "nothing is shadowed: no key" in text
    assert f"{CANDIDATE} for evil?[2Jmodel: no verdict yet, 1 pairs" in text
    assert "last 7d, until 2026-11-20 12:00:00 UTC; spent today $" in text


@pytest.mark.parametrize("width", [64, 80, 120, 160])
def test_on_a_narrow_terminal_columns_are_left_out_and_no_figure_is_cut(width: int) -> None:
    row = {
        "model": "claude-sonnet-4-5", "role": "primary", "requests": 12_345, "error_rate": 0.167,
        "latency_ms": {"p50": 774.0, "p95": 892.0}, "ttft_ms": {"p50": 219.0},
        "cost_usd": {"total": 12.3456, "per_request": 0.001873}, "quality": {"avg": 0.946},
        "cost_per_quality_point": 0.002,
    }  # fmt: skip
    stats = {
        "until": NOW.isoformat(), "tasks": [{"task": "default", "models": [row], "comparisons": []}], "dropped": {},
        "budget": {"spent_usd": 0.0, "cap_usd": 5.0}, "shadowing": {"reason": None},
    }  # fmt: skip
    console = Console(width=width)
    with console.capture() as printed:
        console.print(view(stats, since="1h"))
    text = printed.get()

    assert "…" not in text
    assert {"claude-sonnet-4-5", "16.7%", "774", "12.3456", "0.946", "0.002000"} <= set(text.split())
    assert ("0.001873" in text) is (width >= 120)


def test_an_empty_stretch_is_said() -> None:
    stats = {
        "until": NOW.isoformat(), "tasks": [{"task": "default", "models": [], "comparisons": []}], "dropped": {},
        "budget": {"spent_usd": 0.0, "cap_usd": 5.0}, "shadowing": {"reason": None},
    }  # fmt: skip
    console = Console(width=100)
    with console.capture() as printed:
        console.print(view(stats, since="1h"))
    assert "no exchange in this stretch" in printed.get()


def test_top_prints_once_where_output_is_no_terminal_and_says_when_nobody_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(CONFIG.replace("127.0.0.1:0', token", "127.0.0.1:19', token"))
    refused = run("top")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.endswith("nobody answers on 127.0.0.1:19: start the server (shadow-gateway serve)\n")

    answer, code = asyncio.run(_of_a_running_port(tmp_path))
    assert code == 0
    assert json.loads(answer)["tasks"]


async def _of_a_running_port(tmp_path: Path) -> tuple[str, int]:
    async with await open_store(url(tmp_path / "shadow.db")) as opened:
        await add_exchange(opened, exchange(1), job=False)
        async with admin_port(opened.reader, lambda: settings(token="the-token")) as client:
            write(CONFIG.replace("127.0.0.1:0', token", f"127.0.0.1:{client.base_url.port}', token"))
            shown = await asyncio.to_thread(run, "top", "--since", "7d", "--task", "default")
            assert PRIMARY in shown.stdout, shown.stderr
            wrong = await asyncio.to_thread(run, "top", "--since", "soon")
            assert (wrong.exit_code, "since must be a time" in wrong.stderr) == (2, True)
            found = await asyncio.to_thread(run, "top", "--json")
            return found.stdout, found.exit_code
