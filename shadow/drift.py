"""Does a model still answer as it did? The same prompts now against before, in pairs of answers; pure.

Where answers have a quality of their own its difference is what counts; where a judge only compares, its word on the
two (`drift_of_pairings`).

Each answer is used in one pair only. Comparing every week with one frozen week would use that week's luck again and
again: its prompts that happened to fail can only get better, and after a year of weeks such luck looks like proof. So
a new answer is paired with the oldest unused one of its prompt, at most `REACH` runs old; with two answers a run a
change is seen by the run in which it happens and by the run after it.

Evidence, with d = quality now - quality before, one value a conversation and run, rounded towards "nothing changed":
0.15 of the money on the bets of `shadow.verdict.e_value` against a mean of 0, the rest on three large ones. A model
that answers a prompt always the same way has no noise, so that every difference is real and a large bet is the right
one: five losses are then enough. Where there is noise the smaller bets decide. On top a mixture over the beginning:
E = 0.9 * E(all runs) + 0.1 * sum over s of E(runs from the s-th on) / (s (s + 1)), the share of beginnings to come held
uninvested, so that a change after a year of noise is not drowned in it. A mixture of e-processes is one: E >= 1/alpha
happens with probability alpha at most when nothing changes, however many weeks there are.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from shadow.verdict import rounded_down, rounded_up
from shadow.verdict.eprocess import BETS, bets, merged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALPHA = 0.05
"""Chance that one model, on one task, is ever said to have become worse (and, apart from that, better) though nothing
changed."""

WHOLE_SHARE = 0.9
"""Share of the evidence that counts all runs since the last change; the rest is for changes that begin later."""

_LARGE_BETS = ((0.99, 0.6), (0.8, 0.15), (0.6, 0.1))
_SPREAD_SHARE = 0.15
"""How the money is spread: share on each large bet, and what is shared by the bets of `e_value`."""

REACH = 2
"""How many runs back an answer may be compared: further, and a change long past would look like a new one."""

SAME = 0.005
"""Qualities nearer than this are the same: half a hundredth."""

MAX_EXAMPLES = 5
_BISECTIONS = 30

Direction = Literal["worse", "better"]

_LOG_SHARES = (
    *(math.log(_SPREAD_SHARE / BETS) for _ in range(BETS)),
    *(math.log(share) for _, share in _LARGE_BETS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """One prompt in one run, asked of one model: the quality of each of its answers, None where there is none."""

    run: int
    """Number of the run, ascending in time."""
    prompt: str
    """Hash of the prompt."""
    qualities: Sequence[float | None]
    """In [0, 1], by repeat."""
    cluster: str | None = None
    """Prompts of one conversation are one unit; None: the prompt alone."""
    case_id: str = ""

    @property
    def unit(self) -> str:
        """What is one value of the statistics."""
        return self.cluster or self.prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOf:
    """Which of a run's answers: the run, the case, and which of the case's repeats."""

    run: int
    case_id: str
    repeat: int
    quality: float | None
    """None where nothing is said of one answer alone: a judge set the two side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """One answer of now beside one of before, to the same prompt."""

    prompt: str
    unit: str
    now: AnswerOf
    before: AnswerOf
    difference: float
    """Quality now minus quality before, or what a judge says of now against before, in [-1, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFloor:
    """How much a model differs from itself within a run, where nothing can have changed."""

    n: int
    """Prompts that were answered twice in one run."""
    discordance: float | None
    """Share of them whose two answers had different qualities; None without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What the runs from one on say against those before: the mean difference and how sure it is."""

    since_run: int
    pairs: int
    """Values of the statistics: conversations, each in each run."""
    mean: float
    interval: tuple[float, float]
    """Means that the same evidence cannot disprove, each end at alpha, for this beginning as if it had been known."""
    level: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A change that is proved."""

    direction: Direction
    found_run: int
    change: Change
    """From the run on from which the evidence is strongest: about when it began."""
    log_e: float
    examples: tuple[Pairing, ...]
    """The largest differences in that direction since then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """What is known of one model on one task: every change found, and where it stands since the last of them."""

    drifts: tuple[Drift, ...]
    noise: NoiseFloor
    now: Change | None
    """All runs since the last change together; None while nothing could be compared."""
    log_e_worse: float
    log_e_better: float
    needed_log_e: float
    """ln(1/alpha): where evidence becomes proof."""


def drift_of(askings: Iterable[Asking], *, alpha: float = ALPHA) -> DriftReport:
    """Go through a model's askings on one task, run by run, and tell every change that is proved.

    After a change the new behaviour is what later runs are compared with.
    """
    by_run = _by_run(askings)
    drifts: list[Drift] = []
    track, pairer = _Track(alpha), _Pairer()
    for run in sorted(by_run):
        track.add(run, pairer.add(run, by_run[run]))
        found = track.proved(run)
        if found is not None:
            drifts.append(found)
            track, pairer = _Track(alpha), _Pairer()
            pairer.add(run, by_run[run])
    return _reported(drifts, track, alpha, noise=noise_floor(asking for run in by_run.values() for asking in run))


def drift_of_pairings(pairings: Iterable[Pairing], *, noise: NoiseFloor, alpha: float = ALPHA) -> DriftReport:
    """Do the same with pairs that a judge has compared, each answer in one pair only; `noise` is the judge's.

    After a change, pairs with an answer from before it say nothing new and are left out.
    """
    by_run: dict[int, list[Pairing]] = defaultdict(list)
    for pairing in pairings:
        by_run[pairing.now.run].append(pairing)
    drifts: list[Drift] = []
    track, since = _Track(alpha), -1
    for run in sorted(by_run):
        track.add(run, [pairing for pairing in by_run[run] if pairing.before.run >= since])
        found = track.proved(run)
        if found is not None:
            drifts.append(found)
            track, since = _Track(alpha), run
    return _reported(drifts, track, alpha, noise=noise)


def _reported(drifts: Sequence[Drift], track: _Track, alpha: float, *, noise: NoiseFloor) -> DriftReport:
    return DriftReport(
        drifts=tuple(drifts),
        noise=noise,
        now=track.change(0) if track.runs else None,
        log_e_worse=track.log_e("worse"),
        log_e_better=track.log_e("better"),
        needed_log_e=math.log(1 / alpha),
    )


def noise_floor(askings: Iterable[Asking]) -> NoiseFloor:
    """Compare each prompt's first two answers of a run with one another."""
    different: list[bool] = []
    for asking in askings:
        first, second = (*asking.qualities, None, None)[:2]
        if first is not None and second is not None:
            different.append(abs(first - second) >= SAME)
    return NoiseFloor(n=len(different), discordance=sum(different) / len(different) if different else None)


