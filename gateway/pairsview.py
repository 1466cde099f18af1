"""Pairs on the terminal: asked of the running server, or read from the store when none runs."""

from __future__ import annotations

import http.client
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

from rich.console import Console, Group
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from gateway import ask
from gateway.tables import printable
from shadow.store import open_store, recorded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from gateway.config import Config

Sort = Literal["newest", "worst"]


class PairsError(Exception):
    """The pairs cannot be had; the message says why and what to do."""


async def fetch_pairs(
    config: Config, *, sort: Sort, limit: int, task: str | None, candidate: str | None
) -> list[dict[str, Any]]:
    """Ask the admin port; when nobody listens there, read the store. Raises PairsError or StoreError."""
    wanted = {"sort": sort, "limit": limit, "task": task, "candidate": candidate}
    query = urlencode({name: value for name, value in wanted.items() if value is not None})
    try:
        answer = ask.get(config.admin_listen, f"/pairs?{query}", token=config.measuring.admin_token, timeout_s=30)
    except (ConnectionRefusedError, FileNotFoundError):
        return await _from_store(config, sort=sort, limit=limit, task=task, candidate=candidate)
    except (OSError, http.client.HTTPException) as error:
        raise PairsError(f"{config.admin_listen} does not answer: {error or type(error).__name__}") from None
    page = answer.json()
    if answer.status != HTTPStatus.OK or not isinstance(page, dict) or "pairs" not in page:
        message = page.get("error", {}).get("message") if isinstance(page, dict) else None
        raise PairsError(f"{config.admin_listen} answered {answer.status}: {message or 'not our admin port'}")
    pairs: list[dict[str, Any]] = page["pairs"]
    return pairs


async def _from_store(
    config: Config, *, sort: Sort, limit: int, task: str | None, candidate: str | None
) -> list[dict[str, Any]]:
    async with await open_store(recorded(config.measuring.store)) as store:
        rows, _ = await store.reader.pairs(task=task, candidate=candidate, sort=sort, limit=limit, cursor=None)
    return rows


def pairs_view(pairs: Sequence[Mapping[str, Any]], *, width: int) -> RenderableType:
    """Lay pairs out for a terminal: a table, or two lines a pair where `width` columns are too few for it.

    A number with a sign is the candidate's minus the primary's.
    """
    table = _table(pairs)
    roomy = Console(width=1000)
    if Measurement.get(roomy, roomy.options, table).maximum <= width:
        return table
    return Group(*(Text(line) for pair in pairs for line in _lines(pair)))


def _table(pairs: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading, justify in _COLUMNS:
        table.add_column(heading, justify=justify, no_wrap=True)
    for pair in pairs:
        table.add_row(*(Text(cell) for cell in _cells(pair)))
    return table


def _lines(pair: Mapping[str, Any]) -> Sequence[str]:
    name, task, primary, outcome, of_primary, of_candidate, difference, latency, cost = _cells(pair)
    quality = "no quality score" if difference == _NONE else f"quality {of_primary} -> {of_candidate} ({difference})"
    return name, f"  {task}, {primary}: {outcome}, {quality}, {latency} ms, {cost} USD"


def _cells(pair: Mapping[str, Any]) -> Sequence[str]:
    """Give one pair as text, in the order of the columns."""
    return (
        *(printable(pair[name]) for name in ("id", "task", "primary", "outcome")),
        _number(pair["quality_primary"], ".2f"),
        _number(pair["quality_candidate"], ".2f"),
        _number(pair["quality_diff"], "+.2f"),
        _number(pair["latency_ms"] - pair["primary_latency_ms"], "+.0f"),
        _number(pair["cost_billed_usd"], ".6f"),
    )


_COLUMNS: Sequence[tuple[str, Literal["left", "right"]]] = (
    ("pair", "left"),
    ("task", "left"),
    ("primary", "left"),
    ("outcome", "left"),
    ("primary's quality", "right"),
    ("candidate's", "right"),
    ("difference", "right"),
    ("latency difference ms", "right"),
    ("cost USD", "right"),
)
_NONE = "-"


def _number(value: float | None, form: str) -> str:
    return _NONE if value is None else format(value, form)
