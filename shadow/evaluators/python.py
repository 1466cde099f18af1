"""`python`: an evaluator of your own, found as `module:attr` from the configuration's folder or the path."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shadow.evaluators.base import (
    TIME_LIMIT_S,
    EvaluatorConfigError,
    OverdueError,
    compared,
    failed,
    interrupt,
    not_applicable,
    off_loop,
    scored,
)
from shadow.records import Score

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from types import ModuleType

    from shadow.evaluators.base import Measures
    from shadow.records import EvalCase


MAX_REASON_CHARS = 2_000
"""How much is kept of what foreign code says about its score."""


class Adapter:
    """What the three adapters below share: the version and kind their scores are stored under, and how they call."""

    version: str = "1"
    measures: Measures = "content"

    def __init__(self) -> None:
        self._elsewhere = Elsewhere()

    async def _call(self, function: Callable[..., Any], *arguments: Any, into: Callable[[object], Score]) -> Score:
        if not inspect.iscoroutinefunction(function):
            work = functools.partial(_scored, function, arguments, into)
            return await off_loop(work, whose=str(id(self)))
        try:
            return _as_score(await self._elsewhere.run(function(*arguments)), into=into)
        except TimeoutError:
            return failed(f"took longer than {TIME_LIMIT_S:g} s")
        except Exception as error:  # noqa: BLE001  (foreign code: whatever it raises is data)
            return failed(f"raised {type(error).__name__}")


class Elsewhere:
    """An event loop in a thread of its own, for the coroutines of foreign code: one that blocks holds up only itself.

    It is kept between calls, for connections belong to a loop; one that is blocked is left alone and replaced.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    async def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Wait for its result, for at most `TIME_LIMIT_S`. Raises TimeoutError, and what it raises."""
        loop = self._loop if self._loop is not None and not self._loop.is_closed() else self._started()
        result = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))
        try:
            return await asyncio.wait_for(result, TIME_LIMIT_S)
        except TimeoutError:
            thread = self._thread
            if self._loop is loop and not await _turns(loop) and thread is not None:
                self._loop = None
                await interrupt(thread)
            raise

    def _started(self) -> asyncio.AbstractEventLoop:
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_turn, args=(loop,), name="evaluator loop", daemon=True)
        self._thread.start()
        weakref.finalize(self, loop.call_soon_threadsafe, loop.stop).atexit = False
        return loop


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(OverdueError, SystemExit), contextlib.closing(loop):
        loop.run_forever()


async def _turns(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether the loop still gets to its next turn."""
    turned = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop))
    try:
        await asyncio.wait_for(turned, 1.0)
    except TimeoutError:
        return False
    return True


def target_of(options: Mapping[str, Any]) -> str:
    """Give the `module:attr` among an evaluator's options. Raises EvaluatorConfigError."""
    target = options.get("target")
    if not isinstance(target, str):
        raise EvaluatorConfigError('python: needs `target: "module:attr"`')
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise EvaluatorConfigError(f'python: target must be "module:attr", not {target!r}')
    return target


def load(
    target: str, *, config_dir: str, arguments: Mapping[str, Any]
) -> ScoreAdapter | EvaluateAdapter | CompareAdapter:
    """Find `module:attr` and make an evaluator of it.

    `attr` may be a class (built with `arguments`) or object with `evaluate(case)`, `compare(primary, candidate)` or
    `score(output, expected)`, or a function of `(case)` or `(output, expected)`; sync or async. Sync code runs in a
    thread; all of it under a time limit. Its version is its `version` attribute, else a hash of its source file: an
    edited evaluator is another version. Raises EvaluatorConfigError.
    """
    module_name, _, attribute = target.partition(":")
    module = _module(module_name, config_dir=config_dir)
    found = getattr(module, attribute, None)
    if found is None:
        raise EvaluatorConfigError(f"python: module {module_name!r} has no {attribute!r}")
    return adapted(found, target=f"python: {target}", arguments=arguments, version=_source_version(module))


def adapted(
    found: Any, *, target: str, arguments: Mapping[str, Any], version: str
) -> ScoreAdapter | EvaluateAdapter | CompareAdapter:
    """Make an evaluator of a class, an object or a function of the user's, as `load` tells.

    `target` is what messages call it, `version` what it is stored under when it names none. Raises
    EvaluatorConfigError.
    """
    built = _built(found, target=target, arguments=arguments)
    adapter = _adapt(built, target=target)
    adapter.version = str(getattr(built, "version", None) or version)
    adapter.measures = "format" if getattr(built, "measures", None) == "format" else "content"
    return adapter


