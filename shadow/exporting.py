"""Rows as lines of a file: JSON Lines, or CSV that no spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from shadow.spreadsheet import defused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Format = Literal["jsonl", "csv"]

_USAGE = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens")
_COSTS = ("cost_billed_usd", "cost_uncached_usd", "price_source")

COLUMNS: Mapping[str, Sequence[str]] = {
    "exchanges": (
        "id", "started_at", "task", "conversation", "model", "model_answered", "dialect", "method", "path", "status",
        "outcome", "stop_reason", "streamed", "latency_ms", "ttft_ms", "first_text_ms", *_USAGE, *_COSTS,
        "request_bytes", "response_bytes", "first_turn", "has_tools", "client_retry", "version", "eligible", "error",
        "gateway_error", "overhead_us",
    ),
    "pairs": (
        "id", "exchange_id", "exchange_started_at", "task", "conversation", "first_turn", "has_tools", "version",
        "primary", "primary_outcome", "primary_latency_ms", "primary_ttft_ms", "primary_cost_billed_usd",
        "primary_cost_uncached_usd", "candidate", "started_at", "outcome", "status", "stop_reason", "model_answered",
        "streamed", "latency_ms", "ttft_ms", "first_text_ms", *_USAGE, *_COSTS, "error", "redaction_changed",
        "quality_primary", "quality_candidate", "quality_diff", "scores", "prompt", "primary_output",
        "primary_tool_calls", "candidate_output", "candidate_tool_calls",
    ),
    "runs": (
        "run_id", "kind", "name", "run_state", "run_started_at", "primary", "case_id", "position", "prompt_hash",
        "task", "dialect", "expected", "model", "repeat", "state", "started_at", "outcome", "status", "attempts",
        "stop_reason", "model_answered", "streamed", "latency_ms", "ttft_ms", "first_text_ms", *_USAGE, *_COSTS,
        "error", "scores", "output", "tool_calls",
    ),
}  # fmt: skip
"""What a line holds, in this order, in both formats."""

CONTENT = frozenset(
    {
        "prompt", "primary_output", "primary_tool_calls", "candidate_output", "candidate_tool_calls", "expected",
        "output", "tool_calls",
    }
)  # fmt: skip
"""Columns that hold what people and models wrote."""
_WRITTEN = CONTENT | {"error"}
_REQUEST = "prompt"
"""Is a request as an API takes it: names of models and tools are left in it."""


class Redacting(Protocol):
    """What takes out personal data and keys, `shadow.redaction.Redactor` for one."""

    def redact_written(self, text: str) -> str:
        """Give what a person or a model wrote without them."""
        ...

    def redact_request(self, text: str) -> str:
        """Give a request without them, so that an API still takes it."""
        ...


class Lines:
    """Makes one line of every row. `redactor` takes out of all that people and models wrote what it finds."""

    def __init__(self, kind: str, form: Format, *, redactor: Redacting | None, with_content: bool = True) -> None:
        self._columns = [name for name in COLUMNS[kind] if with_content or name not in CONTENT]
        self._csv = form == "csv"
        self._redactor = redactor

    def head(self) -> str:
        """Give the first line: CSV names its columns, JSON Lines begins at once."""
        return _csv_line(self._columns) if self._csv else ""

    def line(self, row: Mapping[str, Any]) -> str:
        """Give one row's line."""
        if "candidate" in row and "exchange_id" in row:
            row = {**row, "id": f"{row['exchange_id']}:{row['candidate']}"}
        values = {name: self._told(name, row.get(name)) for name in self._columns}
        if self._csv:
            return _csv_line([_cell(value) for value in values.values()])
        return msgspec.json.encode(values).decode() + "\n"

    def _told(self, name: str, value: Any) -> Any:
        if self._redactor is None:
            return value
        if name == "scores" and value is not None:
            return [{**score, "reason": self._redactor.redact_written(score["reason"])} for score in value]
        if name not in _WRITTEN or not isinstance(value, str):
            return value
        return self._redactor.redact_request(value) if name == _REQUEST else self._redactor.redact_written(value)


def _csv_line(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)  # RFC 4180
    return line.getvalue()


def _cell(value: Any) -> Any:
    """Write one value, a text so that no spreadsheet runs it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | dict):
        value = msgspec.json.encode(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return defused(value.replace("\0", "\ufffd"))
    return value
