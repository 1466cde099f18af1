"""Our evaluators and our judge on recorded answers of real models, beside what was published of them.

`make quality DATA=../shared/data` prints the tables of docs/quality-validation.md (WRITE=1 writes them there). The data
(LLMBar, MT-bench and GSM8K of RouteLLM, IFEval; their SOURCE.md names repository, commit and licence) is not part of
this repository. Nothing is asked of any model: recorded answers are replayed through the product's own code.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shadow.evaluators import build_evaluators
from shadow.judge.bench import Bench, Terms
from shadow.judge.client import Heard
from shadow.judge.grading import Grading
from shadow.judge.pairwise import Pairwise
from shadow.judge.prompt import PAIRWISE_SYSTEM, RUBRIC_SYSTEM
from shadow.pricing import PriceBook
from shadow.records import EvalCase, EvaluatorSpec, Price, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shadow.judge.client import Question

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "quality-validation.md"
DATA_VARIABLE = "SHADOW_QUALITY_DATA"
JUDGE = "recorded"

ALL_PAIRS = {"natural": 100, "adversarial": 319}
"""Of the source. The published shares are multiples of 1/79 for natural pairs, and 79 + 21 is 100: they were measured
on the pairs that are not in our quarter."""

PUBLISHED = (
    # judge, prompt, subset, one order, flips, both orders, first slot: the table that the design rests on
    ("GPT-4", "Vanilla_NoRules", "natural", 0.943, 0.013, 0.949, 0.51),
    ("GPT-4", "Vanilla_NoRules", "adversarial", 0.709, 0.115, 0.736, 0.50),
    ("PaLM2", "Vanilla_NoRules", "natural", 0.864, 0.143, 0.924, 0.53),
    ("ChatGPT", "Vanilla_NoRules", "natural", 0.785, 0.304, 0.909, 0.65),
    ("ChatGPT", "Vanilla_NoRules", "adversarial", 0.270, 0.418, 0.106, 0.71),
    ("Falcon", "CoT", "natural", 0.576, 0.848, 1.000, 0.92),
)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get(DATA_VARIABLE), help=f"folder of the data, or {DATA_VARIABLE}")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    asked = parser.parse_args()
    if asked.data is None or not Path(asked.data, "llmbar").is_dir():
        sys.exit(
            f"name the folder of the recorded data with --data or {DATA_VARIABLE} (it holds llmbar, ifeval, routellm)"
        )
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    text = asyncio.run(report(Path(asked.data), commit=commit))
    print(text)
    if asked.write:
        PAGE.write_text(text, encoding="utf-8")


async def report(data: Path, *, commit: str) -> str:
    """Make the whole page."""
    parts = [
        "# Evaluators and judge on recorded data",
        "",
        (
            f"Printed by `make quality` on {datetime.now(UTC):%Y-%m-%d}, commit {commit}. Recorded "
            "answers of real models "
            "are replayed through the product's own code; nothing is asked of any model. The data is "
            "a quarter of each "
            "source's prompts."
        ),
        "",
        *await llmbar(data),
        *await mt_bench(data),
        *await ifeval(data),
        *await gsm8k(data),
    ]
    return "\n".join(parts)


# ---- LLMBar: the judge's own decision over recorded judgements


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One pair judged twice: the winner ("1", "2" or None for no readable one) with output 1 first, and second."""

    pair: dict[str, Any]
    label: str
    plain: str | None
    swapped: str | None


class Replayed:
    """A judge's client that says what was recorded: the seat of the recorded winner, by a tool call.

    The judge asks for the primary first, again where that gave no ruling, and then for the candidate first.
    """

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self._plain = True

    async def ask(self, _question: Question) -> Heard:
        """Answer for the order that is asked for now."""
        plain, winner = self._plain, self._recorded.plain if self._plain else self._recorded.swapped
        self._plain = plain and winner is None
        seat = {None: "neither", "1": "A" if plain else "B", "2": "B" if plain else "A"}[winner]
        return Heard(
            status="ruled",
            started_at=datetime.now(UTC),
            latency_ms=0.0,
            answer={"reason": "recorded", "winner": seat},
            usage=Usage(input=1, output=1),
        )


