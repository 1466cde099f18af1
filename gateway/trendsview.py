"""Trends on the terminal: one row a model and week, runs and live traffic on one axis, then leads and drift."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Literal

from gateway.tables import printable
from shadow.spreadsheet import defused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Row = Mapping[str, Any]

_COLUMNS = (
    "at", "source", "task", "role", "model", "conversations", "quality", "low", "high", "USD per quality point", "low ",
    "high ", "p50 ms", "p95 ms", "TTFT p50 ms",
)  # fmt: skip


def trends_text(trends: Row, *, form: Literal["table", "csv", "md"]) -> str:
    """Lay the answer of `/trends` out as text that ends with a line's end."""
    rows = [_cells(point) for point in trends["points"]]
    if form == "csv":
        return _csv(rows)
    said = [*map(_lead, trends["leads"]), *map(_drift, trends["drift"]), _next(trends["next_run"])]
    if form == "md":
        table = [f"| {' | '.join(map(_escaped, row))} |" for row in [list(_COLUMNS), *rows]]
        table.insert(1, f"|{' --- |' * len(_COLUMNS)}")
        return "\n".join([*table, "", *(f"- {_escaped(line)}" for line in said)]) + "\n"
    return "\n".join([*_aligned([list(_COLUMNS), *rows]), "", *said]) + "\n"


def _cells(point: Row) -> list[str]:
    quality, per_point, latency = point["quality"], point["cost_per_quality_point_usd"], point["latency_ms"]
    low, high = quality["ci"] or (None, None)
    cheap, dear = per_point["ci"] or (None, None)
    numbers = (
        quality["mean"], low, high, per_point["value"], cheap, dear, latency["p50"], latency["p95"],
        point["ttft_ms"]["p50"],
    )  # fmt: skip
    texts = (str(point["at"])[:16], point["source"], point["task"], point["role"], point["model"])
    return [*map(printable, texts), _count(point["conversations"]), *map(_number, numbers)]


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4g}"


def _count(value: int | None) -> str:
    return "n/a" if value is None else str(value)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _lead(lead: Row) -> str:
    interval = "" if lead["interval"] is None else " ({:+.3f} to {:+.3f})".format(*lead["interval"])
    difference = "not known" if lead["difference"] is None else f"{lead['difference']:+.3f}{interval}"
    return printable(
        f"{lead['task']}, {lead['candidate']} against {lead['primary']} over {lead['runs']} weekly runs, {lead['n']} "
        f"{lead['unit']}: {lead['state']}, quality difference {difference}. {lead['why']}"
    )


def _drift(drift: Row) -> str:
    who = f"{drift['task']}, {drift['role']} {drift['model']} by {drift['evaluator']}"
    noise = drift["noise_floor"]["discordance"]
    floor = "noise floor not known" if noise is None else f"noise floor {noise:.1%}"
    if not drift["changes"]:
        return printable(f"{who}: answers as before, as far as can be told ({floor})")
    latest = drift["changes"][-1]
    low, high = latest["ci"]
    change = f"{latest['mean']:+.3f} ({low:+.3f} to {high:+.3f}) over {latest['conversations']} conversations"
    return printable(f"{who}: {latest['direction']} since run {latest['since_run']}, {change} ({floor})")


def _next(coming: Row) -> str:
    if coming["under_way"]:
        return "a weekly run is under way"
    return f"next weekly run: {coming['at'] or coming['reason']}"


def _csv(rows: Sequence[Sequence[str]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([name.strip() for name in _COLUMNS])
    writer.writerows([_safe(cell) for cell in row] for row in rows)
    return file.getvalue()


def _safe(cell: str) -> str:
    """A cell that a spreadsheet would run as a formula gets a quote in front; numbers stay numbers."""
    try:
        float(cell)
    except ValueError:
        return "" if cell == "n/a" else defused(cell)
    return cell


def _escaped(text: str) -> str:
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{char}" if char in "\\|`*_[]" else char for char in plain)
