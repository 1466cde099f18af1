"""The four readings of results that the product's article names, said in sentences with this window's numbers."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from shadow.stats.models import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_ANSWERS = 20
"""Below this many answers a model is not read at all."""

HIGH_COST_RATIO = 2.0
"""The best model is dear when a request costs this many times the cheapest model's."""

MODERATE_QUALITY = 0.6
"""What a cheap model must reach to be worth its price; when no model reaches it, the prompt is to blame."""

HIGH_LATENCY_RATIO = 3.0
"""p95 this many times p50 is high variance."""

CROWDED_SHARE, MIN_EXCHANGES = 0.2, 50
"""One conversation that holds more than this share of at least so many exchanges is probably none."""

Insight = dict[str, Any]
Model = dict[str, Any]


def insights(models: Sequence[Model]) -> list[Insight]:
    """Read one task's table of models. Point estimates, so each sentence carries its counts and none is a verdict."""
    graded = [model for model in models if model["quality"]["avg"] is not None and model["quality"]["n"] >= MIN_ANSWERS]
    steady = [model for model in models if model["latency_ms"]["n"] >= MIN_ANSWERS]
    found = [*_quality_and_cost(graded), *_latency_variance(steady), *_low_quality(graded)]
    return found or [_nothing_yet(models)]


def changed_evaluators(models: Sequence[Model]) -> list[Insight]:
    """Say where the deciding evaluator changed its version: what it said before is another measure."""
    names = dict.fromkeys(name for model in models for name in model["quality"]["by_evaluator"])
    return [insight for name in names if (insight := _changed(name, models)) is not None]


def _changed(name: str, models: Sequence[Model]) -> Insight | None:
    told = [(model, model["quality"]["by_evaluator"].get(name)) for model in models]
    by = [(model, figures) for model, figures in told if figures is not None and figures["decides"]]
    versions = list(dict.fromkeys(version for _, figures in by for version in figures["versions"]))
    if len(versions) < 2:  # noqa: PLR2004  (one has not changed)
        return None
    shown = ", ".join(f"{_named(model)} {figures['n']} by version {figures['versions'][-1]}" for model, figures in by)
    text = (
        f"The evaluator {name} changed within this window ({listed(versions, 'version')}). Quality is by the newest "
        f"version that scored a model (scored answers: {shown}). Win, tie and loss, and cost per quality point, are by "
        "all of them together: choose a window that begins after the change to see the newest alone. No verdict is "
        "over two versions."
    )
    return _insight("evaluator_changed", [model for model, _ in by], text)


def crowded_key(conversations: Sequence[str]) -> list[Insight]:
    """Warn when one conversation key holds much of a task's traffic: sampled whole or not at all, it says little.

    Apps that put a template first and what differs later look like one long conversation.
    """
    (_, most), *_ = [*Counter(conversations).most_common(1), ("", 0)]
    if len(conversations) < MIN_EXCHANGES or most <= CROWDED_SHARE * len(conversations):
        return []
    text = (
        f"One conversation key holds {most} of {len(conversations)} requests. If these are separate conversations that "
        "begin with the same words, set shadow.conversation.key: request (or send x-shadow-conversation)."
    )
    return [_insight("crowded_conversation_key", [], text)]


def _quality_and_cost(graded: Sequence[Model]) -> list[Insight]:
    priced = [model for model in graded if model["cost_usd"]["per_request"]]
    if len(priced) < 2:  # noqa: PLR2004  (dear and cheap need something to compare with)
        return []
    best = max(priced, key=lambda model: (model["quality"]["avg"], -model["cost_usd"]["per_request"]))
    cheapest = min(priced, key=lambda model: (model["cost_usd"]["per_request"], -model["quality"]["avg"]))
    times = best["cost_usd"]["per_request"] / cheapest["cost_usd"]["per_request"]
    if best is cheapest:
        text = (
            f"{_named(best)} has the highest quality ({_quality(best)}) and the lowest cost ({_cost(best)} a request)."
        )
        return [_insight("best_and_cheapest", [best], text)]
    found = []
    if times >= HIGH_COST_RATIO and best["quality"]["avg"] >= MODERATE_QUALITY:
        text = (
            f"{_named(best)} has the highest quality ({_quality(best)}) at {_cost(best)} a request, {times:.1f} times "
            f"{_named(cheapest)}: use it for critical paths where accuracy is paramount."
        )
        found.append(_insight("high_quality_high_cost", [best], text))
    if cheapest["quality"]["avg"] >= MODERATE_QUALITY:
        text = (
            f"{_named(cheapest)} reaches quality {_quality(cheapest)} at {_cost(cheapest)} a request, the lowest cost: "
            "use it for high-volume, latency-sensitive tasks."
        )
        found.append(_insight("moderate_quality_low_cost", [cheapest], text))
    return found


def _latency_variance(steady: Sequence[Model]) -> list[Insight]:
    found = []
    for model in steady:
        latency_ms = model["latency_ms"]
        if latency_ms["p95"] >= HIGH_LATENCY_RATIO * latency_ms["p50"] > 0:
            text = (
                f"{_named(model)} has p95 latency {latency_ms['p95']:.0f} ms against p50 {latency_ms['p50']:.0f} ms "
                f"({latency_ms['n']} answers): add a timeout and a fallback route."
            )
            found.append(_insight("high_latency_variance", [model], text))
    return found


def _low_quality(graded: Sequence[Model]) -> list[Insight]:
    names = {model["model"] for model in graded}
    if len(names) < 2 or any(model["quality"]["avg"] >= MODERATE_QUALITY for model in graded):  # noqa: PLR2004  (one model says nothing of the prompt)
        return []
    best = max(graded, key=lambda model: model["quality"]["avg"])
    text = (
        f"All {len(names)} models stay below quality {MODERATE_QUALITY}, the best is {_named(best)} with "
        f"{_quality(best)}: look at the prompt before the choice of model."
    )
    return [_insight("low_quality_across_models", graded, text)]


def _nothing_yet(models: Sequence[Model]) -> Insight:
    counts = ", ".join(f"{_named(model)} {model['quality']['n']}" for model in models) or "no model has answered"
    text = (
        f"Nothing stands out yet. Readings of quality and cost need {MIN_ANSWERS} scored answers of at least two "
        f"models (so far: {counts})."
    )
    return _insight("nothing_yet", [], text)


def _insight(reading: str, models: Sequence[Model], text: str) -> Insight:
    return {"reading": reading, "models": [_named(model) for model in models], "text": text}


def _named(model: Model) -> str:
    return model["model"] or "(no model named)"


def _quality(model: Model) -> str:
    """Quality is of answers that came; a share of requests that got none is said beside it."""
    failed = f" ({100 * model['error_rate']:.1f} % of requests failed)" if model["error_rate"] else ""
    return f"{model['quality']['avg']:.2f} over {model['quality']['n']} answers{failed}"


def _cost(model: Model) -> str:
    """Three digits, never as a power of ten."""
    cost = float(model["cost_usd"]["per_request"])
    digits = max(0, 2 - math.floor(math.log10(cost))) if cost > 0 else 0
    shown = f"{cost:.{digits}f}"
    return f"${shown.rstrip('0').rstrip('.') if digits else shown}"
