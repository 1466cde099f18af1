"""The dashboard's charts out of the API's answers: the drawing, and the same numbers as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from shadow.web import svg
from shadow.web.dashboard import formats
from shadow.web.dashboard.nodes import keyed
from shadow.web.dashboard.texts import one_line

if TYPE_CHECKING:
    from shadow.web.dashboard.nodes import Node

_LABEL_CHARACTERS = 40
_MOST_BESIDE = 12
_MOST_PRIMARIES = 4
"""So many primaries of a task have charts of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One drawing with its title, a sentence about how to read it, and the same numbers as rows of text.

    `empty` says why there is no drawing; then `drawing` is "". There may be rows nevertheless.
    """

    title: str
    reading: str
    drawing: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    empty: str | None = None


def named(model: Any) -> str:
    """A model's name for a chart: on one line, nothing invisible in it."""
    return one_line(str(model), limit=_LABEL_CHARACTERS) if model is not None else "(no model named)"


def several_primaries(comparisons: Sequence[Node]) -> bool:
    """Tell whether a candidate's name alone leaves open what it is compared with."""
    return len({one["primary"] for one in comparisons}) > 1


def compared(one: Node, *, several: bool) -> str:
    """Name a comparison by its candidate, and with `several` primaries by both."""
    return f"{named(one['candidate'])} for {named(one['primary'])}" if several else named(one["candidate"])


def series_of(models: Sequence[Node]) -> Mapping[Any, int]:
    """Number the models of a task, the primaries first: the same colour and shape in every chart."""
    return {name: number for number, name in enumerate(dict.fromkeys(row["model"] for row in models))}


def pairs_link(prefix: str | None, task: Any, candidate: Any) -> str | None:
    """The page with a candidate's pairs, those first where it failed or lost most; None where there are no pages."""
    if prefix is None:
        return None
    return f"{prefix}pairs?{urlencode({'task': task, 'candidate': candidate, 'sort': 'worst'})}"


def of_each_primary(task: Node, *, link: str | None) -> Sequence[Chart]:
    """Draw cost by quality and the quality differences; with several primaries both for each one, as it is 1 and 0.

    `link` None draws points without links.
    """
    by_primary: dict[Any, list[Node]] = {}
    for one in task.nodes("comparisons"):
        by_primary.setdefault(one["primary"], []).append(one)
    several = len(by_primary) > 1
    groups = list(by_primary.values())[:_MOST_PRIMARIES] or [[]]
    left_out = len(by_primary) - len(groups) if several else 0
    return [
        draw(task, own, link=link, several=several, left_out=left_out)
        for own in groups
        for draw in (_cost_and_quality, _quality_differences)
    ]


def _titled(title: str, comparisons: Sequence[Node], *, several: bool) -> tuple[str, str]:
    """A title that names the primary where there are several, and the end of a name that is unique on the page."""
    if not several:
        return title, ""
    primary = comparisons[0]["primary"]
    told = title.replace("the primary", named(primary))
    return told if told != title else f"{title}, for {named(primary)}", f"-{keyed(str(primary))}"


def _not_drawn(left_out: int) -> str:
    return f" {left_out} more primaries of this task have no chart of their own; see their cards." if left_out else ""