async def llmbar(data: Path) -> list[str]:
    """Give the table of flips and accuracies: published, counted from the records, and by our judge."""
    pairs = {(pair["subset"], pair["k"]): pair for pair in lines(data / "llmbar" / "pairs.jsonl.gz")}
    judged: dict[tuple[str, str, str], list[Recorded]] = {}
    for row in lines(data / "llmbar" / "judgments.jsonl.gz"):
        both = _both_orders(row["results"])
        if both is not None:
            subset = "natural" if row["subset"] == "Natural" else "adversarial"
            pair = pairs[row["subset"], row["k"]]
            recorded = Recorded(pair=pair, label=str(row["label"]), plain=both[0], swapped=both[1])
            judged.setdefault((row["judge"], row["strategy"], subset), []).append(recorded)
    published = {row[:3]: row[3:] for row in PUBLISHED}
    table, equal, all_judged = [], True, 0
    for key in sorted(judged, key=lambda each: (each not in published, each)):
        counted, ours = _counted(judged[key]), await _ours(judged[key])
        equal &= counted == ours
        all_judged += len(judged[key])
        known = published.get(key)  # type: ignore[arg-type]  # three texts
        if known is not None:
            table.append(_llmbar_row(key, len(judged[key]), known, counted, ours))
    if not equal:
        raise AssertionError("the judge's decisions differ from the records")
    return [
        "## LLMBar: both orders",
        "",
        (
            f"{all_judged} recorded judgements in both orders ({len(judged)} judges x prompts x subsets) through "
            "`llm-pairwise`. Ours equals a plain count of the records in every one of them. Of the "
            "six of the published "
            "table each cell shows: as published / counted from the records / ours. The published figures are of the "
            "other pairs (their shares of natural pairs are multiples of 1/79; this quarter has the "
            "other 21 of 100), so "
            "they can agree only within chance; (!) marks a difference beyond 95 %, of which one in twenty is to be "
            "expected."
        ),
        "",
        "| judge, prompt, subset | n | right, mean of orders | flips | right where orders agree | first slot |",
        "| --- | --- | --- | --- | --- | --- |",
        *table,
        "",
    ]


def _both_orders(results: Any) -> tuple[str | None, str | None] | None:
    """Find both winners of one row; None where the source keeps them in another form."""
    found = results[0] if isinstance(results, list) and results and isinstance(results[0], dict) else None
    if found is None or not {"swap = False", "swap = True"} <= found.keys():
        return None
    sides = [found["swap = False"], found["swap = True"]]
    if not all(isinstance(side, dict) for side in sides):
        return None
    plain, swapped = (side["winner"] if side["winner"] in {"1", "2"} else None for side in sides)
    return plain, swapped


def _counted(judged: Sequence[Recorded]) -> tuple[int, ...]:
    """Count right over both orders, readable pairs, flips, right when both agree, first slot chosen."""
    readable = [each for each in judged if each.plain is not None and each.swapped is not None]
    return (
        sum((each.plain == each.label) + (each.swapped == each.label) for each in readable),
        len(readable),
        sum(each.plain != each.swapped for each in readable),
        sum(each.plain == each.swapped == each.label for each in readable),
        sum((each.plain == "1") + (each.swapped == "2") for each in readable),
    )


async def _ours(judged: Sequence[Recorded]) -> tuple[int, ...]:
    """Count the same out of what our judge decided: 0 for a flip, else the side that both orders name."""
    right = readable = flips = both = first = 0
    for each in judged:
        judge = Pairwise(_bench(Replayed(each), PAIRWISE_SYSTEM))
        score = await judge.compare(_case(each.pair, "output_1", "primary"), _case(each.pair, "output_2", "candidate"))
        if score.status != "scored":
            continue
        rulings = [judgement for judgement in score.judgements if judgement.status == "ruled"]
        winners = ["1" if judgement.winner == "primary" else "2" for judgement in rulings]
        readable += 1
        right += sum(winner == each.label for winner in winners)
        flips += "disagree" in score.reason
        both += score.value == (-1.0 if each.label == "1" else 1.0)
        first += (winners[0] == "1") + (winners[1] == "2")
    return right, readable, flips, both, first


def _llmbar_row(
    key: tuple[str, str, str], judged: int, known: Sequence[float], counted: Sequence[int], ours: Sequence[int]
) -> str:
    others = ALL_PAIRS[key[2]] - judged
    cells = []
    for at, (top, kind) in enumerate(((0, "orders"), (2, "pairs"), (3, "agreeing"), (4, "orders"))):
        values = [each[top] / _whole(each, kind) for each in (counted, ours)]
        their_count = others * (1 - known[1]) if kind == "agreeing" else others
        # Two orders of one pair are not independent, so shares of orders are compared as if there were one.
        our_count = _whole(counted, kind) / (2 if kind == "orders" else 1)
        mark = " (!)" if differ(known[at], their_count, values[0], our_count) else ""
        cells.append(f"{known[at]:.3f}{mark} / {values[0]:.3f} / {values[1]:.3f}")
    return f"| {', '.join(key)} | {judged} | {' | '.join(cells)} |"


