"""Simulations of quality: peeking, order of entry, judges, failures, power, withdrawal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from bench.simulate.streams import (
    ALONE,
    ALPHA,
    NEVER,
    Array,
    Row,
    Size,
    asymptotic,
    coin,
    first,
    log_e,
    losses,
    promoted,
    proved,
    rate,
    rounded_down,
    t_test,
    watch_log_e,
    weekly_mean,
)
from shadow.verdict import AlphaBook, FailureShares, decide, log_e_value
from shadow.verdict.evidence import Differences, Evidence, Rules
from shadow.verdict.needed import SPREAD, growth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Chance = np.random.Generator
MARGIN = 0.05


def equal_models(chance: Chance, size: Size) -> Iterator[Row]:
    """A/A: is an equal model ever called better?"""
    for discordance in (0.1, 0.4):
        values = coin(chance, (size.streams, size.looks), worse=discordance / 2, better=discordance / 2)
        yield rate(
            f"A/A, {discordance * 100:.0f} % of answers differ",
            f"called better within {size.looks} looks",
            proved(values, 0.0, least=50) < NEVER,
            at_most=0.05,
            others={
                "t-test from 10": t_test(values, 0.0) < NEVER,
                "asymptotic CS from 50": asymptotic(values, 0.0) < NEVER,
                f"article: mean of a week's 100 higher, {size.looks // 100} weeks": weekly_mean(values),
            },
        )


def boundary(chance: Chance, size: Size) -> Iterator[Row]:
    """The candidate truly loses exactly the margin, and only loses: rare failure, the production case."""
    for margin in (0.02, 0.05):
        values = losses(chance, (size.streams, size.length), margin)
        yield rate(
            f"true loss = margin = {margin}, only losses",
            f"promoted within {size.length} looks",
            promoted(values, margin) < NEVER,
            at_most=0.05,
            others={
                "t-test from 50": t_test(values, -margin, least=50) < NEVER,
                "asymptotic CS from 20": asymptotic(values, -margin, least=20) < NEVER,
                "asymptotic CS from 50": asymptotic(values, -margin, least=50) < NEVER,
                "article: min(cost per quality point), half price": _article_switches(values),
            },
        )

    scores = rounded_down(chance.normal(-MARGIN, 0.2, (size.streams, size.length)))
    yield rate(
        "true loss = margin = 0.05, scores that vary (sd 0.2)",
        f"promoted within {size.length} looks",
        promoted(scores, MARGIN) < NEVER,
        at_most=0.05,
        others={
            "t-test from 50": t_test(scores, -MARGIN, least=50) < NEVER,
            "asymptotic CS from 50": asymptotic(scores, -MARGIN) < NEVER,
        },
    )


def _article_switches(values: Array) -> Array:
    """Half the price at a quality of 1 - loss against 1: cheaper per quality point in the first weekly hundred."""
    return 0.5 / (1 + values[:, :100].mean(axis=1)) < 1.0


def hundred_equal_pairs(_: Chance, __: Size) -> Iterator[Row]:
    """A hundred equal pairs are no proof at a margin of 0.02, and neither are any fewer."""
    values = np.zeros((1, 100))
    states = []
    for count in range(1, 101):
        counts = {0.0: count}
        evidence = Evidence(
            primary="p",
            candidate="c",
            alpha=ALONE,
            rules=Rules(margin=0.02),
            quality=Differences(good=counts, bad=counts),
        )
        states.append(next(proof.proved for proof in decide(evidence).proofs if proof.name == "not_worse"))
    yield Row(
        name="100 equal pairs, margin 0.02",
        counted="not worse proved at any of 100 looks",
        measured=float(any(states)),
        error=None,
        at_most=0.0,
        others={
            "t-test from 50": float(t_test(values, -0.02, least=50)[0] < NEVER),
            "asymptotic CS from 50": float(asymptotic(values, -0.02)[0] < NEVER),
        },
        note=f"e-value {math.exp(log_e_value({0.0: 100}, -0.02)):.2f} of {1 / ALONE:.0f} needed",
    )


def ten_candidates(chance: Chance, size: Size) -> Iterator[Row]:
    """Ten candidates against one primary: any of them falsely called better (equal), or promoted (at the boundary)."""
    names = [f"c{number}" for number in range(10)]
    shape = (size.streams, size.looks)
    primary = chance.random(shape) < 0.8
    equal = {name: (chance.random(shape) < 0.8).astype(float) - primary for name in names}
    yield from _ten(equal, 0.0, "equal: any called better")
    losing = {name: losses(chance, shape, MARGIN) for name in names}
    yield from _ten(losing, -MARGIN, "true loss = margin: any promoted")


def _ten(values: dict[str, Array], m0: float, what: str) -> Iterator[Row]:
    one_by_one = AlphaBook(alpha=ALPHA)
    for name in values:
        one_by_one = one_by_one.join([name])
    books = {"together": AlphaBook(alpha=ALPHA).join(list(values)), "one by one": one_by_one}
    highest = {name: log_e(each, m0).max(axis=1) for name, each in values.items()}
    naive = np.any([t_test(each, m0, least=50) < NEVER for each in values.values()], axis=0)
    unshared = np.any([each >= math.log(1 / ALPHA) for each in highest.values()], axis=0)
    situation, counted = what.split(": ")
    for how, book in books.items():
        yield rate(
            f"ten candidates {how}, {situation}",
            counted,
            np.any([highest[name] >= -math.log(book.of(name)) for name in values], axis=0),
            at_most=0.05,
            others={"t-test from 50": naive, "e-value, alpha not shared": unshared},
        )


def identical_turns(chance: Chance, size: Size) -> Iterator[Row]:
    """Conversations of ten turns that all come out alike: one difference a conversation, or ten?"""
    streams, looks = max(100, size.streams // 2), size.looks // 2
    values = coin(chance, (streams, looks), worse=0.1, better=0.1)
    yield rate(
        "A/A, conversations of 10 identical turns",
        f"called better within {looks} conversations",
        proved(values, 0.0, least=50) < NEVER,
        at_most=0.05,
        others={"the same e-value turn by turn": proved(np.repeat(values, 10, axis=1), 0.0, least=50) < NEVER},
    )


def late_losers(chance: Chance, size: Size) -> Iterator[Row]:
    """Losing conversations stay open for 8 hours, others for half an hour: entry by start against entry by close."""
    values = losses(chance, (size.streams, size.length), MARGIN)
    starts = np.cumsum(chance.exponential(1 / 30, values.shape), axis=1)
    closes = starts + np.where(values < 0, 8.0, 0.5)
    by_close = np.take_along_axis(values, np.argsort(closes, axis=1), axis=1)
    yield rate(
        "losing conversations close after 8 h, others after 0.5 h; loss = margin",
        "promoted",
        promoted(values, MARGIN) < NEVER,
        at_most=0.05,
        others={"the same e-value, entered when closed": promoted(by_close, MARGIN) < NEVER},
    )


def judge_lag(chance: Chance, size: Size) -> Iterator[Row]:
    """Identical answers are ties at once, others wait for a judge who is 400 conversations behind, or has no money."""
    needs_judge = chance.random((size.streams, size.length)) < 0.3
    values = np.where(needs_judge, losses(chance, needs_judge.shape, MARGIN / 0.3), 0.0)
    known = np.arange(size.length) + np.where(needs_judge, 400, 0)
    when_known = np.take_along_axis(values, np.argsort(known, axis=1, kind="stable"), axis=1)
    yield rate(
        "judge 400 conversations behind; loss = margin",
        "promoted",
        promoted(values, MARGIN) < NEVER,
        at_most=0.05,
        others={"the same e-value, entered when known": promoted(when_known, MARGIN) < NEVER},
    )
    judged = np.cumsum(needs_judge, axis=1)
    funded = judged <= 10
    ours = _ever(log_e(values, -MARGIN), within=funded)
    unjudged_left_out = ~needs_judge | funded
    order = np.argsort(~unjudged_left_out, axis=1, kind="stable")
    ties_go_on = np.take_along_axis(values, order, axis=1)
    counts = unjudged_left_out.sum(axis=1)
    within = np.arange(size.length) < counts[:, None]
    yield rate(
        "judge money ends after 10 judgements; loss = margin",
        "promoted",
        ours,
        at_most=0.05,
        others={"the same e-value, ties still enter": _ever(log_e(ties_go_on, -MARGIN), within=within)},
    )


def _ever(logs: Array, *, within: Array) -> Array:
    return ((logs >= -math.log(ALONE)) & within).any(axis=1)


def bad_judges(chance: Chance, size: Size) -> Iterator[Row]:
    """Judges that do not look: both orders and controls that must lose make them untrusted, so nothing is promoted."""
    shape = (size.streams, size.length)
    ties = np.zeros(shape)
    guesses: Callable[[], Array] = lambda: chance.integers(0, 2, shape)  # noqa: E731
    one, other = guesses(), guesses()
    random_verdicts = np.where(one == other, np.where(one == 1, 1.0, -1.0), 0.0)
    controls = chance.random(shape) < 0.05
    random_passes = controls & (guesses() == 0) & (guesses() == 0)
    nothing = np.zeros(shape, dtype=bool)
    everything = np.ones(shape, dtype=bool)
    judges = {
        'always "A" (the orders disagree: tie)': (ties, everything, nothing),
        'always "tie"': (ties, nothing, nothing),
        "a coin for each order": (random_verdicts, one != other, random_passes),
    }
    for name, (values, flips, passes) in judges.items():
        trusted = _trusted(passes, controls, flips)
        proof = np.maximum.accumulate(log_e(values, -MARGIN) >= -math.log(ALONE), axis=1)
        yield rate(
            f"judge: {name}",
            "ever promoted",
            first(proof & trusted, least=50) < NEVER,
            at_most=0.0,
            others={"the same e-value, judge not checked": first(proof, least=50) < NEVER},
        )


def _trusted(passes: Array, controls: Array, flips: Array) -> Array:
    """design.md 7: the lower bound of the controls' pass rate is at least 0.8, and at most 30 % of judgements flip."""
    passed, done = np.cumsum(passes, axis=1), np.cumsum(controls, axis=1)
    flip_rate = np.cumsum(flips, axis=1) / np.arange(1, flips.shape[1] + 1)
    enough = np.array([_fewest_passes(number) for number in range(int(done.max()) + 1)])
    return (passed >= enough[done]) & (flip_rate <= 0.3)


