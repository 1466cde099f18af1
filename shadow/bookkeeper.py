"""Keeps the ledger of verdicts: closes conversations, enters them in order, and decides, in small steps that resume.

What is new waits in the store's inbox, written there with the job itself. Each step reads some of it and works out what
changes, without any lock; then one short transaction writes that, and deletes what was read, unless somebody else has
changed the ledger meanwhile: then the step begins again. So a process that is killed in between has changed nothing,
and two of them do each piece of work once.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from shadow.entry import Admitted, Place, enter
from shadow.ledger.epochs import Shelf, ended, joinings, lane_of, openings, read_judging, write_judging
from shadow.ledger.evidence import Facts, evidence_of
from shadow.ledger.outcome import conversation_outcome
from shadow.ledger.state import LedgerState, read_outcome, write_outcome
from shadow.repeat import in_chunks, repeat
from shadow.stats.conversations import ConversationRules, extent
from shadow.store.base import MovedError
from shadow.verdict import Pace, Rules, Watch, decide, headline
from shadow.verdict.proofs import latched, proofs_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from shadow.entry import Entry
    from shadow.ledger.epochs import Lane, Plan
    from shadow.ledger.outcome import Outcome
    from shadow.store.base import Book, Ledger
    from shadow.verdict import Evidence, Headline, Proof, Verdict

    Row = Mapping[str, Any]

T = TypeVar("T")

_log = logging.getLogger(__name__)

INBOX_CHUNK = 40
DUE_CHUNK = 20
ENTRY_CHUNK = 10
"""How much one step does at most: what it wrote is lost to it when somebody else was first."""
_BREATH_S = 0.02
"""Between two steps, so that who waits for the store has its turn, and after one that somebody else overtook."""
_PRUNE_CHUNK = 500
_PATIENCE = timedelta(seconds=120)
"""How long an answer may be away beyond a job's own age before it is declared missing."""


class FactsSource(Protocol):
    """Tells what the ledger cannot know by itself: prices, and whether the judge may be trusted."""

    async def refresh(self) -> None:
        """Read anew what may have changed; called outside of any transaction. Raises StoreError."""
        ...

    def facts(self, *, task: str, primary: str, candidate: str) -> Facts:
        """Say it about one candidate beside one primary of one task."""
        ...


class NoFacts:
    """Nothing is held back, and no price is known."""

    async def refresh(self) -> None:
        """There is nothing to read."""

    def facts(self, *, task: str, primary: str, candidate: str) -> Facts:  # noqa: ARG002  (the protocol's)
        """Say nothing."""
        return Facts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Routine:
    """How the bookkeeper works: when conversations close, and how long what is still to come is waited for."""

    conversations: ConversationRules = field(default_factory=ConversationRules)
    max_job_age_s: float = 600
    retention_days: float = 30
    sample_rates: dict[str, float] = field(default_factory=dict)
    """Candidate -> share of conversations it is asked."""
    budget_usd_per_day: float = 5.0
    every_s: float = 1.0

    @property
    def idle(self) -> timedelta:
        """The pause that closes a conversation; nothing that began within it enters, because its record may come."""
        return timedelta(seconds=self.conversations.idle_s)

    @property
    def patience(self) -> timedelta:
        """How long after its last turn a conversation waits for answers."""
        return self.idle + timedelta(seconds=self.max_job_age_s) + _PATIENCE