def _cost_and_quality(
    task: Node, comparisons: Sequence[Node], *, link: str | None, several: bool, left_out: int
) -> Chart:
    """Cost by quality, each against the primary over the same pairs: up and to the left is better."""
    series = series_of(task.nodes("models"))
    reading = "Higher is better, further left is cheaper; whiskers are intervals; the ring is the primary."
    reading += _not_drawn(left_out)
    title, end = _titled("Quality against cost", comparisons, several=several)
    columns = ("model", "cost, primary = 1", "quality difference")
    shown = [
        one
        for one in comparisons
        if one["cost_ratio.value"] and one["cost_ratio.value"] > 0 and one["quality_diff.mean"] is not None
    ]
    if not shown:
        why = "No candidate has both a known cost and a scored pair yet."
        return Chart(title=title, reading=reading, drawing="", columns=columns, rows=(), empty=why)
    points = [_cost_point(task, one, series, link=link, several=several) for one in shown]
    primary = shown[0]["primary"]
    home = svg.Point(
        x=1.0,
        y=0.0,
        label=named(primary),
        series=series.get(primary, 0),
        hollow=True,
        told=f"{named(primary)}: the primary",
    )
    best: list[tuple[float, float]] = []
    for point in sorted([*points, home], key=lambda each: (each.x, -each.y)):
        if not best or point.y > best[-1][1]:
            best.append((point.x, point.y))
    drawing = svg.scatter(
        svg.Frame(name=f"pareto-{keyed(str(task['task']))}{end}", title=title, description=reading),
        [home, *points],
        x=svg.Axis(title="cost of the same requests, primary = 1", format=lambda value: f"{value:g}x", log=True),
        y=svg.Axis(title="quality difference, points", format=_hundredths),
        frontier=best,
    )
    rows = [
        (
            compared(one, several=several),
            _with_ci(one, "cost_ratio.value", "cost_ratio.ci", formats.ratio),
            _with_ci(one, "quality_diff.mean", "quality_diff.ci", formats.points),
        )
        for one in shown
    ]
    return Chart(title=title, reading=reading, drawing=drawing, columns=columns, rows=rows)


def _cost_point(task: Node, one: Node, series: Mapping[Any, int], *, link: str | None, several: bool) -> svg.Point:
    cost, quality, name = one["cost_ratio.value"], one["quality_diff.mean"], compared(one, several=several)
    return svg.Point(
        x=cost,
        y=quality,
        label=named(one["candidate"]),
        series=series.get(one["candidate"], 1),
        x_ci=_interval(one["cost_ratio.ci"], above_zero=True),
        y_ci=_interval(one["quality_diff.ci"]),
        href=pairs_link(link, task["task"], one["candidate"]),
        told=f"{name}: cost {formats.ratio(cost)}, quality {formats.points(quality)}; see its pairs",
    )


def _quality_differences(
    task: Node, comparisons: Sequence[Node], *, link: str | None, several: bool, left_out: int
) -> Chart:
    """Each candidate's quality less the primary's, with its interval beside zero and the margin."""
    series = series_of(task.nodes("models"))
    title, end = _titled("Quality difference to the primary", comparisons, several=several)
    margins = [one["missing.effective_margin"] for one in comparisons]
    margins = [margin for margin in margins if isinstance(margin, int | float)]
    reading = "Right of zero the candidate is better; lines are intervals."
    if margins:
        reading += " One that lies wholly right of the margin is proof of no loss beyond the margin."
    reading += _not_drawn(left_out)
    columns = ("candidate", "difference", "interval", "over")
    if not comparisons:
        why = "No candidate is configured: add one under shadow.candidates."
        return Chart(title=title, reading=reading, drawing="", columns=columns, rows=(), empty=why)
    rows = [
        svg.Range(
            label=named(one["candidate"]),
            series=series.get(one["candidate"], 1),
            value=one["quality_diff.mean"],
            ci=_interval(one["quality_diff.ci"]),
            told=_difference_told(one, several=several),
            href=pairs_link(link, task["task"], one["candidate"]),
        )
        for one in comparisons
    ]
    marks = [(0.0, "equal"), *([(-margins[0], "margin")] if margins else [])]
    drawing = svg.ranges(
        svg.Frame(name=f"differences-{keyed(str(task['task']))}{end}", title=title, description=reading),
        rows,
        axis=svg.Axis(title="quality difference, points", format=_hundredths),
        marks=marks,
    )
    table = [
        (
            compared(one, several=several),
            _or_reason(one, "quality_diff.mean", formats.points),
            _ends(one["quality_diff.ci"], formats.points) or one_line(one.reason("quality_diff.ci")),
            _measured_over(one),
        )
        for one in comparisons
    ]
    return Chart(title=title, reading=reading, drawing=drawing, columns=columns, rows=table)