class ScoreAdapter(Adapter):
    """Makes a `score(output, expected)` object or a plain function speak `evaluate(case)`."""

    def __init__(self, function: Callable[..., Any], *, takes_case: bool, needs_expected: bool) -> None:
        super().__init__()
        self._function = function
        self._takes_case = takes_case
        self._needs_expected = needs_expected

    async def evaluate(self, case: EvalCase) -> Score:
        """Call it with what it takes; without an expected text a `score` object has nothing to compare with."""
        if self._takes_case:
            return await self._call(self._function, case, into=scored)
        if self._needs_expected and case.expected is None:
            return not_applicable("no expected text")
        return await self._call(self._function, case.output, case.expected, into=scored)


class EvaluateAdapter(Adapter):
    """Guards a foreign `evaluate(case)`: time limit, range, and errors as data."""

    def __init__(self, target: Any) -> None:
        super().__init__()
        self._target = target

    async def evaluate(self, case: EvalCase) -> Score:
        """Score one answer."""
        return await self._call(self._target.evaluate, case, into=scored)


class CompareAdapter(Adapter):
    """Guards a foreign `compare(primary, candidate)`."""

    def __init__(self, target: Any) -> None:
        super().__init__()
        self._target = target

    async def compare(self, primary: EvalCase, candidate: EvalCase) -> Score:
        """Compare two answers."""
        return await self._call(self._target.compare, primary, candidate, into=compared)


def _scored(function: Callable[..., Any], arguments: tuple[Any, ...], into: Callable[[object], Score]) -> Score:
    return _as_score(function(*arguments), into=into)


def _as_score(result: Any, *, into: Callable[[object], Score]) -> Score:
    if isinstance(result, Score):
        judged = result if result.value is None else into(result.value)
        kept = judged.reason if judged.status != result.status else str(result.reason)[:MAX_REASON_CHARS]
        return replace(judged, reason=kept, cost_usd=_cost(result.cost_usd))
    if result is None:
        return not_applicable("returned None")
    return into(result)


def _cost(cost_usd: object) -> float:
    """What it says it spent; a sum that is none counts as nothing."""
    usable = isinstance(cost_usd, int | float) and math.isfinite(cost_usd) and cost_usd >= 0
    return float(cost_usd) if usable else 0.0  # type: ignore[arg-type]  # it is a number by then


def _built(found: Any, *, target: str, arguments: Mapping[str, Any]) -> Any:
    if not inspect.isclass(found):
        if arguments:
            raise EvaluatorConfigError(f"{target} is no class, so it takes no options ({', '.join(arguments)})")
        return found
    try:
        return found(**arguments)
    except Exception as error:
        raise EvaluatorConfigError(f"{target} could not be built: {type(error).__name__}: {error}") from error


def _source_version(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12] if file else "1"


def _adapt(built: Any, *, target: str) -> ScoreAdapter | EvaluateAdapter | CompareAdapter:
    if callable(getattr(built, "evaluate", None)):
        return EvaluateAdapter(built)
    if callable(getattr(built, "compare", None)):
        return CompareAdapter(built)
    if callable(getattr(built, "score", None)):
        return ScoreAdapter(built.score, takes_case=False, needs_expected=True)
    count = _parameter_count(built) if callable(built) else 0
    if count in {1, 2}:
        return ScoreAdapter(built, takes_case=count == 1, needs_expected=False)
    raise EvaluatorConfigError(
        f"{target} must be a function of (case) or (output, expected), or have score, evaluate or compare"
    )


def _parameter_count(function: Callable[..., Any]) -> int:
    """Count what it takes; 0 for one written in C that does not say."""
    try:
        return len(inspect.signature(function).parameters)
    except ValueError:
        return 0


def _module(name: str, *, config_dir: str) -> ModuleType:
    """Import from the configuration's folder first, then from the path.

    The file is loaded under a name of its own: a `shadow.py` or `json.py` beside the configuration replaces nothing.
    """
    file = Path(config_dir, *name.split(".")).with_suffix(".py")
    if not file.is_file():
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise EvaluatorConfigError(f"python: no module {name!r} in {config_dir} or on the path: {error}") from error
        except Exception as error:
            raise EvaluatorConfigError(
                f"python: module {name!r} cannot be imported: {type(error).__name__}: {error}"
            ) from error
    spec = importlib.util.spec_from_file_location(f"shadow_evaluator_{name.replace('.', '_')}", file)
    if spec is None or spec.loader is None:
        raise EvaluatorConfigError(f"python: {file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise EvaluatorConfigError(f"python: {file} cannot be imported: {type(error).__name__}: {error}") from error
    return module
