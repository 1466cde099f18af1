"""What `/trends` says, as charts over weeks and as sentences about drift and leads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shadow.web import svg
from shadow.web.dashboard import formats
from shadow.web.dashboard.charts import Chart, named
from shadow.web.dashboard.nodes import keyed
from shadow.web.dashboard.texts import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shadow.web.dashboard.nodes import Node

    Form = Callable[[float], str]

_MAX_MARKS = 7


def quality_trend(trends: Node, *, task: Any, series: Mapping[Any, int]) -> Chart:
    """Quality of every model week by week, with intervals as bands."""
    return _trend(
        trends, task=task, series=series, of=("quality.mean", "quality.ci"), form=formats.quality,
        title="Quality, week by week", axis="quality",
    )  # fmt: skip


def latency_trend(trends: Node, *, task: Any, series: Mapping[Any, int]) -> Chart:
    """The 95th percentile of every model week by week."""
    return _trend(
        trends, task=task, series=series, of=("latency_ms.p95", "latency_ms.p95_ci"), form=formats.ms,
        title="p95 of the whole answer, week by week", axis="p95",
    )  # fmt: skip


def cost_trend(trends: Node, *, task: Any, series: Mapping[Any, int]) -> Chart:
    """Cost per quality point of every model week by week."""
    return _trend(
        trends, task=task, series=series, of=("cost_per_quality_point_usd.value", "cost_per_quality_point_usd.ci"),
        form=formats.usd_per_1k, title="USD per 1k quality points, week by week", axis="USD per 1k points",
    )  # fmt: skip


def _trend(
    trends: Node,
    *,
    task: Any,
    series: Mapping[Any, int],
    of: tuple[str, str],
    form: Form,
    title: str,
    axis: str,
) -> Chart:
    reading = "Solid: live traffic by week. Dashed: weekly runs over fixed prompts. Bands are intervals."
    columns = ("when", "model", "source", axis, "interval")
    points = [point for point in trends.nodes("points") if point["task"] == task and point[of[0]] is not None]
    if not points:
        why = "No week has a value yet: weekly figures come with sampled traffic, and with weekly runs."
        return Chart(title=title, reading=reading, drawing="", columns=columns, rows=(), empty=why)
    lines = [
        _line(found, of=of, series=series.get(model, number), dashed=source == "run")
        for number, ((model, source), found) in enumerate(_grouped(points).items())
    ]
    drawing = svg.curves(
        svg.Frame(name=f"{keyed(title)}-{keyed(str(task))}", title=title, description=reading),
        lines,
        x=svg.Axis(title="week (UTC)", format=formats.plain, marks=_dates(points)),
        y=svg.Axis(title=axis, format=form),
    )
    rows = [
        (
            f"{_moment(point):%Y-%m-%d}",
            named(point["model"]),
            "run" if point["source"] == "run" else "live",
            form(point[of[0]]),
            _ends(point[of[1]], form),
        )
        for point in points
    ]
    return Chart(title=title, reading=reading, drawing=drawing, columns=columns, rows=rows)


def sentences(trends: Node, *, task: Any) -> list[str]:
    """Drift, the primary's first, what cannot be told of it and why, then leads that are proved or lost."""
    found = [
        _drifted(drift, change)
        for drift in trends.nodes("drift")
        if drift["task"] == task
        for change in drift.nodes("changes")
    ]
    found += [_untold(drift) for drift in trends.nodes("drift") if drift["task"] == task and _is_untold(drift)]
    found += [
        f"{named(lead['candidate'])}, weekly runs: {one_line(str(lead['why']), limit=400)}"
        for lead in trends.nodes("leads")
        if lead["task"] == task and lead["state"] in {"promote", "better_costlier", "reject"}
    ]
    return found


def _is_untold(drift: Node) -> bool:
    """True where a judge that must compare has compared nothing, or is not trusted."""
    return bool(drift["withheld"] or (drift["reason"] and drift["now"] is None))


def _untold(drift: Node) -> str:
    who = f"{'the primary ' if drift['role'] == 'primary' else ''}{named(drift['model'])}"
    why = one_line(str(drift["withheld"] or drift["reason"]), limit=400)
    return f"Whether {who} drifted cannot be told by {named(drift['evaluator'])}: {why}."


def _drifted(drift: Node, change: Node) -> str:
    mean, ci = change["mean"], change["ci"]
    who = f"{'The primary ' if drift['role'] == 'primary' else ''}{named(drift['model'])}"
    what = "a change" if mean is None else formats.points(mean)
    between = f" [{_ends(ci, formats.points)}]" if ci else ""
    since = one_line(str(change["since_run"]), limit=40)
    over = f"over {change['conversations'] or 0:,} conversations"
    return f"{who} drifted: {what}{between} by {named(drift['evaluator'])} since run {since}, {over}."


def _line(points: Sequence[Node], *, of: tuple[str, str], series: int, dashed: bool) -> svg.Line:
    at = [(_moment(point).timestamp(), point) for point in points]
    return svg.Line(
        points=[(when, point[of[0]]) for when, point in at],
        label=named(points[0]["model"]) + (" (runs)" if dashed else ""),
        series=series,
        band=[(when, *point[of[1]]) for when, point in at if point[of[1]]],
        marks=True,
        dashed=dashed,
    )


def _grouped(points: Sequence[Node]) -> dict[tuple[Any, str], list[Node]]:
    groups: dict[tuple[Any, str], list[Node]] = {}
    for point in points:
        groups.setdefault((point["model"], "run" if point["source"] == "run" else "live"), []).append(point)
    return groups


def _dates(points: Sequence[Node]) -> Sequence[tuple[float, str]]:
    """Some of the dates, evenly, the last among them."""
    days = sorted({_moment(point).date() for point in points})
    step = -(-len(days) // _MAX_MARKS)
    return [
        (datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp(), f"{day.day} {day:%b}")
        for day in days[(len(days) - 1) % step :: step]
    ]


def _moment(point: Node) -> datetime:
    return formats.moment(point["at"]) or datetime.fromtimestamp(0, tz=UTC)


def _ends(ci: Any, form: Form) -> str:
    return f"{form(ci[0])} to {form(ci[1])}" if ci else "n/a"
