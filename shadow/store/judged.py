"""What judges, people and second answers add to the rollups: pure functions from rows to sums, exact to add up.

The counts are those of the queries `judge_tallies`, `label_tallies`, `feedback` and `noise_floor`, which read the rows
themselves and are the oracle of the tests.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from shadow.records import ENDED_WELL
from shadow.rollups import FEEDBACK, NOISE, Key, judge_detail, label_detail, minute_of, noise_detail

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from shadow.rollups import Deltas, Row
    from shadow.store.contributions import Bundle

_RULED = frozenset({"ruled", "identical"})
_UNREADABLE = frozenset({"unreadable", "refused"})
_HUNDREDTHS = 100


class _Judge(NamedTuple):
    """One judge beside one candidate's answer, asked about the pair or (control) tested."""

    candidate: str
    evaluator: str
    version: str
    model: str
    control: str


def add_judged(deltas: Deltas, bundle: Bundle) -> None:
    """Add what deciding judges did about one exchange, what people and users said of it."""
    exchange = bundle.exchange
    minute, task, model = minute_of(exchange["started_at"]), exchange["task"], exchange["model"]
    trials = _trials(bundle)
    tested: set[tuple[str, str, str]] = set()
    for judge in sorted(trials):
        detail = judge_detail(judge.evaluator, judge.version, judge.model)
        numbers = deltas.at(Key(minute, task, model, judge.candidate, detail)).numbers
        trial = _Trial(trials[judge])
        trial.add_calls(numbers, is_control=bool(judge.control))
        if not judge.control:
            if _counts(bundle, judge.candidate):
                trial.add_pair(numbers)
        # Beside one live answer several candidates may come with a control; they ask the same and count as one.
        elif judge[1:4] not in tested:
            tested.add(judge[1:4])
            trial.add_control(numbers)
    for label, version, judge_model, ruling in _labelled(bundle):
        detail = label_detail(version, judge_model)
        numbers = deltas.at(Key(minute, task, model, label["candidate"], detail)).numbers
        numbers[f"{label['winner']}.{ruling}"] += 1
    for said in bundle.feedback:
        if said["score"] is not None:
            numbers = deltas.at(Key(minute, task, model, "", FEEDBACK)).numbers
            numbers["n"] += 1
            numbers["sum"] += said["score"]


def add_second_answers(deltas: Deltas, rows: Iterable[Row], *, first_of: Collection[str] | None = None) -> None:
    """Add what the primary, asked again, answered; `rows` hold every second answer of each conversation they name.

    A conversation counts where its first one is. `first_of`: only conversations whose first exchange is one of these.
    """
    conversations: dict[tuple[str, str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["exchange_started_at"], row["exchange_id"])):
        conversations.setdefault((row["task"], row["primary"], row["conversation"]), []).append(row)
    for (task, primary, _), answers in conversations.items():
        if first_of is not None and answers[0]["exchange_id"] not in first_of:
            continue
        minute = minute_of(answers[0]["exchange_started_at"])
        numbers = deltas.at(Key(minute, task, primary, "", NOISE)).numbers
        numbers["conversations"] += 1
        differences: dict[tuple[str, str], list[float]] = {}
        for answer in answers:
            _add_second_answer(numbers, answer)
            if _known(answer["difference"]) and answer["evaluator"] is not None:
                differences.setdefault((answer["evaluator"], answer["version"]), []).append(answer["difference"])
        for evaluator, values in differences.items():
            mean = round(_HUNDREDTHS * round(sum(values) / len(values), 2))
            deltas.at(Key(minute, task, primary, "", noise_detail(*evaluator))).numbers[str(mean)] += 1


def _add_second_answer(numbers: dict[str, float], answer: Row) -> None:
    numbers["rows"] += 1
    if _known(answer["difference"]):
        numbers["n"] += 1
        numbers["differing"] += round(answer["difference"], 2) != 0
    if answer["outcome"] in ENDED_WELL and answer["identical"] is not None:
        numbers["answered"] += 1
        numbers["identical"] += bool(answer["identical"])
    for cost in (answer["cost_billed_usd"], answer["scoring_usd"]):
        if _known(cost):
            numbers["cost_usd"] += cost


def _known(value: float | None) -> bool:
    return value is not None and isfinite(value)


