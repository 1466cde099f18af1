"""The nouns of a benchmark run, frozen: its cases, its plan, its answers, and what the store keeps of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec

from shadow.records import ENDED_WELL, CandidateAnswer, Cost, Dialect, Outcome, Score, StoredScore

RunKind = Literal["bench", "replay", "weekly"]
"""Where the cases came from: a file, production prompts asked for once, or the schedule."""

RunState = Literal["running", "done", "stopped", "failed"]
"""`stopped`: ended before every answer was there (money, Ctrl-C); `failed`: broke off with a fault. Both may go on."""

DEFAULT_PATHS: Mapping[Dialect, str] = {
    Dialect.ANTHROPIC_MESSAGES: "/v1/messages",
    Dialect.OPENAI_CHAT: "/v1/chat/completions",
    Dialect.OPENAI_RESPONSES: "/v1/responses",
}

DEFAULT_HEADERS: Mapping[Dialect, Mapping[str, str]] = {
    Dialect.ANTHROPIC_MESSAGES: {"content-type": "application/json", "anthropic-version": "2023-06-01"},
    Dialect.OPENAI_CHAT: {"content-type": "application/json"},
    Dialect.OPENAI_RESPONSES: {"content-type": "application/json"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question of a run: a whole request in one dialect, conversation and parameters included.

    `request` is the JSON body; its `model` is replaced by each model that is asked, everything else travels as it is.
    """

    id: str
    """Unique within the run."""
    dialect: Dialect
    request: bytes
    expected: str | None = None
    task: str = "default"
    """Chooses the evaluators."""
    path: str | None = None
    """Path of the API below the base URL; None: the dialect's own (`/v1/messages`, …)."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers of the API (`anthropic-beta`); never credentials."""
    cluster: str | None = None
    """Cases of one cluster, such as the turns of one conversation, are one unit of statistics; None: itself alone."""
    source: str | None = None
    """Where it came from: the exchange it repeats, or the line of its file."""
    known_hash: str | None = None
    """The hash of a request that is no longer kept; None: worked out."""

    @property
    def prompt_hash(self) -> str:
        """Identify what is asked, whoever is asked: hex."""
        return prompt_hash(self.dialect, self.request) if self.known_hash is None else self.known_hash