def _difference_told(one: Node, *, several: bool) -> str:
    mean, ci = one["quality_diff.mean"], one["quality_diff.ci"]
    if mean is None:
        return one_line(one.reason("quality_diff.mean"))
    between = f" [{_ends(ci, formats.points)}]" if _interval(ci) else ""
    return f"{compared(one, several=several)}: {formats.points(mean)}{between} over {_measured_over(one)}"


def before_and_now(task: Any, models: Mapping[Any, Sequence[Node | None]]) -> Chart:
    """The quality of every model in two runs, one below the other; `models` gives the rows of both, None for none."""
    title, columns = "Quality, one run below the other", ("model", "run", "quality", "interval")
    reading = "Lines are intervals of each run by itself; two that overlap may still differ, question by question."
    shown = [
        (name, words, number, row)
        for number, (name, both) in enumerate([*models.items()][:_MOST_BESIDE])
        for words, row in zip(("first", "second"), both, strict=True)
        if row is not None and row["quality.avg"] is not None
    ]
    if not shown:
        why = "Neither run has a quality for this task."
        return Chart(title=title, reading=reading, drawing="", columns=columns, rows=(), empty=why)
    rows = [
        (
            named(name),
            words,
            formats.quality(row["quality.avg"]),
            _ends(row["quality.ci"], formats.quality) or one_line(row.reason("quality.ci")),
        )
        for name, words, _, row in shown
    ]
    drawing = svg.ranges(
        svg.Frame(name=f"runs-{keyed(str(task))}", title=title, description=reading),
        [
            svg.Range(
                label=f"{named(name)}, {words}" if words == "first" else words,
                series=number,
                value=row["quality.avg"],
                ci=_interval(row["quality.ci"]),
                told=f"{named(name)}, {words} run: {formats.quality(row['quality.avg'])}",
            )
            for name, words, number, row in shown
        ],
        axis=svg.Axis(title="quality", format=lambda value: f"{value:g}"),
    )
    return Chart(title=title, reading=reading, drawing=drawing, columns=columns, rows=rows)


def latency_curves(task: Node, curves: Sequence[Mapping[str, Any]], *, kind: str, link: str | None) -> Chart:
    """Share of answers that came within a time, per model. `kind` is `latency_ms` or `ttft_ms`."""
    series = series_of(task.nodes("models"))
    what = "first token" if kind == "ttft_ms" else "whole answer"
    title = f"Time to the {what}"
    reading = (
        "How large a share of the answers had come within a time; further left is faster. The mark on a line is its "
        "median; the primary's is dashed."
    )
    columns = ("model", "answers", "p50", "p95", "p99")
    lines = [
        svg.Line(
            points=[(float(a), float(b)) for a, b in row[kind]["points"] if a > 0],
            label=named(row["model"]),
            series=series[row["model"]],
            stepped=True,
            dashed=row["role"] == "primary",
            href=None if row["role"] == "primary" else pairs_link(link, task["task"], row["model"]),
            told=f"{named(row['model'])}, {row[kind]['n']:,} answers"
            + ("" if row["role"] == "primary" or link is None else "; see its pairs"),
        )
        for row in curves
        if row["model"] in series
    ]
    lines = [line for line in lines if line.points]
    if not lines:
        why = (
            "No answer with a first token yet: only streamed ones have one." if kind == "ttft_ms" else "No answer yet."
        )
        return Chart(title=title, reading=reading, drawing="", columns=columns, rows=(), empty=why)
    drawing = svg.curves(
        svg.Frame(name=f"{keyed(kind)}-{keyed(str(task['task']))}", title=title, description=reading),
        lines,
        x=svg.Axis(title=f"time to the {what}", format=formats.ms_tick, log=True),
        y=svg.Axis(title="share of answers", format=lambda value: f"{value * 100:.0f} %"),
        y_range=(0.0, 1.0),
    )
    rows = [
        (
            named(row["model"]),
            f"{row[kind]['n']:,}",
            *(_or_none(row[f"{kind}.{rank}"]) for rank in ("p50", "p95", "p99")),
        )
        for row in task.nodes("models")
    ]
    return Chart(title=title, reading=reading, drawing=drawing, columns=columns, rows=rows)


