"""Log lines of every process: one JSON object a line on standard error, by the standard library alone."""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

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
    """Send every logger of this process to `stream` (standard error) as JSON lines; the last call holds.

    What ends the process or a thread, or is raised where nobody can catch it, is told the same way: an exception's
    text may quote anything, so it passes `scrub` like all else.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines(process=process, scrub=scrub))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    sys.excepthook = _tell_end
    threading.excepthook = lambda of: _tell("a thread ended by a fault", of.exc_value)
    sys.unraisablehook = lambda of: _tell("a fault was raised where nobody can catch it", of.exc_value)


def _tell_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    del trace
    if issubclass(kind, KeyboardInterrupt):
        return
    _tell("the process ends by a fault", error)


def _tell(what: str, error: BaseException | None) -> None:
    logging.getLogger(__name__).critical(what, exc_info=error)
