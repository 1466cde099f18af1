"""The pages that are only looked at: what each asks of the API, and what it shows of the answer."""

from __future__ import annotations

import asyncio
import csv
import io
from collections import Counter
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from markupsafe import Markup
from starlette.responses import Response

from shadow.spreadsheet import defused
from shadow.web.answers import COMMON_HEADERS
from shadow.web.dashboard import charts, latency, money, overview, report, runs, trends
from shadow.web.dashboard.api import ApiError
from shadow.web.dashboard.fit import all_tasks, fitting
from shadow.web.dashboard.health import health_view
from shadow.web.dashboard.nodes import Node
from shadow.web.dashboard.page import PREFIX, address
from shadow.web.dashboard.pair import pair_view

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from shadow.web.dashboard.api import Query
    from shadow.web.dashboard.page import Page

    Shown = Callable[[Page], Awaitable[Response]]

LIST_LENGTH = 50
POLL_S = 5

ROOM = {"overview": 12, "latency": 12, "cost": 18, "health": 24, "report": 10, "run": 20, "compare": 40}
"""How many models' figures a page has room for, so that it stays below 150 kB; further tasks are a click away."""

_LISTED_TASKS = 40
_CHARTED_POINTS = 300
"""The charts over the weeks on the page of runs: one, and more as long as they hold no more points than this."""

_SHOWS = (
    ("all", "all pairs"),
    ("differs", "that differ"),
    ("regressed", "that regressed"),
    ("errors", "with errors"),
    ("unreviewed", "not reviewed yet"),
)
_SORTS = {"worst": "worst first", "newest": "newest first"}
_ORDERS = {"worst": "those without an answer first, then the largest loss", "newest": "newest first"}
_VIEWS = (("json", "by places in JSON"), ("words", "by words"), ("plain", "plain"))
_LIST_FILTERS = ("since", "until", "task", "candidate", "show", "sort", "cursor")
_CSV_COLUMNS = (
    "id", "started_at", "task", "primary", "candidate", "primary_outcome", "outcome", "quality_primary",
    "quality_candidate", "quality_diff", "primary_latency_ms", "latency_ms", "primary_ttft_ms", "ttft_ms",
    "primary_cost_billed_usd", "cost_billed_usd",
)  # fmt: skip


async def start(page: Page) -> Response:
    """Show whether to switch."""
    asked = _window(page)
    stats = await _stats(page, asked, room=ROOM["overview"])
    kind = "ttft_ms" if page.query.get("clock") == "ttft" else "latency_ms"
    shown, _ = fitting(stats.nodes("tasks"), room=ROOM["overview"])
    curves, trend = await _curves(page, stats, shown), await _trends(page, shown)
    tasks = [
        {
            **overview.task_view(task, link=PREFIX, curves=curves.get(task["task"], ()), kind=kind),
            "latency_switch": _switch(page, kind),
            "trend": report.trend_of(trend, task, link=PREFIX),
        }
        for task in shown
    ]
    return page.answer(
        "overview.html",
        title="Overview",
        page="Overview",
        tasks=tasks,
        glance=overview.at_a_glance(
            _shown_first(shown, all_tasks(stats)), shown=len(tasks), href=lambda name: page.again(task=name)
        ),
        no_traffic=not any(task["models"] for task in tasks),
        chosen_task=page.query.get("task"),
        **_told(stats, asked),
    )


