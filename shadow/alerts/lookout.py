"""From numbers to observations: verdicts, leads, drift, trust, money and losses, each in the state it is in now. Pure.

Thresholds have two ends: a state is entered at one and left at another, further back, so that a figure that wavers
about a threshold is told once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.alerts.words import details_of, facts_of, name, sentence_of, share, signed, title_of, usd
from shadow.notices import Observation
from shadow.switch import switch_advice

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shadow.alerts.words import Standing
    from shadow.drift import Drift
    from shadow.notices import AlertKind
    from shadow.runfacts import RunFacts
    from shadow.trends import ModelDrift

DECIDED = frozenset({"promote", "better_costlier", "equivalent", "reject", "withdrawn"})
"""Verdicts that are told. What is not decided yet needs nobody's attention, and `withheld` is told as lost trust."""

LEADS = frozenset({"promote", "better_costlier"})

TRUST_LOOKS = 3
DROP_LOOKS = 3
BUDGET_FULL = 0.95
"""Share of the day's money from which on it counts as used up."""
BUDGET_EASY = 0.8
"""A day that ends below this share ends the state."""
DAY_NEARLY_OVER = 0.9
DROPS_TOLD = 0.05
DROPS_EASY = 0.02
DROPS_AT_LEAST = 50
"""Sampled exchanges below which a share says nothing."""


def standing_observations(
    standings: Iterable[Standing], told: Mapping[str, str], *, config_file: str | None, several_tasks: bool
) -> list[Observation]:
    """Observe the verdicts on live traffic and whether their data can be trusted."""
    found: list[Observation] = []
    for standing in standings:
        found.extend(_trust(standing, told))
        if standing.state != "withheld":  # the verdict waits; what was told of it still stands
            found.append(_decision("verdict", standing, config_file=config_file, several_tasks=several_tasks))
    return found


def is_news(standing: Standing, told: Mapping[str, str]) -> bool:
    """Tell whether a verdict may be about to be told: then all that can be known of it is worth reading."""
    if standing.state == "withheld":
        return told.get(_subject("trust", standing)) != "lost"
    return standing.state in DECIDED and told.get(_subject("verdict", standing)) != standing.state


def _subject(kind: AlertKind, standing: Standing) -> str:
    return f"{kind}/{standing.task}/{standing.primary}/{standing.candidate}"


def lead_observations(
    standings: Iterable[Standing], *, config_file: str | None, several_tasks: bool
) -> list[Observation]:
    """Observe what the weekly runs say of candidates; only a lead is told."""
    return [
        _decision("lead", standing, config_file=config_file, several_tasks=several_tasks, told_states=LEADS)
        for standing in standings
        if standing.state != "withheld"
    ]


def _decision(
    kind: AlertKind,
    standing: Standing,
    *,
    config_file: str | None,
    several_tasks: bool,
    told_states: frozenset[str] = DECIDED,
) -> Observation:
    advice = None
    if standing.state == "promote":
        advice = switch_advice(
            candidate=standing.candidate,
            primary=standing.primary,
            config_file=config_file,
            task=standing.task,
            several_tasks=several_tasks,
        )
    silent = standing.state not in told_states
    return Observation(
        kind=kind,
        subject=_subject(kind, standing),
        state="open" if silent else standing.state,
        silent=silent,
        task=standing.task,
        primary=standing.primary,
        candidate=standing.candidate,
        title=title_of(standing),
        sentence=sentence_of(standing, advice),
        details=details_of(standing, advice),
        facts=facts_of(standing, advice),
    )


def _trust(standing: Standing, told: Mapping[str, str]) -> list[Observation]:
    subject = _subject("trust", standing)
    lost = standing.state == "withheld"
    if not lost and subject not in told:
        return []
    pair = f"{name(standing.candidate)} against {name(standing.primary)} (task {name(standing.task)})"
    again = f"The quality figures of {pair} can be relied on again."
    return [
        Observation(
            kind="trust",
            subject=subject,
            state="lost" if lost else "trusted",
            looks=TRUST_LOOKS,
            silent=not lost and told.get(subject) != "lost",
            task=standing.task,
            primary=standing.primary,
            candidate=standing.candidate,
            title=f"Quality data of {name(standing.candidate)} cannot be relied on"
            if lost
            else f"Quality data of {name(standing.candidate)} can be relied on again",
            sentence=f"The verdict on {pair} is withheld: {standing.why}" if lost else again,
            details=details_of(standing),
            facts=facts_of(standing),
        )
    ]


