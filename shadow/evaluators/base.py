"""What every evaluator shares: the protocols, the kinds of result, and running hostile work off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from shadow.records import Score

if TYPE_CHECKING:
    from collections.abc import Callable

    from shadow.records import EvalCase

Measures = Literal["content", "format"]
"""What a score speaks about: whether the answer is right, or whether it has the right shape."""

TIME_LIMIT_S = 5.0
"""How long one evaluator may take over one answer; longer is `failed`."""

MAX_THREADS = 8
"""How many answers one evaluator may look at at once, those included from which it never came back."""

_PATIENCE_S = 0.02
_LOOKS = 25
"""How often a thread is looked at before it is taken to wait: a busy machine may not let it compute for a while."""

MAX_OUTPUT_CHARS = 2_000_000
"""Answers longer than this, their tool calls and the expected text included, are not looked at: `failed` with that."""


class EvaluatorConfigError(Exception):
    """An evaluator's configuration is wrong; the message says which, what is wrong and what would be right."""


class Evaluator(Protocol):
    """The simple one: any object with this method works. Returns quality from 0 to 1."""

    def score(self, output: str, expected: str) -> float:
        """Quality of `output` given what was `expected`."""
        ...


@runtime_checkable
class CaseEvaluator(Protocol):
    """Sees the whole case: request, reply, timing and cost."""

    async def evaluate(self, case: EvalCase) -> Score:
        """Score one answer; a value lies in [0, 1]."""
        ...


@runtime_checkable
class PairEvaluator(Protocol):
    """Sees both answers; a value lies in [-1, 1], positive when the candidate is better."""

    async def compare(self, primary: EvalCase, candidate: EvalCase) -> Score:
        """Compare two answers to one request."""
        ...


@runtime_checkable
class Paid(Protocol):
    """An evaluator that asks a model: what scoring one pair may cost is reserved before anything of it is sent."""

    def worst_case_usd(self, primary: EvalCase, *, candidate: str) -> float:
        """Say what scoring this live answer and a candidate's may cost at most, USD, retries included."""
        ...


@runtime_checkable
class Examinable(Protocol):
    """A judge that can be put to the test: an answer that was made to lose is set beside one of the primary's."""

    async def examine(self, primary: EvalCase) -> Score:
        """Test it once. The score's value says nothing: what came of it is in its judgements."""
        ...

    def examination_usd(self, primary: EvalCase) -> float:
        """Say what that may cost at most."""
        ...


class Check(Protocol):
    """A built-in evaluator: plain, without I/O, picklable, run off the event loop under a time limit.

    `measures` says what its scores speak about, `absolute` that they are about one answer alone. One that looks at the
    request says so by `needs_request = True`; one that may work long on little text by a method `is_heavy(case)`.
    """

    @property
    def version(self) -> str:
        """Stored with each score; another one whenever the same answer might be scored differently."""
        ...

    @property
    def measures(self) -> Measures:
        """What its scores speak about."""
        ...

    @property
    def absolute(self) -> bool:
        """True: about one answer alone."""
        ...

    def check(self, case: EvalCase) -> Score:
        """Score one answer."""
        ...


@runtime_checkable
class AgainstPrimary(Protocol):
    """A built-in that scores the candidate's answer with the primary's as its reference: never about quality."""

    @property
    def version(self) -> str:
        """Stored with each score."""
        ...

    @property
    def measures(self) -> Measures:
        """What its scores speak about."""
        ...

    def check_against(self, primary: EvalCase, candidate: EvalCase) -> Score:
        """Score the candidate's answer."""
        ...


def scored(value: object, reason: str = "") -> Score:
    """Build a real score. A value that is no number from 0 to 1 becomes `failed`, never a clamp."""
    return _within(value, low=0.0, reason=reason)


def compared(value: object, reason: str = "") -> Score:
    """Build a real comparison, from -1 (primary better) to 1 (candidate better)."""
    return _within(value, low=-1.0, reason=reason)


