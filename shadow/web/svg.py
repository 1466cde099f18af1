"""Charts as SVG text: scales, ticks, whiskers, bands and labels that stay inside and apart. No I/O, no clock.

Every chart is drawn in user units of about one CSS pixel, 420 wide, so that it reads on a telephone and beside two
others on a desk. Colours come from the page's style sheet by class (`s0` to `s7`), so one drawing serves light, dark
and print; each series has a shape of its own as well. No attribute holds a style and nothing is ever scripted.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

WIDTH, HEIGHT = 420.0, 280.0
FONT_PX = 12.0
LINE_PX = 15.0
SERIES = 8
"""How many colours and shapes there are; a ninth series looks like the first again."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 12.0, 32.0, 44.0
_BARE_TOP = 6.0
"""Above bars without a limit there are no words, so no room is kept for them."""
_MARK_PX = 5.0
_KEY_PX = 16.0
"""Room for a series' shape before its name."""
_GAP_PX = 12.0
_NEAR_PX = 20.0
"""How far from its mark a name needs no shape of its own."""
_BESIDE_SHARE = 0.3
"""How much of a chart its names may take beside the plot; longer ones stand below it."""
_THIN_PX = 0.8
"""Points of a curve nearer than this to the one before are not drawn: nobody could see them."""
_SQUARE_PX = 5.0
_ELLIPSIS = "…"
_TINY = 1e-12
_LEAST, _MOST = 1e-12, 1e12
"""The ends of a logarithmic axis; no cost and no duration lies beyond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One mark: where it is, how sure that is on either axis, whose it is, and the page behind it."""

    x: float
    y: float
    label: str
    series: int
    x_ci: tuple[float, float] | None = None
    y_ci: tuple[float, float] | None = None
    hollow: bool = False
    href: str | None = None
    told: str = ""
    """What a pointer or a screen reader is told about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve through `points`; `band` is (x, low, high) along it. `stepped` joins points as a distribution does.

    `marks` draws the series' shape at every point; a stepped curve bears it once, where it passes the half. Lines with
    the same label are named together.
    """

    points: Sequence[tuple[float, float]]
    label: str
    series: int
    band: Sequence[tuple[float, float, float]] = ()
    stepped: bool = False
    marks: bool = False
    dashed: bool = False
    href: str | None = None
    told: str = ""
    """What a pointer or a screen reader is told about it; its label where there is nothing more to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis: its words, how its numbers are written, and whether it is logarithmic or begins at zero."""

    title: str
    format: Callable[[float], str]
    log: bool = False
    zero: bool = False
    marks: Sequence[tuple[float, str]] = ()
    """Ticks to use instead of round numbers, with their words: dates, for example."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row of a bar chart: parts from left to right, each (value, class of colour, what it is)."""

    label: str
    parts: Sequence[tuple[float, str, str]]
    told: str
    amount: str = ""
    """Words at the end of the bar: its number."""
    href: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """One row of a range chart: a value with its interval, or (both None) the words why there is none."""

    label: str
    series: int
    value: float | None
    ci: tuple[float, float] | None
    told: str
    href: str | None = None


