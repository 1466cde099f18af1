"""The door to the store: what every backend offers, as protocols. One contract-test suite runs over all backends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from shadow.records import Batch, Cost, ExchangeRecord, LeasedJob, PairResult
    from shadow.rollups import Window


class StoreError(Exception):
    """The store cannot be opened or used; the message says which file or server, what happened, what would be right."""


class UnstorableError(StoreError):
    """A value the store can never hold; writing the same batch again would fail again."""


class FullStoreError(StoreError):
    """There is no room on the disk for what should be written."""


class IntakeDoor(Protocol):
    """What the live process sees of the store: one door in, never a question out."""

    async def write(self, batch: Batch) -> None:
        """Store one batch in one transaction; all of it or nothing. Raises StoreError (locked, disk full, gone)."""
        ...

    async def expire_jobs(self, *, before: datetime, now: datetime) -> int:
        """Drop pending jobs made before then as `too_old` and delete their copies; returns how many.

        For the live process, so that copies do not outlive their time where no worker runs.
        """
        ...

    async def close(self) -> None:
        """Close the connection; idempotent."""
        ...


Reservation = Literal["ok", "over_budget", "not_admitted", "gone"]
"""`ok`: money reserved and the job durably marked `sent`. `over_budget`: the worst case does not fit under the cap;
the job is `skipped: over_budget` and admission closes for all (not where it is more than the whole cap: that never
fits, however long all others wait). `not_admitted`: its conversation was not admitted
(job `skipped: over_budget`). `gone`: the job is no longer ours (lease lost or finished elsewhere)."""


class Jobs(Protocol):
    """The queue of shadow jobs and the day's budget, shared by every worker on one store."""

    async def lease(
        self,
        *,
        worker: str,
        limit: int,
        lease_s: float,
        now: datetime,
        without: Sequence[str] = (),
    ) -> list[LeasedJob]:
        """Take up to `limit` pending jobs, oldest first, except for candidates in `without` (resting, breaker open)."""
        ...

    async def renew(self, *, worker: str, lease_s: float, now: datetime) -> int:
        """Extend every lease of `worker`, so that a long call is not taken for a crash; returns how many jobs."""
        ...

    async def skip(self, job: LeasedJob, *, reason: str) -> None:
        """Finish a job without sending it; counted as `skipped`."""
        ...

    async def drop(self, job: LeasedJob, *, reason: str) -> None:
        """Finish a job we could not do; counted as `dropped`."""
        ...

    async def release(self, job: LeasedJob) -> None:
        """Give a leased, unsent job back to `pending`."""
        ...

    async def reserve(self, job: LeasedJob, *, worst_case_usd: float, budget: BudgetDay, now: datetime) -> Reservation:
        """Admit the conversation at its first job, reserve the worst case, mark the job `sent`, in one transaction."""
        ...

    async def finish(self, job: LeasedJob, *, result: PairResult, reserved_usd: float, now: datetime) -> None:
        """Keep the result, settle the reserve, mark `done`, delete a body no job needs; one transaction, once.

        When the real cost is unknown the whole reserve stays spent. A job that ended meanwhile (`lost_on_crash`) stays
        as it is.
        """
        ...

    async def recover(self, *, now: datetime, max_job_age_s: float) -> Mapping[str, int]:
        """Settle what crashed workers left, drop what waited too long; returns counts by what was done.

        Expired leases: unsent jobs go back to `pending`, sent ones become `dropped: lost_on_crash`, their reserve stays
        spent. Pending jobs beyond `max_job_age_s` become `dropped: too_old`. Bodies that no job needs are deleted.
        """
        ...

    async def enforce_queue_size(self, *, limit: int, limit_bytes: int | None = None) -> int:
        """Drop the oldest pending jobs beyond `limit`, or whose copies are beyond `limit_bytes`, as `queue_full`.

        Returns how many.
        """
        ...

    async def origin_rests(self, *, now: datetime) -> Mapping[str, datetime]:
        """Origins that must not be asked yet, with the time until which."""
        ...

    async def rest_origin(self, origin: str, *, until: datetime) -> None:
        """Remember for every worker that a candidate call came back 429 or 529."""
        ...