def _fewest_passes(controls: int, *, share: float = 0.8, tail: float = 0.025) -> int:
    """Give the passes from which on the exact (Clopper-Pearson) lower bound reaches `share`; one too many: none do."""
    above = 0.0
    for passes in range(controls, -1, -1):
        above += math.comb(controls, passes) * share**passes * (1 - share) ** (controls - passes)
        if above > tail:
            return passes + 1
    return controls + 1


def failures(chance: Chance, size: Size) -> Iterator[Row]:
    """Equal models, each failing 5 % of calls: an exchange the primary failed is never asked of the candidate."""
    shape = (size.streams, size.length)
    answered = chance.random(shape) >= 0.05
    values = coin(chance, shape, worse=0.05, better=0.05)
    margin = 0.02
    order = np.argsort(~answered, axis=1, kind="stable")
    pairs, counts = np.take_along_axis(values, order, axis=1), answered.sum(axis=1)
    ours = (log_e(pairs, -margin, "less") >= -math.log(ALONE)) & (np.arange(shape[1]) < counts[:, None])
    as_zero = np.where(answered, values, -1.0)
    yield rate(
        "equal models, 5 % failures on both sides, margin 0.02",
        "rejected",
        ours.any(axis=1),
        at_most=0.05,
        others={"a failure is quality 0": proved(as_zero, -margin, "less") < NEVER},
    )
    yield _failure_guard(chance, size)


