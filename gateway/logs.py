"""Log lines of every process: one JSON object a line on standard error, by the standard library alone."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record carries; anything else was given by `extra` and belongs on the line."""


class JsonLines(logging.Formatter):
    """A record as one JSON object. Control characters and non-ASCII are escaped, so no value can forge a line.

    `scrub` sees the finished line: a configured key never reaches a log, whoever put it into a message.
    """

    def __init__(self, *, process: str, scrub: Callable[[str], str] | None = None) -> None:
        super().__init__()
        self._process = process
        self._scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        """Build the line; `extra` fields stand beside the message."""
        fields: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields.update({key: value for key, value in vars(record).items() if key not in _OWN_FIELDS})
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        line = json.dumps(fields, default=str).replace("\x7f", "\\u007f")
        return line if self._scrub is None else self._scrub(line)


def configure(
    *,
    process: str,
    scrub: Callable[[str], str] | None = None,
    level: int = logging.INFO,
    stream: TextIO | None = None,
) -> None:
    """Send every logger of this process to `stream` (standard error) as JSON lines; the last call holds."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines(process=process, scrub=scrub))
    logging.basicConfig(level=level, handlers=[handler], force=True)
