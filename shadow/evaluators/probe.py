"""Loads one evaluator of the user's in a process of its own and tells what is wrong with it.

The code is the user's and may do anything at import: print, hang, end the process, start threads. Whoever checks a
configuration (`serve`, at a reload too) must not depend on it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import msgspec

from shadow.evaluators.base import EvaluatorConfigError
from shadow.evaluators.registry import build_evaluators
from shadow.records import EvaluatorSpec

LOAD_LIMIT_S = 60.0
"""How long loading may take; libraries for language models take seconds."""


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    spec: EvaluatorSpec
    config_dir: str


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    fault: str | None


_ASKED, _TOLD = msgspec.json.Decoder(_Asked), msgspec.json.Decoder(_Told)


def loading_fault(spec: EvaluatorSpec, *, config_dir: str, limit_s: float = LOAD_LIMIT_S) -> str | None:
    """Load an evaluator elsewhere; None when it loads, else a sentence. What it prints is thrown away."""
    asked = msgspec.json.encode(_Asked(spec=spec, config_dir=config_dir))
    target = _called(spec)
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "shadow.evaluators.probe"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            told, _ = process.communicate(asked, timeout=limit_s)
        except subprocess.TimeoutExpired:
            return f"{target} was not loaded within {limit_s:g} s"
        finally:
            _kill_group(process.pid)
    try:
        return _TOLD.decode(told).fault
    except msgspec.DecodeError:
        return f"{target} ended the process that loads it (exit code {process.returncode})"


def _called(spec: EvaluatorSpec) -> str:
    target = spec.options.get("target")
    return spec.type if target is None else f"{spec.type}: {target}"


def _kill_group(pid: int) -> None:
    """End what it left running."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def main() -> None:
    """Answer what `loading_fault` asks on standard input."""
    asked = _ASKED.decode(sys.stdin.buffer.read())
    with os.fdopen(os.dup(1), "wb", buffering=0) as answer:
        os.dup2(2, 1)  # what the user's code prints must not look like our answer
        answer.write(msgspec.json.encode(_Told(fault=_fault(asked))))
        os._exit(0)  # at once: threads the user's code started may never end


def _fault(asked: _Asked) -> str | None:
    try:
        build_evaluators((asked.spec,), config_dir=asked.config_dir)
    except EvaluatorConfigError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  (foreign code: whatever it raises is the answer)
        return f"{_called(asked.spec)} cannot be used: {type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    main()
