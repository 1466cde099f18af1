"""The rollups in the store's file: deltas appended by whoever writes, folded by a leader, read by window, made anew."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import msgspec

from shadow.rollups import (
    DAY,
    DROPPED,
    HOUR,
    MINUTE,
    Deltas,
    Key,
    Window,
    by_grain,
    decode_histograms,
    decode_numbers,
    encode_histograms,
    encode_numbers,
    minute_of,
    spans,
    summed,
)
from shadow.store.base import NEWEST_RULINGS, StoreError
from shadow.store.contributions import PARTS, add_bundle, add_move, add_price, bundles
from shadow.store.judged import add_second_answers
from shadow.store.sqlite.connection import Connection
from shadow.store.sqlite.queries import load_queries
from shadow.store.sqlite.rows import micros, moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from shadow.records import Cost, LeasedJob
    from shadow.rollups import RollupRow, Span, Summed, Totals
    from shadow.store.sqlite.connection import Row, Statements

DeltaRow = tuple[int, str, str | None, str, str, str, bytes | None]
"""Values for `append_delta`, in its order."""

State = tuple[str, str | None]
"""A job's state and its reason."""

_PAGE = 1000
"""Exchanges read at once while rollups are made anew."""
_LEASE_S = 120.0
_BUSY_TIMEOUT_S = 10.0
_MOST_KNOWN = 96
"""Stretches of buckets (up to a megabyte each) that are kept added up."""
LEASE = "rollups"
"""The lease of the one who folds."""
DUE = "rollups_due_before"
"""The fact that rollups before this second are still to be made; absent when all are there."""
RAW_FROM = "raw_complete_from"
"""The fact that raw rows before this microsecond have been deleted, so that rollups alone know about that time."""
KEPT_FROM = {MINUTE: "minutes_kept_from", HOUR: "hours_kept_from"}
"""The facts from which second on the finer grains are kept."""


