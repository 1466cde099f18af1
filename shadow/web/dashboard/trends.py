"""What `/trends` says, as charts over weeks and as sentences about drift and leads."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from shadow.web import svg
from shadow.web.dashboard import formats
from shadow.web.dashboard.charts import Chart, named, pairs_link
from shadow.web.dashboard.nodes import keyed
from shadow.web.dashboard.texts import one_line, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date

    from shadow.web.dashboard.nodes import Node

    Form = Callable[[float], str]
    Placed = tuple[datetime, Node]
    """A value of the trends and when it is of."""

_TOLD = frozenset({"promote", "better_costlier", "equivalent", "reject"})
"""States of a lead that something is proved in."""
_MAX_STANDINGS = 5
_MAX_MARKS = 7
_WAY = {True: "; see the latest", False: "; see its pairs"}
_MAX_MODELS = 12
_MAX_ROWS = 100
_MAX_SHAPES = 30
"""A line of more points than this bears no shapes: they would be a smear."""
_MAX_EXAMPLES = 3
_EXAMPLE_BYTES = 1200


def quality_trend(trends: Node, *, task: Any, series: Mapping[Any, int], link: str | None) -> Chart:
    """Quality of every model week by week, with intervals as bands; `link` None draws lines without links."""
    return _trend(
        trends, task=task, series=series, link=link, of=("quality.mean", "quality.ci"), form=formats.quality,
        tick=lambda value: f"{value:g}", title="Quality, week by week", axis="quality",
    )  # fmt: skip


def latency_trend(
    trends: Node, *, task: Any, series: Mapping[Any, int], kind: str, rank: str, link: str | None
) -> Chart:
    """One percentile of every model week by week: `kind` is latency_ms or ttft_ms, `rank` p50 or p95."""
    what = "First token" if kind == "ttft_ms" else "Whole answer"
    return _trend(
        trends, task=task, series=series, link=link, of=(f"{kind}.{rank}", f"{kind}.{rank}_ci"), form=formats.ms,
        tick=formats.ms_tick, title=f"{what}, {rank} week by week", axis=rank,
    )  # fmt: skip


def cost_trend(trends: Node, *, task: Any, series: Mapping[Any, int], link: str | None) -> Chart:
    """Cost per quality point of every model week by week."""
    return _trend(
        trends,
        task=task,
        series=series,
        link=link,
        of=("cost_per_quality_point_usd.value", "cost_per_quality_point_usd.ci"),
        form=formats.usd_per_1k,
        title="USD per 1k quality points, week by week",
        axis="USD per 1k points",
    )


def _trend(
    trends: Node,
    *,
    task: Any,
    series: Mapping[Any, int],
    link: str | None,
    of: tuple[str, str],
    form: Form,
    title: str,
    axis: str,
    tick: Form | None = None,
) -> Chart:
    reading = (
        "Solid: live traffic by week. Dashed: weekly runs over your own prompts, most of them those of the run before. "
        "Bands are intervals."
    )
    columns = ("when", "model", "source", axis, "interval")
    measured = [point for point in trends.nodes("points") if point["task"] == task]
    points = [(_moment(point), point) for point in measured if point[of[0]] is not None]
    colours = _colours([point["model"] for _, point in points], series)
    points = sorted(((at, point) for at, point in points if point["model"] in colours), key=lambda each: each[0])
    rows = [
        (
            f"{at:%Y-%m-%d}",
            named(point["model"]),
            "run" if point["source"] == "run" else "live",
            form(point[of[0]]),
            _ends(point[of[1]], form),
        )
        for at, point in points[-_MAX_ROWS:]
    ]
    if len(points) > len(rows):
        reading += f" The table holds the newest {len(rows)} of {len(points):,} values."
    weeks = {at.date() for at, _ in points}
    if len(weeks) < 2:  # noqa: PLR2004  (a line needs two ends)
        return Chart(
            title=title,
            reading=reading,
            drawing="",
            columns=columns,
            rows=rows,
            empty=_too_few(weeks, _why_none(measured, of[0])),
        )
    lines = [
        _line(found, of=of, series=colours[model], dashed=source == "run", href=_behind(link, found[-1][1]))
        for (model, source), found in _grouped(points).items()
    ]
    drawing = svg.curves(
        svg.Frame(name=f"{keyed(title)}-{keyed(str(task))}", title=title, description=reading),
        lines,
        x=svg.Axis(title="week (UTC)", format=formats.plain, marks=_dates(weeks)),
        y=svg.Axis(title=axis, format=tick or form),
    )
    return Chart(title=title, reading=reading, drawing=drawing, columns=columns, rows=rows)


def _colours(models: Sequence[Any], series: Mapping[Any, int]) -> Mapping[Any, int]:
    """Number the models of a trend as the other charts do, those that are not in them after that; not too many."""
    names = sorted(dict.fromkeys(models), key=lambda name: series.get(name, len(series)))[:_MAX_MODELS]
    strangers = [name for name in names if name not in series]
    return {name: series[name] if name in series else len(series) + strangers.index(name) for name in names}


def _why_none(points: Sequence[Node], name: str) -> str | None:
    """Give what is said most often of weeks without this value; None where nothing is."""
    figures, _, _ = name.rpartition(".")
    told = Counter(
        why for point in points if point[name] is None and isinstance(why := point[f"{figures}.reason"], str)
    )
    return told.most_common(1)[0][0] if told else None


def _too_few(weeks: set[date], why_none: str | None) -> str:
    """Say why there is no line yet, and what makes one; `why_none` is what weeks without a value say of it."""
    more = (
        "Live weeks add up by themselves; the weekly run (benchmark.schedule, or Run now under Benchmarks) adds to it."
    )
    if not weeks and why_none is not None:
        return f"No week has a value: {one_line(why_none)}."
    if not weeks:
        return f"No week has a value yet. {more}"
    (week,) = weeks
    return f"One week has values so far, that of {week.day} {week:%B %Y}; a line needs two. {more}"


def series_of(trends: Node, *, task: Any) -> Mapping[Any, int]:
    """Number the models of a task, the primaries first, where there is nothing but the trends."""
    found = sorted(
        (point["role"] != "primary", str(point["model"])) for point in trends.nodes("points") if point["task"] == task
    )
    return {name: number for number, name in enumerate(dict.fromkeys(name for _, name in found))}


def sentences(trends: Node, *, task: Any) -> list[str]:
    """Drift, the primary's first, what cannot be told of it and why, then leads that are proved or lost.

    Beside a lead stands what live traffic says, and what each rests on where that is something else.
    """
    found = [
        _drifted(drift, change)
        for drift in trends.nodes("drift")
        if drift["task"] == task
        for change in drift.nodes("changes")
    ]
    found += [_untold(drift) for drift in trends.nodes("drift") if drift["task"] == task and _is_untold(drift)]
    found += [
        told for lead in trends.nodes("leads") if lead["task"] == task and lead["state"] in _TOLD for told in _led(lead)
    ]
    return found


def _led(lead: Node) -> list[str]:
    who = named(lead["candidate"])
    beside = [] if lead["beside"] is None else [f"{who}: {one_line(str(lead['beside']), limit=400)}"]
    return [f"{who}, weekly runs ({_standing(lead)}): {one_line(str(lead['why']), limit=400)}", *beside]


def nothing_told(trends: Node, *, task: Any) -> list[str]:
    """Say, where nothing is proved of a task, whether that is because no weekly run asked it, and how leads stand."""
    leads = [lead for lead in trends.nodes("leads") if lead["task"] == task]
    asked = leads or any(drift["task"] == task for drift in trends.nodes("drift"))
    if not asked and not any(point["task"] == task and point["source"] == "run" for point in trends.nodes("points")):
        return ["No weekly run has asked a prompt of this task yet: there is neither drift nor a lead to tell."]
    stand = [f"{named(lead['candidate'])} {_standing(lead)}" for lead in leads[:_MAX_STANDINGS]]
    return [f"No drift is proved, and no lead{': ' if stand else ''}{'; '.join(stand)}."]


def _standing(lead: Node) -> str:
    return f"{lead['state']}, {lead['n'] or 0:,} {lead['unit'] or 'conversations'}"


def changed_answers(trends: Node, *, task: Any) -> list[dict[str, Any]]:
    """Prompts whose answers changed where a drift is proved: whose, then and now, a few of the latest change.

    Where the drift was seen by comparing the two answers, `reason` is what was said of them.
    """
    return [
        {
            "model": named(drift["model"]),
            "case": one_line(str(example["case"]), limit=60),
            "reason": example["reason"],
            "sides": [
                {
                    "words": words,
                    "run": one_line(str(example[f"{side}.run"]), limit=40),
                    "quality": example[f"{side}.quality"],
                    "output": None
                    if example[f"{side}.output"] is None
                    else shown(str(example[f"{side}.output"]), limit_bytes=_EXAMPLE_BYTES),
                }
                for words, side in (("Before", "before"), ("Now", "now"))
            ],
        }
        for drift in trends.nodes("drift")
        if drift["task"] == task
        for change in drift.nodes("changes")[-1:]
        for example in change.nodes("examples")[:_MAX_EXAMPLES]
    ]


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


def _line(points: Sequence[Placed], *, of: tuple[str, str], series: int, dashed: bool, href: str | None) -> svg.Line:
    at = [(when.timestamp(), point) for when, point in points]
    name = named(points[0][1]["model"])
    return svg.Line(
        points=[(when, point[of[0]]) for when, point in at],
        label=name,
        told=f"{name}, {'weekly runs' if dashed else 'live traffic'}{'' if href is None else _WAY[dashed]}",
        series=series,
        band=[(when, *point[of[1]]) for when, point in at if point[of[1]]],
        href=href,
        marks=len(points) <= _MAX_SHAPES,
        dashed=dashed,
    )


def _behind(link: str | None, point: Node) -> str | None:
    """The page behind a line: its latest run, or a candidate's pairs."""
    if link is None:
        return None
    if point["source"] == "run":
        run = point["run"]
        return f"{link}runs/{quote(run.encode('utf-8', 'replace'), safe='')}" if isinstance(run, str) else None
    return None if point["role"] == "primary" else pairs_link(link, point["task"], point["model"])


def _grouped(points: Sequence[Placed]) -> dict[tuple[Any, str], list[Placed]]:
    groups: dict[tuple[Any, str], list[Placed]] = {}
    for at, point in points:
        groups.setdefault((point["model"], "run" if point["source"] == "run" else "live"), []).append((at, point))
    return groups


def _dates(weeks: set[date]) -> Sequence[tuple[float, str]]:
    """Some of the dates, evenly, the last among them."""
    days = sorted(weeks)
    step = -(-len(days) // _MAX_MARKS)
    return [
        (datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp(), f"{day.day} {day:%b}")
        for day in days[(len(days) - 1) % step :: step]
    ]


def _moment(point: Node) -> datetime:
    return formats.moment(point["at"]) or datetime.fromtimestamp(0, tz=UTC)


def _ends(ci: Any, form: Form) -> str:
    return f"{form(ci[0])} to {form(ci[1])}" if ci else "n/a"
