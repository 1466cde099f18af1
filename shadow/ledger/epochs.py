"""Epochs: the stretches in which what is compared stands still, and who has which share of alpha in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from shadow.ledger.outcome import Judging
from shadow.verdict import AlphaBook, Rules

if TYPE_CHECKING:
    from datetime import datetime

DEFAULT_TASK = "default"

Row = Mapping[str, Any]
Lane = tuple[str, str, str]
"""Task, primary and declared version ('' for none): epochs follow on one another within it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the configuration says about verdicts, as far as epochs need it."""

    alpha: float
    rules: Rules
    judging: Mapping[str, Judging]
    """Task -> how it is judged; tasks that are not named here are judged as `default`."""
    candidates: Mapping[str, str]
    """Candidate -> fingerprint of its definition, in the configured order."""
    primary: str | None = None
    """The model that answers the app, where the configuration says so for all."""

    def judging_of(self, task: str) -> Judging:
        """How a task is judged now."""
        return self.judging.get(task) or self.judging[DEFAULT_TASK]

    def candidates_of(self, primary: str) -> list[str]:
        """Who is compared with a primary: all but itself."""
        return [name for name in self.candidates if name != primary]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """An epoch that is to begin, and why, in one sentence."""

    lane: Lane
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """One candidate that joins an epoch, with its batch and its share of alpha."""

    candidate: str
    definition: str
    batch: int
    alpha: float


@dataclass
class Shelf:
    """Every epoch and candidate there is, as the store has them; kept up while one change is made."""

    epochs: list[Row]
    ledgers: list[Row]
    _by_lane: dict[Lane, list[Row]] = field(default_factory=dict)
    _by_id: dict[int, Row] = field(default_factory=dict)
    _by_epoch: dict[int, dict[str, Row]] = field(default_factory=dict)
    _ledger_by_id: dict[int, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for epoch in self.epochs:
            self._shelve(epoch)
        for ledger in self.ledgers:
            self.joined(ledger)

    def opened(self, epoch: Row) -> None:
        """Take in an epoch that has just begun."""
        self.epochs.append(epoch)
        self._shelve(epoch)

    def joined(self, ledger: Row) -> None:
        """Take in a candidate that has just joined."""
        self._by_epoch.setdefault(ledger["epoch"], {})[ledger["candidate"]] = ledger
        self._ledger_by_id[ledger["id"]] = ledger

    def lanes(self) -> list[Lane]:
        """Every lane that has an epoch."""
        return list(self._by_lane)

    def newest(self, lane: Lane) -> Row | None:
        """The epoch a lane is in."""
        return self._by_lane[lane][-1] if lane in self._by_lane else None

    def at(self, lane: Lane, moment: datetime, *, now: datetime) -> Row | None:
        """The epoch a conversation belongs to by its start; the first one where its record came late.

        One that begins later than `now` was begun by a clock that has gone back since: it has begun.
        """
        found = self._by_lane.get(lane, [])
        begun = [epoch for epoch in found if epoch["started_at"] <= moment or epoch["started_at"] > now]
        return begun[-1] if begun else next(iter(found), None)

    def ends_at(self, epoch: Row) -> datetime | None:
        """When the epoch after it began; None while it lasts."""
        found = self._by_lane[lane_of(epoch)]
        later = [each["started_at"] for each in found if each["number"] > epoch["number"]]
        return min(later, default=None)

    def epoch(self, number: int) -> Row:
        """One epoch by its id."""
        return self._by_id[number]

    def ledger(self, number: int) -> Row:
        """One candidate of one epoch by its id."""
        return self._ledger_by_id[number]

    def ledgers_of(self, *, task: str, primary: str, candidate: str) -> list[int]:
        """One candidate beside one primary of one task: its ledgers in all epochs and versions."""
        of_both = [epoch for epoch in self.epochs if (epoch["task"], epoch["primary"]) == (task, primary)]
        found = [self.candidates(epoch).get(candidate) for epoch in of_both]
        return [ledger["id"] for ledger in found if ledger is not None]

    def candidates(self, epoch: Row) -> Mapping[str, Row]:
        """Who joined an epoch, in order."""
        return self._by_epoch.get(epoch["id"], {})

    def _shelve(self, epoch: Row) -> None:
        self._by_id[epoch["id"]] = epoch
        found = self._by_lane.setdefault(lane_of(epoch), [])
        found.append(epoch)
        found.sort(key=lambda each: each["number"])


def lane_of(epoch: Row) -> Lane:
    """Which lane an epoch belongs to."""
    return epoch["task"], epoch["primary"], epoch["version"]


def openings(shelf: Shelf, plan: Plan) -> list[Opening]:
    """Say where the configuration has changed what is compared: there another epoch begins."""
    found = []
    for lane in shelf.lanes():
        epoch = shelf.newest(lane)
        because = None if epoch is None else _changed(epoch, shelf, plan)
        if because is not None:
            found.append(Opening(lane=lane, because=because))
    return found


def _changed(epoch: Row, shelf: Shelf, plan: Plan) -> str | None:
    before, now = read_judging(epoch["evaluators"]), plan.judging_of(epoch["task"])
    if before.definition != now.definition:
        return f"the evaluators changed (deciding: {_versioned(before)}, now {_versioned(now)})"
    changed = [
        name
        for name, ledger in shelf.candidates(epoch).items()
        if name in plan.candidates and plan.candidates[name] != ledger["definition"]
    ]
    return f"the definition of {', '.join(changed)} changed" if changed else None


def _versioned(judging: Judging) -> str:
    return f"{judging.quality} {judging.versions.get(judging.quality, '?')}"


QUIET = timedelta(days=7)
"""A primary of which no conversation was sampled for so long answers nobody any more."""

REPLACED = timedelta(hours=1)
"""The same where `primary.model` is another: requests it cannot be put into keep the model they name."""


def ended(plan: Plan, *, primary: str, candidate: str, last_started_at: datetime, now: datetime) -> str | None:
    """Say why nobody asks a candidate beside a primary any more, to be read after "because"; None: it goes on."""
    if candidate not in plan.candidates:
        return f"{candidate} is not among shadow.candidates any more"
    quiet = now - last_started_at
    if plan.primary not in {None, primary} and quiet > REPLACED:
        return f"primary.model is {plan.primary} now"
    if quiet > QUIET:
        return f"no conversation with {primary} was sampled since {last_started_at:%Y-%m-%d}"
    return None


def joinings(epoch: Row, present: Mapping[str, Row], plan: Plan) -> list[Joining]:
    """Say who joins an epoch now, as one batch: every configured candidate that is new to it."""
    batches: dict[int, list[str]] = {}
    for name, ledger in present.items():
        batches.setdefault(ledger["batch"], []).append(name)
    book = AlphaBook(alpha=epoch["alpha"], batches=[batches[number] for number in sorted(batches)])
    joined = book.join(plan.candidates_of(epoch["primary"]))
    if len(joined.batches) == len(book.batches):
        return []
    return [
        Joining(candidate=name, definition=plan.candidates[name], batch=len(joined.batches), alpha=joined.of(name))
        for name in joined.batches[-1]
    ]


def write_judging(judging: Judging) -> str:
    """Write down how an epoch judges."""
    return json.dumps(asdict(judging), sort_keys=True)


def read_judging(text: str) -> Judging:
    """Read what `write_judging` wrote."""
    return Judging(**json.loads(text))