def prompt_hash(dialect: Dialect, request: bytes) -> str:
    """Hash a request without its `model` and `stream`; the order of keys does not matter.

    What cannot be read as a JSON object is hashed as it stands.
    """
    try:
        members = msgspec.json.decode(request)
    except (ValueError, RecursionError):
        members = None
    if isinstance(members, dict):
        asked = {name: value for name, value in members.items() if name not in {"model", "stream", "stream_options"}}
        request = msgspec.json.encode(asked, order="sorted")
    return hashlib.blake2b(request, digest_size=16, person=dialect.value.encode()[:16]).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One answer that a run asks for."""

    case_id: str
    model: str
    repeat: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorOfRun:
    """An evaluator as it stood when the run was scored."""

    name: str
    version: str
    quality: bool
    measures: str = "content"
    absolute: bool = True


EVALUATORS_OF_RUN = msgspec.json.Decoder(dict[str, list[EvaluatorOfRun]])
"""Reads the column `evaluators` of a run: those of each task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """All of a run that is decided before the first question goes out."""

    id: str
    kind: RunKind = "bench"
    name: str = ""
    """What people call it, such as the case file; may be empty, need not be unique."""
    period: str | None = None
    """Of a scheduled run: the period it is for. There is at most one run of a kind and period."""
    models: tuple[str, ...]
    primary: str | None = None
    """The model the others are compared with, by evaluators that compare; None: no such evaluator runs."""
    cases: tuple[Case, ...]
    evaluators: Mapping[str, Sequence[EvaluatorOfRun]] = field(default_factory=dict)
    """By task."""
    repeats: int = 1
    seed: str = ""
    """Orders the questions: the same seed gives the same order."""
    max_cost_usd: float | None = None
    """What may never be passed, reserves included; None: no bound."""
    estimate_usd: float | None = None
    """The most it can cost; None when a price is unknown."""
    base_urls: Mapping[str, str] = field(default_factory=dict)
    """Where each model is asked."""
    note: str = ""
    """A sentence about the cases: how they were sampled, what was left out."""

    @property
    def cells(self) -> int:
        """How many answers make it complete."""
        return len(self.cases) * len(self.models) * self.repeats

    @property
    def fingerprint(self) -> str:
        """Identify the questions and who is asked: what `--resume` looks for."""
        cases = sorted((case.prompt_hash, case.expected or "", case.task, case.id) for case in self.cases)
        parts = [cases, sorted(self.models), self.primary, self.repeats, sorted(self.base_urls.items())]
        return hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAnswer:
    """One answer of a run, with its scores. `answer.exchange_id` is the case's id, `answer.candidate` the model."""

    answer: CandidateAnswer
    """The last attempt; its cost is this attempt's alone."""
    repeat: int = 0
    attempts: int = 1
    cost: Cost
    """All attempts together; unknown when one of them is."""
    output: str | None = None
    """None when nothing of the content is kept."""
    tool_calls: str | None = None
    """JSON list of {name, arguments}."""
    scores: tuple[StoredScore, ...] = ()

    @property
    def cell(self) -> Cell:
        """Which of the run's answers this is."""
        return Cell(case_id=self.answer.exchange_id, model=self.answer.candidate, repeat=self.repeat)

    @property
    def ended_well(self) -> bool:
        """True when there is an answer to look at: ok, refusal or truncated."""
        return self.answer.outcome in ENDED_WELL

    @property
    def is_error(self) -> bool:
        """True when asking again may help: everything that is neither an answer nor a refused request."""
        return not self.ended_well and self.answer.outcome is not Outcome.INCOMPATIBLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """One answer of a run, seen from a later answer of the same model to the same prompt."""

    run_id: str
    case_id: str
    repeat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLook:
    """What an evaluator that only compares says of an answer beside an earlier one of the same model.

    The score's value is positive where the later answer is better. An answer of the same run as `before` tells noise.
    """

    cell: Cell
    before: Earlier
    evaluator: str
    version: str
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class RunControl:
    """A test of a judge in a run, on an answer of the primary to one case, in which it ruled something."""

    case_id: str
    evaluator: str
    version: str
    winners: Mapping[str, str]
    """Order in which the judge saw the two -> whom it ruled for, the first time; `single` for one that grades.

    Empty where it graded the answer alone, and not the one made to lose.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as the store keeps it. Money is USD."""

    id: str
    kind: RunKind
    name: str
    period: str | None
    state: RunState
    reason: str | None
    """Why it stopped or failed."""
    started_at: datetime
    finished_at: datetime | None
    models: tuple[str, ...]
    primary: str | None
    evaluators: Mapping[str, Sequence[EvaluatorOfRun]]
    repeats: int
    seed: str
    fingerprint: str
    base_urls: Mapping[str, str]
    note: str
    max_cost_usd: float | None
    estimate_usd: float | None
    spent_usd: float
    reserved_usd: float
    cases: int
    cells: int
    answered: int
    """How many of `cells` have an answer, failures included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A whole run, read back: what summaries, gates, comparisons and exports are made of.

    Cases come without their request when nothing of the content was kept (`request` is then empty).
    """

    run: Run
    cases: tuple[Case, ...]
    answers: tuple[RunAnswer, ...]

    @property
    def errors(self) -> int:
        """How many answers are errors."""
        return sum(answer.is_error for answer in self.answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPrompt:
    """One production prompt that may be asked again, without its content."""

    exchange_id: str
    started_at: datetime
    task: str
    dialect: Dialect
    model: str | None
    conversation: str | None
    path: str
    first_turn: bool