class Bookkeeper:
    """Does the ledger's work until cancelled. Several at once are safe: each step is a transaction of its own."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        plan: Plan,
        routine: Routine,
        facts: FactsSource | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ledger = ledger
        self._plan = plan
        self._routine = routine
        self._facts = facts or NoFacts()
        self._now = now
        self._in_force = now()
        self._announced = False

    async def run(self) -> None:
        """Repeat until cancelled; a store that is away is tried again, told once."""
        pruned_at = self._now()

        async def step() -> None:
            nonlocal pruned_at
            await self.catch_up()
            if abs(self._now() - pruned_at) > timedelta(hours=1):
                pruned_at = self._now()
                await self.prune()

        await repeat(step, every_s=self._routine.every_s, what="keep the ledger of verdicts")

    async def catch_up(self) -> int:
        """Do all there is to do now; returns how many steps it took."""
        if not self._announced:
            await self.announce()
        await self._facts.refresh()
        steps = 0
        while await self._ledger.any_work(now=self._now()):
            await self.step()
            await asyncio.sleep(_BREATH_S)
            steps += 1
        await self.reconsider()
        return steps

    async def announce(self) -> None:
        """Compare the configuration with the epochs there are: what changed begins another, who is new joins."""
        now = self._now()

        async def change(book: Book, shelf: Shelf) -> None:
            for opening in openings(shelf, self._plan):
                await self._open(book, shelf, opening.lane, started_at=now, because=opening.because)
            for lane in shelf.lanes():
                await self._join(book, shelf, lane, now=now)

        await self._write(change)
        self._announced = True

    async def open_epochs(self, *, because: str, task: str | None = None) -> list[Row]:
        """Begin an epoch in every lane (of one task) that has one, at somebody's word; returns the new ones."""
        now = self._now()

        async def change(book: Book, shelf: Shelf) -> list[Row]:
            lanes = [lane for lane in shelf.lanes() if task in {None, lane[0]}]
            return [await self._open(book, shelf, lane, started_at=now, because=because) for lane in lanes]

        return await self._write(change)

    async def step(self) -> None:
        """Do one transaction's worth of work: read the inbox, look at what is due, enter what may."""
        now = self._now()

        async def change(book: Book, shelf: Shelf) -> None:
            await self._read_inbox(book, shelf, now=now)
            touched = await self._look_at_due(book, shelf, now=now)
            for ledger in sorted(touched):
                await self._enter(book, shelf, ledger_id=ledger, now=now)

        await self._write(change)

    async def _write(self, change: Callable[[Book, Shelf], Awaitable[T]]) -> T:
        """Make a change of the ledger; from the start again where somebody else has changed it meanwhile."""
        while True:
            try:
                async with self._ledger.book() as book:
                    return await change(book, await _shelf(book))
            except MovedError:
                await asyncio.sleep(_BREATH_S)

    async def reconsider(self) -> None:
        """Decide anew where what is told from outside has changed since, such as the judge's trust, or the clock."""
        now = self._now()
        for row in await self._ledger.current():
            if self._basis(row, row, now=now).text() != row["facts"] or _is_ahead(row, now):
                await self._write(partial(self._enter, ledger_id=row["id"], now=self._now()))

    async def prune(self) -> int:
        """Forget conversations that entered longer ago than the retention; what they taught stays."""
        before = self._now() - timedelta(days=self._routine.retention_days)
        return await in_chunks(lambda: self._ledger.prune(before=before, limit=_PRUNE_CHUNK), chunk=_PRUNE_CHUNK)

    def _basis(self, epoch: Row, ledger: Row, *, now: datetime) -> _Basis:
        """Say what a decision rests on now besides the ledger."""
        task, primary, candidate = epoch["task"], epoch["primary"], ledger["candidate"]
        facts = self._facts.facts(task=task, primary=primary, candidate=candidate)
        because = ended(
            self._plan, primary=primary, candidate=candidate, last_started_at=epoch["last_started_at"], now=now
        )
        if because is not None:
            # What was known then stands: a price that went with the candidate withholds nothing.
            facts = replace(_facts_of(ledger["facts"]) or facts, judge_has_money=facts.judge_has_money)
        return _Basis(
            facts=facts,
            rules=self._plan.rules,
            sample_rate=self._routine.sample_rates.get(candidate, 1.0) if candidate in self._plan.candidates else 0.0,
            ended=because,
        )

    # ---- epochs

    async def _open(self, book: Book, shelf: Shelf, lane: Lane, *, started_at: datetime, because: str) -> Row:
        task, primary, version = lane
        epoch = await book.open_epoch(
            task=task,
            primary=primary,
            version=version,
            started_at=started_at,
            because=because,
            alpha=self._plan.alpha,
            evaluators=write_judging(self._plan.judging_of(task)),
        )
        shelf.opened(epoch)
        await self._join(book, shelf, lane, now=started_at)
        return epoch

    async def _join(self, book: Book, shelf: Shelf, lane: Lane, *, now: datetime) -> None:
        epoch = shelf.newest(lane)
        if epoch is None:
            return
        for joining in joinings(epoch, shelf.candidates(epoch), self._plan):
            shelf.joined(await book.open_ledger(epoch=epoch["id"], joined_at=now, **asdict(joining)))

    # ---- the inbox: which conversations there are

    async def _read_inbox(self, book: Book, shelf: Shelf, *, now: datetime) -> None:
        rows = await book.inbox(limit=INBOX_CHUNK)
        found = [row for row in rows if row["conversation"] is not None and row["started_at"] is not None]
        for row in sorted(found, key=lambda row: (row["started_at"], row["exchange_id"])):
            if row["made"]:
                await self._take_turn(book, shelf, row, now=now)
            else:
                await self._wake(book, shelf, row, now=now)
        await book.forget([row["id"] for row in rows])

    async def _take_turn(self, book: Book, shelf: Shelf, row: Row, *, now: datetime) -> None:
        """Put a turn into its conversation, or begin one with it."""
        lane: Lane = (row["task"], row["primary"], row["version"] or "")
        started_at = row["started_at"]
        epoch = shelf.at(lane, started_at, now=now)
        if epoch is None:
            because = "first traffic" + (f" of version {lane[2]}" if lane[2] else "")
            epoch = await self._open(book, shelf, lane, started_at=started_at, because=because)
        ledger = shelf.candidates(epoch).get(row["candidate"])
        if ledger is None:
            return
        known = await book.conversations_of(row["conversation"], ledgers=shelf.ledgers_of(**_parties(row)))
        latest = next(iter(known), None)
        if latest is not None and self._continues(latest, started_at):
            await self._lengthen(book, latest, started_at)
        elif all(each["ledger"] != ledger["id"] for each in known):
            await self._begin(book, ledger["id"], row["conversation"], started_at)
            await book.touch_epoch(epoch["id"], first=started_at, last=started_at)

    def _continues(self, conversation: Row, started_at: datetime) -> bool:
        """Say whether a turn belongs to a conversation that is known: no pause lies between them."""
        rules = self._routine.conversations
        first, last = conversation["first_started_at"], conversation["last_started_at"]
        age: timedelta = started_at - first
        within: bool = first - self._routine.idle < started_at < last + self._routine.idle
        return within and age < timedelta(seconds=rules.max_age_s)

    async def _lengthen(self, book: Book, conversation: Row, started_at: datetime) -> None:
        if conversation["state"] != "open":
            return  # a later turn: shown, not counted
        first = min(conversation["first_started_at"], started_at)
        last = max(conversation["last_started_at"], started_at)
        turns = conversation["turns"] + 1
        longer = {**conversation, "first_started_at": first, "last_started_at": last, "turns": turns}
        await book.put_conversation({**longer, "due_at": self._closes_at(first, last, turns=turns)})

    async def _begin(self, book: Book, ledger: int, conversation: str, started_at: datetime) -> None:
        await book.put_conversation(
            {
                "ledger": ledger,
                "conversation": conversation,
                "first_started_at": started_at,
                "last_started_at": started_at,
                "turns": 1,
                "state": "open",
                "due_at": self._closes_at(started_at, started_at, turns=1),
                "entry": None,
                "entered_at": None,
                "outcome": None,
                "prompt": None,
            }
        )

    def _closes_at(self, first: datetime, last: datetime, *, turns: int) -> datetime:
        """Say when a conversation closes at the latest, if no other turn comes."""
        rules = self._routine.conversations
        if turns >= rules.max_turns:
            return last
        return min(last + self._routine.idle, first + timedelta(seconds=rules.max_age_s))

    async def _wake(self, book: Book, shelf: Shelf, row: Row, *, now: datetime) -> None:
        """Have a conversation looked at that waits for an answer: one has come, or will not come."""
        ledgers = shelf.ledgers_of(**_parties(row))
        for conversation in await book.conversations_of(row["conversation"], ledgers=ledgers):
            if conversation["state"] == "pending":
                await book.put_conversation({**conversation, "due_at": now})

    # ---- what is due: closing conversations

    async def _look_at_due(self, book: Book, shelf: Shelf, *, now: datetime) -> set[int]:
        """Close what has come to its end; returns the ledgers in which something may enter."""
        touched = set()
        for conversation in await book.due(now=now, limit=DUE_CHUNK):
            ledger = shelf.ledger(conversation["ledger"])
            if conversation["state"] in {"open", "pending"}:
                looked_at = await self._look_at(book, shelf, ledger, conversation, now=now)
            else:
                looked_at = {**conversation, "due_at": None}
            await book.put_conversation(looked_at)
            if looked_at["state"] in {"settled", "left_out"} and looked_at["due_at"] is None:
                touched.add(ledger["id"])
        return touched

    async def _look_at(self, book: Book, shelf: Shelf, ledger: Row, conversation: Row, *, now: datetime) -> Row:
        """Say how a conversation stands now."""
        epoch = shelf.epoch(ledger["epoch"])
        rules, first = self._routine.conversations, conversation["first_started_at"]
        task, primary, version = lane_of(epoch)
        turns = await book.turns(
            conversation=conversation["conversation"],
            candidate=ledger["candidate"],
            task=task,
            primary=primary,
            since=first,
            limit=rules.max_turns + 1,
        )
        starts = [turn["started_at"] for turn in turns]
        span = extent(starts, rules, as_of=now) if starts else None
        if span is not None and span.open:
            return {**conversation, "due_at": self._closes_at(starts[0], starts[-1], turns=len(starts))}
        ends_at = shelf.ends_at(epoch)
        own = [
            turn
            for turn in turns[: span.turns if span else 0]
            if (turn["version"] or "") == version and (ends_at is None or turn["started_at"] < ends_at)
        ]
        scores = await book.scores(exchange_ids=[turn["id"] for turn in own], candidate=ledger["candidate"])
        give_up_at = conversation["last_started_at"] + self._routine.patience
        outcome = await asyncio.to_thread(
            conversation_outcome,
            own,
            scores,
            judging=read_judging(epoch["evaluators"]),
            ends_at=ends_at,
            given_up=now >= give_up_at,
        )
        closed = {**conversation, "turns": len(own), "state": outcome.standing, "outcome": write_outcome(outcome)}
        closed["prompt"] = own[0]["prompt"] if own else None
        if outcome.standing == "pending":
            return {**closed, "due_at": give_up_at}
        known_at = first + self._routine.idle
        return {**closed, "due_at": known_at if known_at > now else None}

    # ---- entering, in order

    async def _enter(self, book: Book, shelf: Shelf, *, ledger_id: int, now: datetime) -> None:
        """Let in what may enter now, and decide after each conversation."""
        ledger: Row = await book.ledger(ledger_id)
        epoch = shelf.epoch(ledger["epoch"])
        basis = self._basis(epoch, ledger, now=now)
        clerk = _Clerk(epoch, ledger, basis)
        if _is_ahead(ledger, now):
            ledger = await self._set_back(book, ledger, clerk, now=now)
        heads = await book.heads(ledger_id, limit=ENTRY_CHUNK)
        entry = self._who_enters(ledger, heads, basis.facts, now=now)
        clerk.open_stretch(in_force=self._in_force, now=now)
        # Proofs are sums over whole histograms: the event loop has other things to do.
        prompts = [row["prompt"] for row in heads if row["prompt"] is not None]
        known = await book.asked_before(ledger_id, prompts=prompts) if prompts else set()
        entered = await asyncio.to_thread(clerk.enter_all, entry, heads, asked_before=known, now=now)
        for row in entered:
            await book.put_conversation(row)
        if len(heads) == ENTRY_CHUNK and not entry.waiting:
            await self._go_on(book, ledger_id, now=now)
        until = now - self._routine.idle
        if entry.waiting or len(heads) == ENTRY_CHUNK:
            held_at = entry.waiting[0].started_at if entry.waiting else heads[-1]["first_started_at"]
            until = min(until, held_at)
        decision = await asyncio.to_thread(clerk.decide, self._pace(clerk, until=until))
        await self._keep(book, ledger, clerk, decision, entry, now=now)

    async def _set_back(self, book: Book, ledger: Row, clerk: _Clerk, *, now: datetime) -> Row:
        """Take the order of starts up again where it was, after a clock that was ahead has been put right.

        Nothing that entered began later than now: without this all that begins until then would come too late. What has
        entered stays, and the order goes on behind the last that began by now, so no outcome has a say in who enters.
        """
        place = await book.frontier(ledger["id"], now=now)
        clerk.state = replace(clerk.state, set_back=clerk.state.set_back + 1)
        _log.warning(
            "the clock went back: a conversation of %s had entered; %s is counted on from %s",
            f"{ledger['entered_until']:%Y-%m-%d %H:%M:%S}",
            ledger["candidate"],
            f"{place['entered_until'] or now:%Y-%m-%d %H:%M:%S}",
        )
        return {**ledger, **place}

    def _who_enters(self, ledger: Row, heads: Sequence[Row], facts: Facts, *, now: datetime) -> Entry:
        admitted = [
            Admitted(conversation=row["conversation"], started_at=row["first_started_at"], standing=row["state"])
            for row in heads
        ]
        until = ledger["entered_until"]
        return enter(
            admitted,
            last=None if until is None else Place(until, ledger["entered_last"]),
            known_until=now - self._routine.idle,
            judge_has_money=facts.judge_has_money,
        )

    async def _go_on(self, book: Book, ledger: int, *, now: datetime) -> None:
        """Have the rest looked at in the next step."""
        for row in await book.heads(ledger, limit=1):
            if row["state"] in {"settled", "left_out"}:
                await book.put_conversation({**row, "due_at": now})

    def _pace(self, clerk: _Clerk, *, until: datetime) -> Pace | None:
        """Say how fast conversations came in lately; None where none did. All that began before `until` is counted."""
        rate = clerk.basis.sample_rate
        intake = clerk.state.stretches.intake(
            sample_rate=rate, prices=clerk.basis.facts.prices, until=until, least=self._routine.idle
        )
        if intake is None:
            return None if rate else Pace(conversations_per_day=0.0, usd_per_conversation=None, sample_rate=0.0)
        return Pace(
            conversations_per_day=intake.conversations_per_day,
            usd_per_conversation=intake.usd_per_conversation,
            sample_rate=rate,
            budget_usd_per_day=self._routine.budget_usd_per_day,
            usd_unknown="no conversation was asked at the present prices yet",
        )

    async def _keep(
        self, book: Book, ledger: Row, clerk: _Clerk, decision: tuple[Verdict, Headline], entry: Entry, *, now: datetime
    ) -> None:
        verdict, figures = decision
        before = json.loads(ledger["verdict"]).get("state")
        stops = verdict.stops or ledger["stopped_at"] is not None
        await book.save(
            ledger["id"],
            state=clerk.state.dumped(),
            facts=clerk.basis.text(),
            verdict=json.dumps({**asdict(verdict), "waiting": entry.why, "headline": asdict(figures)}, sort_keys=True),
            entered=clerk.entered,
            entered_until=None if entry.last is None else entry.last.started_at,
            entered_last=None if entry.last is None else entry.last.conversation,
            stopped_because=(ledger["stopped_because"] or verdict.state) if stops else None,
            stopped_at=(ledger["stopped_at"] or now) if stops else None,
        )
        if before != verdict.state:
            await book.change(
                ledger["id"], changed_at=now, verdict_before=before, verdict=verdict.state, why=verdict.why
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Basis:
    """What a verdict is decided by besides the ledger."""

    facts: Facts
    rules: Rules
    sample_rate: float
    """Share of conversations the candidate is asked; 0 where it is configured no longer."""
    ended: str | None

    def text(self) -> str:
        """Write it down, so that a change of it is noticed."""
        facts, rules = asdict(self.facts), asdict(self.rules)
        known = {**facts, "rules": rules, "sample_rate": self.sample_rate, "ended": self.ended}
        return json.dumps(known, sort_keys=True)


def _facts_of(text: str) -> Facts | None:
    """Read the facts in what `_Basis.text` wrote; None before the first decision."""
    if not text:
        return None
    known = json.loads(text)
    return Facts(withheld=tuple(known["withheld"]), prices=known["prices"], judge_has_money=known["judge_has_money"])


def _is_ahead(ledger: Row, now: datetime) -> bool:
    """Say whether one entered that begins later than now: only a clock that was ahead can have let it in."""
    until: datetime | None = ledger["entered_until"]
    return until is not None and until > now


class _Clerk:
    """One candidate's state while conversations enter it."""

    def __init__(self, epoch: Row, ledger: Row, basis: _Basis) -> None:
        self._epoch, self._ledger, self.basis = epoch, ledger, basis
        self._judging = read_judging(epoch["evaluators"])
        self.state = LedgerState.loaded(ledger["state"])
        self.entered: int = ledger["entered"]

    def open_stretch(self, *, in_force: datetime, now: datetime) -> None:
        """Note at which sample rate and prices conversations come in since `in_force`."""
        known = bool(self.entered or self.state.turns)
        stretches = self.state.stretches.at(
            sample_rate=self.basis.sample_rate,
            prices=self.basis.facts.prices,
            first=now if known else max(self._epoch["started_at"], self._ledger["joined_at"]),
            in_force=in_force,
            now=now,
        )
        self.state = replace(self.state, stretches=stretches)

    def price(self, *, now: datetime) -> None:
        """Begin a cost epoch where there is none, where prices changed, or where reserves have outgrown its scale."""
        prices, rules = self.basis.facts.prices, self.basis.rules
        if prices is not None:
            self.state = self.state.priced(prices=prices, rules=rules, first=self._epoch["started_at"], now=now)

    def enter(self, outcome: Outcome, *, started_at: datetime, now: datetime) -> None:
        """Take one conversation in, and remember what it proves."""
        self.state = self.state.enter(outcome, started_at=started_at)
        self.price(now=now)
        self.entered += 1
        proofs = proofs_of(self._evidence())
        self.state = replace(self.state, latched=latched(self.state.latched, proofs))
        if self.state.watch is None and self._may_promote(proofs) and self.verdict().state == "promote":
            self.state = replace(self.state, watch=Watch())

    def _may_promote(self, proofs: Mapping[str, Proof]) -> bool:
        """Tell cheaply whether a decision is worth its time."""
        return all(proof.proved for name, proof in proofs.items() if name.partition(":")[0] in {"not_worse", "cheaper"})

    def enter_all(self, entry: Entry, heads: Sequence[Row], *, asked_before: set[str], now: datetime) -> list[Row]:
        """Take in who may enter, in order, and give their rows; what is proved once stays proved."""
        asked = set(asked_before)
        rows = {row["conversation"]: row for row in heads}
        self.price(now=now)
        changed: list[Row] = []
        for each in entry.late:
            self.late()
            changed.append({**rows[each.conversation], "state": "late", "due_at": None, "entered_at": now})
        for each in sorted([*entry.entering, *entry.left_out], key=lambda admitted: admitted.place):
            row = rows[each.conversation]
            outcome = read_outcome(row["outcome"])
            if each.standing == "settled":
                self.enter(outcome, started_at=each.started_at, now=now)
                if row["prompt"] is not None:
                    self.state = self.state.asked(again=row["prompt"] in asked)
                    asked.add(row["prompt"])
                state, number = "entered", self.entered
            else:
                self.state = self.state.pass_over(outcome, started_at=each.started_at)
                state, number = "passed", None
            changed.append({**row, "state": state, "due_at": None, "entry": number, "entered_at": now})
        return changed

    def late(self) -> None:
        """Count one that came too late."""
        self.state = replace(self.state, late=self.state.late + 1)

    def headline(self) -> Headline:
        """Work out what people ask for first: cost per quality point, and what the candidate costs of the primary."""
        known = self.state.headline
        absolute = not self._judging.pairwise
        return headline(
            known.sums,
            alpha=self._epoch["alpha"],
            candidate_quality=known.candidate_quality if absolute else None,
            primary_quality=known.primary_quality if absolute else None,
        )

    def decide(self, pace: Pace | None) -> tuple[Verdict, Headline]:
        """Decide, and work out the figures beside it."""
        figures = self.headline()
        return self.verdict(pace, figures), figures

    def verdict(self, pace: Pace | None = None, figures: Headline | None = None) -> Verdict:
        """Decide by what is known now."""
        return decide(self._evidence(pace, figures))

    def _evidence(self, pace: Pace | None = None, figures: Headline | None = None) -> Evidence:
        return evidence_of(
            self.state,
            primary=self._epoch["primary"],
            candidate=self._ledger["candidate"],
            alpha=self._ledger["alpha"],
            rules=self.basis.rules,
            judging=self._judging,
            facts=self.basis.facts,
            pace=pace,
            settled=self.entered,
            cost_ratio=None if figures is None else figures.cost_ratio,
            ended=self.basis.ended,
        )


async def _shelf(book: Book) -> Shelf:
    return Shelf(epochs=list(await book.epochs()), ledgers=list(await book.ledgers()))


def _parties(row: Row) -> dict[str, str]:
    return {name: row[name] for name in ("candidate", "task", "primary")}
