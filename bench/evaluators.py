"""How long work of the evaluators holds the interpreter, and how late the event loop is while they see hostile answers.

`PYTHONPATH=. .venv/bin/python bench/evaluators.py`. Two tables; the event loop's lateness is bounded by what this
process computed meanwhile, so that a busy machine changes little.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import unicodedata
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import re2
from rapidfuzz.distance import Levenshtein

from shadow.evaluators import EVALUATOR_TYPES, Services, build_evaluators, json_text
from shadow.evaluators.cells import Cells
from shadow.records import Dialect, EvalCase, EvaluatorSpec
from tests.support.hostile_answers import corpus, doubling_schema

if TYPE_CHECKING:
    from collections.abc import Callable

SWITCH_S = 0.0005
"""As in the measuring process."""

OPTIONS: dict[str, dict[str, Any]] = {
    "icontains-any": {"value": ["x"]},
    "icontains-all": {"value": ["x"]},
    "starts-with": {"value": "x"},
    "regex": {"pattern": r"(a|a)+$|(\w+\s?){3,40}zz"},
    "word-count": {"max": 5},
    "latency": {"threshold_ms": 1},
    "cost": {"threshold_usd": 1},
    "all-of": {"checks": [{"type": "contains-json"}, {"type": "equals"}]},
}
NOT_HERE = frozenset({"python", "llm-pairwise", "llm-rubric"})


def hold_ms(work: Callable[[], object]) -> tuple[float, float]:
    """Run it in this thread; how long it took, and the longest another thread had to wait for its turn."""
    worst, ended = 0.0, threading.Event()

    def tick() -> None:
        nonlocal worst
        before = time.perf_counter()
        while not ended.is_set():
            time.sleep(0.001)
            worst, before = max(worst, time.perf_counter() - before - 0.001), time.perf_counter()

    thread = threading.Thread(target=tick)
    thread.start()
    time.sleep(0.02)
    worst, began = 0.0, time.perf_counter()
    work()
    took = time.perf_counter() - began
    ended.set()
    thread.join()
    return took * 1000, worst * 1000


def holds() -> None:
    """Print what holds the interpreter for how long."""
    million = 1_000_000
    words = re2.compile(r"(?i)(\w+\s?){3,40}zz")
    doubling = jsonschema_rs.validator_for(doubling_schema(20))
    table: dict[str, Callable[[], object]] = {
        "control: a sleep": lambda: time.sleep(0.2),
        "re2, 2,000,000 characters": lambda: words.search("ab " * 666_666),
        "json, 660,000 empty lists": lambda: json_text.strict("[" + "[]," * 660_000 + "1]"),
        "casefold, 2,000,000 letters that grow": ("\u0130" * 2 * million).casefold,
        "edit distance, 16,000 characters a side": lambda: Levenshtein.distance("ab" * 8_000, "bacd" * 4_000),
        "edit distance, 66,000 characters a side": lambda: Levenshtein.distance("ab" * 33_000, "bacd" * 16_500),
        "NFC, 4,096 combining marks": lambda: unicodedata.normalize("NFC", "e" + "\u0301\u0327" * 2_048),
        "NFC, 40,000 combining marks": lambda: unicodedata.normalize("NFC", "e" + "\u0301\u0327" * 20_000),
        "a JSON schema of 2^20 steps": lambda: doubling.is_valid(1),
    }
    print(f"{'work':45} {'took ms':>9} {'others waited ms':>17}")
    for name, work in table.items():
        took, waited = hold_ms(work)
        print(f"{name:45} {took:9.1f} {waited:17.1f}")


async def _ticks(found: list[float]) -> None:
    while True:
        before, computed = time.perf_counter(), time.process_time()
        await asyncio.sleep(0.002)
        late = time.perf_counter() - before - 0.002
        # What holds the interpreter computes: more than this process computed meanwhile, nobody can have held it.
        found.append(min(late, time.process_time() - computed) * 1000)


async def lateness() -> None:
    """Print how late the event loop is: idle, and with every evaluator on the whole corpus."""
    hostile_answers = list(corpus().values())
    late: list[float] = []
    ticking = asyncio.create_task(_ticks(late))
    await asyncio.sleep(2)
    idle, mild = sorted(late), EvalCase(request={}, output="mild", expected="mild")
    late.clear()
    services = Services(cells=Cells(limit_s=1.0))
    decides = EvaluatorSpec(type="cost", name="decides", quality=True, options={"threshold_usd": 1})
    for kind in EVALUATOR_TYPES.keys() - NOT_HERE:
        specs = (EvaluatorSpec(type=kind, options=OPTIONS.get(kind, {})), decides)
        evaluators = build_evaluators(specs, config_dir=".", services=services)
        for hostile in hostile_answers:
            await evaluators.score_pair(mild, hostile, dialect=Dialect.OPENAI_CHAT)
    ticking.cancel()
    services.close()
    print(f"\n{'event loop late by, ms':45} {'p50':>9} {'p99':>9} {'max':>7}")
    for name, found in (("idle", idle), ("every evaluator, the hostile corpus", sorted(late))):
        p50, p99 = found[len(found) // 2], found[len(found) * 99 // 100]
        print(f"{name:45} {p50:9.1f} {p99:9.1f} {found[-1]:7.1f}")


if __name__ == "__main__":
    sys.setswitchinterval(SWITCH_S)
    holds()
    asyncio.run(lateness())
