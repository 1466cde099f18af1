"""The script of the simulator: which models it plays, how good, how fast and how dear each one is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping  # noqa: TC003  (dataclass fields are part of the public signature)
from dataclasses import dataclass, field, fields, replace
from typing import Literal, get_args

from shadow.records import Price

Manner = Literal[
    "right",  # the right answer, in the form that was asked for
    "wrong",  # well formed, but not true
    "off_schema",  # JSON or tool arguments that break the schema: a required key is missing, a type is wrong
    "broken_json",  # JSON or tool arguments cut in the middle
    "fenced",  # right JSON inside a Markdown fence
    "refusal",
    "empty",
    "truncated",  # cut half way, as if max_tokens had been reached
    "paused",  # stop_reason pause_turn (Messages API only)
]
MANNERS: tuple[Manner, ...] = get_args(Manner)

JudgeManner = Literal[
    "truthful",  # rules by what is true, as often as `judge_accuracy` says
    "always_a",
    "always_tie",
    "random",
    "prose",  # an opinion in words
    "ten",  # "10"
    "empty",
    "injected",  # a score, as an answer under judgement demanded it
    "refusal",
]

JUDGE_MANNERS: tuple[JudgeManner, ...] = get_args(JudgeManner)

_JUDGE_NAMES: Mapping[str, JudgeManner] = {f"judge-{each.replace('_', '-')}": each for each in JUDGE_MANNERS}

USUAL_NAMES = ("claude-sonnet-4-5", "claude-haiku-4-5", "gpt-4o", "gemini-2.5-pro")
"""What apps ask for: shown in the list of models where every name is played and none is scripted."""

_TWO_TO_64 = 1 << 64


def draw(*parts: object) -> float:
    """Give a number in [0, 1) that depends on `parts` only: the same run after run, spread evenly over prompts."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _TWO_TO_64


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How often a model fails, by way of failing; shares of prompts in [0, 1], what is left over is answered right.

    A share counts only where it can apply: a model that fences its JSON still answers arithmetic right.
    Raises ValueError when a share is negative or all together exceed 1.
    """

    wrong: float = 0.0
    off_schema: float = 0.0
    broken_json: float = 0.0
    fenced: float = 0.0
    refusal: float = 0.0
    empty: float = 0.0
    truncated: float = 0.0
    paused: float = 0.0

    def __post_init__(self) -> None:
        shares = [getattr(self, each.name) for each in fields(self)]
        if min(shares) < 0 or sum(shares) > 1 + 1e-9:
            raise ValueError(f"the shares of a Quality must be 0 or more and sum to 1 at most, not {shares}")

    def manner(self, applicable: frozenset[Manner], u: float) -> Manner:
        """Choose the way of answering for the draw `u` in [0, 1)."""
        for each in MANNERS[1:]:
            share: float = getattr(self, each)
            if each in applicable and u < share:
                return each
            u -= share
            if u < 0:  # the draw fell into a share that does not apply here
                return "right"
        return "right"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The clock of one model. Milliseconds; `jitter` is the largest relative deviation of a gap, drawn by hash."""

    header_delay_ms: float = 0.0
    """Before the response head."""
    ttft_ms: float = 0.0
    """From the head to the first token."""
    gap_ms: float = 0.0
    """Between two tokens."""
    jitter: float = 0.0
    ping_ms: float = 0.0
    """When above 0, a ping (a comment line in OpenAI streams) goes out this often before the first token."""
    chunk_bytes: int = 0
    """When above 0, a stream is cut into pieces of 1 to `chunk_bytes` bytes at arbitrary places."""
    events_per_chunk: int = 1
    """So many events travel in one write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRate:
    """A fault (as in `x-sim-fault`) that strikes a share of calls; a retry draws anew."""

    fault: str
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SimModel:
    """One model the simulator plays."""

    name: str
    quality: Quality = field(default_factory=Quality)
    timing: Timing = field(default_factory=Timing)
    price: Price = field(default_factory=lambda: Price(input=1.0, output=5.0, cache_read=0.1, cache_write=1.25))
    """Made up. The wire never tells prices; a test or the demo copies them into `prices:`."""
    thinks: bool = False
    """Thinks before it answers: thinking blocks with signatures, reasoning tokens."""
    words: int = 40
    """Length of an answer in prose."""
    phrase: str = "The answer is {number}."
    """How it says a number: models that mean the same seldom use the same words."""
    faults: tuple[FaultRate, ...] = ()
    judge: JudgeManner | None = None
    """How it rules when answers are put before it as a judge; None: it answers such a prompt like any other."""
    judge_accuracy: float = 1.0
    """Share of rulings in which a truthful judge is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """All the simulator does, as one value. Two simulators with one script give the same answers."""

    models: tuple[SimModel, ...] = ()
    other: SimModel | None = field(default_factory=lambda: SimModel(name="", judge="truthful"))
    """Plays every name that is not in `models`; None: such a name is 404.

    The names `judge-always-a`, `judge-random`, `judge-prose`, … (see `JudgeManner`) rule in that manner.
    """
    seed: str = "simulator"
    keys: frozenset[str] | None = None
    """Keys that are let in; None: any, and none at all."""
    compress: bool = True
    """Compress JSON answers when the client takes gzip, br or zstd."""
    compress_streams: bool = False
    min_cached_tokens: int = 0
    """Shortest prefix `cache_control` caches (1,024 at the real API; 0 keeps test prompts short)."""
    automatic_cache_tokens: int = 1024
    """OpenAI shapes cache by themselves from this length on, in steps of 128."""
    log_limit: int = 20_000
    """Requests the log keeps."""

    def model(self, name: str) -> SimModel | None:
        """Give the model that plays `name`, under that name."""
        played: Mapping[str, SimModel] = {each.name: each for each in self.models}
        if name in played:
            return played[name]
        if self.other is None:
            return None
        return replace(self.other, name=name, judge=_JUDGE_NAMES.get(name, self.other.judge))

    @property
    def names(self) -> tuple[str, ...]:
        """The list of models: those of `models`; without any, some of the names `other` plays, and the judges'."""
        if self.models or self.other is None:
            return tuple(each.name for each in self.models)
        return (*USUAL_NAMES, *_JUDGE_NAMES)

    def switched(self, qualities: Mapping[str, Mapping[str, float]]) -> Script:
        """Give the script with other failings of these models. Raises TypeError or ValueError for bad ones."""
        played = {each.name: each for each in self.models}
        for name, shares in qualities.items():
            model = self.model(name)
            if model is None:
                raise ValueError(f"no model {name!r} is played")
            played[name] = replace(model, quality=replace(model.quality, **shares))
        return replace(self, models=tuple(played.values()))
