"""The door to the store: what every backend offers, as protocols. One contract-test suite runs over all backends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from shadow.notices import Alert, Delivery, DeliveryState, Mute, Watched
    from shadow.records import Batch, Cost, ExchangeRecord, Feedback, LeasedJob, PairResult, Score, StoredScore
    from shadow.rollups import Window
    from shadow.runfacts import CaseFact, RunFacts, ShadowWeek
    from shadow.runs import (
        Case,
        Cell,
        Earlier,
        EvaluatorOfRun,
        Run,
        RunAnswer,
        RunControl,
        RunKind,
        RunLook,
        RunPlan,
        RunResult,
        StoredPrompt,
    )


ROW_BY_ROW = 5000
"""Up to so many exchanges a window is read row by row, exactly and with every interval; beyond, out of sums."""


class StoreError(Exception):
    """The store cannot be opened or used; the message says which file or server, what happened, what would be right."""


class UnstorableError(StoreError):
    """A value the store can never hold; writing the same batch again would fail again."""


class FullStoreError(StoreError):
    """There is no room on the disk for what should be written."""


class MovedError(StoreError):
    """What a change of the ledger was worked out from has changed meanwhile: nothing is written, begin again."""


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


Show = Literal["all", "differs", "regressed", "errors", "unreviewed"]


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

    async def reserve(
        self, job: LeasedJob, *, worst_case_usd: float, budget: BudgetDay, now: datetime, scoring_usd: float = 0.0
    ) -> Reservation:
        """Admit the conversation at its first job, reserve the worst case, mark the job `sent`, in one transaction.

        `scoring_usd` is the part of the worst case that is not the candidate's.
        """
        ...

    async def finish(self, job: LeasedJob, *, result: PairResult, reserved_usd: float, now: datetime) -> None:
        """Keep the result, settle the reserve, mark `done`, delete a body no job needs; one transaction, once.

        When the real cost is unknown the whole reserve stays spent. A job that ended meanwhile (`lost_on_crash`) stays
        as it is.
        """
        ...

    async def give_up_leases(self, *, line: str, but: str) -> int:
        """End the leases of every worker whose name begins with `line`, but not with `but`: their processes are gone.

        `recover` then settles what they held. Returns how many jobs.
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

    async def noise_floor_so_far(self, job: LeasedJob, *, limit: int) -> tuple[int, bool]:
        """Count the conversations, up to `limit`, that this job's primary was asked again about in this job's task.

        The second tells whether this job's conversation is one of them.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What one person said about one pair; `side_a` is the answer that was shown as A, None when it was not blind."""

    exchange_id: str
    candidate: str
    labeller: str
    winner: Literal["primary", "candidate", "tie"]
    choice: str
    """As it was given: A, B, tie, primary or candidate."""
    side_a: Literal["primary", "candidate"] | None
    seed: str | None
    source: str
    """Where it came from: `label` (the command), `api`."""
    labelled_at: datetime


class Judging(Protocol):
    """What judges did, and what people say about pairs. Rows are plain dicts."""

    async def judge_tallies(self, *, since: datetime, until: datetime, task: str | None = None) -> list[dict[str, Any]]:
        """Count what each deciding judge did, by (task, primary, candidate, evaluator, version, model), latest last."""
        ...

    async def label_tallies(self, *, since: datetime, until: datetime, task: str | None = None) -> list[dict[str, Any]]:
        """Count people's labels by what the judge ruled: task, primary, candidate, version, model, person, judge."""
        ...

    async def judge_spent_usd(self, *, day: str) -> float:
        """Add up what judges cost on one UTC day (ISO date), as far as their providers said."""
        ...

    async def keep_label(self, label: Label) -> bool:
        """Keep what a person said about a pair, in place of what they said before; False when there is no such pair."""
        ...

    async def remove_label(self, *, exchange_id: str, candidate: str, labeller: str) -> bool:
        """Take a person's word about a pair back; False when there is none."""
        ...

    async def labels(self, *, task: str | None, candidate: str | None, limit: int) -> list[dict[str, Any]]:
        """Give labels, oldest first, with task and primary."""
        ...

    async def pairs_to_label(
        self, *, labeller: str, task: str | None, candidate: str | None, limit: int
    ) -> list[dict[str, Any]]:
        """Draw pairs with content that this person has not labelled; those a judge ruled about come first."""
        ...