class BudgetDay(Protocol):
    """One UTC day's budget as handed to `reserve`; pure, see `shadow.budget`."""

    @property
    def day(self) -> str:
        """ISO date, UTC."""
        ...

    @property
    def cap_usd(self) -> float:
        """What may never be passed on this day, reserves included."""
        ...

    @property
    def paced_usd(self) -> float:
        """The part of the cap that has accrued by now; new conversations are admitted below it."""
        ...


class Reader(Protocol):
    """Everything the stats side asks. Rows are plain dicts with the column names of the schema; times are aware UTC."""

    @property
    def rollups(self) -> Rollups:
        """Sums of what the rows say, for questions about whole windows."""
        ...

    async def exchanges(self, *, since: datetime, until: datetime, task: str | None = None) -> list[dict[str, Any]]:
        """Recognised exchanges of the window: one dict per exchange without content."""
        ...

    async def answers(self, *, since: datetime, until: datetime, task: str | None = None) -> list[dict[str, Any]]:
        """Candidate answers whose exchange lies in the window.

        Joined with task, primary model, conversation, first_turn and the primary's latency, ttft and costs.
        """
        ...

    async def scores(self, *, since: datetime, until: datetime, task: str | None = None) -> list[dict[str, Any]]:
        """Scores of the window.

        exchange_id, candidate ('' for the primary's own), evaluator, version, quality, role, status, value, reason,
        cost_usd.
        """
        ...

    async def coverage(self, *, since: datetime, until: datetime, task: str | None = None) -> list[dict[str, Any]]:
        """Count the jobs that count by (task, primary, candidate, state, reason).

        Rows with candidate None count the eligible exchanges by (task, primary). All of one moment.
        """
        ...

    async def dropped(self) -> Mapping[str, int]:
        """Count the copies and records lost since the store was made, by reason."""
        ...

    async def budget(self, *, day: str) -> Mapping[str, float]:
        """`{spent_usd, reserved_usd, closed}` of one UTC day; zeros when nothing was spent."""
        ...

    async def exchange(self, exchange_id: str) -> dict[str, Any] | None:
        """One exchange with its jobs, answers and scores; None when unknown."""
        ...

    async def pairs(
        self,
        *,
        task: str | None,
        candidate: str | None,
        sort: Literal["newest", "worst"],
        limit: int,
        cursor: str | None,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Pairs without bodies and the cursor of the next page; `worst`: largest quality loss first.

        Raises ValueError with a sentence for a cursor that did not come from here.
        """
        ...

    async def pair(self, pair_id: str) -> dict[str, Any] | None:
        """One pair (`<exchange id>:<candidate>`) with content and scores; None when unknown."""
        ...

    async def price_pending(self, price: Callable[[ExchangeRecord], Cost], *, limit: int = 5000) -> int:
        """Give every exchange without a price decision its costs and source; returns how many were done."""
        ...

    async def prune(self, *, before: datetime, limit: int = 500) -> int:
        """Really delete exchanges older than `before` and all that is theirs, a small chunk; returns how many."""
        ...

    async def health(self) -> Mapping[str, Any]:
        """`{"ok": bool, "reason": str | None, "schema": int, "pending_jobs": int}`; never raises."""
        ...


class Rollups(Protocol):
    """Sums and histograms of what the raw rows say, and what the one who leads does about them."""

    async def window(self, *, since: datetime, until: datetime, task: str | None = None) -> Window:
        """Read [since, until), widened to whole minutes, or to whole hours or days where no finer sums are kept."""
        ...

    async def began(self, window: Window) -> datetime | None:
        """Tell when the first exchange of a window began: exactly while raw rows are whole, else by its bucket."""
        ...

    async def newest_conversations(self, window: Window, *, task: str | None, limit: int) -> list[dict[str, Any]]:
        """Give task and conversation of the newest recognised exchanges of a window."""
        ...

    async def steps(self, *, since: datetime, until: datetime, grain: int, task: str | None = None) -> list[Window]:
        """Read [since, until) in steps of one grain (60, 3600 or 86400 seconds), oldest first, without empty ones."""
        ...

    async def lead(
        self, name: str, *, holder: str, now: datetime, lease_s: float = 120.0, by_force: bool = False
    ) -> bool:
        """Become, or stay, the one who does `name`; false while another one holds that lease, unless `by_force`."""
        ...

    async def resign(self, name: str, *, holder: str) -> None:
        """Give a lease back."""
        ...

    async def fold(self, *, limit: int = 200, holder: str | None = None) -> int:
        """Fold the oldest deltas, in one short transaction; returns how many. 0 for one who holds the lease no more."""
        ...

    async def waiting(self) -> int:
        """Count the deltas that are not folded yet."""
        ...

    async def due(self) -> int | None:
        """Tell before which second the rollups of an older file are still to be made; None when all are there."""
        ...

    async def set_due(self, before: int | None) -> None:
        """Keep how far the rollups of an older file are made; None: all are there."""
        ...

    async def raw_span(self) -> tuple[int, int] | None:
        """Give the hours [from, until), in seconds, for which the raw rows are whole; None when there are none."""
        ...

    async def rebuild_day(self, day: int, *, since: int, until: int, holder: str | None = None) -> int:
        """Make the rollups of one day anew from its raw rows; returns how many exchanges were read.

        Raises StoreError when another one has taken the lease meanwhile.
        """
        ...

    async def prune(self, *, grain: int, before: int, limit: int = 500) -> int:
        """Delete sums of one grain whose bucket begins before that second, some at a time; returns how many."""
        ...


class Room(Protocol):
    """The disk the store is on."""

    async def free_bytes(self) -> int:
        """How much may still be written there."""
        ...

    async def keep_reserve(self) -> bool:
        """Put space aside for retention on a full disk, where there is enough of it; returns whether it is there."""
        ...

    async def give_up_reserve(self) -> None:
        """Free what was put aside."""
        ...

    async def shrink(self) -> int:
        """Give some free pages back to the file system and empty the write-ahead log; returns the pages left."""
        ...

    def size_bytes(self) -> int:
        """How large the store is on the disk."""
        ...


class Export(Protocol):
    """Everything of a kind, for a file."""

    def rows(
        self,
        kind: Literal["pairs", "exchanges", "runs"],
        *,
        since: datetime,
        until: datetime,
        task: str | None = None,
        candidate: str | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Give every row of [since, until), oldest first, in constant memory."""
        ...


class Book(Protocol):
    """The ledger of verdicts inside one transaction. Rows are plain dicts with the schema's column names."""

    async def inbox(self, *, limit: int) -> list[dict[str, Any]]:
        """Jobs made or ended since the last look, oldest first; `conversation` is None for one that is gone."""
        ...

    async def forget(self, ids: Sequence[int]) -> None:
        """Take these out of the inbox."""
        ...

    async def epochs(self) -> list[dict[str, Any]]:
        """Every epoch, oldest first within its task and primary."""
        ...

    async def ledgers(self) -> list[dict[str, Any]]:
        """Every candidate of every epoch in the order in which they joined, without what is known about it."""
        ...

    async def open_epoch(self, **values: Any) -> dict[str, Any]:
        """Begin an epoch: task, primary, version, started_at, because, alpha, evaluators (JSON); gives its row."""
        ...

    async def touch_epoch(self, epoch: int, *, first: datetime, last: datetime) -> None:
        """Remember from when to when an epoch has conversations."""
        ...

    async def open_ledger(self, **values: Any) -> dict[str, Any]:
        """Let a candidate join: epoch, candidate, definition, batch, alpha, joined_at; gives its row."""
        ...

    async def ledger(self, ledger: int) -> dict[str, Any]:
        """One candidate of one epoch."""
        ...

    async def save(self, ledger: int, **values: Any) -> None:
        """Keep state, facts, verdict (JSON), entered, entered_until, entered_last, stopped_because and stopped_at."""
        ...

    async def change(self, ledger: int, **values: Any) -> None:
        """Remember that a verdict changed: changed_at, verdict_before, verdict, why."""
        ...

    async def conversations_of_key(self, **key: str) -> list[dict[str, Any]]:
        """What is known of a key (conversation, candidate, task, primary), in all epochs, latest first."""
        ...

    async def put_conversation(self, row: Mapping[str, Any]) -> None:
        """Keep what is known of a conversation; a row as the questions here give it."""
        ...

    async def due(self, *, now: datetime, limit: int) -> list[dict[str, Any]]:
        """Conversations that must be looked at now."""
        ...

    async def turns(self, *, since: datetime, limit: int, **key: str) -> list[dict[str, Any]]:
        """The turns of a key (conversation, candidate, task, primary) from then on, each beside what the primary did.

        Columns of `exchange`, of the job (`state`, `reason`, `reserved_nano_usd`, `counted`), and the candidate's
        answer with `candidate_` in front of what the primary has too; `asked_at` is None where it has none.
        """
        ...

    async def scores(self, *, exchange_ids: Sequence[str], candidate: str) -> list[dict[str, Any]]:
        """Scores of the candidate's answers to these exchanges, and of the primary's own."""
        ...

    async def heads(self, ledger: int, *, limit: int) -> list[dict[str, Any]]:
        """The first conversations that have not entered, in order of their start."""
        ...

    async def largest_reserve_usd(self, **key: str) -> float:
        """The most that was set aside for one call of a candidate, task and primary."""
        ...


class Ledger(Protocol):
    """What verdicts rest on: epochs, candidates' evidence, and which conversation entered when."""

    async def any_work(self, *, now: datetime) -> bool:
        """Say whether anything waits to be looked at; takes no lock."""
        ...

    def book(self) -> AbstractAsyncContextManager[Book]:
        """Open the ledger for one change, all of it or nothing; other processes wait meanwhile, so keep it short."""
        ...

    async def views(self, *, task: str | None = None) -> list[dict[str, Any]]:
        """Every candidate of every epoch, of one task or of all, with how many conversations have not entered yet."""
        ...

    async def stopped(self) -> list[dict[str, Any]]:
        """Candidates that are decided in their newest epoch: task, primary, version, candidate, stopped_because."""
        ...

    async def current(self) -> list[dict[str, Any]]:
        """Every candidate in its newest epoch: id, task, primary, candidate, and the facts it was last decided by."""
        ...

    async def changes(self, ledger: int) -> list[dict[str, Any]]:
        """How one candidate's verdict changed in one epoch, oldest first."""
        ...

    async def prune(self, *, before: datetime, limit: int = 500) -> int:
        """Forget conversations that entered before then, a small chunk; what they taught stays. Returns how many."""
        ...


class Store(Protocol):
    """The whole door, as the measuring side opens it."""

    @property
    def intake(self) -> IntakeDoor:
        """The way in."""
        ...

    @property
    def jobs(self) -> Jobs:
        """The queue and the budget."""
        ...

    @property
    def reader(self) -> Reader:
        """Questions, prices and retention."""
        ...

    @property
    def rollups(self) -> Rollups:
        """Sums by minute, hour and day."""
        ...

    @property
    def room(self) -> Room:
        """The disk it is on."""
        ...

    @property
    def export(self) -> Export:
        """Whole files of rows."""
        ...

    @property
    def ledger(self) -> Ledger:
        """What verdicts rest on."""
        ...

    async def close(self) -> None:
        """Close every connection; idempotent."""
        ...