def _failure_guard(chance: Chance, size: Size) -> Row:
    """A candidate that fails exactly failure_margin more often: is the guard ever passed? Looks every 50."""
    streams, margin = max(60, size.streams // 4), 0.02
    hits, naive = [], []
    for stream in range(streams):
        base = (0.0, 0.02, 0.05)[stream % 3]
        candidate = np.cumsum(chance.random(size.length) < base + margin)
        primary = np.cumsum(chance.binomial(20, base, size.length))
        looks = range(50, size.length + 1, 50)
        hits.append(any(_guard_passed(candidate, primary, count, margin) for count in looks))
        naive.append(any(candidate[n - 1] / n - primary[n - 1] / (20 * n) < margin for n in looks))
    return rate(
        "candidate fails 2 points more often, the margin",
        "failure guard passed",
        np.array(hits),
        at_most=0.05,
        others={"the shares as they are": np.array(naive)},
    )


def _guard_passed(candidate: Array, primary: Array, count: int, margin: float) -> bool:
    failed, live = int(candidate[count - 1]), int(primary[count - 1])
    shares = FailureShares(candidate={0.0: count - failed, 1.0: failed}, primary={0.0: 20 * count - live, 1.0: live})
    return shares.log_e_value(margin, ALONE) >= -math.log(ALONE)


def power(chance: Chance, size: Size) -> Iterator[Row]:
    """Equal models at half the price: promoted in time? And how long until a model that answers nothing is rejected?"""
    shape = (size.streams, 1000)
    values = coin(chance, shape, worse=0.05, better=0.05)
    quality = promoted(values, MARGIN)
    prices = chance.lognormal(0, 0.3, shape)
    reserve = 10.0  # ten times what a request costs on average: a max_tokens of ten times the usual answer
    cost = proved((0.5 * prices - 0.95 * prices) / reserve, 0.0, "less")
    no_failures = proved(np.zeros((1, 1000)), 0.02, "less", alpha=0.8 * ALONE)[0]
    all_of_it = np.maximum(np.maximum(quality, cost), no_failures)
    yield rate(
        "equal models, 10 % differ, half the price, no failures",
        "promoted by n = 1,000 (quality, cost and failures)",
        all_of_it <= 1000,
        at_least=0.9,
        others={"t-test once at n = 1,000 (fixed, no peeking)": t_test(values, -MARGIN, least=1000) < NEVER},
        note=f"{_quantiles(all_of_it)}; quality alone {_quantiles(quality)}; cost alone {_quantiles(cost)}",
    )
    scores = rounded_down(chance.normal(0.0, 0.2, shape))
    when = promoted(scores, MARGIN)
    yield rate(
        "equal models, scores that vary (sd 0.2), rounded down to 0.01",
        "promoted by n = 1,000 (quality)",
        when <= 1000,
        at_least=0.9,
        note=_quantiles(when),
    )
    useless = -(chance.random((size.streams, 60)) < 0.8).astype(float)
    gone = proved(useless, -MARGIN, "less")
    yield rate(
        "candidate of quality 0 against 0.8",
        "rejected within 30",
        gone <= 30,
        at_least=1.0,
        note=f"{_quantiles(gone)}, all within {gone.max()}",
    )


def foretold(chance: Chance, size: Size) -> Iterator[Row]:
    """`more_needed` at n = 150: does the range hold the number of conversations it then took?"""
    values = coin(chance, (max(100, size.streams // 3), 4000), worse=0.05, better=0.05)
    when = proved(values, -MARGIN)
    held = []
    for stream, taken in zip(values, when, strict=True):
        if taken <= 150:
            continue
        counts = {value: int((stream[:150] == value).sum()) for value in (-1.0, 0.0, 1.0)}
        told = growth(counts, -MARGIN, "greater", line=-math.log(ALONE))
        low, high = (told.more(deviations) if told else None for deviations in (SPREAD, -SPREAD))
        held.append((low or 0) <= taken - 150 <= (high or NEVER))
    yield rate(
        "more_needed.conversations at n = 150, equal models",
        "the range held what it took",
        np.array(held),
        at_least=0.7,
        note="a range to plan with, no guarantee",
    )


def withdrawn(chance: Chance, size: Size) -> Iterator[Row]:
    """A promoted candidate that then loses .30: how soon is it withdrawn, and how often wrongly?"""
    streams = max(100, size.streams // 2)
    before = coin(chance, (streams, 700), worse=0.05, better=0.05)
    losing = {"only losses": (0.30, 0.0), "35 % lost, 5 % won": (0.35, 0.05)}
    for good, limit in ((0, 50), (500, 120)):
        for how, (worse, better) in losing.items():
            lost = coin(chance, (streams, 500), worse=worse, better=better)
            since = np.concatenate([before[:, :good], lost], axis=1)
            watched = first(watch_log_e(since, MARGIN) >= -math.log(ALONE)) - good
            whole = np.concatenate([before, since], axis=1)
            yield Row(
                name=f"loses .30 ({how}), {'at once' if not good else f'{good} conversations'} after its promotion",
                counted="median conversations until withdrawn",
                measured=float(np.median(watched)),
                error=float(1.25 * np.std(np.minimum(watched, 500)) / math.sqrt(streams)),
                at_most=limit,
                unit="n",
                others={
                    "e-value of the whole epoch": float(np.median(proved(whole, -MARGIN, "less") - 700 - good)),
                    "one fresh e-value since the promotion": float(np.median(proved(since, -MARGIN, "less") - good)),
                },
                note=f"90 % within {int(np.quantile(watched, 0.9, method='higher'))}",
            )
    values = losses(chance, (size.streams, size.looks), MARGIN)
    yield rate(
        "promoted, and worse by exactly the margin since",
        "withdrawn",
        (watch_log_e(values, MARGIN) >= -math.log(ALONE)).any(axis=1),
        at_most=0.05,
        others={"t-test from 10": t_test(-values, MARGIN, least=10) < NEVER},
    )


def _quantiles(when: Array) -> str:
    half, most = (int(np.quantile(when, share, method="higher")) for share in (0.5, 0.9))
    return f"median {_told(half)}, 90 % within {_told(most)}"


def _told(conversations: int) -> str:
    return f"{conversations:,}" if conversations < NEVER else "none"


SIMULATIONS = (
    equal_models,
    boundary,
    hundred_equal_pairs,
    ten_candidates,
    identical_turns,
    late_losers,
    judge_lag,
    bad_judges,
    failures,
    power,
    foretold,
    withdrawn,
)
