"""Hostile answers against every evaluator: a defined result for each, and an event loop that does not notice."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shadow.evaluators import EVALUATOR_TYPES, Services, build_evaluators
from shadow.evaluators.cells import Cells
from shadow.records import Dialect, EvalCase, EvaluatorSpec
from tests.support.hostile_answers import REQUESTS, TEXTS, corpus, doubling_schema
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

OPTIONS: dict[str, dict[str, Any]] = {
    "icontains-any": {"value": ["needle", "\u0130"]},
    "icontains-all": {"value": ["needle", "\u0130"]},
    "starts-with": {"value": "needle"},
    "regex": {"pattern": r"(a|a)+$|(\w+\s?){3,40}zz"},
    "word-count": {"max": 5},
    "latency": {"threshold_ms": 1},
    "cost": {"threshold_usd": 1},
    "json-schema": {"lenient": True},
    "all-of": {"checks": [{"type": "contains-json"}, {"type": "request-checks"}, {"type": "equals"}]},
    "python": {"target": "tests.support.hostile_own:Contains"},
}
NEEDS_A_SERVICE = frozenset({"llm-pairwise", "llm-rubric"})
"""Tested with the judge."""

LIMIT_S = 1.0


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    """Shorter limits than in production: what never ends is to be waited for here."""
    built = Services(cells=Cells(limit_s=LIMIT_S))
    yield built
    built.close()


def spec_of(kind: str) -> tuple[EvaluatorSpec, ...]:
    """The evaluator beside one that decides: `agreement` may not."""
    decides = EvaluatorSpec(type="cost", name="decides", quality=True, options={"threshold_usd": 1})
    return (EvaluatorSpec(type=kind, options=OPTIONS.get(kind, {})), decides)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", [*sorted(EVALUATOR_TYPES.keys() - NEEDS_A_SERVICE), "not-equals", "not-json-diff"])
async def test_every_evaluator_has_a_defined_result_for_every_hostile_answer(kind: str, services: Services) -> None:
    evaluators = build_evaluators(spec_of(kind), config_dir=".", services=services)
    mild = EvalCase(request={}, output="a mild answer", expected="a mild answer")
    for name, hostile in corpus().items():
        for primary, candidate in ((mild, hostile), (hostile, mild)):
            scores = await evaluators.score_pair(primary, candidate, dialect=Dialect.OPENAI_CHAT)
            for stored in scores:
                score = stored.score
                assert (score.status == "scored") == (score.value is not None), name
                assert score.value is None or (0.0 <= score.value <= 1.0 and math.isfinite(score.value)), name
                assert score.status == "scored" or score.reason, name
                assert "raised" not in score.reason, (name, score.reason)
            assert [each.score.value for each in scores if each.evaluator == "decides"] == [None, None], name


@pytest.mark.parametrize(
    ("kind", "options", "answer", "reason"),
    [
        ("equals", {}, EvalCase(request={}, output=TEXTS["combining marks"] * 9, expected="x"), "took longer than"),
        ("json-schema", {}, EvalCase(request=REQUESTS["a schema of 2^60 steps"], output="1"), "took longer than"),
        ("json-schema", {"schema": doubling_schema(60)}, EvalCase(request={}, output="1"), "took longer than"),
        ("is-json", {}, EvalCase(request={}, output=TEXTS["10 MB"]), "more than 2000000 characters"),
        ("equals", {}, EvalCase(request={}, output="", expected=TEXTS["10 MB"]), "more than 2000000 characters"),
    ],
)
async def test_what_would_never_end_is_failed_with_the_limit_it_met(
    kind: str, options: dict[str, Any], answer: EvalCase, reason: str, services: Services
) -> None:
    spec = EvaluatorSpec(type=kind, options=options)
    scores = await build_evaluators((spec,), config_dir=".", services=services).score_primary(answer)
    assert [(score.score.status, score.score.value) for score in scores] == [("failed", None)]
    assert reason in scores[0].score.reason


@contextlib.asynccontextmanager
async def lags() -> AsyncIterator[list[float]]:
    """How late the event loop came to its turns, milliseconds.

    What holds the interpreter computes: where this process computed less than a turn was late, others had the machine.
    """
    found: list[float] = []

    async def tick() -> None:
        while True:
            before, computed = time.perf_counter(), time.process_time()
            await asyncio.sleep(0.005)
            late = time.perf_counter() - before - 0.005
            found.append(min(late, time.process_time() - computed) * 1000)

    ticking = asyncio.create_task(tick())
    try:
        await asyncio.sleep(0.02)
        yield found
        await asyncio.sleep(0.02)  # the turn that was held up is measured when it comes
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)


async def test_the_event_loop_is_never_held_up_for_50_ms(services: Services) -> None:
    """The control does one of the pieces of work in a thread of this process, which shows what is spared."""
    texts = ("combining marks", "many empty lists", "letters that grow when folded", "many digits")
    hostile = [EvalCase(request={}, output=TEXTS[name], expected="x") for name in texts]
    hostile.append(EvalCase(request=REQUESTS["a schema of 2^60 steps"], output="1"))
    kinds = ("equals", "contains-json", "icontains-any", "numeric-diff", "request-checks")
    built = [build_evaluators(spec_of(kind), config_dir=".", services=services) for kind in kinds]
    gc.collect()
    async with lags() as apart:
        await asyncio.gather(*(each.score_primary(answer) for each in built for answer in hostile))
    check = build_evaluators((EvaluatorSpec(type="equals"),), config_dir=".").members[0].evaluator
    async with lags() as here:
        slow = EvalCase(request={}, output="e" + "\u0301\u0327" * 20_000, expected="x")
        await asyncio.to_thread(check.check, slow)  # type: ignore[union-attr]  # a built-in check
    assert max(apart) < 50 < max(here), f"worst lag: apart {max(apart):.1f} ms, here {max(here):.1f} ms"


async def test_a_child_that_dies_costs_one_score_and_the_next_one_has_another(services: Services) -> None:
    cells = Cells()
    dead = await cells.run(_end_this_process)
    assert (dead.status, dead.reason) == ("failed", "ended the process that checked it")
    odd = await cells.run(_raise)
    assert (odd.status, odd.reason) == ("failed", "raised ValueError")
    fine = await build_evaluators(
        (EvaluatorSpec(type="is-json"),), config_dir=".", services=Services(cells=cells)
    ).score_primary(EvalCase(request={}, output="[" + "1," * 10_000 + "1]"))
    assert fine[0].score.value == 1.0
    cells.close()


async def test_a_child_has_no_key_of_ours_in_its_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EZAI_API_KEY", "sk-very-secret")
    cells = Cells()
    told = await cells.run(_environment)
    cells.close()
    assert "PATH" in told.reason
    assert "EZAI_API_KEY" not in told.reason


_ORPHAN = """
import os, signal
from shadow.evaluators.cells import Cells
from shadow.evaluators.is_json import IsJson
from shadow.records import EvalCase
cells = Cells()
cells.run_here(IsJson().check, EvalCase(request={}, output="[]"))
print(cells._idle[0]._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_child_whose_parent_was_killed_ends_itself() -> None:
    killed = subprocess.run([sys.executable, "-c", _ORPHAN], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    child = int(killed.stdout)
    eventually(lambda: not _is_running(child), within_s=30)


def _is_running(pid: int) -> bool:
    """Tell whether it computes or waits; one that has ended may still be listed until somebody looks after it."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text("ascii")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def _end_this_process() -> Any:
    import os  # noqa: PLC0415

    os._exit(3)


def _raise() -> Any:
    raise ValueError("a secret prompt")


def _environment() -> Any:
    import os  # noqa: PLC0415

    from shadow.evaluators.base import passed  # noqa: PLC0415

    return passed(ok=False, reason=" ".join(os.environ))
