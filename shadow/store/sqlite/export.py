"""Everything of a kind, page by page from the store: for exports of any size in constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from shadow.store.sqlite.queries import load_queries
from shadow.store.sqlite.rows import micros, moment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from shadow.store.sqlite.connection import Connection, Row

Kind = Literal["pairs", "exchanges", "runs"]

PAGE = 200
"""Rows held at once; a pair with its content is a few kilobytes, seldom a megabyte."""


class SqliteExport:
    """`shadow.store.base.Export` on the reading connection; between two pages others may use it."""

    def __init__(self, reader: Connection) -> None:
        self._reader = reader
        self._sql = load_queries("export.sql")

    async def rows(
        self, kind: Kind, *, since: datetime, until: datetime, task: str | None = None, candidate: str | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Give every row of [since, until), oldest first; pairs with `scores`, answers of runs run by run."""
        if kind == "runs" and not await self._reader.fetch(self._sql["has_runs"]):
            return
        after: Row = {
            "after": micros(since), "after_id": "", "after_candidate": "",
            "after_run": "", "after_case": "", "after_model": "", "after_repeat": -1,
        }  # fmt: skip
        window = {"since": micros(since), "until": micros(until), "task": task, "candidate": candidate, "limit": PAGE}
        while page := await self._reader.fetch(self._sql[kind], window | after):
            after = _after(kind, page[-1], after)
            if kind == "pairs":
                await self._add_scores(page)
            for row in page:
                yield _of_run(row) if kind == "runs" else row

    async def _add_scores(self, page: list[Row]) -> None:
        ids = msgspec.json.encode(sorted({row["exchange_id"] for row in page})).decode()
        scores: dict[tuple[str, str], list[Row]] = {}
        for score in await self._reader.fetch(self._sql["scores"], {"ids": ids}):
            scores.setdefault((score.pop("exchange_id"), score.pop("candidate")), []).append(score)
        for row in page:
            own = scores.get((row["exchange_id"], row["candidate"]), [])
            row["scores"] = [*scores.get((row["exchange_id"], ""), []), *own]


def _of_run(row: Row) -> Row:
    return row | {"scores": msgspec.json.decode(row["scores"]), "run_started_at": moment(row["run_started_at"])}


def _after(kind: Kind, last: Row, before: Row) -> Row:
    if kind == "runs":
        return before | {
            "after_run": last["run_id"], "after_case": last["case_id"],
            "after_model": last["model"], "after_repeat": last["repeat"],
        }  # fmt: skip
    if kind == "exchanges":
        return before | {"after": micros(last["started_at"]), "after_id": last["id"]}
    return before | {
        "after": micros(last["exchange_started_at"]),
        "after_id": last["exchange_id"],
        "after_candidate": last["candidate"],
    }