def drift_observations(drifts: Iterable[ModelDrift], runs: Sequence[RunFacts]) -> list[Observation]:
    """Observe every model's behaviour; `drifts` come with the primary's first, and so do the observations."""
    found = []
    for each in drifts:
        if each.withheld is not None:
            continue  # what was told of it before still stands
        latest = each.report.drifts[-1] if each.report.drifts else None
        part = "" if each.decides else f"/{each.evaluator}"
        state = "steady" if latest is None else f"{latest.direction} since run {runs[latest.found_run].id}"
        who = f"the primary {name(each.model)}" if each.is_primary else f"the candidate {name(each.model)}"
        found.append(
            Observation(
                kind="drift",
                subject=f"drift/{each.task}/{each.model}{part}",
                state=state,
                silent=latest is None,
                task=each.task,
                primary=each.model if each.is_primary else None,
                candidate=None if each.is_primary else each.model,
                title="" if latest is None else f"Drift: {who} answers {latest.direction} than before",
                sentence="" if latest is None else _drift_sentence(each, latest, runs, who),
                details=() if latest is None else _drift_details(each, latest, runs),
                facts={} if latest is None else drift_facts(each, latest, runs),
            )
        )
    return found


def judge_observations(
    drifts: Iterable[ModelDrift], runs: Sequence[RunFacts], told: Mapping[str, str]
) -> list[Observation]:
    """Observe the judges of the latest run: one that is shown not to look, and when it is shown that it does."""
    found: dict[str, Observation] = {}
    for each in drifts:
        judge, subject = each.judge, f"trust/{each.task}/weekly runs"
        decider = runs[-1].deciders.get(each.task)
        current = decider is not None and (decider.evaluator, decider.version) == (each.evaluator, each.version)
        if not current or judge is None or judge.trusted is None:
            continue
        lost = not judge.trusted
        if lost or subject in told:
            again = "" if lost else " again"
            held = " Until it can, drift and leads that rest on it are kept back." if lost else ""
            cannot = "cannot" if lost else "can"
            found[subject] = Observation(
                kind="trust",
                subject=subject,
                state="lost" if lost else "trusted",
                silent=not lost and told.get(subject) != "lost",
                task=each.task,
                title=f"Quality data of the weekly runs {cannot} be relied on{again}",
                sentence=f"Task {name(each.task)}, weekly runs: {judge.reason}.{held}",
                details=(("Task", name(each.task)), ("Evaluator", f"{name(each.evaluator)} {name(each.version)}")),
                facts={"task": each.task, "evaluator": each.evaluator, "version": each.version, "reason": judge.reason},
            )
    return list(found.values())


def _drift_sentence(each: ModelDrift, drift: Drift, runs: Sequence[RunFacts], who: str) -> str:
    change = drift.change
    low, high = change.interval
    advice = (
        "Every comparison with it is about the new behaviour from here on; what was proved before may not hold."
        if each.is_primary
        else "What was proved about it before may not hold."
    )
    return (
        f"Task {name(each.task)}: asked the same prompts again, {who} answers {drift.direction} than before by "
        f"{name(each.evaluator)}{_how(each)}: {signed(change.mean)} over {change.pairs:,} conversations "
        f"({share(change.level)} interval {signed(low)} to {signed(high)}), since the run of "
        f"{runs[change.since_run].started_at:%Y-%m-%d}. {_noise(each)} {_names(each, change.since_run)}{advice}"
    )


def _how(each: ModelDrift) -> str:
    """Say what a judge's figure means: wins minus losses of the later answers."""
    return " (answers of now against those of before, wins minus losses)" if each.compared else ""


def _noise(each: ModelDrift) -> str:
    noise = each.report.noise
    if noise.discordance is None:
        twice = "compared with itself" if each.compared else "answered twice"
        return f"Its noise is not known: no prompt was {twice} in one run."
    how = "the judge tells two answers of one run apart" if each.compared else "two answers of one run differ"
    return f"Noise floor: {how} in {share(noise.discordance)} of {noise.n:,} prompts."


def _names(each: ModelDrift, since: int) -> str:
    new = [answered for number, answered in each.answered if number >= since and number > 0]
    if new:
        return f"The provider answers as {', '.join(map(name, new))} since then. "
    return "The provider names the same model as before. "


def _drift_details(each: ModelDrift, drift: Drift, runs: Sequence[RunFacts]) -> tuple[tuple[str, str], ...]:
    change = drift.change
    examples = ", ".join(example.now.case_id for example in drift.examples)
    return (
        ("Task", name(each.task)),
        ("Model", f"{name(each.model)} ({'primary' if each.is_primary else 'candidate'})"),
        ("Evaluator", f"{name(each.evaluator)} {name(each.version)}"),
        ("Change", f"{signed(change.mean)} ({signed(change.interval[0])} to {signed(change.interval[1])})"),
        ("Conversations", f"{change.pairs:,}"),
        ("Since", f"run {runs[change.since_run].id}"),
        ("Noise floor", "not known" if each.report.noise.discordance is None else share(each.report.noise.discordance)),
        ("Examples", f"{examples} (GET /trends shows the pairs)"),
    )