def coverage_funnel(one: Node, *, several: bool = False) -> Chart:
    """Where the eligible exchanges of one comparison went."""
    coverage = one.node("coverage")
    skipped, dropped = _summed(coverage["skipped"]), _summed(coverage["dropped"])
    counts = {name: int(coverage[name] or 0) for name in ("eligible", "sampled", "sent", "pending")}
    title = f"Coverage of {compared(one, several=several)}"
    reading = "Of the eligible some are sampled; of these some are sent, wait, or are skipped or dropped, named below."
    steps = (
        ("eligible", counts["eligible"], "part-a"),
        ("sampled", counts["sampled"], "part-b"),
        ("sent", counts["sent"], "part-c"),
        ("pending", counts["pending"], "part-d"),
        ("skipped", skipped, "part-e"),
        ("dropped", dropped, "part-f"),
    )
    rows = [(name, f"{count:,}") for name, count, _ in steps]
    if not counts["eligible"]:
        why = "No exchange was eligible in this window: send traffic through the gateway."
        return Chart(title=title, reading=reading, drawing="", columns=("exchanges", "count"), rows=rows, empty=why)
    drawing = svg.bars(
        svg.Frame(name=f"coverage-{keyed(one.path)}", title=title, description=reading),
        [
            svg.Bar(label=name, parts=[(count, kind, name)], told=f"{name}: {count:,}", amount=f"{count:,}")
            for name, count, kind in steps
        ],
        axis=svg.Axis(title="exchanges", format=formats.count),
    )
    return Chart(title=title, reading=reading, drawing=drawing, columns=("exchanges", "count"), rows=rows)


def timing(pair: Mapping[str, Any]) -> Chart:
    """Both answers of a pair on one clock: until the first token, then until the last."""
    title, reading = (
        "Timing",
        "The first part is the wait for the first token, the second the rest; a bar of one part was not streamed.",
    )
    sides = (
        (named(pair.get("primary")), pair.get("primary_ttft_ms"), pair.get("primary_latency_ms")),
        (named(pair.get("candidate")), pair.get("ttft_ms"), pair.get("latency_ms")),
    )
    rows = [(name, _or_none(ttft), _or_none(total)) for name, ttft, total in sides]
    drawing = svg.bars(
        svg.Frame(name="timing", title=title, description=reading),
        [
            svg.Bar(
                label=name,
                parts=_timing_parts(ttft, total or 0.0),
                told=f"{name}: first token {_or_none(ttft)}, whole answer {_or_none(total)}",
                amount=_or_none(total),
            )
            for name, ttft, total in sides
        ],
        axis=svg.Axis(title="since the request", format=formats.ms_tick),
    )
    return Chart(
        title=title, reading=reading, drawing=drawing, columns=("model", "first token", "whole answer"), rows=rows
    )


def _timing_parts(ttft: float | None, total: float) -> Sequence[tuple[float, str, str]]:
    if ttft is None:
        return [(total, "part-b", "whole answer")]
    return [(ttft, "part-d", "first token"), (max(0.0, total - ttft), "part-b", "the rest")]