class DeltaLog:
    """What a write adds to the rollups, appended in the same transaction. One a writer; it holds nothing itself."""

    def __init__(self) -> None:
        self._sql = load_queries("rollups.sql")

    def append(self, transaction: Statements, deltas: Deltas) -> None:
        """Append what is not zero."""
        self.append_rows(transaction, delta_rows(deltas))

    def append_rows(self, transaction: Statements, rows: Sequence[DeltaRow]) -> None:
        """Append deltas that are rows already."""
        transaction.run_many(self._sql["append_delta"], rows)

    @contextlib.contextmanager
    def following(self, transaction: Statements, exchange_ids: Iterable[str]) -> Iterator[None]:
        """Append what the block changes about these exchanges, whatever it writes: rows of any table that is theirs."""
        ids = _json(sorted(set(exchange_ids)))
        before, asked = self.contribution(transaction, ids), self._asked_again(transaction, ids)
        yield
        after = self.contribution(transaction, ids)
        after.add(before, -1)
        new = self._asked_again(transaction, ids) - asked
        if new:  # what their conversations add now, less what they added without them
            rows = transaction.run(self._sql["second_answers"], {"ids": _json(sorted(new))})
            add_second_answers(after, rows)
            without = Deltas()
            add_second_answers(without, [row for row in rows if row["exchange_id"] not in new])
            after.add(without, -1)
        self.append(transaction, after)

    def _asked_again(self, transaction: Statements, ids: str) -> set[str]:
        return {row["exchange_id"] for row in transaction.run(self._sql["asked_again"], {"ids": ids})}

    def contribution(self, transaction: Statements, ids: str) -> Deltas:
        """Add up what some exchanges, a JSON list of ids, say now; second answers of the primary apart."""
        exchanges = transaction.run(self._sql["bundle_exchanges"], {"ids": ids})
        return self._of(transaction, exchanges, ids) if exchanges else Deltas()

    def _of(self, transaction: Statements, exchanges: Sequence[Row], ids: str) -> Deltas:
        parts = {name: transaction.run(self._sql[f"bundle_{name}"], {"ids": ids}) for name in PARTS}
        deltas = Deltas()
        for bundle in bundles(exchanges, parts):
            add_bundle(deltas, bundle)
        return deltas

    def raw(self, seen: Statements, *, since: int, until: int) -> tuple[Deltas, int]:
        """Add up what the raw rows of [since, until) seconds say, and count the exchanges."""
        deltas, read = Deltas(), 0
        window: Row = {"until": until * 1_000_000, "limit": _PAGE}
        after: Row = {"after": since * 1_000_000, "after_id": ""}
        while page := seen.run(self._sql["exchanges_between"], window | after):
            ids = [row["id"] for row in page]
            # A conversation that was asked again counts once, with the page of its first exchange.
            deltas.add(self._of(seen, page, _json(ids)))
            second = seen.run(self._sql["second_answers"], {"ids": _json(ids)})
            add_second_answers(deltas, second, first_of=set(ids))
            read += len(page)
            after = {"after": micros(page[-1]["started_at"]), "after_id": page[-1]["id"]}
        return deltas, read

    def known(self, transaction: Statements, exchange_ids: Sequence[str]) -> set[str]:
        """Tell which of these exchanges are stored already."""
        rows = transaction.run(self._sql["known_exchanges"], {"ids": _json(exchange_ids)})
        return {row["id"] for row in rows}

    def job_moved(self, transaction: Statements, job: LeasedJob, *, before: str, after: State) -> None:
        """Append that one job is in another state now."""
        exchange = job.exchange
        of = {"started_at": exchange.started_at, "task": exchange.task, "model": exchange.model}
        deltas = Deltas()
        add_move(deltas, of, job.job.candidate, before=(before, None), after=after, counted=job.job.counted)
        self.append(transaction, deltas)

    def jobs_moved(self, transaction: Statements, rows: Sequence[Row], *, before: str, after: State) -> None:
        """Append that many jobs (rows of exchange_id, candidate and counted) are in another state now."""
        if not rows:
            return
        ids = _json(sorted({row["exchange_id"] for row in rows}))
        series = {row["id"]: row for row in transaction.run(self._sql["series_of"], {"ids": ids})}
        deltas = Deltas()
        for row in rows:
            of = series.get(row["exchange_id"])
            if of is not None:
                add_move(deltas, of, row["candidate"], before=(before, None), after=after, counted=row["counted"])
        self.append(transaction, deltas)

    def price(self, transaction: Statements, costs: Mapping[str, tuple[Row, Cost]], *, set_price: str) -> int:
        """Keep price decisions, each once, and append what they add. `costs`: exchange row and cost by exchange id."""
        waiting = transaction.run(self._sql["unpriced_of"], {"ids": _json(list(costs))})
        ids = _json([row["id"] for row in waiting])
        answered = transaction.run(self._sql["bundle_answers"], {"ids": ids})
        with_answers = {row["exchange_id"] for row in answered}
        plain = Deltas()
        rows = []
        for row in waiting:
            exchange, cost = costs[row["id"]]
            rows.append((cost.billed_usd, cost.uncached_usd, cost.source, row["id"]))
            if row["id"] not in with_answers:
                add_price(plain, exchange, billed_usd=cost.billed_usd, uncached_usd=cost.uncached_usd)
        with self.following(transaction, with_answers):
            transaction.run_many(set_price, rows)
        self.append(transaction, plain)
        return len(rows)

    def raw_gone(self, transaction: Statements, *, before: datetime) -> None:
        """Remember that raw rows before then are not whole any more."""
        transaction.run(self._sql["raise_meta"], {"key": RAW_FROM, "value": str(micros(before))})

    def dropped(self, transaction: Statements, counts: Mapping[str, int], *, now: datetime) -> None:
        """Append how many copies or records were lost, by reason."""
        if counts:
            deltas = Deltas()
            deltas.at(Key(minute_of(now), "", None, "", DROPPED)).numbers.update(counts)
            self.append(transaction, deltas)