async def pairs(page: Page) -> Response:
    """Show where a candidate loses."""
    asked = _list_query(page.query)
    found = await page.api.get("/pairs", {**asked, "limit": str(LIST_LENGTH)})
    inside = urlencode(asked)
    may_watch = asked["sort"] == "newest" and "cursor" not in asked
    live = may_watch and page.query.get("live") == "1"
    return page.answer(
        "pairs.html",
        title="Pairs",
        page="Pairs",
        rows=[_list_row(row, inside) for row in found["pairs"]],
        chosen={name: asked.get(name, "") for name in ("task", "candidate", "show", "sort")},
        task_names=_with_chosen(page.settings.tasks, asked.get("task")),
        candidate_names=_with_chosen(page.settings.candidates, asked.get("candidate")),
        shows=_SHOWS,
        sorts=tuple(_SORTS.items()),
        kept=[(name, asked[name]) for name in ("since", "until") if name in asked],
        filtered=any(name in asked for name in ("task", "candidate", "show", "since", "until", "cursor")),
        caption=f"Up to {LIST_LENGTH} pairs, {_ORDERS.get(asked['sort'], '')}.",
        older=page.again(cursor=found["next_cursor"], live=None) if found["next_cursor"] else None,
        live=live,
        live_href=page.again(live=None if live else "1") if may_watch else None,
        poll=_poll(page.again(), "pairs"),
        partial_updates=live,
        newest=page.again(cursor=None, live=None) if "cursor" in asked else None,
        csv=address(f"{PREFIX}pairs.csv", asked),
        json_address=address("/pairs", asked),
    )


async def pairs_csv(page: Page) -> Response:
    """Give the same list as a table for other programs, up to 200 rows a page."""
    found = await page.api.get("/pairs", {**_list_query(page.query), "limit": "200"})
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(_CSV_COLUMNS)
    for row in found["pairs"]:
        writer.writerow([_cell(row.get(name)) for name in _CSV_COLUMNS])
    headers = {**COMMON_HEADERS, "content-disposition": 'attachment; filename="pairs.csv"'}
    return Response(lines.getvalue().encode("utf-8", "replace"), media_type="text/csv", headers=headers)


async def one_pair(page: Page) -> Response:
    """Show why, in one pair."""
    pair_id = page.request.path_params["pair_id"]
    found = await page.api.get(f"/pairs/{pair_id}")
    found["exchange"] = await _if_built(page, f"/exchanges/{found['exchange_id']}", {})
    view = page.query.get("view", "")
    shown = await asyncio.to_thread(pair_view, found, view=view)
    chosen = view or ("json" if shown["json"] else "words")
    whole = f"/pairs/{quote(pair_id.encode('utf-8', 'replace'))}"
    return page.answer(
        "pair.html",
        title="Pair",
        windows=(),
        page="Pairs",
        views=[(page.again(view=name), words, name == chosen) for name, words in _VIEWS],
        whole=whole,
        json_address=whole,
        **shown,
        **(await _neighbours(page, pair_id, page.query.get("in", ""))),
    )


async def durations(page: Page) -> Response:
    """Show how long answers take."""
    asked = _window(page)
    stats = await _stats(page, asked, room=ROOM["latency"])
    measured, others = (
        [task for task in stats.nodes(name) if task.nodes("models")] for name in ("tasks", "more_tasks")
    )
    shown, more = fitting(measured, room=ROOM["latency"], more=others)
    curves, trend = await _curves(page, stats, shown), await _trends(page, shown)
    told, weekly = None if trend is None else Node(trend), latency.chosen_weekly(page.query.get("weekly"))
    return page.answer(
        "latency.html",
        title="Latency",
        page="Latency",
        tasks=[
            latency.latency_task(task, link=PREFIX, curves=curves.get(task["task"], ()), trend=told, weekly=weekly)
            for task in shown
        ],
        more_tasks=_more(page, more),
        weekly_switch=latency.weekly_switch(weekly, lambda word: page.again(weekly=word)),
        ranks=latency.RANKS,
        overheads=latency.overheads(shown),
        **_told(stats, asked),
    )