def pairings(askings: Iterable[Asking]) -> list[Pairing]:
    """Pair the answers of every run with unused earlier ones, run by run."""
    by_run = _by_run(askings)
    pairer = _Pairer()
    return [pairing for run in sorted(by_run) for pairing in pairer.add(run, by_run[run])]


class _Pairer:
    """Remembers the unused answers of each prompt."""

    def __init__(self) -> None:
        self._unused: dict[str, deque[tuple[AnswerOf, float]]] = defaultdict(deque)

    def add(self, run: int, askings: Sequence[Asking]) -> list[Pairing]:
        """Pair one answer of each prompt of a run; keep the others for later runs."""
        return [pairing for asking in askings for pairing in self._pair(run, asking)]

    def _pair(self, run: int, asking: Asking) -> list[Pairing]:
        answers = [
            (AnswerOf(run=run, case_id=asking.case_id, repeat=repeat, quality=quality), quality)
            for repeat, quality in enumerate(asking.qualities)
            if quality is not None
        ]
        unused = self._unused[asking.prompt]
        while unused and unused[0][0].run < run - REACH:
            unused.popleft()
        paired = []
        if answers and unused:
            (now, after), (before, was) = answers.pop(0), unused.popleft()
            paired.append(
                Pairing(prompt=asking.prompt, unit=asking.unit, now=now, before=before, difference=after - was)
            )
        unused.extend(answers)
        return paired


