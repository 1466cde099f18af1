"""Everything the stats side asks, and the upkeep it does: prices and retention."""

from __future__ import annotations

import base64
import binascii
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from shadow.store.base import Show, StoreError
from shadow.store.sqlite.judging import SqliteJudging
from shadow.store.sqlite.queries import load_queries
from shadow.store.sqlite.rows import exchange_of, micros, usd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from shadow.records import Cost, ExchangeRecord
    from shadow.store.sqlite.connection import Connection, Row, Statements
    from shadow.store.sqlite.rollups import SqliteRollups

Sort = Literal["newest", "worst"]

_PRUNED = (
    "prune_content",
    "prune_feedback",
    "prune_noise_floor",
    "prune_labels",
    "prune_judgements",
    "prune_scores",
    "prune_answers",
    "prune_bodies",
    "prune_jobs",
    "prune_exchanges",
)
_PRICED_AT_ONCE = 200
"""Prices decided in one transaction, between two turns of the event loop (a few milliseconds)."""
_CHARACTERS_AT_ONCE = 1_000_000
"""So much content is overwritten and deleted in one transaction (a few milliseconds)."""
_CONTENT = ("prompt", "primary_output", "primary_tool_calls", "candidate_output", "candidate_tool_calls")
_NO_ANSWER, _NO_DIFFERENCE = -2.0, 2.0
"""Sort before and after every real difference; the index on `shadow_answer` uses the same numbers."""