def drift_facts(each: ModelDrift, drift: Drift, runs: Sequence[RunFacts]) -> dict[str, Any]:
    """Give the numbers and the ids of example pairs; no content."""
    change = drift.change
    return {
        "task": each.task,
        "model": each.model,
        "role": "primary" if each.is_primary else "candidate",
        "evaluator": each.evaluator,
        "version": each.version,
        "decides": each.decides,
        "direction": drift.direction,
        "found_in_run": runs[drift.found_run].id,
        "since_run": runs[change.since_run].id,
        "conversations": change.pairs,
        "mean": change.mean,
        "ci": change.interval,
        "level": change.level,
        "noise_floor": {"n": each.report.noise.n, "discordance": each.report.noise.discordance},
        "model_answered": [{"run": runs[number].id, "name": answered} for number, answered in each.answered],
        "examples": [
            {
                "case": example.now.case_id,
                "before": {
                    "run": runs[example.before.run].id,
                    "repeat": example.before.repeat,
                    "quality": example.before.quality,
                },
                "now": {
                    "run": runs[example.now.run].id,
                    "repeat": example.now.repeat,
                    "quality": example.now.quality,
                },
            }
            for example in drift.examples
        ],
    }


def run_budget_observation(runs: Sequence[RunFacts]) -> Observation | None:
    """Observe whether the latest weekly run had enough money."""
    if not runs:
        return None
    latest = runs[-1]
    short = latest.state == "stopped" and latest.reason is not None and "does not fit under" in latest.reason
    return Observation(
        kind="budget",
        subject="budget/weekly run",
        state="exhausted" if short else "enough",
        silent=not short,
        title="The weekly run's budget is used up",
        sentence=(
            f"Weekly run {latest.id} stopped after {len(latest.answers):,} answers and {usd(latest.spent_usd)}: "
            f"{latest.reason}. What it has counts; a higher benchmark.budget_usd or a smaller benchmark.sample makes "
            "it whole."
        ),
        details=(("Spent", usd(latest.spent_usd)), ("Answers", f"{len(latest.answers):,}")),
        facts={"run": latest.id, "spent_usd": latest.spent_usd, "max_cost_usd": latest.max_cost_usd},
    )


def budget_observation(
    *, spent_usd: float, reserved_usd: float, cap_usd: float, day: str, day_share: float, told: str | None
) -> Observation:
    """Observe the day's money. `day_share` is how much of the day is over, from 0 to 1.

    Used up day after day is one state: it ends with a day that is nearly over and has money left.
    """
    used = spent_usd + reserved_usd
    full = used >= BUDGET_FULL * cap_usd
    eased = day_share >= DAY_NEARLY_OVER and used < BUDGET_EASY * cap_usd
    state = "exhausted" if full or (told == "exhausted" and not eased) else "open"
    cap = "budget_usd_per_day is 0, so no candidate is asked" if cap_usd == 0 else f"of {usd(cap_usd)} a day"
    return Observation(
        kind="budget",
        subject="budget/day",
        state=state,
        silent=state == "open",
        title="The day's shadow budget is used up",
        sentence=(
            f"On {day} (UTC) {usd(used)} {cap} are spent or reserved after {share(day_share)} of the day: no new "
            "conversation is asked of a candidate until midnight UTC, so what is measured comes from the hours before. "
            "A lower sample_rate covers the whole day; a higher shadow.budget_usd_per_day measures more."
        ),
        details=(("Spent", usd(spent_usd)), ("Reserved", usd(reserved_usd)), ("A day", usd(cap_usd))),
        facts={"spent_usd": spent_usd, "reserved_usd": reserved_usd, "cap_usd": cap_usd, "day": day},
    )


def drops_observation(*, sampled: int, dropped: Mapping[str, int], over: str, told: str | None) -> Observation | None:
    """Observe the share of sampled exchanges that was lost, with reasons; None while there are too few to say."""
    if sampled < DROPS_AT_LEAST:
        return None
    lost = sum(dropped.values())
    part = lost / sampled
    high = part >= (DROPS_EASY if told == "high" else DROPS_TOLD)
    reasons = sorted(dropped.items(), key=lambda each: (-each[1], each[0]))
    return Observation(
        kind="drops",
        subject="drops",
        state="high" if high else "low",
        looks=DROP_LOOKS,
        silent=not high,
        title=f"{share(part)} of the sampled exchanges are lost",
        sentence=(
            f"Over {over}, {lost:,} of {sampled:,} sampled exchanges were lost before a candidate answered "
            f"({', '.join(f'{reason} {count:,}' for reason, count in reasons)}): what is measured may not be what is "
            "typical. The live traffic itself is not touched."
        ),
        details=tuple((reason, f"{count:,}") for reason, count in reasons),
        facts={"sampled": sampled, "dropped": dict(dropped), "share": part},
    )


def coverage_sums(rows: Iterable[Mapping[str, Any]]) -> tuple[int, dict[str, int]]:
    """Add up the rows of `Reader.coverage`: how many were sampled, and how many of them were lost, by reason."""
    sampled, dropped = 0, dict[str, int]()
    for row in rows:
        if row["candidate"] is None:
            continue
        sampled += row["count"]
        if row["state"] == "dropped":
            dropped[row["reason"]] = dropped.get(row["reason"], 0) + row["count"]
    return sampled, dropped
