"""A log line is one JSON object, whatever was logged."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from gateway import logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    written = io.StringIO()
    yield written
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_tells_time_level_process_logger_message_and_extras(stream: io.StringIO) -> None:
    logs.configure(process="live-0", stream=stream)
    logging.getLogger("gateway.x").warning("lost %d rows", 3, extra={"reason": "queue_full"})
    line = json.loads(stream.getvalue())
    assert line.pop("at").endswith("+00:00")
    assert line == {
        "level": "warning",
        "process": "live-0",
        "logger": "gateway.x",
        "message": "lost 3 rows",
        "reason": "queue_full",
    }


def test_no_value_can_forge_a_line_or_reach_a_terminal(stream: io.StringIO) -> None:
    logs.configure(process="serve", stream=stream)
    logging.getLogger("x").error("a\nb\x1b[31m\x7f\u2028\x9b", extra={"path": "/v1\r\nx"})
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()
    assert text.isascii()
    assert json.loads(text)["message"] == "a\nb\x1b[31m\x7f\u2028\x9b"


def test_a_configured_key_never_reaches_a_line_and_the_last_call_holds(stream: io.StringIO) -> None:
    logs.configure(process="one", stream=io.StringIO())
    logs.configure(process="two", stream=stream, scrub=lambda line: line.replace("sk-secret", "***"))
    logger = logging.getLogger("x")
    try:
        int("sk-secret")
    except ValueError:
        logger.exception("failed with %s", "sk-secret", extra={"key": "sk-secret"})
    logger.debug("not told")
    (line,) = stream.getvalue().splitlines()
    assert "sk-secret" not in line
    assert json.loads(line)["message"] == "failed with ***"
    assert "ValueError: invalid literal for int() with base 10: '***'" in json.loads(line)["error"]


CRASHES = {
    "the process": "raise RuntimeError(KEY)",
    "a thread": "import threading; t = threading.Thread(target=lambda: int(KEY)); t.start(); t.join()",
    "a finaliser": "C = type('C', (), {'__del__': lambda self: int(KEY)}); C(); del C",
    "a task": (
        "import asyncio\n"
        "async def fail(): raise ValueError(KEY)\n"
        "async def main():\n"
        "    task = asyncio.create_task(fail()); await asyncio.sleep(0.01); del task\n"
        "asyncio.run(main())"
    ),
    "an exception with a cause": "try: int(KEY)\nexcept ValueError as error: raise OSError(2, KEY) from error",
}


@pytest.mark.parametrize("who", CRASHES)
def test_what_ends_by_an_exception_that_quotes_a_key_is_told_in_a_line_without_it(who: str) -> None:
    prepare = (
        "import sys\nfrom gateway import logs\nfrom shadow.redaction import Scrubber\n"
        "KEY = sys.stdin.read()\nlogs.configure(process='x', scrub=Scrubber([KEY]).scrub)\n"
    )
    key = "canary-of-a-crash-12+34/56"
    ended = subprocess.run(
        [sys.executable, "-c", prepare + CRASHES[who]], input=key.encode(), capture_output=True, timeout=60, check=False
    )
    assert b"[secret]" in ended.stderr
    assert key.encode() not in ended.stderr
    told = [json.loads(line) for line in ended.stderr.splitlines()]
    assert told[-1]["process"] == "x"
    assert "Traceback" in told[-1]["error"]
    assert ended.returncode == (1 if who in {"the process", "an exception with a cause"} else 0)


def test_an_interrupt_from_the_keyboard_needs_no_words() -> None:
    code = "from gateway import logs; logs.configure(process='x'); raise KeyboardInterrupt"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert ended.stderr == b""