class SqliteReader(SqliteJudging):
    """`shadow.store.base.Reader` on one read connection; prices and retention go through the write connection."""

    def __init__(self, reader: Connection, writer: Connection, rollups: SqliteRollups) -> None:
        super().__init__(reader, writer)
        self.rollups = rollups
        self._reader = reader
        self._writer = writer
        self._sql = load_queries("reader.sql")

    async def exchanges(self, *, since: datetime, until: datetime, task: str | None = None) -> list[dict[str, Any]]:
        """Recognised exchanges of the window [since, until), oldest first: all columns of `exchange`."""
        return await self._fetch("exchanges", _window(since, until, task))

    async def answers(self, *, since: datetime, until: datetime, task: str | None = None) -> list[dict[str, Any]]:
        """Candidate answers whose exchange lies in the window: all columns of `shadow_answer`, beside the primary's.

        Added: primary, conversation, first_turn, has_tools, version, counted, and `primary_` latency_ms, ttft_ms,
        outcome, streamed, cost_billed_usd, cost_uncached_usd, price_source.
        """
        return await self._fetch("answers", _window(since, until, task))

    async def scores(self, *, since: datetime, until: datetime, task: str | None = None) -> list[dict[str, Any]]:
        """Scores of the window with task, primary and conversation; candidate is '' for the primary's own."""
        return await self._fetch("scores", _window(since, until, task))

    async def coverage(self, *, since: datetime, until: datetime, task: str | None = None) -> list[dict[str, Any]]:
        """Count the jobs that count: task, primary, candidate, state, reason, count.

        Rows with candidate None and state `eligible` count the eligible exchanges of (task, primary). All of one
        moment.
        """
        return await self._fetch("coverage", _window(since, until, task))

    async def holds_more_than(self, limit: int, *, since: datetime, until: datetime) -> bool:
        """Tell whether more exchanges than `limit` lie in the window, or some of them are deleted: sums know then.

        Costs no more than counting that far.
        """
        (row,) = await self._fetch("holds_more_than", {"limit": limit, "since": micros(since), "until": micros(until)})
        return bool(row["more"])

    async def eligible_sample(self, limit: int, *, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Give model and token counts of the first eligible exchanges of a window."""
        return await self._fetch("eligible_sample", {"limit": limit, "since": micros(since), "until": micros(until)})

    async def dropped(self) -> Mapping[str, int]:
        """Count the copies and records lost since the store was made, by reason."""
        return {row["name"]: row["value"] for row in await self._fetch("dropped", {})}

    async def budget(self, *, day: str) -> Mapping[str, float]:
        """`{spent_usd, reserved_usd, closed}` of one UTC day; zeros when nothing was spent, `closed` is 1.0 or 0.0."""
        rows = await self._fetch("budget", {"day": day})
        if not rows:
            return {"spent_usd": 0.0, "reserved_usd": 0.0, "closed": 0.0}
        return {
            "spent_usd": usd(rows[0]["spent_nano_usd"]),
            "reserved_usd": usd(rows[0]["reserved_nano_usd"]),
            "closed": float(rows[0]["closed_for_nano_usd"] is not None),
        }

    async def exchange(self, exchange_id: str) -> dict[str, Any] | None:
        """One exchange with its `jobs`, `answers`, `scores` and `feedback`; None when unknown."""
        rows = await self._fetch("exchange", {"id": exchange_id})
        if not rows:
            return None
        parts = {
            name: await self._fetch(f"exchange_{name}", {"id": exchange_id}) for name in ("jobs", "answers", "scores")
        }
        said = await self._fetch("exchange_feedback", {"id": exchange_id})
        return rows[0] | parts | {"feedback": said[0] if said else None}

    async def feedback(self, *, since: datetime, until: datetime, task: str | None = None) -> list[dict[str, Any]]:
        """What users of the app said about the primary's answers: exchange_id, score, task, primary."""
        return await self._fetch("feedback", _window(since, until, task))

    async def noise_floor(self, *, since: datetime, until: datetime, task: str | None = None) -> list[dict[str, Any]]:
        """What the primary answered when it was asked again: all columns of `noise_floor`."""
        return await self._fetch("noise_floor", _window(since, until, task))

    async def pairs(
        self,
        *,
        task: str | None,
        candidate: str | None,
        sort: Sort,
        limit: int,
        cursor: str | None,
        show: Show = "all",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Pairs without content and the cursor of the next page (None at the end).

        `worst`: those without an answer, then the largest loss.

        Raises ValueError with a sentence for a cursor that did not come from here or came from the other sort.
        """
        key, key_id, key_candidate = (None, None, None) if cursor is None else _read_cursor(cursor, sort)
        parameters = {
            "task": task,
            "candidate": candidate,
            "show": show,
            "since": None if since is None else micros(since),
            "until": None if until is None else micros(until),
            "limit": limit + 1,
            "key": key,
            "key_id": key_id,
            "key_candidate": key_candidate,
        }
        rows = await self._fetch(f"pairs_{sort}", parameters)
        page = [_with_id(row) for row in rows[:limit]]
        return page, (_cursor(page[-1], sort) if len(rows) > limit and page else None)

    async def pair(self, pair_id: str) -> dict[str, Any] | None:
        """One pair (`<exchange id>:<candidate>`) with `content` (None: none kept) and `scores`; None when unknown."""
        exchange_id, _, candidate = pair_id.partition(":")
        parameters = {"id": exchange_id, "candidate": candidate}
        rows = await self._fetch("pair", parameters)
        if not rows:
            return None
        content = {name: rows[0].pop(name) for name in _CONTENT}
        kept = content if any(text is not None for text in content.values()) else None
        return _with_id(rows[0]) | {
            "content": kept,
            "scores": await self._fetch("pair_scores", parameters),
            "judgements": await self._fetch("pair_judgements", parameters),
        }

    async def price_pending(self, price: Callable[[ExchangeRecord], Cost], *, limit: int = 5000) -> int:
        """Give every exchange with token counts and without a price decision its costs and source; returns how many.

        An exchange without token counts was decided when it was written: no costs, source `no usage`.
        """
        rows = await self._fetch("unpriced", {"limit": limit})
        for start in range(0, len(rows), _PRICED_AT_ONCE):
            costs = {row["id"]: (row, price(exchange_of(row))) for row in rows[start : start + _PRICED_AT_ONCE]}
            await self._writer.at_once(partial(self._log.price, costs=costs, set_price=self._sql["set_price"]))
        return len(rows)

    async def prune(self, *, before: datetime, limit: int = 500) -> int:
        """Really delete exchanges older than `before` with all that belongs to them, a small chunk; returns how many.

        Fewer than `limit` where much is kept of their content; 0 when there are none.
        An exchange with an unfinished job stays until that has ended. Freed pages go back to the file system bit by
        bit.
        """
        limits = {"before": micros(before), "limit": limit}
        # Read before the lock is held: then the pages are in memory, and much content goes in several chunks.
        ids = [row["id"] for row in await self._fetch("prunable", limits)]
        characters = {
            row["exchange_id"]: row["characters"] for row in await self._fetch("kept_characters", {"ids": _json(ids)})
        }
        chosen = {"ids": _json(list(_within(ids, characters, most=_CHARACTERS_AT_ONCE)))}
        await self._fetch("read_before", chosen)

        def work(transaction: Statements) -> int:
            for name in _PRUNED if ids else ():
                gone = transaction.run(self._sql[name], chosen)
            if ids:
                self._log.raw_gone(transaction, before=before)
            transaction.run(self._sql["prune_admissions"], limits)
            return len(gone) if ids else 0

        gone = await self._writer.at_once(work)
        await self._writer.run_to_end(self._sql["shrink"])
        return gone

    async def health(self) -> Mapping[str, Any]:
        """`{"ok": bool, "reason": str | None, "schema": int, "pending_jobs": int}`; never raises."""
        try:
            found = (await self._fetch("health", {}))[0]
        except StoreError as error:
            return {"ok": False, "reason": str(error), "schema": 0, "pending_jobs": 0}
        return {"ok": True, "reason": None, **found}

    async def _fetch(self, name: str, parameters: Row) -> list[Row]:
        return await self._reader.fetch(self._sql[name], parameters)


def _within(ids: Sequence[str], sizes: Mapping[str, int], *, most: int) -> Iterator[str]:
    """Give the first of these, at least one, as long as all together are no larger than that."""
    total = 0
    for number, each in enumerate(ids):
        total += sizes.get(each, 0)
        if number and total > most:
            return
        yield each


def _json(values: Sequence[str]) -> str:
    return msgspec.json.encode(values).decode()


def _window(since: datetime, until: datetime, task: str | None) -> Row:
    return {"since": micros(since), "until": micros(until), "task": task}


def _with_id(row: Row) -> Row:
    return {"id": f"{row['exchange_id']}:{row['candidate']}", **row}


def _cursor(row: Row, sort: Sort) -> str:
    difference = row["quality_diff"]
    unknown = _NO_ANSWER if row["unanswered"] else _NO_DIFFERENCE
    key = micros(row["exchange_started_at"]) if sort == "newest" else unknown if difference is None else difference
    plain = msgspec.json.encode((sort, key, row["exchange_id"], row["candidate"]))
    return base64.urlsafe_b64encode(plain).decode().rstrip("=")


def _read_cursor(cursor: str, sort: Sort) -> tuple[float, str, str]:
    """Read what `_cursor` put in. Raises ValueError."""
    try:
        plain = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        of, key, exchange_id, candidate = msgspec.json.decode(plain, type=tuple[str, int | float, str, str])
    except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"cursor {cursor!r} is not one that a page of pairs gave") from error
    if of != sort:
        raise ValueError(f"the cursor belongs to sort={of}, not to sort={sort}; begin again without it")
    return key, exchange_id, candidate