async def cost(page: Page) -> Response:
    """Show what measuring costs, and what a switch would save."""
    asked = _window(page)
    stats = await _stats(page, asked, room=ROOM["cost"])
    compared, others = (
        [task for task in stats.nodes(name) if task.nodes("comparisons")] for name in ("tasks", "more_tasks")
    )
    shown, more = fitting(compared, room=ROOM["cost"], more=others)
    view = money.cost_view(stats, shown=shown, prices=page.settings.prices)
    trend = await _trends(page, shown)
    for task in view["tasks"]:
        series = charts.series_of(task["node"].nodes("models"))
        task["charts"] = (
            []
            if trend is None
            else [trends.cost_trend(Node(trend), task=task["node"]["task"], series=series, link=PREFIX)]
        )
    return page.answer(
        "cost.html",
        title="Cost",
        page="Cost",
        between=money.interval,
        more_tasks=_more(page, more),
        **view,
        **_told(stats, asked),
    )


async def health(page: Page) -> Response:
    """Show whether the data is complete."""
    try:
        ready = await page.api.get("/readyz")
    except ApiError as error:
        ready = {"ready": False, "reason": error.message}
    asked = _window(page)
    stats = await _stats(page, asked, room=ROOM["health"])
    trend = await _if_built(page, "/trends", {"since": "1m"})  # for the next run alone
    alerts = await _if_built(page, "/alerts", {"limit": "20"})
    shown, more = fitting(stats.nodes("tasks"), room=ROOM["health"], more=stats.nodes("more_tasks"))
    view = health_view(stats, shown=shown, next_run=(trend or {}).get("next_run"), settings=page.settings)
    return page.answer(
        "health.html",
        title="Health",
        page="Health",
        ready=ready,
        alerts=None if alerts is None else [Node(one) for one in alerts["alerts"]],
        more_tasks=_more(page, more),
        **view,
        **_told(stats, asked),
    )


async def all_runs(page: Page) -> Response:
    """Show benchmark runs, newest first, and what changed over the weeks."""
    found = await _if_built(page, "/runs", {"limit": "30", "cursor": page.query.get("cursor")})
    found = found or {"runs": [], "next_cursor": None}
    trend = await _trends(page)
    live = any(run.get("state") == "running" for run in found["runs"])
    return page.answer(
        "runs.html",
        title="Benchmarks",
        windows=(),
        page="Benchmarks",
        rows=[Node(run) for run in found["runs"]],
        older=page.again(cursor=found["next_cursor"]) if found["next_cursor"] else None,
        asked={"1": "The run begins within seconds."}.get(page.query.get("asked", "")),
        next_run=None if trend is None else trend.get("next_run"),
        trends=_over_the_weeks(trend),
        live=live,
        poll=_poll(page.again(asked=None), "runs"),
        partial_updates=live,
        json_address="/runs",
    )


async def one_run(page: Page) -> Response:
    """Show one run in figures."""
    run_id = page.request.path_params["run_id"]
    summary = Node(await page.api.get(f"/runs/{run_id}"))
    shown, more = fitting(_of_task(page, summary), room=ROOM["run"])
    view = runs.run_view(summary, shown=shown, link=None)
    whole = f"/runs/{quote(run_id.encode('utf-8', 'replace'), safe='')}"
    return page.answer(
        "run.html",
        title="Run",
        windows=(),
        page="Benchmarks",
        json_address=whole,
        more_tasks=_more(page, more),
        **view,
    )


async def two_runs(page: Page) -> Response:
    """Show two runs side by side, and what is not the same in them."""
    chosen = [page.query.get(name, "") for name in ("a", "b")]
    if not all(chosen):
        raise ApiError(status=HTTPStatus.BAD_REQUEST, kind="bad_parameter", message="two runs are needed: a and b")
    first, second = [Node(await page.api.get(f"/runs/{each}")) for each in chosen]
    tasks = runs.side_by_side(_of_task(page, first), _of_task(page, second))
    shown, more = runs.fitting_rows(tasks, room=ROOM["compare"])
    return page.answer(
        "compare.html",
        title="Two runs",
        windows=(),
        page="Benchmarks",
        first=first.node("run"),
        second=second.node("run"),
        changes=runs.changes(first.node("run"), second.node("run")),
        tasks=shown,
        more_tasks=_more(page, more),
    )