def spend(by_role: Sequence[tuple[str, float]]) -> Chart:
    """Spend by role in this window, as (role, USD)."""
    title, reading = "Spend by role", "What the app's own answers cost, and what measuring costs beside it."
    kinds = ("part-a", "part-b", "part-c", "part-d", "part-e")
    rows = [(role, formats.usd(total)) for role, total in by_role]
    if not any(total for _, total in by_role):
        why = "Nothing with a known price was spent in this window."
        return Chart(title=title, reading=reading, drawing="", columns=("role", "USD"), rows=rows, empty=why)
    drawing = svg.bars(
        svg.Frame(name="spend", title=title, description=reading),
        [
            svg.Bar(
                label=role,
                parts=[(total, kinds[number % len(kinds)], role)],
                told=f"{role}: {formats.usd(total)}",
                amount=formats.usd(total),
            )
            for number, (role, total) in enumerate(by_role)
        ],
        axis=svg.Axis(title="USD", format=formats.usd),
    )
    return Chart(title=title, reading=reading, drawing=drawing, columns=("role", "USD"), rows=rows)


def budget_bar(budget: Node) -> Chart:
    """Today's budget: spent, reserved, and the part that has accrued by now."""
    title, reading = (
        "Today's budget",
        "The line is what the pacing allows by now; beyond it no new conversation is shadowed.",
    )
    cap, spent, reserved = (float(budget[name] or 0) for name in ("cap_usd", "spent_usd", "reserved_usd"))
    left = max(0.0, cap - spent - reserved)
    rows = [
        ("spent", formats.usd(spent)),
        ("reserved", formats.usd(reserved)),
        ("left", formats.usd(left)),
        ("cap", formats.usd(cap)),
        ("accrued by now", formats.usd(float(budget["paced_usd"] or 0))),
    ]
    parts = [(spent, "part-b", "spent"), (reserved, "part-d", "reserved"), (left, "part-rest", "left")]
    told = f"spent {rows[0][1]}, reserved {rows[1][1]}, left {rows[2][1]} of {rows[3][1]}"
    drawing = svg.bars(
        svg.Frame(name="budget", title=title, description=reading),
        [svg.Bar(label="today", parts=parts, told=told)],
        axis=svg.Axis(title="USD", format=formats.usd),
        mark=(float(budget["paced_usd"] or 0), "accrued by now"),
    )
    return Chart(title=title, reading=reading, drawing=drawing, columns=("part", "USD"), rows=rows)


def _hundredths(value: float) -> str:
    """A tick of a quality difference, in points."""
    return f"{round(value * 100, 6):+g}".replace("-", formats.MINUS) if round(value * 100, 6) else "0"


def _measured_over(one: Node) -> str:
    """How many of what a difference is the mean of: conversations; a run's cases; pairs, where sums alone tell it."""
    cases, found = one["quality_diff.units"], int(one["quality_diff.n"] or 0)
    if cases is not None:
        return f"{int(cases):,} cases"
    of_sums = one["window"] is not None and one["window.conversations"] is None
    decided = "quality_diff" in (one["scope.epoch"] or ())
    return f"{found:,} pairs" if of_sums and not decided else f"{found:,} conversations"


def _interval(value: Any, *, above_zero: bool = False) -> tuple[float, float] | None:
    if not isinstance(value, Sequence) or len(value) != 2:  # noqa: PLR2004  (low and high)
        return None
    low, high = float(value[0]), float(value[1])
    return None if above_zero and low <= 0 else (low, high)


def _ends(value: Any, form: Any) -> str:
    ends = _interval(value)
    return f"{form(ends[0])} to {form(ends[1])}" if ends else ""


def _with_ci(one: Node, value: str, ci: str, form: Any) -> str:
    between = _ends(one[ci], form)
    return f"{form(one[value])}{f' ({between})' if between else ''}"


def _or_reason(one: Node, name: str, form: Any) -> str:
    return form(one[name]) if one[name] is not None else one_line(one.reason(name))


def _or_none(value: float | None) -> str:
    return "n/a" if value is None else formats.ms(value)


def _summed(counts: Any) -> int:
    return sum(counts.values()) if isinstance(counts, Mapping) else 0