def passed(*, ok: bool, reason: str) -> Score:
    """Build the score of a check that holds or does not hold; the reason is kept when it does not."""
    return Score(status="scored", value=1.0 if ok else 0.0, reason="" if ok else reason)


def not_applicable(reason: str) -> Score:
    """Say that there is nothing here this evaluator could judge; the answer leaves its population."""
    return Score(status="not_applicable", reason=reason)


def failed(reason: str) -> Score:
    """Say that the evaluator should have judged and could not; counted as missing."""
    return Score(status="failed", reason=reason)


def chars_of(case: EvalCase) -> int:
    """How much text a check may have to look at: the answer, its tool calls, and what was expected."""
    calls = sum(len(call.name) + len(call.arguments) for call in case.tool_calls)
    return len(case.output) + len(case.expected or "") + calls


def too_long(*cases: EvalCase) -> Score | None:
    """Refuse texts beyond `MAX_OUTPUT_CHARS`; None when they may be looked at."""
    if all(chars_of(case) <= MAX_OUTPUT_CHARS for case in cases):
        return None
    return failed(f"the answer has more than {MAX_OUTPUT_CHARS} characters")


async def off_loop(work: Callable[[], Score], *, limit_s: float = TIME_LIMIT_S, whose: str = "check") -> Score:
    """Run one piece of CPU work in a thread of its own, bounded in time; what it raises becomes `failed` with its name.

    Only the name: messages of foreign code may quote the prompt. Work that takes too long is interrupted where Python
    can do that; where it cannot (a sleep, a call into C), its thread is left alone, and holds up neither the process's
    other threads nor its end. `whose` names who may have `MAX_THREADS` of them.
    """
    done: asyncio.Future[Score] = asyncio.get_running_loop().create_future()
    thread = threading.Thread(target=_work, args=(work, done), name=f"evaluator {whose}", daemon=True)
    try:
        async with asyncio.timeout(limit_s):
            while _count(thread.name) >= MAX_THREADS:  # noqa: ASYNC110  (a thread that ends wakes nobody)
                await asyncio.sleep(_PATIENCE_S)
            thread.start()
            return await done
    except TimeoutError:
        await interrupt(thread)
        return failed(f"took longer than {limit_s:g} s")


def _count(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


async def interrupt(thread: threading.Thread) -> None:
    """Raise `OverdueError` in a thread that computes, at its next step in Python.

    One that has ended or waits is left alone: an exception that is never taken slows every other thread down, and stops
    those that are traced.
    """
    before = _cpu_time(thread)
    for _ in range(_LOOKS):
        await asyncio.sleep(_PATIENCE_S)
        if thread.ident is None or not thread.is_alive():
            return
        if _cpu_time(thread) != before:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(OverdueError))
            return


def _cpu_time(thread: threading.Thread) -> str:
    """How much a thread has computed so far, as the kernel counts; empty when it has ended."""
    try:
        return Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text("ascii").partition(" ")[0]
    except OSError:
        return ""


class OverdueError(BaseException):
    """Ends work that took too long; no `except Exception` of foreign code holds it up."""


def _work(work: Callable[[], Score], done: asyncio.Future[Score]) -> None:
    with contextlib.suppress(OverdueError):  # it may also come when the work has just ended
        try:
            score = work()
        except RecursionError:
            score = failed("the input is nested too deeply")
        except BaseException as error:  # noqa: BLE001  (an evaluator is foreign code: whatever it raises is data)
            score = failed(f"raised {type(error).__name__}")
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            done.get_loop().call_soon_threadsafe(_deliver, done, score)


def _deliver(done: asyncio.Future[Score], score: Score) -> None:
    if not done.done():
        done.set_result(score)


def _within(value: object, *, low: float, reason: str) -> Score:
    if isinstance(value, bool):
        value = float(value)
    if not isinstance(value, int | float):
        return failed(f"returned {type(value).__name__}, not a number from {low:g} to 1")
    if math.isnan(value) or not low <= value <= 1:
        return failed(f"returned {value}, not a number from {low:g} to 1")
    return Score(status="scored", value=float(value), reason=reason)
