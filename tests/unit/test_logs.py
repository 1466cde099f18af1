"""A log line is one JSON object, whatever was logged."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

import pytest

from gateway import logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    written = io.StringIO()
    yield written
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
