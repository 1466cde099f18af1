"""Trends on the terminal: one row a model and week, runs and live traffic on one axis, then leads and drift.

Under a drift stand pairs of answers that show it, so far as content is kept.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Literal

from gateway.tables import printable
from shadow.spreadsheet import defused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Row = Mapping[str, Any]
    Said = tuple[int, str]

_COLUMNS = (
    "at", "source", "task", "role", "model", "conversations", "quality", "low", "high", "USD per quality point", "low ",
    "high ", "p50 ms", "p95 ms", "TTFT p50 ms",
)  # fmt: skip

_EXAMPLES = 3
_EXAMPLE_CHARS = 200


def trends_text(trends: Row, *, form: Literal["table", "csv", "md"]) -> str:
    """Lay the answer of `/trends` out as text that ends with a line's end."""
    rows = [_cells(point) for point in trends["points"]]
    if form == "csv":
        return _csv(rows)
    said: list[Said] = [(0, _lead(lead)) for lead in trends["leads"]]
    said += [line for drift in trends["drift"] for line in _drift(drift)]
    said.append((0, _next(trends["next_run"])))
    if form == "md":
        table = [f"| {' | '.join(map(_escaped, row))} |" for row in [list(_COLUMNS), *rows]]
        table.insert(1, f"|{' --- |' * len(_COLUMNS)}")
        return "\n".join([*table, "", *(f"{'  ' * depth}- {_escaped(line)}" for depth, line in said)]) + "\n"
    return "\n".join([*_aligned([list(_COLUMNS), *rows]), "", *("    " * depth + line for depth, line in said)]) + "\n"


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
        f"{lead['unit']}: {lead['state']}, quality difference {difference}. {lead['why']} {lead['beside']}"
    )


def _drift(drift: Row) -> list[Said]:
    """What is known of a model, and under a change the pairs of answers that show it."""
    who = f"{drift['task']}, {drift['role']} {drift['model']} by {drift['evaluator']}"
    floor = _floor(drift)
    if drift["withheld"]:
        return [(0, printable(f"{who}: nothing can be told, {drift['withheld']} ({floor})"))]
    doubt = f"; {drift['reason']}" if drift["reason"] else ""
    if not drift["changes"]:
        if drift["now"] is None:
            why = f"nothing can be told, {drift['reason']}" if drift["reason"] else "nothing could be compared yet"
            return [(0, printable(f"{who}: {why} ({floor})"))]
        return [(0, printable(f"{who}: answers as before, as far as can be told ({floor}){doubt}"))]
    latest = drift["changes"][-1]
    low, high = latest["ci"]
    change = f"{latest['mean']:+.3f} ({low:+.3f} to {high:+.3f}) over {latest['conversations']} conversations"
    said = [(0, printable(f"{who}: {latest['direction']} since run {latest['since_run']}, {change} ({floor}){doubt}"))]
    for example in latest["examples"][:_EXAMPLES]:
        said.extend((1, line) for line in _example(example))
    return said


def _floor(drift: Row) -> str:
    noise = drift["noise_floor"]["discordance"]
    return "noise floor not known" if noise is None else f"noise floor {noise:.1%}"


def _example(example: Row) -> list[str]:
    lines = [f"case {printable(example['case'])}: {example['difference']:+.3g}{_why(example)}"]
    for word in ("before", "now"):
        side = example[word]
        quality = "" if side["quality"] is None else f", quality {side['quality']:.3g}"
        output = side.get("output")
        said = "not kept" if output is None else _one_line(output)
        lines.append(f"{word} (run {printable(side['run'])}{quality}): {said}")
    return lines


def _why(example: Row) -> str:
    return f", the judge says: {_one_line(example['reason'])}" if example.get("reason") else ""


def _one_line(text: str) -> str:
    """What somebody else wrote, cut to a line of a terminal; a line's end shows as a mark."""
    plain = printable("\u23ce".join(text.splitlines()))
    return plain if len(plain) <= _EXAMPLE_CHARS else plain[: _EXAMPLE_CHARS - 1] + "…"


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
