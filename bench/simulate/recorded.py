"""The verdict on recorded answers of real models: their own disagreements and costs, drawn again and again.

Needs `--data`: a folder with `routerarena/responses.jsonl.gz` and `routellm/gsm8k.jsonl.gz`, which are not part of
this repository (github.com/RouteWorks/RouterArena and github.com/lm-sys/RouteLLM, both Apache-2.0).
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.simulate.streams import ALPHA, NEVER, Array, Row, Size, asymptotic, promoted, proved, rate, t_test

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARGIN, SAVING = 0.05, 0.05
_HEADROOM = 4.0
"""W by the dearest answer recorded: what a call was allowed to cost is not recorded."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Two models on the same prompts: candidate minus primary, and both costs where they are known."""

    name: str
    differences: Array
    costs: tuple[Array, Array] | None = None

    @property
    def may_be_promoted(self) -> bool:
        """Whether, over all that is recorded, promotion would be right."""
        cheap = self.costs is None or self.costs[0].mean() < (1 - SAVING) * self.costs[1].mean()
        return bool(self.differences.mean() > -MARGIN and cheap)

    @property
    def told(self) -> str:
        """What is true over all that is recorded."""
        cost = f", costs {self.costs[0].mean() / self.costs[1].mean():.2f} times as much" if self.costs else ""
        return f"truth over {len(self.differences)} prompts: {self.differences.mean():+.3f}{cost}"


def recorded(data: Path, chance: np.random.Generator, size: Size) -> Iterator[Row]:
    """Both directions of each pair of recorded models: promoted where that is right, and not where it is wrong."""
    for pairs in (*_router_arena(data), *_gsm8k(data)):
        drawn = chance.integers(0, len(pairs.differences), (size.streams, size.length))
        values = pairs.differences[drawn]
        ours = promoted(values, MARGIN)
        naive = {"t-test from 50": t_test(values, -MARGIN, least=50), "asymptotic CS": asymptotic(values, -MARGIN)}
        if pairs.costs is not None:
            y = (pairs.costs[0] - (1 - SAVING) * pairs.costs[1])[drawn] / (_HEADROOM * max(map(np.max, pairs.costs)))
            ours = np.maximum(ours, proved(y, 0.0, "less"))
            naive = {
                "t-test from 50": np.maximum(naive["t-test from 50"], t_test(-y, 0.0, least=50)),
                "asymptotic CS": np.maximum(naive["asymptotic CS"], asymptotic(-y, 0.0)),
            }
        rejected = proved(values, -MARGIN, "less")
        median = {what: int(np.median(when)) for what, when in (("promoted", ours), ("rejected", rejected))}
        soon = [f"{what} after {count} (median)" for what, count in median.items() if count < NEVER]
        yield rate(
            pairs.name,
            f"promoted within {size.length}",
            (ours < NEVER) & (ours < rejected),
            others={rule: when < NEVER for rule, when in naive.items()},
            note="; ".join([pairs.told, *soon]),
            **({"at_least": 0.9} if pairs.may_be_promoted else {"at_most": ALPHA}),
        )


def _router_arena(data: Path) -> Iterator[Pairs]:
    answers: dict[str, dict[str, Any]] = {}
    for line in _lines(data / "routerarena" / "responses.jsonl.gz"):
        answers.setdefault(line["id"], {})[line["model"]] = line
    both = [found for found in answers.values() if len(found) == 2]
    models = sorted(both[0])
    for primary, candidate in (models, models[::-1]):
        scores = [[float(found[model]["score"]) for found in both] for model in (candidate, primary)]
        costs = [[float(found[model]["cost_usd"]) for found in both] for model in (candidate, primary)]
        yield Pairs(
            name=f"recorded (RouterArena): {candidate} for {primary}",
            differences=np.subtract(*map(np.array, scores)),
            costs=(np.array(costs[0]), np.array(costs[1])),
        )


def _gsm8k(data: Path) -> Iterator[Pairs]:
    lines = _lines(data / "routellm" / "gsm8k.jsonl.gz")
    mixtral = np.array([float(line["mixtral_ok"]) - float(line["gpt4_ok"]) for line in lines])
    yield Pairs(name="recorded (GSM8K): Mixtral-8x7B for gpt-4-1106, quality alone", differences=mixtral)
    yield Pairs(name="recorded (GSM8K): gpt-4-1106 for Mixtral-8x7B, quality alone", differences=-mixtral)


def _lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