def _trials(bundle: Bundle) -> dict[_Judge, list[Row]]:
    """Group the calls of deciding judges by whom they were about; a pair that is not there (any more) has none."""
    paired = {row["candidate"] for row in bundle.jobs} & {row["candidate"] for row in bundle.answers}
    found: dict[_Judge, list[Row]] = {}
    for row in bundle.judgements:
        if row["quality"] and row["candidate"] in paired:
            judge = _Judge(row["candidate"], row["evaluator"], row["version"], row["model"], row["control"] or "")
            found.setdefault(judge, []).append(row)
    return found


def _counts(bundle: Bundle, candidate: str) -> bool:
    counted = any(row["counted"] for row in bundle.jobs if row["candidate"] == candidate)
    return counted and not any(row["redaction_changed"] for row in bundle.answers if row["candidate"] == candidate)


class _Trial:
    """The calls of one judge about one pair, retries included.

    A call of order `none` was not made: the answers were identical, or (with a grade) this one was graded before.
    """

    def __init__(self, calls: Sequence[Row]) -> None:
        self._calls = calls
        self.first, self.second = self._winner("primary_first"), self._winner("candidate_first")
        self.grades = self._grade("primary"), self._grade("candidate")
        self._is_single = any(call["judge_order"] == "single" for call in calls)

    def _winner(self, order: str) -> str | None:
        said = (call["winner"] for call in self._calls if call["judge_order"] == order or _is_graded_control(call))
        return max((winner for winner in said if winner is not None), default=None)

    def _grade(self, role: str) -> int | None:
        grades = (call["grade"] for call in self._calls if call["role"] == role)
        return max((grade for grade in grades if grade is not None), default=None)

    @property
    def is_compared(self) -> bool:
        return self.first is not None and self.second is not None

    @property
    def is_graded(self) -> bool:
        return None not in self.grades

    def ruling(self) -> str | None:
        """Say who won; None without a ruling."""
        primary, candidate = self.grades
        if primary is not None and candidate is not None:
            return "candidate" if candidate > primary else "primary" if candidate < primary else "tie"
        if not self.is_compared:
            return None
        return self.first if self.first == self.second else "tie"

    def add_calls(self, numbers: dict[str, float], *, is_control: bool) -> None:
        numbers["trials"] += 1  # so that a judge is known whose every other number is 0
        numbers["single"] += self._is_single
        for call in self._calls:
            numbers["calls"] += call["judge_order"] != "none"
            numbers["failed_calls"] += call["status"] not in _RULED
            numbers["unreadable_calls"] += call["status"] in _UNREADABLE
            numbers["unpriced_calls"] += call["cost_usd"] is None
            numbers["cost_usd"] += call["cost_usd"] or 0.0
            if is_control:
                numbers["control_cost_usd"] += call["cost_usd"] or 0.0

    def add_pair(self, numbers: dict[str, float]) -> None:
        is_identical = any(call["judge_order"] == "none" and call["grade"] is None for call in self._calls)
        numbers["ruled"] += self.is_compared or self.is_graded
        numbers["identical_pairs"] += is_identical
        numbers["failed"] += not is_identical and not (self.is_graded if self._is_single else self.is_compared)
        if self.is_compared:
            numbers["flips"] += self.first != self.second
            numbers["ties"] += self.first != self.second or self.first == "tie"
            numbers["primary_chars"] += max(call["primary_chars"] for call in self._calls)
            numbers["candidate_chars"] += max(call["candidate_chars"] for call in self._calls)

    def add_control(self, numbers: dict[str, float]) -> None:
        numbers["controls"] += self.is_compared
        numbers["controls_passed"] += self.first == self.second == "primary"
        numbers["controls_failed_to_rule"] += not self.is_compared


def _is_graded_control(call: Row) -> bool:
    """A control of a judge that grades is one call, which says who won whatever the order."""
    return call["judge_order"] == "single" and call["control"] is not None


def _labelled(bundle: Bundle) -> list[tuple[Row, str, str, str]]:
    """Put people's labels beside what each judge ruled of the same pair: label, version, model, ruling."""
    if not bundle.labels:
        return []
    trials: dict[tuple[str, str, str], list[Row]] = {}
    for row in bundle.judgements:
        if row["quality"] and row["control"] is None and (row["judge_order"] != "none" or row["grade"] is not None):
            trials.setdefault((row["candidate"], row["version"], row["model"]), []).append(row)
    rulings = {of: _Trial(calls).ruling() for of, calls in trials.items()}
    return [
        (label, version, model, ruling)
        for label in bundle.labels
        for (candidate, version, model), ruling in rulings.items()
        if candidate == label["candidate"] and ruling is not None
    ]