def _whole(counts: Sequence[int], kind: str) -> int:
    readable, flips = counts[1], counts[2]
    return {"pairs": readable, "agreeing": readable - flips, "orders": 2 * readable}[kind]


def _case(pair: dict[str, Any], output: str, role: Any) -> EvalCase:
    request = {"messages": [{"role": "user", "content": pair["input"]}]}
    return EvalCase(
        request=request, output=pair[output], exchange_id=f"{pair['subset']}/{pair['k']}", model=role, role=role
    )


def _bench(client: Any, system: str) -> Bench:
    prices = PriceBook({JUDGE: Price(input=1.0, output=1.0)})
    terms = Terms(model=JUDGE, control_rate=0.0)
    return Bench(terms, client=client, prices=prices, redact=lambda text: text, system=system)


# ---- MT-bench: judgements in prose


class Prose:
    """A judge's client that answers in prose instead of by the tool."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def ask(self, _question: Question) -> Heard:
        """Give the recorded text as the ruling's reason, without a grade."""
        return Heard(
            status="ruled", started_at=datetime.now(UTC), latency_ms=0.0, answer={"reason": self._text}, usage=Usage()
        )


async def mt_bench(data: Path) -> list[str]:
    """Read the grades of recorded judgements, and see that prose in place of a tool call gives no score."""
    rows = list(lines(data / "routellm" / "mt_bench_judgments.jsonl.gz"))
    pattern = build_evaluators(
        (EvaluatorSpec(type="regex", options={"pattern": r"\[\[[0-9]+(\.[0-9]+)?\]\]"}, quality=True),), config_dir="."
    )
    matched = number = article = invented = 0
    for row in rows:
        told = EvalCase(request={}, output=row["judgment"], expected=f"{row['score']:g}")
        matched += (await _value(pattern, told)) == 1.0
        numeric = build_evaluators((EvaluatorSpec(type="numeric-diff", quality=True),), config_dir=".")
        number += (await _value(numeric, told)) == 1.0
        article += re.fullmatch(r"\s*\d+\s*", row["judgment"]) is not None
        graded = await Grading(_bench(Prose(row["judgment"]), RUBRIC_SYSTEM)).evaluate(told)
        invented += graded.status == "scored"
    count = len(rows)
    return [
        "## MT-bench: judgements in prose",
        "",
        f"{count} recorded GPT-4 judgements.",
        "",
        "| reading | judgements |",
        "| --- | --- |",
        f"| `regex` finds `[[n]]` | {matched} of {count} ({matched / count:.1%}) |",
        f"| `numeric-diff`: the last number is the recorded score | {number} of {count} ({number / count:.1%}) |",
        f"| the article's `int(text)` | {article} of {count} |",
        f"| `llm-rubric`, prose where a tool call was asked for: scores invented | {invented} of {count} |",
        "",
    ]


# ---- IFEval: verifiable instructions