class _Track:
    """The comparisons since the last change, by run."""

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha
        self.runs: list[int] = []
        """Those that could be compared."""
        self._pairs: list[list[Pairing]] = []
        self._counts: Mapping[Direction, list[Mapping[float, int]]] = {"worse": [], "better": []}
        self._won: Mapping[Direction, list[list[float]]] = {"worse": [], "better": []}
        """Logarithm of what each bet won, run by run."""

    def add(self, run: int, found: Sequence[Pairing]) -> None:
        if found:
            self.runs.append(run)
            self._pairs.append(list(found))
            values = _unit_means(found)
            self._count("worse", _histogram(map(rounded_up, values)))
            self._count("better", _histogram(map(rounded_down, values)))

    def _count(self, direction: Direction, counts: Mapping[float, int]) -> None:
        sign = -1 if direction == "worse" else 1
        self._counts[direction].append(counts)
        self._won[direction].append(
            [
                math.fsum(count * math.log1p(bet * sign * value) for value, count in counts.items())
                for bet in _stakes(0.0)
            ]
        )

    def log_e(self, direction: Direction) -> float:
        """Give the evidence for a change in that direction; 0 (no evidence) without comparisons."""
        return self._log_mixture(self._log_es(direction))

    def proved(self, run: int) -> Drift | None:
        """Tell the change that is proved by now, if any."""
        for direction in ("worse", "better"):
            log_es = self._log_es(direction)
            log_e = self._log_mixture(log_es)
            if log_e >= math.log(1 / self._alpha):
                start = max(range(len(log_es)), key=lambda each: (round(log_es[each], 6), each))
                return Drift(
                    direction=direction,
                    found_run=run,
                    change=self.change(start),
                    log_e=log_e,
                    examples=self._examples(direction, start),
                )
        return None

    def change(self, start: int) -> Change:
        """Tell the mean of the runs from the `start`-th on.

        A change is proved by the mixture over all beginnings; then the best of them alone is proof too, so that its
        interval leaves out 0.
        """
        values = [value for pairs in self._pairs[start:] for value in _unit_means(pairs)]
        return Change(
            since_run=self.runs[start],
            pairs=len(values),
            mean=math.fsum(values) / len(values),
            interval=(
                _end(merged(self._counts["better"][start:]), "better", self._alpha),
                _end(merged(self._counts["worse"][start:]), "worse", self._alpha),
            ),
            level=1 - 2 * self._alpha,
        )

    def _log_es(self, direction: Direction) -> list[float]:
        """Give the evidence of the runs from each one on, the first start first."""
        found, money = [], list(_LOG_SHARES)
        for won in reversed(self._won[direction]):
            money = [before + more for before, more in zip(money, won, strict=True)]
            found.append(_log_sum(money))
        return found[::-1]

    def _log_mixture(self, log_es: Sequence[float]) -> float:
        if not log_es:
            return 0.0
        parts = [log_e + math.log(_share(start)) for start, log_e in enumerate(log_es)]
        parts.append(math.log((1 - WHOLE_SHARE) / (len(log_es) + 1)))
        return _log_sum(parts)

    def _examples(self, direction: Direction, start: int) -> tuple[Pairing, ...]:
        sign = 1 if direction == "worse" else -1
        found = [each for pairs in self._pairs[start:] for each in pairs if sign * each.difference <= -SAME]
        return tuple(
            sorted(found, key=lambda each: (sign * each.difference, -each.now.run, each.prompt))[:MAX_EXAMPLES]
        )


def _share(start: int) -> float:
    """Give the money on the evidence from the `start`-th run on; the first is also "all runs"."""
    later = (1 - WHOLE_SHARE) / ((start + 1) * (start + 2))
    return later if start else WHOLE_SHARE + later


def _stakes(m0: float) -> tuple[float, ...]:
    """Give the bets against "mean <= m0", in the order of `_LOG_SHARES`; none can lose more than it has."""
    return (*bets(m0), *(bet / (1 + m0) for bet, _ in _LARGE_BETS))


def _won(counts: Mapping[float, int], direction: Direction, m0: float) -> list[float]:
    """Give the logarithm of what each bet wins against "mean of sign * value <= m0"."""
    sign = -1 if direction == "worse" else 1
    return [
        math.fsum(count * math.log1p(stake * (sign * value - m0)) for value, count in counts.items())
        for stake in _stakes(m0)
    ]


def _end(counts: Mapping[float, int], direction: Direction, alpha: float) -> float:
    """Give the end of the means that are not disproved: the upper one for `worse`, the lower one for `better`.

    Evidence that the mean is above m0 shrinks as m0 grows, so that a bisection finds where it is 1/alpha.
    """
    sign = -1 if direction == "worse" else 1
    line = math.log(1 / alpha)
    low, high = -1.0, 1.0  # of the mean of sign * value; `low` is disproved, or the least there is
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        won = zip(_LOG_SHARES, _won(counts, direction, middle), strict=True)
        low, high = (middle, high) if _log_sum([share + more for share, more in won]) >= line else (low, middle)
    return sign * low


def _log_sum(logs: Sequence[float]) -> float:
    """Logarithm of the sum of `exp(each)`, without overflow."""
    largest = max(logs)
    return largest + math.log(math.fsum(math.exp(each - largest) for each in logs))


def _by_run(askings: Iterable[Asking]) -> dict[int, list[Asking]]:
    found: dict[int, list[Asking]] = defaultdict(list)
    for asking in askings:
        found[asking.run].append(asking)
    return found


def _unit_means(pairs: Sequence[Pairing]) -> list[float]:
    """Average the differences of one conversation in one run: its turns are no independent evidence."""
    by_unit: dict[str, list[float]] = defaultdict(list)
    for pairing in pairs:
        by_unit[pairing.unit].append(pairing.difference)
    return [math.fsum(values) / len(values) for values in by_unit.values()]


def _histogram(values: Iterable[float]) -> dict[float, int]:
    counts: dict[float, int] = defaultdict(int)
    for value in values:
        counts[value] += 1
    return counts