async def whole_report(page: Page) -> Response:
    """Show the report, to be printed."""
    asked = _window(page)
    stats = await _stats(page, asked, room=ROOM["report"])
    shown, more = fitting(stats.nodes("tasks"), room=ROOM["report"], more=stats.nodes("more_tasks"))
    spread, trend = await _latency(page, stats, shown), await _trends(page, shown)
    return page.answer(
        "report.html",
        title="Which model to run",
        page="Report",
        style=None,
        policy=None,
        download=page.link("report.html"),
        written=datetime.now(UTC),
        **report.stats_context(stats.value, shown=shown, latency=spread, trend=trend, link=PREFIX),
        more_tasks=_more(page, more),
    )


async def report_file(page: Page) -> Response:
    """Give the report as one file that opens offline."""
    asked = _window(page)
    stats = await page.api.get("/stats", asked)
    spread, trend = await _latency(page, Node(stats), ()), await _trends(page)
    settings = page.settings
    html = report.report_html(
        stats, version=settings.version, written=datetime.now(UTC), latency=spread, trend=trend, demo=settings.demo
    )
    headers = {
        **COMMON_HEADERS,
        "content-disposition": 'attachment; filename="shadow-gateway-report.html"',
        "content-security-policy": "sandbox; default-src 'none'",
    }
    return Response(html, media_type="text/html", headers=headers)


async def nowhere(_page: Page) -> Response:
    """Answer for an address that is none."""
    raise ApiError(status=HTTPStatus.NOT_FOUND, kind="not_found", message="There is no page at this address.")


def _window(page: Page) -> dict[str, str | None]:
    return {**page.window, "task": page.query.get("task")}


def _told(stats: Node, asked: Mapping[str, str | None]) -> dict[str, Any]:
    """The window a page is about, and where its numbers are as JSON."""
    return {"since": stats["since"], "until": stats["until"], "json_address": address("/stats", asked)}


async def _stats(page: Page, asked: Mapping[str, str | None], *, room: int) -> Node:
    """Ask for no more figures than the page shows."""
    return Node(await page.api.get("/stats", {**asked, "room": str(room)}))


async def _if_built(page: Page, path: str, asked: Query) -> Any:
    """Give the answer of a part that may not be there; None then."""
    try:
        return await page.api.get(path, asked)
    except ApiError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise


async def _curves(page: Page, stats: Node, shown: Sequence[Node]) -> Mapping[str, Any]:
    return report.curves_by_task(await _latency(page, stats, shown))


async def _latency(page: Page, stats: Node, shown: Sequence[Node]) -> Any:
    """Ask about the very window of the answer there is already."""
    window = {"since": stats["since"], "until": stats["until"]}
    return await _if_built(page, "/latency", {**window, "task": _names(page, shown)})


async def _trends(page: Page, shown: Sequence[Node] = ()) -> Any:
    """Twelve weeks, whatever window the page is about: a trend of a day is none."""
    return await _if_built(page, "/trends", {"since": "12w", "task": _names(page, shown)})


def _names(page: Page, shown: Sequence[Node]) -> Sequence[str]:
    """Ask about the tasks a page shows and no others; where it shows all, about the one of its address, if any."""
    chosen = page.query.get("task")
    return [task["task"] for task in shown] or ([] if chosen is None else [chosen])


def _shown_first(shown: Sequence[Node], tasks: Sequence[Node]) -> Sequence[Node]:
    """Every task, those of this page at the beginning and in its order."""
    names = {task["task"] for task in shown}
    return [*shown, *(task for task in tasks if task["task"] not in names)]