async def ifeval(data: Path) -> list[str]:
    """Compare our checks with the reference checker's published results, per instruction type."""
    agreed: dict[str, Counter[str]] = {}
    differences: list[str] = []
    for row in lines(data / "ifeval" / "gpt4_20231107.jsonl.gz"):
        for at, (instruction, given) in enumerate(zip(row["instruction_id_list"], row["kwargs"], strict=True)):
            counts = agreed.setdefault(instruction, Counter())
            for reading in ("strict", "loose"):
                arguments = {name: value for name, value in given.items() if value is not None}
                options = {
                    "target": "ifeval:Follows",
                    "instruction": instruction,
                    "arguments": arguments,
                    "loose": reading == "loose",
                }
                evaluators = build_evaluators(
                    (EvaluatorSpec(type="python", options=options, quality=True),), config_dir=str(ROOT / "bench")
                )
                value = await _value(evaluators, EvalCase(request={}, output=row["response"]))
                counts[f"{reading} n"] += value is not None
                counts[f"{reading} untold"] += value is None
                same = value is not None and bool(value) == row[reading][at]
                counts[reading] += same
                if value is not None and not same:
                    differences.append(
                        f"{row['key']} {instruction} {reading}: ours {bool(value)}, theirs {row[reading][at]}"
                    )
    table = [
        f"| {name} | {_rate(counts, 'strict')} | {_rate(counts, 'loose')} |" for name, counts in sorted(agreed.items())
    ]
    whole: Counter[str] = Counter()
    for counts in agreed.values():
        whole.update(counts)
    return [
        "## IFEval: verifiable instructions",
        "",
        (
            f"{whole['strict n'] + whole['strict untold']} instructions in the answers of gpt-4 "
            "(2023-11-07), checked by "
            "`bench/ifeval.py` as `python` evaluators; agreement with the reference checker's pass "
            "or fail, strict and "
            "loose."
        ),
        "",
        "| instruction | strict | loose |",
        "| --- | --- | --- |",
        *table,
        f"| **all** | {_rate(whole, 'strict')} | {_rate(whole, 'loose')} |",
        "",
        *([f"Differences: {'; '.join(differences)}.", ""] if differences else []),
        (
            "Where a letter from outside a to z is to be counted (`#`), the reference checker counts a random one "
            "instead, so its two readings may differ on the same text."
        ),
        "",
    ]


def _rate(counts: Counter[str], reading: str) -> str:
    told = counts[f"{reading} n"]
    untold = f", {counts[f'{reading} untold']} not told" if counts[f"{reading} untold"] else ""
    return f"{counts[reading]} of {told} ({counts[reading] / told:.1%}){untold}" if told else f"none{untold}"


# ---- GSM8K: numbers


async def gsm8k(data: Path) -> list[str]:
    """Compare `numeric-diff` with the recorded correctness of two models.

    The source keeps no reference numbers, so the other model's final number is the reference where that model was
    recorded as right; a prompt on which neither was right has none.
    """
    rows = list(lines(data / "routellm" / "gsm8k.jsonl.gz"))
    numeric = build_evaluators((EvaluatorSpec(type="numeric-diff", quality=True),), config_dir=".")
    table, all_same, all_told = [], 0, 0
    for name, other in (("gpt4", "mixtral"), ("mixtral", "gpt4")):
        counts: Counter[tuple[bool, bool]] = Counter()
        for row in rows:
            if row[f"{other}_ok"]:
                told = EvalCase(request={}, output=row[f"{name}_out"], expected=_final(row[f"{other}_out"]))
                counts[row[f"{name}_ok"], (await _value(numeric, told)) == 1.0] += 1
        told_count = sum(counts.values())
        same = counts[True, True] + counts[False, False]
        all_same, all_told = all_same + same, all_told + told_count
        table.append(
            f"| {name} | {told_count} | {same / told_count:.1%} | {counts[True, False]} | {counts[False, True]} |"
        )
    return [
        "## GSM8K: numbers",
        "",
        (
            f"{len(rows)} prompts with answers of gpt-4-1106-preview and Mixtral-8x7B and their "
            "recorded correctness. The "
            "source keeps no reference numbers: the reference is the final number of the *other* "
            "model's answer where that "
            "was recorded as right, so that a number misread there counts against us as well."
        ),
        "",
        "| answers of | with a reference | agreement | recorded right, ours wrong | recorded wrong, ours right |",
        "| --- | --- | --- | --- | --- |",
        *table,
        f"| **both** | {all_told} | {all_same / all_told:.1%} | | |",
        "",
    ]


def _final(answer: str) -> str:
    """Cut an answer to what stands behind GSM8K's mark of the result, where it has one."""
    return answer.rpartition("####")[2] if "####" in answer else answer


# ---- shared


async def _value(evaluators: Any, told: EvalCase) -> float | None:
    [stored] = await evaluators.score_primary(told)
    if stored.score.status == "failed":
        raise AssertionError(f"{stored.evaluator} failed: {stored.score.reason}")
    value: float | None = stored.score.value
    return value


def differ(one: float, one_count: float, other: float, other_count: float) -> bool:
    """Tell whether two shares of independent samples differ at 95 % (pooled z test)."""
    pooled = (one * one_count + other * other_count) / (one_count + other_count)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / one_count + 1 / other_count))
    return deviation > 0 and abs(one - other) > 1.96 * deviation


def lines(file: Path) -> Iterator[dict[str, Any]]:
    """Read gzipped JSON lines."""
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


if __name__ == "__main__":
    main()
