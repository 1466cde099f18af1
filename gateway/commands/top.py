"""`top`: the running server's figures as a live table; it asks every few seconds and sleeps in between."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.terminal import (
    FAILED,
    PLAIN_WIDTH,
    REFUSED,
    ConfigOption,
    chosen_file,
    loaded_config,
    note,
    print_json,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table

    from gateway.config import Config

_NONE = "-"


class TopError(Exception):
    """The figures cannot be had; the message says why."""


class WrongTopError(TopError):
    """What was asked for does not make sense."""


def top(
    *,
    since: Annotated[str, typer.Option(metavar="STRETCH", help="How far back: 15m, 1h, 7d.")] = "1h",
    every_s: Annotated[float, typer.Option("--every", min=0.5, max=3600, help="Seconds between two looks.")] = 2.0,
    task: Annotated[str | None, typer.Option(help="Of this task only.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Print it once; so it is where output is no terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures once, as JSON.")] = False,
    config: ConfigOption = None,
) -> None:
    """Watch requests, errors, latency, cost, quality and verdicts of the running server."""
    import time  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    with told():
        loaded = loaded_config(chosen_file(config, quiet=as_json), load_python=False)
    try:
        if as_json:
            print_json(figures(loaded, since=since, task=task))
            return
        on_terminal = sys.stdout.isatty()
        console = Console(width=None if on_terminal else PLAIN_WIDTH)
        shown = view(figures(loaded, since=since, task=task), since=since)
        if once or not on_terminal:
            console.print(shown)
            return
        # Without a refresh of its own nothing runs between two looks.
        with Live(shown, console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(every_s)
                live.update(_look(loaded, since=since, task=task), refresh=True)
    except TopError as error:
        note(str(error))
        raise typer.Exit(REFUSED if isinstance(error, WrongTopError) else FAILED) from None
    except KeyboardInterrupt:
        return


def _look(loaded: Config, *, since: str, task: str | None) -> RenderableType:
    """One look; a server that does not answer for a moment is told in its place."""
    from rich.text import Text  # noqa: PLC0415

    try:
        return view(figures(loaded, since=since, task=task), since=since)
    except TopError as error:
        return Text(str(error))


def figures(loaded: Config, *, since: str, task: str | None) -> dict[str, Any]:
    """Ask the admin port for its stats. Raises TopError."""
    import http.client  # noqa: PLC0415
    from http import HTTPStatus  # noqa: PLC0415
    from urllib.parse import urlencode  # noqa: PLC0415

    from gateway import ask  # noqa: PLC0415

    query = urlencode({"since": since, **({} if task is None else {"task": task})})
    address = loaded.admin_listen
    try:
        answer = ask.get(address, f"/stats?{query}", token=loaded.measuring.admin_token, timeout_s=30)
    except (ConnectionRefusedError, FileNotFoundError):
        raise TopError(f"nobody answers on {address}: start the server (shadow-gateway serve)") from None
    except (OSError, http.client.HTTPException) as error:
        raise TopError(f"{address} does not answer: {error or type(error).__name__}") from None
    stats = answer.json()
    if answer.status != HTTPStatus.OK or not isinstance(stats, dict) or "tasks" not in stats:
        message = stats.get("error", {}).get("message") if isinstance(stats, dict) else None
        if message and answer.status == HTTPStatus.BAD_REQUEST:
            raise WrongTopError(str(message))
        raise TopError(f"{address} answered {answer.status}: {message or 'not our admin port'}")
    return stats


def view(stats: Mapping[str, Any], *, since: str) -> RenderableType:
    """Lay the stats out: a row a model, a line a verdict, and what is lost or spent."""
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    rows = [_cells(task["task"], row) for task in stats["tasks"] for row in task["models"]]
    verdicts: list[RenderableType] = []
    for task in stats["tasks"]:
        verdicts += [_verdict(task["task"], comparison) for comparison in task["comparisons"]]
    budget = stats["budget"]
    spent = f"spent today ${budget['spent_usd']:.2f} of ${budget['cap_usd']:.2f}"
    lost = ", ".join(f"{reason} {count}" for reason, count in stats["dropped"].items()) or "none"
    off = stats["shadowing"]["reason"]
    head = f"last {since}, until {str(stats['until'])[:19].replace('T', ' ')} UTC; {spent}; lost: {lost}"
    parts: list[RenderableType] = [
        Text(head),
        *([Text(f"nothing is shadowed: {_plain(off)}")] if off else []),
        Text(""),
        _Figures(rows),
    ]
    if not any(task["models"] for task in stats["tasks"]):
        parts.append(Text("no exchange in this stretch"))
    return Group(*parts, *([Text(""), *verdicts] if verdicts else []))


_HEADINGS = (
    "task", "model", "role", "requests", "errors", "p50 ms", "p95 ms", "first token p50", "cost USD", "per request",
    "quality", "per quality point",
)  # fmt: skip
_LEAST_TELLING = ("first token p50", "per request", "p95 ms", "requests", "role", "task")
"""What is left out, in this order, on terminals that are too narrow for all of it: a figure is never cut."""


class _Figures:
    """The table, with as many of its columns as the terminal has room for now."""

    def __init__(self, rows: Sequence[Sequence[str]]) -> None:
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from gateway.tables import first_that_fits  # noqa: PLC0415

        variants = (self._table(_LEAST_TELLING[:count]) for count in range(len(_LEAST_TELLING) + 1))
        yield first_that_fits(variants, width=options.max_width)

    def _table(self, without: Sequence[str]) -> Table:
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(box=None, pad_edge=False)
        for heading in _HEADINGS:
            if heading not in without:
                lines = "\n".join(heading.rsplit(" ", 1))
                table.add_column(lines, justify="left" if heading in _HEADINGS[:3] else "right", no_wrap=True)
        for row in self._rows:
            named = zip(_HEADINGS, row, strict=True)
            table.add_row(*(Text(cell) for heading, cell in named if heading not in without))
        return table


def _cells(task: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    from gateway.tables import quality_of  # noqa: PLC0415

    return (
        _plain(task),
        _plain(row["model"] or "(no model named)"),
        row["role"],
        f"{row['requests']:,}",
        _number(row["error_rate"], ".1%"),
        _number(row["latency_ms"]["p50"], ",.0f"),
        _number(row["latency_ms"]["p95"], ",.0f"),
        _number(row["ttft_ms"]["p50"], ",.0f"),
        _number(row["cost_usd"]["total"], ",.4f"),
        _number(row["cost_usd"]["per_request"], ".6f"),
        _number(quality_of(row), ".3f"),
        _number(row["cost_per_quality_point"], ".6f"),
    )


def _verdict(task: str, comparison: Mapping[str, Any]) -> Any:
    from rich.text import Text  # noqa: PLC0415

    named = f"{_plain(task)}: {_plain(comparison['candidate'])} for {_plain(comparison['primary'])}"
    return Text(f"{named}: {comparison['verdict'] or 'no verdict yet'}, {comparison['pairs']} pairs")


def _plain(name: object) -> str:
    """Show a name that a client chose; what would steer the terminal becomes a question mark."""
    return "".join(char if char.isprintable() else "?" for char in str(name))


def _number(value: float | None, form: str) -> str:
    return _NONE if value is None else format(value, form)