def _over_the_weeks(trend: Any) -> list[dict[str, Any]]:
    """What is proved of each task over the weeks, those first of which anything is; the charts of the first few."""
    if trend is None:
        return []
    node = Node(trend)
    parts = ("drift", "leads", "points")
    names = dict.fromkeys(each["task"] for part in parts for each in node.nodes(part))
    told = [(name, trends.sentences(node, task=name)) for name in names]
    told.sort(key=lambda each: not each[1])
    points = Counter(point["task"] for point in node.nodes("points"))
    found: list[dict[str, Any]] = []
    drawn = 0
    for name, sentences in told[:_LISTED_TASKS]:
        drawn += points[name]
        charted = not found or drawn <= _CHARTED_POINTS
        found.append(
            {
                "name": name,
                "sentences": sentences or trends.nothing_told(node, task=name),
                "examples": trends.changed_answers(node, task=name) if charted else (),
                "chart": trends.quality_trend(node, task=name, series=trends.series_of(node, task=name), link=PREFIX)
                if charted
                else None,
            }
        )
    return found


def _of_task(page: Page, summary: Node) -> Sequence[Node]:
    """The tasks of a run, or the one the address names."""
    wanted = page.query.get("task")
    return [task for task in summary.nodes("tasks") if wanted in {None, task["task"]}]


def _more(page: Page, names: Sequence[Any]) -> Sequence[tuple[Any, str]]:
    """Tasks that are not on this page, each with the address that shows it alone; the first hundred of them."""
    return [(name, page.again(task=name)) for name in names[:100]]


def _switch(page: Page, kind: str) -> Markup:
    """Two links: which of the two clocks the latency chart shows."""
    pieces = [
        Markup("<strong>{}</strong>").format(words)
        if kind == name
        else Markup('<a href="{}">{}</a>').format(page.again(clock=value), words)
        for name, value, words in (("latency_ms", None, "whole answer"), ("ttft_ms", "ttft", "first token"))
    ]
    return Markup(" · ").join(pieces)


def _list_query(query: Mapping[str, str]) -> dict[str, str]:
    """The filters of a list of pairs, worst first unless told otherwise."""
    return {"sort": "worst", **{name: query[name] for name in _LIST_FILTERS if query.get(name)}}


def _list_row(row: Mapping[str, Any], inside: str) -> dict[str, Any]:
    difference = row["quality_diff"]
    tone = "" if difference is None or round(difference, 2) == 0 else ("worse" if difference < 0 else "better")
    ours, theirs = row["primary_cost_billed_usd"], row["cost_billed_usd"]
    return {
        "value": row,
        "href": address(f"{PREFIX}pairs/{quote(row['id'].encode('utf-8', 'replace'))}", {"in": inside or None}),
        "tone": tone,
        "latency": row["latency_ms"] - row["primary_latency_ms"],
        "cost": None if ours is None or theirs is None else theirs - ours,
    }


def _with_chosen(names: Sequence[str], chosen: str | None) -> Sequence[str]:
    return names if chosen is None or chosen in names else [*names, chosen]


def _poll(href: str, part: str) -> Markup:
    """Have htmx fetch this part of the page anew every few seconds."""
    return Markup('hx-get="{}" hx-trigger="every {}s" hx-select="#{}" hx-target="#{}" hx-swap="outerHTML"').format(
        href, POLL_S, part, part
    )


async def _neighbours(page: Page, pair_id: str, inside: str) -> dict[str, Any]:
    """Find the pairs before and after this one in the list it was opened from, read again."""
    nowhere_known = {"before": None, "after": None, "list_href": None}
    if not inside:
        return nowhere_known
    asked = _list_query(dict(parse_qsl(inside[:4096])))
    try:
        found = await page.api.get("/pairs", {**asked, "limit": str(LIST_LENGTH)})
    except ApiError:
        return nowhere_known
    ids = [row["id"] for row in found["pairs"]]
    at = ids.index(pair_id) if pair_id in ids else None
    hrefs = [_list_row(row, inside)["href"] for row in found["pairs"]]
    return {
        "before": hrefs[at - 1] if at else None,
        "after": hrefs[at + 1] if at is not None and at + 1 < len(ids) else None,
        "list_href": address(f"{PREFIX}pairs", asked),
    }


def _cell(value: Any) -> str:
    """One CSV field; what a spreadsheet would take for a formula is marked as text."""
    text = "" if value is None else str(value)
    return text if isinstance(value, int | float) else defused(text)
