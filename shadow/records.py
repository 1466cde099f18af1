"""The nouns of the product, frozen: what an exchange, a reply, a score and a job are.

What a live process builds for every exchange is a `msgspec.Struct`: it is made ten times as fast as a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import msgspec


class Dialect(StrEnum):
    """A wire format we understand; chosen by the path's suffix, the query ignored."""

    ANTHROPIC_MESSAGES = "anthropic-messages"
    OPENAI_CHAT = "openai-chat"
    OPENAI_RESPONSES = "openai-responses"


class Outcome(StrEnum):
    """How an exchange, or a candidate's answer, ended."""

    OK = "ok"
    REFUSAL = "refusal"
    TRUNCATED = "truncated"
    PAUSED = "paused"
    ABORTED = "aborted"
    ERROR_CONNECT = "error_connect"
    ERROR_HTTP = "error_http"
    ERROR_STREAM = "error_stream"
    TIMEOUT = "timeout"
    INCOMPATIBLE = "incompatible"


ENDED_WELL = frozenset({Outcome.OK, Outcome.REFUSAL, Outcome.TRUNCATED})
"""Outcomes that are shadowed and that make a pair; leaving refusals out would flatter the primary."""

FAILURES = frozenset({Outcome.ERROR_CONNECT, Outcome.ERROR_HTTP, Outcome.ERROR_STREAM, Outcome.TIMEOUT})
"""Ends for which the model or its server is to blame and which the app would have seen as an error."""

MAX_NAME_CHARS = 200
"""How much is kept of a name that somebody else chose: a model, a stop reason, a version."""


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Token counts of one answer, each bucket apart (no token is counted twice).

    `input` is fresh input only: what was neither read from nor written to a cache. Total input is the sum of the
    first four. `output` includes reasoning tokens.
    """

    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0

    @property
    def total_input(self) -> int:
        """All tokens the model read: fresh, from cache and into cache."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One call of a client-side function, as the model asked for it; scored, never executed."""

    name: str
    arguments: str
    """The arguments as the model wrote them, normally JSON; kept as text because they may be broken."""
    id: str | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An answer, understood. Built by `shadow.dialects.read_reply` from the (decoded) body bytes.

    `outcome` is judged from the body and status alone: `ok`, `refusal`, `truncated`, `paused`, `error_http`,
    `error_stream`. `usage` is None when the body does not say (an OpenAI stream without `include_usage`).
    The two offsets are byte positions in the decoded body just after the event that carried the first non-empty output
    (text, thinking or tool arguments), and the first non-empty text; None when not streamed or when there was none.
    """

    outcome: Outcome
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    stop_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None
    error: str | None = None
    streamed: bool = False
    first_output_offset: int | None = None
    first_text_offset: int | None = None


class RequestFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one request body says, as far as sampling, tasks and the skip list need it."""

    model: str | None
    stream: bool = False
    max_output_tokens: int | None = None
    conversation: str | None = None
    """Raw conversation identity (session id, or system + first user message); hashed before it is kept anywhere."""
    first_turn: bool = True
    """True when the history holds no answer of a model yet."""
    has_tools: bool = False
    skip: str | None = None
    """Why this request may never be shadowed (`stateful`, `server_tools`, …), or None."""
    system: str = ""
    """The system prompt's text, for `system_contains`; never stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMatch:
    """Which exchanges belong to a task; every given part must hold."""

    header: Mapping[str, str] = field(default_factory=dict)
    path: str | None = None
    model: str | None = None
    system_contains: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorSpec:
    """One evaluator as configured: its type (`is-json`, `not-regex`, …), its options, and whether it decides."""

    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    quality: bool = False
    name: str | None = None
    """Shown name; None means the type."""
    guard_margin: float | None = None
    """By how much its scores may fall before no candidate is recommended; None: it guards nothing."""
    decides: bool = False
    """The right shape of an answer is all that matters, so that a verdict may rest on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A named slice of traffic with its own evaluators; `evaluators` None means `auto`."""

    name: str
    match: TaskMatch = field(default_factory=TaskMatch)
    evaluators: tuple[EvaluatorSpec, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model under test and where to ask it.

    `base_url` is resolved (the primary's when the config gives none). `api_key` is the key configured for that origin,
    None when there is none (then it is `skipped: no_credentials`). `dialects` None means: whatever the app spoke.
    """

    model: str
    base_url: str
    api_key: str | None = None
    api_key_header: Literal["x-api-key", "bearer", "both"] = "x-api-key"
    bearer_for_openai: bool = False
    """Copies in an OpenAI dialect carry the key as bearer too: those APIs know no other form."""
    same_origin: bool = True
    """True when it is asked at the upstream's own origin; what a route led elsewhere is redacted for it, too."""
    own_base_url: bool = False
    """The configuration gives it an address of its own; without one it is asked only what the upstream itself was."""
    sample_rate: float | None = None
    """None: the shadow section's rate."""
    dialects: tuple[Dialect, ...] | None = None
    drop_params: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per one million tokens of each bucket; a bucket without a price (None) cannot be priced."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one answer cost. `billed` honours caches; `uncached` prices all input as fresh, for fair comparison.

    Both None, with `source` saying why, when the model's price or its token counts are unknown.
    """

    billed_usd: float | None
    uncached_usd: float | None
    source: str


class ExchangeRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One live request with its answer, as it is stored. Never a key, never a query string, never a body."""

    id: str
    """The value of `x-shadow-request-id`."""
    started_at: datetime
    """Aware UTC."""
    method: str
    path: str
    status: int | None
    outcome: Outcome
    latency_ms: float
    dialect: Dialect | None = None
    """None: a path we do not understand; recorded by status and time only."""
    task: str = "default"
    conversation: str | None = None
    """Hash of the conversation key, hex."""
    model: str | None = None
    """The model named in the request as it went upstream."""
    model_answered: str | None = None
    streamed: bool = False
    stop_reason: str | None = None
    ttft_ms: float | None = None
    first_text_ms: float | None = None
    usage: Usage | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    first_turn: bool = True
    has_tools: bool = False
    client_retry: bool = False
    version: str | None = None
    """`x-shadow-version`, when the app declared one."""
    eligible: bool = False
    """Recognised and ended: what coverage counts."""
    error: str | None = None
    """A short sentence, scrubbed of keys."""
    gateway_error: str | None = None
    """Set when the answer was our own: `connect`, `first_byte_timeout`, …"""
    prompt: str | None = None
    """Keyed hash of what a sampled exchange asked, hex: tells a prompt that was asked before."""
    overhead_us: int | None = None
    """What the gateway itself added, microseconds (`gateway.recording`); None: no answer of the upstream passed."""


class JobBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The raw copy of one exchange that its shadow jobs share; deleted when the last of them is done or too old."""

    exchange_id: str
    dialect: Dialect
    path: str
    """Path as the app sent it, without the query."""
    query: str
    """Query without credentials (`key`, `api_key`, `access_token`, … removed)."""
    request_headers: Mapping[str, str]
    """Only the ones a candidate needs: content-type, anthropic-version, anthropic-beta, accept; never credentials."""
    request: bytes
    """Decoded JSON as the app sent it (before any `primary.model` splice)."""
    response: bytes
    """Decoded answer of the primary."""
    response_status: int
    response_streamed: bool
    origin: str = ""
    """scheme://host:port where the primary was asked, which a route may have chosen; empty: the upstream's own."""


NOISE_FLOOR = "~primary again"
"""Stands for the candidate in the job that asks the primary once more what it was asked; never counted as one.

It sorts after the names of models, so that candidates are asked first.
"""

JobState = Literal["pending", "leased", "sent", "done", "skipped", "dropped"]
"""pending -> leased -> sent -> done, or skipped/dropped with a reason. Coverage: leased is pending, done is sent."""


class ShadowJob(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One candidate to be asked what one exchange asked. Unique per (exchange, candidate)."""

    exchange_id: str
    candidate: str
    conversation: str
    task: str
    primary: str
    created_at: datetime
    state: JobState = "pending"
    reason: str | None = None
    counted: bool = True
    """False for opted-in exchanges (`x-shadow: on`): shown, never counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a live process hands to the store in one transaction."""

    exchanges: Sequence[ExchangeRecord] = ()
    jobs: Sequence[ShadowJob] = ()
    bodies: Sequence[JobBody] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Copies or records lost since the last batch, by reason (`tee_full`, `buffer_full`, …)."""
    origin_rests: Mapping[str, datetime] = field(default_factory=dict)
    """Origin -> time before which no shadow call may go there (a live 429 or 529 came back)."""


ScoreStatus = Literal["scored", "not_applicable", "failed"]

JudgementOrder = Literal["primary_first", "candidate_first", "single", "none"]
"""Which answer the judge read as A; `single`: it graded one answer; `none`: it was not asked (identical answers)."""

JudgementStatus = Literal["ruled", "identical", "unreadable", "refused", "timeout", "error"]
"""`ruled`: a ruling that could be read. All but that and `identical` count as failed calls."""

Control = Literal["other_prompt", "half"]
"""A judgement that tests the judge: the answer to another prompt, or half of the answer, against the primary's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One call of a judge: how it was asked, what it ruled, what it cost. Latency is measured off the live path."""

    model: str
    started_at: datetime
    order: JudgementOrder
    status: JudgementStatus
    control: Control | None = None
    """None: a ruling about the pair. In a control `candidate` stands for the answer that must lose."""
    winner: Literal["primary", "candidate", "tie"] | None = None
    """Of a comparison that was ruled."""
    grade: int | None = None
    """Of a single answer that was graded, 1 to 5."""
    reason: str = ""
    """What the judge said, or why there is no ruling."""
    attempt: int = 1
    usage: Usage | None = None
    cost_usd: float | None = 0.0
    """None: the provider may have billed it and did not say how much; its whole reserve is then spent."""
    latency_ms: float = 0.0
    primary_chars: int = 0
    candidate_chars: int = 0
    """Length of the answers, before anything was left out for the judge."""


@dataclass(frozen=True, slots=True)
class Score:
    """What an evaluator says: a value, or none with a reason. Only `scored` is ever averaged.

    `value` lies in [0, 1] ([-1, 1] from a pair evaluator, positive: candidate better); None unless it is `scored`.
    """

    status: ScoreStatus
    value: float | None = None
    reason: str = ""
    cost_usd: float = 0.0
    """What scoring cost; where a provider did not say, the most it can have been."""
    _: KW_ONLY
    judgements: tuple[Judgement, ...] = ()
    """The calls of a judge behind it, controls and failed ones included."""

    def __post_init__(self) -> None:
        if (self.status == "scored") != (self.value is not None):
            raise ValueError(f"a Score has a value exactly when it is scored, not {self.status} with {self.value}")


@dataclass(frozen=True, slots=True)
class EvalCase:
    """One answer with everything an evaluator may look at. `request` is the parsed request body.

    Latencies are milliseconds, cost is USD; None when not known (never a guess).
    """

    request: Mapping[str, Any]
    output: str
    tool_calls: Sequence[ToolCall] = ()
    stop_reason: str | None = None
    expected: str | None = None
    usage: Usage | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None
    cost_usd: float | None = None
    _: KW_ONLY
    exchange_id: str = ""
    """Which exchange it belongs to; empty outside of live traffic."""
    task: str = "default"
    model: str | None = None
    """Who was asked."""
    role: Literal["primary", "candidate"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredScore:
    """A score as it is kept: whose answer, by which evaluator in which version."""

    evaluator: str
    version: str
    quality: bool
    role: Literal["primary", "candidate", "pair"]
    score: Score
    measures: Literal["content", "format"] = "content"
    """What the evaluator speaks about: whether the answer is right, or whether it has the right shape."""
    absolute: bool = True
    """False when it is about two answers, not about one alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateAnswer:
    """What a candidate answered to one exchange, with its clocks and cost. Latency is measured off the live path."""

    exchange_id: str
    candidate: str
    started_at: datetime
    outcome: Outcome
    status: int | None
    latency_ms: float
    ttft_ms: float | None = None
    first_text_ms: float | None = None
    stop_reason: str | None = None
    model_answered: str | None = None
    usage: Usage | None = None
    cost: Cost
    error: str | None = None
    streamed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredContent:
    """Prompt and answers of one pair as kept after scoring, redacted when so configured; None with `content: none`."""

    prompt: str | None = None
    """JSON text of the request."""
    primary_output: str | None = None
    primary_tool_calls: str | None = None
    """JSON list of {name, arguments}."""
    candidate_output: str | None = None
    candidate_tool_calls: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairResult:
    """One finished shadow job: the answer, the scores of both sides, and what is kept of the content."""

    answer: CandidateAnswer
    scores: Sequence[StoredScore]
    content: StoredContent
    redaction_changed: bool = False
    """Redaction changed the copy that was sent, so this pair stays out of every comparison."""
    primary_cost: Cost | None = None
    identical: bool | None = None
    """Both said the same, tool calls included; None when one of them gave no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedJob:
    """A job a worker holds, with what it needs to do it. `body` is None when the copy is gone (too old)."""

    job: ShadowJob
    body: JobBody | None
    exchange: ExchangeRecord
    lease: str = ""
    """The store's mark of this lease: what a worker does with a job it no longer holds changes nothing."""
    expected: str | None = None
    """What users of the app have said is right, if they have by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What users of the app say later about the primary's answer to one exchange; what is None is not said."""

    exchange_id: str
    given_at: datetime
    score: float | None = None
    """How good it was, 0 to 1."""
    expected: str | None = None
    """What would have been right, as it may be kept."""
    expected_changed: bool = False
    """Redaction changed it, so that it is no reference any more."""