class SqliteRollups:
    """`shadow.store.base.Rollups`: windows for readers, and what the leader does."""

    def __init__(self, reader: Connection, writer: Connection) -> None:
        self._reader = reader
        self._writer = writer
        self._log = DeltaLog()
        self._sql = load_queries("rollups.sql")
        self._known: dict[tuple[Span, str | None], tuple[list[tuple[Any, ...]], Summed]] = {}

    async def window(self, *, since: datetime, until: datetime, task: str | None = None) -> Window:
        """Read [since, until), widened to whole minutes, or to whole hours or days where no finer sums are kept."""
        kept_from = {grain: await self._fact(name) or 0 for grain, name in KEPT_FROM.items()}
        start, end, parts = spans(since, until, kept_from=kept_from)

        def look(seen: Statements) -> Window:
            # One moment, so what is folded meanwhile is neither missed nor doubled.
            summed = [self._summed(seen, span, task) for span in parts]
            rows = seen.plain(self._sql["fresh"], {"since": start, "until": end, "task": task})
            return Window(since=start, until=end, rows=cast("list[RollupRow]", rows), summed=summed)

        return await self._reader.look(look)

    def _summed(self, seen: Statements, span: Span, task: str | None) -> Summed:
        """Add up buckets of one grain, once until one of them changes."""
        of = {"grain": span[0], "since": span[1], "until": span[2], "task": task}
        versions = seen.plain(self._sql["versions"], of)
        known = self._known.pop((span, task), None)
        if known is None or known[0] != versions:
            known = (versions, summed(cast("list[RollupRow]", seen.plain(self._sql["span"], of))))
        self._known[span, task] = known  # the last one used comes last
        while len(self._known) > _MOST_KNOWN:
            self._known.pop(next(iter(self._known)))
        return known[1]

    async def began(self, window: Window) -> datetime | None:
        """Tell when the first exchange of a window began: exactly while raw rows are whole, else by its bucket."""
        if (await self._fact(RAW_FROM) or 0) <= window.since * 1_000_000:
            bounds = {"since": window.since * 1_000_000, "until": window.until * 1_000_000}
            first: datetime | None = (await self._reader.fetch(self._sql["first_since"], bounds))[0]["started_at"]
            return first
        bucket = window.first()
        return None if bucket is None else moment(bucket * 1_000_000)

    async def newest_conversations(self, window: Window, *, task: str | None, limit: int) -> list[dict[str, Any]]:
        """Give task and conversation of the recognised ones among the newest exchanges of a window."""
        bounds = {"since": window.since * 1_000_000, "until": window.until * 1_000_000, "task": task, "limit": limit}
        rows = await self._reader.look(lambda seen: seen.plain(self._sql["newest_conversations"], bounds))
        return [{"task": of, "conversation": conversation} for of, conversation in rows]

    async def newest_judges(self, window: Window, *, limit: int = NEWEST_RULINGS) -> list[dict[str, Any]]:
        """Tell by comparison which judges gave the newest rulings of a window, and when the last one."""
        bounds = {"since": window.since * 1_000_000, "until": window.until * 1_000_000, "limit": limit}
        return await self._reader.fetch(self._sql["newest_judges"], bounds)

    async def fold(self, *, limit: int = 200, holder: str | None = None) -> int:
        """Fold the oldest deltas into minutes, hours and days, in one short transaction; returns how many.

        A crash in between changes nothing: folding and deleting are one. `holder` must hold the lease `rollups`, else
        nothing is done; None: there is nobody else.
        """

        def work(transaction: Statements) -> int:
            if not self._leads(transaction, holder):
                return 0
            rows = transaction.run(self._sql["oldest_deltas"], {"limit": limit})
            if rows:
                self._add(transaction, by_grain(rows))
                transaction.run(self._sql["delete_deltas"], {"last": rows[-1]["id"]})
            return len(rows)

        return await self._writer.at_once(work)

    async def lead(
        self, name: str, *, holder: str, now: datetime, lease_s: float = _LEASE_S, by_force: bool = False
    ) -> bool:
        """Become, or stay, the one who does `name`; false while another one holds that lease, unless `by_force`."""
        until = micros(now + timedelta(seconds=lease_s))
        # A lease that ends later than any could comes from a clock that went back.
        farthest = micros(now + timedelta(seconds=2 * max(lease_s, _LEASE_S)))
        parameters = {"name": name, "holder": holder, "now": micros(now), "until": until, "farthest": farthest}
        return bool(await self._writer.fetch(self._sql["seize_lease" if by_force else "take_lease"], parameters))

    async def resign(self, name: str, *, holder: str) -> None:
        """Give a lease back."""
        await self._writer.fetch(self._sql["give_lease"], {"name": name, "holder": holder})

    async def waiting(self) -> int:
        """Count the deltas that are not folded yet."""
        return int((await self._reader.fetch(self._sql["waiting"]))[0]["count"])

    async def due(self) -> int | None:
        """Tell before which second the rollups of an older file are still to be made; None when all are there."""
        return await self._fact(DUE)

    async def set_due(self, before: int | None) -> None:
        """Keep how far the rollups of an older file are made; None: all are there."""
        if before is None:
            await self._writer.fetch(self._sql["delete_meta"], {"key": DUE})
        else:
            await self._writer.fetch(self._sql["set_meta"], {"key": DUE, "value": str(before)})

    async def raw_span(self) -> tuple[int, int] | None:
        """Give the hours [from, until), in seconds, for which the raw rows are whole; None when there are none."""
        found = (await self._reader.fetch(self._sql["raw_span"]))[0]
        if found["oldest"] is None:
            return None
        hour = HOUR * 1_000_000
        whole_from = -(-(await self._fact(RAW_FROM) or 0) // hour) * HOUR
        return max(found["oldest"] // hour * HOUR, whole_from), found["newest"] // hour * HOUR + HOUR

    async def rebuild_day(self, day: int, *, since: int, until: int, holder: str | None = None) -> int:
        """Make the rollups of one day anew from its raw rows, hour by hour within [since, until) seconds.

        `holder` must hold the lease `rollups`, else StoreError; None: there is nobody else. Each hour is read as of one
        moment, and only the deltas of before it go, so what is written meanwhile is kept. Returns how many exchanges
        were read.
        """
        snapshots = await Connection.open(self._reader.path, busy_timeout_s=_BUSY_TIMEOUT_S, read_only=True)
        try:
            hours = range(max(day, since), min(day + DAY, until), HOUR)
            read = sum([await self._rebuild_hour(snapshots, hour, holder) for hour in hours])
        finally:
            await snapshots.close()

        def add_up(transaction: Statements) -> None:
            self._must_lead(transaction, holder)
            window = {"since": day, "until": day + DAY}
            of_hours = transaction.run(self._sql["folded_between"], window | {"grain": HOUR})
            transaction.run(self._sql["delete_folded_between"], window | {"grain": DAY, "dropped": DROPPED})
            transaction.run_many(self._sql["touch"], [(DAY, day)])
            self._add(transaction, by_grain([row for row in of_hours if row["detail"] != DROPPED], [DAY]))

        await self._writer.at_once(add_up)
        return read

    async def _rebuild_hour(self, snapshots: Connection, hour: int, holder: str | None) -> int:
        def look(seen: Statements) -> tuple[int, Deltas, int]:
            last = seen.run(self._sql["last_delta"])[0]["id"]
            return last, *self._log.raw(seen, since=hour, until=hour + HOUR)

        last, truth, read = await snapshots.look(look)
        rows = [
            {**key._asdict(), "numbers": encode_numbers(sums.numbers), "histograms": encode_histograms(sums.histograms)}
            for key, sums in truth.items()
        ]
        window = {"since": hour, "until": hour + HOUR, "dropped": DROPPED}

        def replace(transaction: Statements) -> None:
            self._must_lead(transaction, holder)
            for grain in (MINUTE, HOUR):
                transaction.run(self._sql["delete_folded_between"], window | {"grain": grain})
                transaction.run_many(self._sql["touch"], [(grain, at) for at in range(hour, hour + HOUR, grain)])
            transaction.run(self._sql["delete_deltas_between"], window | {"last": last})
            self._add(transaction, by_grain(rows, (MINUTE, HOUR)))

        await self._writer.at_once(replace)
        return read

    async def prune(self, *, grain: int, before: int, limit: int = 500) -> int:
        """Delete sums of one grain whose bucket begins before that second, some at a time; returns how many."""

        def work(transaction: Statements) -> int:
            if grain in KEPT_FROM:
                transaction.run(self._sql["raise_meta"], {"key": KEPT_FROM[grain], "value": str(before)})
            limits = {"grain": grain, "before": before, "limit": limit}
            transaction.run(self._sql["prune_versions"], {"grain": grain, "before": before})
            return len(transaction.run(self._sql["prune_rollups"], limits))

        return await self._writer.at_once(work)

    def _add(self, transaction: Statements, totals: Mapping[tuple[int, Key], Totals]) -> None:
        """Add to what is folded already."""
        wanted = _json([(grain, *key) for grain, key in totals])
        held: dict[tuple[int, Key], int] = {}
        for row in transaction.run(self._sql["folded"], {"keys": wanted}):
            key = Key(row["bucket"], row["task"], row["primary"], row["candidate"], row["detail"])
            held[row["grain"], key] = row["id"]
            totals[row["grain"], key].add(decode_numbers(row["numbers"]), decode_histograms(row["histograms"]))
        changed = [(*found.encoded(), held[place]) for place, found in totals.items() if place in held]
        new = [(grain, *key, *found.encoded()) for (grain, key), found in totals.items() if (grain, key) not in held]
        buckets = {(grain, key.bucket) for grain, key in totals}
        transaction.run_many(self._sql["touch"], sorted(buckets))
        transaction.run_many(self._sql["update_folded"], changed)
        transaction.run_many(self._sql["insert_folded"], new)

    def _leads(self, transaction: Statements, holder: str | None) -> bool:
        lease = {"name": LEASE, "holder": holder}
        return holder is None or bool(transaction.run(self._sql["holds_lease"], lease))

    def _must_lead(self, transaction: Statements, holder: str | None) -> None:
        if not self._leads(transaction, holder):
            raise StoreError(f"store {self._reader.path}: another process has begun to make rollups anew; try again")
        # Making a day takes longer than a lease lasts.
        until = micros(datetime.now(UTC) + timedelta(seconds=_LEASE_S))
        transaction.run(self._sql["prolong_lease"], {"name": LEASE, "holder": holder, "until": until})

    async def _fact(self, name: str) -> int | None:
        rows = await self._reader.fetch(self._sql["meta"], {"key": name})
        return int(rows[0]["value"]) if rows else None


def delta_rows(deltas: Deltas) -> list[DeltaRow]:
    """Write deltas as rows, without what is zero."""
    return [(*key, encode_numbers(sums.numbers), encode_histograms(sums.histograms)) for key, sums in deltas.items()]


def _json(values: object) -> str:
    return msgspec.json.encode(values).decode()
