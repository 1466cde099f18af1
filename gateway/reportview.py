"""The report: `/stats` of one window and the verdicts, asked of the running server or worked out of the store."""

from __future__ import annotations

import csv
import http.client
import io
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

import httpx2
from rich.console import Console

from gateway import ask
from gateway.measuring import Crew
from gateway.tables import coverage_table, models_table, printable, verdict_sentences, verdicts_table
from gateway.weekly import home_of, schedule_in
from shadow.evaluators import EvaluatorConfigError
from shadow.schedule import next_run
from shadow.spreadsheet import defused
from shadow.store import open_store, recorded
from shadow.switch import SwitchAdvisor
from shadow.web import VerdictApi, WeeklyApi, build_app

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.config import Config
    from shadow.schedule import Schedule

    Row = Mapping[str, Any]


async def fetch_stats(config: Config, *, since: str | None, until: str | None, task: str | None) -> dict[str, Any]:
    """Ask the admin port; when nobody listens there, read the store. Raises AskError or StoreError."""
    answer = await _fetch(config, "/stats", {"since": since, "until": until, "task": task})
    stats = answer.json()
    if answer.status != HTTPStatus.OK or not isinstance(stats, dict) or "tasks" not in stats:
        raise _refused(config, answer)
    return stats


async def fetch_trends(config: Config, *, since: str | None, until: str | None, task: str | None) -> dict[str, Any]:
    """The same with `/trends`."""
    answer = await _fetch(config, "/trends", {"since": since, "until": until, "task": task})
    trends = answer.json()
    if answer.status != HTTPStatus.OK or not isinstance(trends, dict) or "points" not in trends:
        raise _refused(config, answer)
    return trends


async def fetch_page(config: Config, *, since: str | None, until: str | None, task: str | None) -> str:
    """Give the report as one HTML file that opens offline, the same way. Raises AskError or StoreError."""
    answer = await _fetch(config, "/ui/report.html", {"since": since, "until": until, "task": task})
    if answer.status != HTTPStatus.OK:
        await fetch_stats(config, since=since, until=until, task=task)  # says in one sentence what is wrong
        raise _refused(config, answer)
    return answer.body.decode()


async def _fetch(config: Config, path: str, wanted: Mapping[str, str | None]) -> ask.Answer:
    query = urlencode({name: value for name, value in wanted.items() if value is not None})
    target = f"{path}?{query}"
    try:
        return ask.get(config.admin_listen, target, token=config.measuring.admin_token, timeout_s=60)
    except (ConnectionRefusedError, FileNotFoundError):
        return await _from_store(config, target)
    except (OSError, http.client.HTTPException) as error:
        raise ask.AskError(f"{config.admin_listen} does not answer: {error or type(error).__name__}") from None


def _refused(config: Config, answer: ask.Answer) -> ask.AskError:
    told = answer.json()
    message = told.get("error", {}).get("message") if isinstance(told, dict) else None
    kind = ask.WrongQuestionError if message and answer.status == HTTPStatus.BAD_REQUEST else ask.AskError
    return kind(message or f"{config.admin_listen} answered {answer.status}: not our admin port")


class _NobodysTable:
    """The schedule as it stands in the configuration, where no process keeps it."""

    def __init__(self, schedule: Schedule | None) -> None:
        self._schedule = schedule

    is_working = False

    @property
    def next_at(self) -> datetime | None:
        """When the next run is due, for whoever serves by then."""
        return None if self._schedule is None else next_run(datetime.now(UTC), self._schedule)

    def ask(self) -> bool:
        """Nobody is here to make a run."""
        return False