class Reader(Judging, Protocol):
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

    async def holds_more_than(self, limit: int, *, since: datetime, until: datetime) -> bool:
        """Tell whether more exchanges than `limit` lie in the window, or some of them are deleted: sums know then.

        Costs no more than counting that far.
        """
        ...

    async def eligible_sample(self, limit: int, *, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Give model and token counts of the first eligible exchanges of a window."""
        ...

    async def dropped(self) -> Mapping[str, int]:
        """Count the copies and records lost since the store was made, by reason."""
        ...

    async def budget(self, *, day: str) -> Mapping[str, float]:
        """`{spent_usd, reserved_usd, closed}` of one UTC day; zeros when nothing was spent."""
        ...

    async def exchange(self, exchange_id: str) -> dict[str, Any] | None:
        """One exchange with its jobs, answers, scores and feedback; None when unknown."""
        ...

    async def feedback(self, *, since: datetime, until: datetime, task: str | None = None) -> list[dict[str, Any]]:
        """What users of the app said about the primary's answers: exchange_id, score, task, primary."""
        ...

    async def noise_floor(self, *, since: datetime, until: datetime, task: str | None = None) -> list[dict[str, Any]]:
        """What the primary answered when it was asked again.

        exchange_id, exchange_started_at, task, primary, conversation, outcome, identical, difference, evaluator,
        version, cost_billed_usd, scoring_usd.
        """
        ...

    async def pairs(
        self,
        *,
        task: str | None,
        candidate: str | None,
        sort: Literal["newest", "worst"],
        limit: int,
        cursor: str | None,
        show: Show = "all",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Pairs without bodies and the cursor of the next page; `worst`: no answer, then the largest loss.

        `show` keeps those with a quality difference, with a loss of the candidate, with an error on either side,
        or those that nobody has labelled.
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


NEWEST_RULINGS = 1000
"""Among so many of the newest rulings it is looked who of several judges ruled last."""


class Rollups(Protocol):
    """Sums and histograms of what the raw rows say, and what the one who leads does about them."""

    async def window(self, *, since: datetime, until: datetime, task: str | None = None) -> Window:
        """Read [since, until), widened to whole minutes, or to whole hours or days where no finer sums are kept."""
        ...

    async def began(self, window: Window) -> datetime | None:
        """Tell when the first exchange of a window began: exactly while raw rows are whole, else by its bucket."""
        ...

    async def newest_conversations(self, window: Window, *, task: str | None, limit: int) -> list[dict[str, Any]]:
        """Give task and conversation of the recognised ones among the newest exchanges of a window."""
        ...

    async def newest_judges(self, window: Window, *, limit: int = NEWEST_RULINGS) -> list[dict[str, Any]]:
        """Tell by comparison which judges gave the newest rulings of a window, and when the last one.

        Rows of task, primary, candidate, evaluator, version, model and `latest`; a judge whose rulings of a comparison
        are not among the newest `limit` of the store has no row there.
        """
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

    async def empty_log(self) -> None:
        """Give back the space of what was written and is not in the file itself yet, as far as nobody reads it."""
        ...

    async def tend_log(self) -> bool:
        """Keep what was written and is not in the file itself yet from growing; returns whether it was much."""
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


class Watching(Protocol):
    """Duties, schedules and alerts, shared by every measuring process on one store."""

    async def take_duty(self, name: str, *, holder: str, lease_s: float, now: datetime) -> bool:
        """Take or keep a duty that only one process may do; False while another holds it."""
        ...

    async def schedule_since(self, *, cron: str, timezone: str, now: datetime) -> datetime:
        """Say since when this schedule is known: from `now` on if it is new. Other schedules are forgotten."""
        ...

    async def watched(self) -> Mapping[str, Watched]:
        """All that is watched, by subject."""
        ...

    async def record(
        self, watched: Sequence[Watched], alerts: Sequence[Alert], *, deliveries: Sequence[tuple[str, str]]
    ) -> None:
        """Keep what was seen, new alerts, and which goes to which target (alert id, target), in one transaction."""
        ...

    async def take_due(self, *, limit: int, lease_s: float, now: datetime) -> list[Delivery]:
        """Take deliveries that are due; one whose process died while sending is due again after `lease_s`."""
        ...

    async def settle(
        self, delivery: Delivery, *, state: DeliveryState, error: str | None, due_at: datetime | None, now: datetime
    ) -> None:
        """Note how a try ended: `sent`, `failed` for good, or `pending` until `due_at`."""
        ...

    async def alerts(self, *, limit: int) -> list[dict[str, Any]]:
        """List the newest alerts, each with `deliveries`: target, state, attempts, ended_at, error."""
        ...

    async def mute(self, scope: str, *, until: datetime) -> None:
        """Have alerts of this scope recorded and not sent until then."""
        ...

    async def unmute(self, scope: str) -> bool:
        """End a mute; False when there was none."""
        ...

    async def mutes(self, *, now: datetime) -> list[Mute]:
        """List the mutes in force."""
        ...

    async def prune(self, *, before: datetime) -> None:
        """Delete alerts that are older and wait for nobody."""
        ...


class Book(Protocol):
    """One change of the ledger of verdicts: read without a lock, written at its end in one short transaction.

    What it has changed so far is in what it reads. Rows are plain dicts with the schema's column names.
    """

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

    async def conversations_of(self, conversation: str, *, ledgers: Sequence[int]) -> list[dict[str, Any]]:
        """What is known of a conversation in these ledgers, latest first."""
        ...

    async def put_conversation(self, row: Mapping[str, Any]) -> None:
        """Keep what is known of a conversation; a row as the questions here give it."""
        ...

    async def due(self, *, now: datetime, limit: int) -> list[dict[str, Any]]:
        """Conversations that must be looked at now."""
        ...

    async def turns(self, *, since: datetime, limit: int, **key: str) -> list[dict[str, Any]]:
        """The turns of a key (conversation, candidate, task, primary) from then on, each beside what the primary did.

        Columns of `exchange`, of the job (`state`, `reason`, `asking_nano_usd`, `counted`), and the candidate's
        answer with `candidate_` in front of what the primary has too; `asked_at` is None where it has none.
        """
        ...

    async def scores(self, *, exchange_ids: Sequence[str], candidate: str) -> list[dict[str, Any]]:
        """Scores of the candidate's answers to these exchanges, and of the primary's own."""
        ...

    async def heads(self, ledger: int, *, limit: int) -> list[dict[str, Any]]:
        """The first conversations that have not entered, in order of their start."""
        ...

    async def frontier(self, ledger: int, *, now: datetime) -> Mapping[str, Any]:
        """The place (entered_until, entered_last) of the last conversation that entered and began by `now`, or None."""
        ...

    async def asked_before(self, ledger: int, *, prompts: Sequence[str]) -> set[str]:
        """Tell which of these prompts (hashes) began a conversation that had entered before this change."""
        ...


class Ledger(Protocol):
    """What verdicts rest on: epochs, candidates' evidence, and which conversation entered when."""

    async def any_work(self, *, now: datetime) -> bool:
        """Say whether anything waits to be looked at; takes no lock."""
        ...

    def book(self) -> AbstractAsyncContextManager[Book]:
        """Open the ledger for one change, all of it or nothing; it is written when the block ends.

        Raises MovedError where somebody else has changed the ledger since the block began: nothing is written then.
        """
        ...

    async def views(self, *, task: str | None = None) -> list[dict[str, Any]]:
        """Every candidate of every epoch, of one task or of all, with how many conversations have not entered yet."""
        ...

    async def stopped(self) -> list[dict[str, Any]]:
        """Candidates that are decided in their newest epoch: task, primary, version, candidate, stopped_because."""
        ...

    async def current(self) -> list[dict[str, Any]]:
        """Every candidate in its newest epoch, with what it was last decided by, and how far it has come.

        Columns: id, task, primary, candidate, facts, entered_until, and the epoch's last_started_at.
        """
        ...

    async def changes(self, ledger: int) -> list[dict[str, Any]]:
        """How one candidate's verdict changed in one epoch, oldest first."""
        ...

    async def prune(self, *, before: datetime, limit: int = 500) -> int:
        """Forget conversations that entered before then, a small chunk; what they taught stays. Returns how many."""
        ...


class FeedbackDoor(Protocol):
    """What users of the app say later about an exchange, and what is scored again because of it."""

    async def give(self, feedback: Feedback) -> dict[str, Any] | None:
        """Keep what was said and give what is kept now; None when there is no such exchange. Idempotent."""
        ...

    async def to_rescore(self, *, limit: int) -> list[tuple[str, str]]:
        """Exchange ids with the expected text that came after their answers were scored."""
        ...

    async def kept_pairs(self, exchange_id: str) -> tuple[ExchangeRecord | None, list[dict[str, Any]]]:
        """The exchange and what is kept of the answers to it: columns of `content` beside the answer's figures."""
        ...

    async def rescored(
        self, exchange_id: str, *, expected: str, scores: Sequence[tuple[str, StoredScore]], now: datetime
    ) -> None:
        """Replace scores (candidate, score) by what was found with the expected text; one transaction."""
        ...


RunReservation = Literal["ok", "over_budget", "taken", "gone"]
"""`ok`: the worst case is reserved and the answer durably marked as sent. `over_budget`: it does not fit under the
run's bound now (it may when others have settled). `taken`: this answer is there, or under way. `gone`: this process
holds the run no more."""


class Runs(Protocol):
    """Benchmark runs: begun once, worked on by one process at a time, resumed, read back whole.

    A process that works on a run holds it by `worker` (a name of its own) and says so with `hold` before `lease_s` have
    passed; what it does with a run it no longer holds is refused.
    """

    async def begin(self, plan: RunPlan, *, worker: str, lease_s: float, now: datetime, keep_content: bool) -> bool:
        """Store the plan and hold the run. False: there is one of this id, or of this kind and period, already.

        `keep_content` False keeps neither requests nor expected texts (nor may answers' outputs be handed in later).
        """
        ...

    async def reopen(
        self,
        run_id: str,
        *,
        evaluators: Mapping[str, Sequence[EvaluatorOfRun]],
        max_cost_usd: float | None,
        worker: str,
        lease_s: float,
        now: datetime,
    ) -> int | None:
        """Hold a run again. Answers that a lost process had sent are forgotten, their reserve stays spent.

        Returns how many were lost so; None when there is no such run or another process holds it.
        """
        ...

    async def hold(self, run_id: str, *, worker: str, lease_s: float, now: datetime) -> bool:
        """Go on holding it; False when it was taken over or ended."""
        ...

    async def reserve(
        self, run_id: str, cell: Cell, *, worst_case_usd: float | None, worker: str, now: datetime
    ) -> RunReservation:
        """Reserve the worst case and mark the answer as sent, in one transaction.

        `worst_case_usd` None (price unknown) never fits under a bound, and reserves nothing where there is none.
        """
        ...

    async def reserve_again(
        self, run_id: str, cell: Cell, *, worst_case_usd: float | None, worker: str
    ) -> RunReservation:
        """Reserve once more for an answer under way: a retry that may be billed anew, or its scoring. Never `taken`."""
        ...

    async def finish(self, run_id: str, answer: RunAnswer, *, now: datetime) -> None:
        """Keep an answer with its scores and settle its reserve (all of it stays spent when the cost is unknown)."""
        ...

    async def give_back(self, run_id: str, cell: Cell) -> None:
        """Undo a `reserve` whose question was never sent."""
        ...

    async def forget(self, run_id: str, cells: Sequence[Cell]) -> None:
        """Forget these answers and their scores, so that they are asked for again; what they cost stays spent."""
        ...

    async def reserve_scoring(self, run_id: str, *, worst_case_usd: float, worker: str) -> RunReservation:
        """Reserve what scoring a stored answer may cost; settled by `rescore` or `add_scores`. Never `taken`."""
        ...

    async def rescore(
        self, run_id: str, cell: Cell, scores: Sequence[StoredScore], *, reserved_usd: float = 0.0
    ) -> None:
        """Replace the scores of one answer, comparisons apart; what they cost is added to what was spent."""
        ...

    async def add_scores(
        self, run_id: str, cell: Cell, scores: Sequence[StoredScore], *, reserved_usd: float = 0.0
    ) -> None:
        """Add scores to those of one answer; what they cost is added to what was spent."""
        ...

    async def add_look(self, run_id: str, look: RunLook, *, reserved_usd: float = 0.0) -> None:
        """Keep what was said of an answer beside an earlier one, and settle what was reserved for it."""
        ...

    async def add_control(
        self, run_id: str, cell: Cell, *, evaluator: str, version: str, score: Score, reserved_usd: float = 0.0
    ) -> None:
        """Keep the calls of a test of a judge on one answer, and settle what was reserved for it."""
        ...

    async def controls(self, run_id: str) -> list[RunControl]:
        """Tests of judges in a run, but for those in which nothing was ruled."""
        ...

    async def looks(self, run_id: str) -> list[RunLook]:
        """What was said of a run's answers beside earlier ones."""
        ...

    async def end(
        self,
        run_id: str,
        *,
        state: Literal["done", "stopped", "failed"],
        reason: str | None,
        worker: str,
        now: datetime,
    ) -> bool:
        """End it; False when this process no longer holds it."""
        ...

    async def page(
        self, *, limit: int, kind: RunKind | None = None, fingerprint: str | None = None, cursor: str | None = None
    ) -> tuple[list[Run], str | None]:
        """Runs, newest first, and the cursor of the next page. Raises ValueError for a foreign cursor."""
        ...

    async def find(self, text: str) -> Run | None:
        """Find the run with this id, else the only one whose id begins so, else the newest of this name."""
        ...

    async def result(self, run_id: str) -> RunResult | None:
        """Read a run back whole; None when unknown."""
        ...

    async def prompts(self, *, since: datetime, until: datetime, task: str | None = None) -> list[StoredPrompt]:
        """Production prompts of the window whose content is kept, without it, oldest first."""
        ...

    async def prompt_cases(self, prompts: Sequence[StoredPrompt]) -> list[Case]:
        """Make cases of chosen prompts, in their order; ids are exchange ids, clusters are conversations.

        One whose content was deleted meanwhile is left out.
        """
        ...

    async def costs_so_far(self, prompt_hashes: Sequence[str]) -> Mapping[tuple[str, str], float]:
        """What answers to these prompts cost in earlier runs, on average: (model, prompt hash) -> USD."""
        ...

    async def forget_content(self, *, before: datetime) -> int:
        """Delete prompts, answers and reasons of runs that ended before then; returns how many texts."""
        ...


class Trends(Protocol):
    """Figures of weekly runs and of shadow weeks."""

    async def weekly_runs(self, *, limit: int) -> list[RunFacts]:
        """Weekly runs that have ended, oldest first, at most the newest `limit`."""
        ...

    async def asked_cases(self, *, since: datetime) -> Mapping[str, CaseFact]:
        """Every prompt that weekly runs asked since then, by hash."""
        ...

    async def cases_of_run(self, run_id: str) -> list[Case]:
        """Give the cases of a run whose request is kept, in their order."""
        ...

    async def output(self, run_id: str, *, case_id: str, model: str, repeat: int) -> str | None:
        """Give what is kept of one answer of a run; None when nothing is."""
        ...

    async def look_reason(
        self, run_id: str, *, case_id: str, model: str, repeat: int, before: Earlier, evaluator: str, version: str
    ) -> str | None:
        """Why a judge ruled so of an answer beside an earlier one; None when nothing is kept."""
        ...

    async def shadow_weeks(self, *, since: datetime, until: datetime, task: str | None = None) -> list[ShadowWeek]:
        """Shadowed pairs of live traffic by week, task and model."""
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
    def watching(self) -> Watching:
        """Duties, schedules and alerts."""
        ...

    @property
    def ledger(self) -> Ledger:
        """What verdicts rest on."""
        ...

    @property
    def feedback(self) -> FeedbackDoor:
        """What users of the app say."""
        ...

    @property
    def runs(self) -> Runs:
        """Benchmark runs."""
        ...

    @property
    def trends(self) -> Trends:
        """Figures over weeks."""
        ...

    async def close(self) -> None:
        """Close every connection; idempotent."""
        ...