# ---- numbers to pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Maps [low, high] to [start, end] in pixels, linearly or by logarithm. `low` < `high`, both above 0 for a log."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Give the pixel of a value; values outside land on the nearer end, so that nothing is drawn off the chart."""
        inside = self.low if value < self.low else self.high if value > self.high else value  # noqa: FURB136  (hot)
        if self.log:
            share = math.log(inside / self.low) / math.log(self.high / self.low)
        else:
            share = (inside - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def nice_step(span: float, count: int) -> float:
    """Choose 1, 2, 2.5 or 5 times a power of ten so that about `count` steps make up `span` (above 0)."""
    raw = span / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    return next((factor * power for factor in (1.0, 2.0, 2.5, 5.0) if factor * power >= raw * (1 - 1e-9)), 10 * power)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers within [low, high]; at least one where the ends are finite and in order."""
    if not high - low > abs(low) * _TINY:
        return [low]
    step = nice_step(high - low, count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)] or [low]


def log_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """1, 2 and 5 times powers of ten within [low, high] (above 0); only powers, or every other one, when they crowd."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [factor * 10.0**power for power in powers for factor in factors]
        inside = [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(inside) <= count:
            return inside or [low]
    return inside[:: math.ceil(len(inside) / count)]


def scale_over(values: Iterable[float], *, start: float, end: float, log: bool = False, zero: bool = False) -> Scale:
    """Make a scale that shows every value with some air around it. Without a value it shows 0 to 1 (log: 1 to 10)."""
    known = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    if log:
        known = [min(max(value, _LEAST), _MOST) for value in known]  # what lies beyond is drawn at the edge
        low, high = min(known, default=1.0), max(known, default=10.0)
        air = (high / low) ** 0.06 if high > low * (1 + 1e-6) else 1.6
        return Scale(low=low / air, high=high * air, start=start, end=end, log=True)
    low, high = min(known, default=0.0), max(known, default=1.0)
    low, high = (min(low, 0.0), max(high, 0.0)) if zero else (low, high)
    span = high - low
    air = 0.08 * span if span > max(abs(low), abs(high)) * 1e-9 else max(abs(high) * 0.1, 0.5)
    low_air = 0.0 if zero and low == 0 else air
    return Scale(low=low - low_air, high=high + (0.0 if zero and high == 0 and low < 0 else air), start=start, end=end)


# ---- words and where they go


@lru_cache(maxsize=1024)
def text_width(text: str, size: float = FONT_PX) -> float:
    """Estimate the width of a text in pixels, on the wide side: a label that is thought too wide is never clipped."""
    return size * sum(_char_width(char) for char in text)


@lru_cache(maxsize=4096)
def _char_width(char: str) -> float:
    if unicodedata.combining(char):
        return 0.0
    if unicodedata.east_asian_width(char) in {"W", "F"}:
        return 1.1
    if char in "iIl.,:;'|!jt()[] \u202f":
        return 0.42
    if char in "mwMW%@—…":
        return 1.02
    return 0.74 if char.isupper() or ord(char) > 0x2000 else 0.65  # noqa: PLR2004  (symbols are wide)


def fitted(text: str, width: float, size: float = FONT_PX) -> str:
    """Give the text, cut in the middle of nowhere but with an ellipsis when it is wider than `width`."""
    if text_width(text, size) <= width:
        return text
    kept = text
    while kept and text_width(kept + _ELLIPSIS, size) > width:
        kept = kept[:-1]
    return kept.rstrip() + _ELLIPSIS


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Tell whether the two share any area."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def within(self, other: Box) -> bool:
        """Tell whether this one lies inside the other."""
        across = self.left >= other.left and self.right <= other.right
        return across and self.top >= other.top and self.bottom <= other.bottom


@dataclass(slots=True)
class Room:
    """The space of a plot: what is taken, and where a label still fits. Labels never leave it and never overlap."""

    bounds: Box
    taken: list[Box] = field(default_factory=list)
    passed: dict[int, int] = field(default_factory=dict)
    """Squares of the plot a curve passes through, by column, a bit for each row: asking them is quick."""

    def take(self, box: Box) -> None:
        """Keep a mark's or a whisker's place free of labels."""
        self.taken.append(box)

    def pass_through(self, x: float, y: float) -> None:
        """Keep a place on a curve free of labels."""
        column = int(x // _SQUARE_PX)
        self.passed[column] = self.passed.get(column, 0) | 1 << int(max(y, 0) // _SQUARE_PX)

    def _is_free(self, box: Box) -> bool:
        if not box.within(self.bounds):
            return False
        first, last = int(max(box.top, 0) // _SQUARE_PX), int(box.bottom // _SQUARE_PX)
        rows = ((1 << last - first + 1) - 1) << first
        for column in range(int(box.left // _SQUARE_PX), int(box.right // _SQUARE_PX) + 1):
            if column in self.passed and self.passed[column] & rows:
                return False
        return not any(box.meets(other) for other in self.taken)

    def place(
        self, text: str, x: float, y: float, *, lead: float = 0.0, reach: float = 190.0
    ) -> tuple[float, float] | None:
        """Find the place nearest to (x, y) for a label and take it; the left end of its baseline, None without room.

        `lead` is room for something before the words; no place is further away than about `reach`.
        """
        width, height = lead + text_width(text), LINE_PX
        for wished, top in _spots(x, y, width, height, reach=reach):
            left = max(min(wished, self.bounds.right - width), self.bounds.left)
            box = Box(left, top, left + width, top + height)
            if self._is_free(box):
                self.take(box)
                return left, top + 0.78 * height
        return None


def _spots(x: float, y: float, width: float, height: float, *, reach: float) -> Iterable[tuple[float, float]]:
    """Top left corners to try: beside, above and below the mark, then further and further away."""
    for distance in range(0, int(reach), 10):
        gap = _MARK_PX + 4 + distance
        yield x + gap, y - height / 2
        yield x - gap - width, y - height / 2
        yield x - width / 2, y - gap - height
        yield x - width / 2, y + gap
        yield x + _MARK_PX + 3, y - gap - height
        yield x + _MARK_PX + 3, y + gap
        yield x - width - _MARK_PX - 3, y - gap - height
        yield x - width - _MARK_PX - 3, y + gap


def number(value: float) -> str:
    """Write a coordinate shortly: one decimal is a tenth of a pixel."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


# ---- charts


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What every chart has: its name (unique on the page), its title, a sentence about it, and its size."""

    name: str
    title: str
    description: str
    width: float = WIDTH
    height: float = HEIGHT


def scatter(frame: Frame, points: Sequence[Point], *, x: Axis, y: Axis, frontier: Sequence[tuple[float, float]]) -> str:
    """Draw points with their intervals; `frontier` is a dashed line of steps through the best of them."""
    plot = _Plot(frame, x=x, y=y)
    plot.xs = scale_over(_extents(points, "x"), start=plot.left, end=plot.right, log=x.log, zero=x.zero)
    plot.ys = scale_over(_extents(points, "y"), start=plot.bottom, end=plot.top, log=y.log, zero=y.zero)
    plot.axes()
    if len(frontier) > 1:
        plot.frontier(frontier)
    for point in points:
        plot.whiskers(point)
    for point in points:
        plot.room.take(_around(plot.xs(point.x), plot.ys(point.y)))
    for point in points:
        plot.mark(point)
    return plot.drawn()


def curves(frame: Frame, lines: Sequence[Line], *, x: Axis, y: Axis, y_range: tuple[float, float] | None = None) -> str:
    """Draw curves with their bands. Short names stand beside the plot, long ones in rows below it."""
    named = _in_order(lines)
    beside = _KEY_PX + 14 + max((text_width(line.label) for line in named), default=0.0)
    are_short = beside <= _BESIDE_SHARE * frame.width
    if are_short:
        plot = _Plot(frame, x=x, y=y, right=beside)
    else:
        below = LINE_PX * len(_rows(named, width=frame.width))
        plot = _Plot(_sized(frame, frame.height + below), x=x, y=y, below=below)
    across = [a for line in lines for a, _ in line.points] + [value for value, _ in x.marks]
    plot.xs = scale_over(across, start=plot.left + 4, end=plot.right - 4, log=x.log, zero=x.zero)
    if y_range is None:
        heights = [b for line in lines for _, b in line.points]
        heights += [edge for line in lines for _, low, high in line.band for edge in (low, high)]
        plot.ys = scale_over(heights, start=plot.bottom, end=plot.top, log=y.log, zero=y.zero)
    else:
        plot.ys = Scale(low=y_range[0], high=y_range[1], start=plot.bottom, end=plot.top)
    plot.axes()
    for line in lines:
        plot.band(line)
    for line in lines:
        plot.curve(line)
    if are_short:
        plot.names_beside(named)
    else:
        plot.names_below(named)
    return plot.drawn()


def bars(frame: Frame, rows: Sequence[Bar], *, axis: Axis, mark: tuple[float, str] | None = None) -> str:
    """Draw rows of stacked bars from zero; `mark` is a limit, drawn across all of them with its words."""
    labels = _label_width(frame, [row.label for row in rows])
    top = _TOP if mark else _BARE_TOP
    plot = _Plot(_sized(frame, top + 26 * max(1, len(rows)) + _BOTTOM), x=axis, y=None, left=labels, top=top)
    totals = [sum(value for value, _, _ in row.parts) for row in rows] + ([mark[0]] if mark else [])
    amounts = max((text_width(row.amount) for row in rows), default=0.0)
    plot.xs = scale_over([0.0, *totals], start=plot.left, end=plot.right - amounts, zero=True)
    plot.axes()
    for index, row in enumerate(rows):
        plot.bar(row, top=plot.top + 26 * index + 4)
    if mark:
        plot.limit(*mark)
    return plot.drawn()


def ranges(frame: Frame, rows: Sequence[Range], *, axis: Axis, marks: Sequence[tuple[float, str]] = ()) -> str:
    """Draw one value with its interval per row, beside vertical lines at `marks` (0, a margin)."""
    labels = _label_width(frame, [row.label for row in rows])
    height = _TOP + 30 * max(1, len(rows)) + _BOTTOM
    plot = _Plot(_sized(frame, height), x=axis, y=None, left=labels)
    known = [edge for row in rows if row.value is not None for edge in (row.value, *(row.ci or ()))]
    plot.xs = scale_over([*known, *(value for value, _ in marks)], start=plot.left, end=plot.right)
    plot.axes()
    for value, words in marks:
        plot.limit(value, words)
    for index, row in enumerate(rows):
        plot.range(row, middle=plot.top + 30 * index + 15)
    return plot.drawn()


def _sized(frame: Frame, height: float) -> Frame:
    return Frame(name=frame.name, title=frame.title, description=frame.description, width=frame.width, height=height)


def _rows(lines: Sequence[Line], *, width: float) -> list[list[Line]]:
    """Fill rows with lines' names, each after the shape of its series."""
    rows: list[list[Line]] = [[]]
    left = width
    for line in lines:
        needed = _KEY_PX + text_width(line.label) + _GAP_PX
        if rows[-1] and needed > left:
            rows.append([])
            left = width
        rows[-1].append(line)
        left -= needed
    return rows


def _in_order(lines: Sequence[Line]) -> list[Line]:
    """One line for each name, from top to bottom as they end; distributions, which all end together, by their half."""
    shown: dict[str, Line] = {}
    for line in lines:
        known = shown.get(line.label)
        if line.points and (known is None or line.points[-1][0] >= known.points[-1][0]):
            shown[line.label] = line
    return sorted(
        shown.values(), key=lambda line: line.points[_half(line.points)][0] if line.stepped else -line.points[-1][1]
    )


def _label_width(frame: Frame, labels: Sequence[str]) -> float:
    """Room for the rows' names: as much as they need, at most two fifths of the chart."""
    return min(max((text_width(label) for label in labels), default=0.0) + 10, 0.4 * frame.width)


class _Plot:
    """A drawing under way: the pieces so far, the scales, and the room that is left for labels."""

    def __init__(
        self,
        frame: Frame,
        *,
        x: Axis,
        y: Axis | None,
        left: float = _LEFT,
        right: float = _RIGHT,
        top: float = _TOP,
        below: float = 0.0,
    ) -> None:
        self._frame, self._x, self._y = frame, x, y
        self._pieces: list[str] = []
        self.left, self.right = left, frame.width - right
        self.top, self.bottom = top, frame.height - _BOTTOM - below
        self.xs = Scale(low=0, high=1, start=self.left, end=self.right)
        self.ys = Scale(low=0, high=1, start=self.bottom, end=self.top)
        self.room = Room(Box(self.left + 2, self.top - 16, frame.width - 2, self.bottom - 2))

    def add(self, piece: str) -> None:
        self._pieces.append(piece)

    def drawn(self) -> str:
        """Put the pieces together, with title and description for those who do not see them."""
        frame = self._frame
        name = escape(frame.name)
        return (
            f'<svg class="chart" viewBox="0 0 {number(frame.width)} {number(frame.height)}" role="group" '
            f'aria-labelledby="{name}-t {name}-d"><title id="{name}-t">{escape(frame.title)}</title>'
            f'<desc id="{name}-d">{escape(frame.description)}</desc>{"".join(self._pieces)}</svg>'
        )

    def axes(self) -> None:
        """Draw grid lines, ticks with their numbers, and the titles of both axes."""
        self.add('<g class="axes" aria-hidden="true">')
        bottom, end = number(self.bottom), -math.inf
        for value, words in _marks_of(self._x, self.xs, count=5):
            at = self.xs(value)
            self.add(f'<path class="grid" d="M{number(at)} {number(self.top)}V{bottom}"/>')
            half = text_width(words) / 2
            middle = min(max(at, half + 1), self._frame.width - half - 1)
            if middle - half > end:  # a number that would touch the one before it is left out
                self._text(words, middle, self.bottom + 16, "middle")
                end = middle + half + 4
        self._text(fitted(self._x.title, self.right), (self.left + self.right) / 2, self.bottom + 35, "middle", "axis")
        if self._y is not None:
            self._y_axis(self._y)
        self.add("</g>")

    def _y_axis(self, axis: Axis) -> None:
        words = fitted(axis.title, self._frame.width - 4)
        self._text(words, 2, FONT_PX, "start", "axis")
        self.room.take(Box(0, 0, 2 + text_width(words), LINE_PX))
        for value, words in _marks_of(axis, self.ys, count=5):
            at = self.ys(value)
            self.add(f'<path class="grid" d="M{number(self.left)} {number(at)}H{number(self.right)}"/>')
            self._text(fitted(words, self.left - 8), self.left - 6, min(at + 4, self.bottom + 2), "end")

    def frontier(self, corners: Sequence[tuple[float, float]]) -> None:
        """Draw the dashed steps through the best points, and keep labels off them."""
        points = [(self.xs(a), self.ys(b)) for a, b in corners]
        self.add(f'<path class="frontier" d="{_path(points, stepped=True)}"/>')
        stepped = [point for (a, b), (c, d) in pairwise(points) for point in ((a, b), (c, b), (c, d))]
        for a, b in _along(stepped):
            self.room.pass_through(a, b)

    def whiskers(self, point: Point) -> None:
        """Draw the intervals of a point on both axes, and keep labels off them."""
        x, y, kind = self.xs(point.x), self.ys(point.y), _series(point.series)
        if point.x_ci is not None:
            low, high = (self.xs(edge) for edge in point.x_ci)
            self.add(f'<path class="whisker {kind}" d="{_whisker(low, high, y)}"/>')
            self.room.take(Box(low, y - 3, high, y + 3))
        if point.y_ci is not None:
            low, high = (self.ys(edge) for edge in point.y_ci)
            self.add(f'<path class="whisker {kind}" d="{_whisker(high, low, x, upright=True)}"/>')
            self.room.take(Box(x - 3, high, x + 3, low))

    def mark(self, point: Point) -> None:
        """Draw a point's shape, with a link and its name beside it."""
        x, y = self.xs(point.x), self.ys(point.y)
        kind = f"mark {_series(point.series)}{' hollow' if point.hollow else ''}"
        shape = f'<path class="{kind}" d="{_shape(point.series, x, y)}"/>'
        self.add(_linked(shape, href=point.href, told=point.told))
        self._label(point, x, y, kind=kind)

    def band(self, line: Line) -> None:
        if len(line.band) == 1:  # an area of one moment has no width
            at, low, high = line.band[0]
            outline = _whisker(self.ys(high), self.ys(low), self.xs(at), upright=True)
            self.add(f'<path class="whisker {_series(line.series)}" d="{outline}"/>')
        elif line.band:
            there = [(self.xs(a), self.ys(high)) for a, _, high in line.band]
            back = [(self.xs(a), self.ys(low)) for a, low, _ in reversed(line.band)]
            self.add(f'<path class="band {_series(line.series)}" d="{_path([*there, *back])}Z"/>')

    def curve(self, line: Line) -> None:
        points = [(self.xs(a), self.ys(b)) for a, b in line.points]
        if not points:
            return
        kind = f"curve {_series(line.series)}{' dashed' if line.dashed else ''} d{line.series % SERIES}"
        drawn = f'<path class="{kind}" d="{_path(_thinned(points), stepped=line.stepped)}"/>'
        marked = points if line.marks else [points[_half(line.points)]] if line.stepped else []
        if marked:
            marks = "".join(_shape(line.series, a, b) for a, b in marked)
            drawn += f'<path class="mark {_series(line.series)}" d="{marks}"/>'
        self.add(_linked(drawn, href=line.href, told=line.told or line.label))

    def names_beside(self, lines: Sequence[Line]) -> None:
        """Name lines right of the plot: at the height each ends, or as near as the others leave room."""
        wished = [self.top if line.stepped else self.ys(line.points[-1][1]) for line in lines]
        most = int((self.bottom - self.top) / LINE_PX)
        heights = _apart(wished[:most], low=self.top, high=self.bottom)
        for height, end, line in zip(heights, wished, lines, strict=False):
            if not line.stepped:
                start = self.xs(line.points[-1][0]) + _MARK_PX + 2
                way = f"M{number(start)} {number(end)}L{number(self.right + 5)} {number(height)}"
                self.add(f'<path class="leader {_series(line.series)}" d="{way}"/>')
            self._named(line, self.right + 8, height)

    def names_below(self, lines: Sequence[Line]) -> None:
        """Name lines in rows below the plot."""
        for number_, row in enumerate(_rows(lines, width=self._frame.width)):
            left = 2.0
            for line in row:
                self._named(line, left, self.bottom + _BOTTOM + 4 + LINE_PX * number_)
                left += _KEY_PX + text_width(line.label) + _GAP_PX

    def _named(self, line: Line, left: float, middle: float) -> None:
        key = _shape(line.series, left + _MARK_PX, middle)
        self.add(f'<path class="mark {_series(line.series)}" d="{key}"/>')
        short = fitted(line.label, self._frame.width - left - _KEY_PX)
        self._text(short, left + _KEY_PX - 2, middle + 4, "start", "label")

    def bar(self, row: Bar, *, top: float) -> None:
        self._text(fitted(row.label, self.left - 8), self.left - 6, top + 13, "end", "row")
        drawn, done = "", 0.0
        for value, kind, _ in row.parts:
            start, end = self.xs(done), self.xs(done + value)
            end = max(end, start + 1.5) if value > 0 else end  # a little is not nothing
            outline = f"M{number(start)} {number(top)}H{number(end)}v18H{number(start)}Z"
            drawn += f'<path class="bar {escape(kind)}" d="{outline}"/>'
            done += value
        self.add(_linked(drawn, href=row.href, told=row.told))
        if row.amount:
            self._text(row.amount, self.xs(done) + 6, top + 13, "start", "row")

    def range(self, row: Range, *, middle: float) -> None:
        self._text(fitted(row.label, self.left - 8), self.left - 6, middle + 4, "end", "row")
        if row.value is None:
            self._text(fitted(row.told, self.right - self.left - 4), self.left + 4, middle + 4, "start", "muted")
            return
        drawn = ""
        if row.ci is not None:
            low, high = (self.xs(edge) for edge in row.ci)
            drawn += f'<path class="whisker {_series(row.series)}" d="{_whisker(low, high, middle)}"/>'
        x = self.xs(row.value)
        drawn += f'<path class="mark {_series(row.series)}" d="{_shape(row.series, x, middle)}"/>'
        self.add(_linked(drawn, href=row.href, told=row.told))

    def limit(self, value: float, words: str) -> None:
        """Draw a vertical line at a value, with its words above where they fit."""
        at = self.xs(value)
        self.add(f'<path class="limit" d="M{number(at)} {number(self.top)}V{number(self.bottom)}"/>')
        half = text_width(words) / 2
        for wished in (at, at - half - 3, at + half + 3):  # above the line, else left or right of it
            middle = min(max(wished, half + 1), self._frame.width - half - 1)
            box = Box(middle - half, self.top - LINE_PX, middle + half, self.top - 1)
            if not any(box.meets(other) for other in self.room.taken):
                self.room.take(box)
                self._text(words, middle, self.top - 4, "middle", "muted")
                return

    def _label(self, point: Point, x: float, y: float, *, kind: str) -> None:
        """Name a mark beside it; a name that has to stand further away bears the mark's shape as well."""
        short = fitted(point.label, 0.5 * self._frame.width)
        spot = self.room.place(short, x, y, reach=_NEAR_PX)
        if spot is None:
            spot = self.room.place(short, x, y, lead=_KEY_PX)
            if spot is None:  # without room the name is in the mark's title, and in the table
                return
            self.add(f'<path class="{kind}" d="{_shape(point.series, spot[0] + _MARK_PX + 2, spot[1] - 4)}"/>')
            spot = (spot[0] + _KEY_PX, spot[1])
        self._text(short, spot[0], spot[1], "start", "label")

    def _text(
        self, text: str, x: float, y: float, anchor: Literal["start", "middle", "end"], kind: str = "tick"
    ) -> None:
        self.add(f'<text class="{kind}" x="{number(x)}" y="{number(y)}" text-anchor="{anchor}">{escape(text)}</text>')


def _marks_of(axis: Axis, scale: Scale, *, count: int) -> list[tuple[float, str]]:
    if axis.marks:
        return list(axis.marks)
    found = log_ticks(scale.low, scale.high) if axis.log else ticks(scale.low, scale.high, count)
    return [(value, axis.format(value)) for value in found]


def _extents(points: Sequence[Point], side: Literal["x", "y"]) -> list[float]:
    found = [point.x if side == "x" else point.y for point in points]
    for point in points:
        found += (point.x_ci if side == "x" else point.y_ci) or ()
    return found


def _series(number_: int) -> str:
    return f"s{number_ % SERIES}"


def _around(x: float, y: float) -> Box:
    return Box(x - _MARK_PX, y - _MARK_PX, x + _MARK_PX, y + _MARK_PX)


def _linked(drawn: str, *, href: str | None, told: str) -> str:
    """Wrap a mark in a link (or a group) that says what it is to a pointer and to a screen reader."""
    name = f"<title>{escape(told)}</title>" if told else ""
    if href is None:
        return f"<g>{name}{drawn}</g>"
    return f'<a href="{escape(href)}" aria-label="{escape(told)}">{name}{drawn}</a>'


def _half(points: Sequence[tuple[float, float]]) -> int:
    """Which point of a distribution is the first to pass the half."""
    return next((index for index, (_, share) in enumerate(points) if share >= 0.5), len(points) - 1)  # noqa: PLR2004


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Leave out what lies on top of the point before it; first and last stay."""
    kept = [points[0]]
    for point in points[1:-1]:
        if abs(point[0] - kept[-1][0]) > _THIN_PX or abs(point[1] - kept[-1][1]) > _THIN_PX:
            kept.append(point)
    return [*kept, points[-1]] if len(points) > 1 else kept


def _apart(wished: Sequence[float], *, low: float, high: float) -> list[float]:
    """Move heights (ascending) apart so that lines of text do not meet: down where they crowd, then up at the end."""
    found: list[float] = []
    for height in wished:
        found.append(max(height, found[-1] + LINE_PX if found else low))
    for index in reversed(range(len(found))):
        found[index] = min(found[index], found[index + 1] - LINE_PX if index + 1 < len(found) else high)
    return found


def _path(points: Sequence[tuple[float, float]], *, stepped: bool = False) -> str:
    (x, y), *rest = points
    pieces = [f"M{number(x)} {number(y)}"]
    for a, b in rest:
        pieces.append(f"H{number(a)}V{number(b)}" if stepped else f"L{number(a)} {number(b)}")
    return "".join(pieces)


def _whisker(low: float, high: float, across: float, *, upright: bool = False) -> str:
    a, b, c = number(low), number(high), number(across)
    near, far = number(across - 3), number(across + 3)
    if upright:
        return f"M{c} {a}V{b}M{near} {a}H{far}M{near} {b}H{far}"
    return f"M{a} {c}H{b}M{a} {near}V{far}M{b} {near}V{far}"


def _along(points: Sequence[tuple[float, float]]) -> Iterable[tuple[float, float]]:
    """Places along a curve, one for each square it passes: what labels keep away from."""
    for (a, b), (c, d) in pairwise(points):
        steps = max(1, round(math.hypot(c - a, d - b) / _SQUARE_PX))
        for step in range(steps):
            yield a + (c - a) * step / steps, b + (d - b) * step / steps
    yield points[-1]


_SHAPES: Sequence[Sequence[tuple[float, float]]] = (
    (),  # a circle, drawn by arcs
    ((-4.6, -4.6), (4.6, -4.6), (4.6, 4.6), (-4.6, 4.6)),
    ((0, -5.6), (5.4, 4.4), (-5.4, 4.4)),
    ((0, -6), (6, 0), (0, 6), (-6, 0)),
    ((0, 5.6), (5.4, -4.4), (-5.4, -4.4)),
    ((-2, -5.5), (2, -5.5), (2, -2), (5.5, -2), (5.5, 2), (2, 2), (2, 5.5), (-2, 5.5), (-2, 2), (-5.5, 2), (-5.5, -2),
     (-2, -2)),
    ((-3, -5.4), (3, -5.4), (6, 0), (3, 5.4), (-3, 5.4), (-6, 0)),
    ((0, -6), (1.8, -1.8), (6, 0), (1.8, 1.8), (0, 6), (-1.8, 1.8), (-6, 0), (-1.8, -1.8)),
)  # fmt: skip


def _outline(corners: Sequence[tuple[float, float]]) -> tuple[float, float, str]:
    """Where a shape begins beside its middle, and the rest of it as steps from corner to corner."""
    if not corners:
        return -_MARK_PX, 0.0, "a5 5 0 1 0 10 0a5 5 0 1 0 -10 0Z"
    steps = [f"l{number(c - a)} {number(d - b)}" for (a, b), (c, d) in pairwise(corners)]
    return *corners[0], "".join(steps) + "Z"


_OUTLINES = tuple(_outline(corners) for corners in _SHAPES)


def _shape(series: int, x: float, y: float) -> str:
    left, top, steps = _OUTLINES[series % SERIES]
    return f"M{number(x + left)} {number(y + top)}{steps}"


def shape_key(series: int) -> str:
    """Draw a series' shape alone, for a table; it says nothing to a screen reader, because the name stands beside."""
    path = f'<path class="mark {_series(series)}" d="{_shape(series, 8, 8)}"/>'
    return f'<svg class="key" viewBox="0 0 16 16" aria-hidden="true">{path}</svg>'