async def _from_store(config: Config, target: str) -> ask.Answer:
    """Answer as the admin port would, without a port."""
    url = recorded(config.measuring.store)
    try:
        crew = Crew.hire(config.measuring)
    except EvaluatorConfigError as error:
        raise ask.AskError(str(error)) from None
    try:
        async with await open_store(url) as store:
            settings = crew.admin_settings()
            advisor = SwitchAdvisor(config_file=config.file, several_tasks=bool(config.measuring.tasks))
            verdicts = VerdictApi(store.ledger, switch=advisor)
            measuring = config.measuring
            table = None if home_of(measuring) is None else _NobodysTable(schedule_in(measuring))
            weekly = WeeklyApi(
                trends=store.trends,
                outbox=store.watching,
                reader=store.reader,
                plan=lambda: crew.plan,
                verdicts=store.ledger,
                timetable=lambda: table,
            )
            app = build_app(reader=store.reader, settings=lambda: settings, verdicts=verdicts, weekly=weekly)
            headers = {"authorization": f"Bearer {settings.token}"} if settings.token else {}
            transport = httpx2.ASGITransport(app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
                answer = await client.get(target)
                return ask.Answer(status=answer.status_code, headers=dict(answer.headers), body=answer.content)
    finally:
        crew.services.close()


def report_text(stats: Row, *, form: Literal["table", "csv", "md"], width: int) -> str:
    """Lay the stats out as text that ends with a line's end."""
    if form == "csv":
        return _csv(stats)
    return _markdown(stats) if form == "md" else _tables(stats, width)


def _tables(stats: Row, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, color_system=None)
    console.print(_window(stats), markup=False)
    for task in stats["tasks"]:
        console.print()
        console.print(models_table(task, width=width))
    console.print()
    console.print(verdicts_table(stats["tasks"], width=width, title="Verdicts, each over its whole epoch"))
    console.print()
    for line in verdict_sentences(stats["tasks"]):
        console.print(line, markup=False)
    console.print()
    console.print(coverage_table(stats["tasks"], width=width))
    text = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO from above
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _window(stats: Row) -> str:
    return f"Models and coverage from {stats['since']} to {stats['until']}; verdicts of each epoch, from its beginning"


_MODEL_COLUMNS = {
    "requests": ("requests",),
    "error rate": ("error_rate",),
    "p50 ms": ("latency_ms", "p50"),
    "p95 ms": ("latency_ms", "p95"),
    "TTFT p50 ms": ("ttft_ms", "p50"),
    "USD per request": ("cost_usd", "per_request"),
    "quality": ("quality", "avg"),
    "quality n": ("quality", "n"),
    "quality by conversation": ("quality", "conversation_avg"),
    "quality low": ("quality", "ci", 0),
    "quality high": ("quality", "ci", 1),
    "USD per quality point": ("cost_per_quality_point_usd", "value"),
}
_VERDICT_COLUMNS = {
    "epoch": ("epoch", "number"),
    "verdict": ("verdict",),
    "conversations": ("conversations",),
    "quality difference": ("quality_diff", "mean"),
    "low": ("quality_diff", "ci", 0),
    "high": ("quality_diff", "ci", 1),
    "level": ("quality_diff", "level"),
    "cost ratio": ("cost_ratio", "value"),
    "cost ratio low": ("cost_ratio", "ci", 0),
    "cost ratio high": ("cost_ratio", "ci", 1),
    "saving USD a month": ("projected_saving_usd_per_month", "value"),
    "needed at most": ("more_needed", "conversations", "high"),
    "why": ("why",),
}


def _model_rows(stats: Row) -> Iterator[list[Any]]:
    for task in stats["tasks"]:
        for row in task["models"]:
            yield [task["task"], row["role"], row["model"], *(_at(row, path) for path in _MODEL_COLUMNS.values())]


def _verdict_rows(stats: Row) -> Iterator[list[Any]]:
    for task in stats["tasks"]:
        for row in task["comparisons"]:
            figures = (_at(row, path) for path in _VERDICT_COLUMNS.values())
            yield [task["task"], row["primary"], row["candidate"], *figures]


def _at(row: Any, path: Sequence[str | int]) -> Any:
    """Follow a path; None where it ends early."""
    for part in path:
        if row is None:
            return None
        row = row[part] if isinstance(part, int) else row.get(part)
    return row


def _csv(stats: Row) -> str:
    """Two tables, a blank line between them; a cell that a spreadsheet would run as a formula gets a quote in front."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["task", "role", "model", *_MODEL_COLUMNS])
    writer.writerows([_cell(value) for value in row] for row in _model_rows(stats))
    writer.writerow([])
    writer.writerow(["task", "primary", "candidate", *_VERDICT_COLUMNS])
    writer.writerows([_cell(value) for value in row] for row in _verdict_rows(stats))
    return file.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    return defused(printable(value))


def _markdown(stats: Row) -> str:
    lines = [_window(stats), "", *_table(["task", "role", "model", *_MODEL_COLUMNS], _model_rows(stats)), ""]
    without_why = [name for name in _VERDICT_COLUMNS if name != "why"]
    verdicts = [row[:-1] for row in _verdict_rows(stats)]
    lines += [*_table(["task", "primary", "candidate", *without_why], verdicts), ""]
    lines += [f"- {_escaped(line)}" for line in verdict_sentences(stats["tasks"])]
    return "\n".join(lines) + "\n"


def _table(names: Sequence[str], rows: Any) -> list[str]:
    body = [f"| {' | '.join(_shown(value) for value in row)} |" for row in rows]
    return [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}", *body]


def _shown(value: Any) -> str:
    if value is None:
        return "n/a"
    return f"{value:.4g}" if isinstance(value, float) else _escaped(str(value))


def _escaped(text: str) -> str:
    """Text that Markdown and what shows it take for nothing but text."""
    plain = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{char}" if char in "\\|`*_[]" else char for char in plain)
