"""Charts: coordinates that agree with the data, labels that stay inside and apart, words for those who do not see."""

from __future__ import annotations

import math
import random
import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from shadow.web import svg
from shadow.web.svg import Axis, Bar, Box, Frame, Line, Point, Range, Room, Scale

FRAME = Frame(name="f", title="A <title>", description="How & why")
PLAIN = Axis(title="plain", format=lambda value: f"{value:g}")
LOG = Axis(title="log", format=lambda value: f"{value:g}", log=True)
NS = "{http://www.w3.org/2000/svg}"


def parsed(drawing: str) -> ET.Element:
    return ET.fromstring(drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def text_boxes(drawing: str) -> list[tuple[str, Box]]:
    """Where each text lies, by the same estimate of widths that placed it."""
    found = []
    for text in parsed(drawing).iter(f"{NS}text"):
        words, x, y = text.text or "", float(text.attrib["x"]), float(text.attrib["y"])
        width = svg.text_width(words)
        left = {"start": x, "middle": x - width / 2, "end": x - width}[text.attrib["text-anchor"]]
        found.append((text.attrib["class"], Box(left, y - 11, left + width, y + 3)))
    return found


def assert_readable(drawing: str) -> None:
    """No text outside of the drawing, no label on another."""
    root = parsed(drawing)
    _, _, width, height = (float(part) for part in root.attrib["viewBox"].split())
    boxes = text_boxes(drawing)
    for kind, box in boxes:
        assert box.within(Box(-0.5, -0.5, width + 0.5, height + 0.5)), (kind, box)
    labels = [box for kind, box in boxes if kind == "label"]
    for index, one in enumerate(labels):
        assert not any(one.meets(other) for other in labels[index + 1 :])


# ---- scales and ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-0.31, 0.02, [-0.3, -0.2, -0.1, 0]),
        (0, 16_400, [0, 5000, 10_000, 15_000]),
        (3, 3, [3]),
        (0.1, 0.4, [0.1, 0.2, 0.3, 0.4]),
        (0, 23, [0, 5, 10, 15, 20]),
        (0, 12, [0, 2.5, 5, 7.5, 10]),
    ],
)
def test_ticks_are_round_numbers_within_the_range(low: float, high: float, expected: list[float]) -> None:
    assert svg.ticks(low, high) == pytest.approx(expected)


def test_ticks_stay_within_any_range_and_are_never_many() -> None:
    chance = random.Random(7)
    for _ in range(2000):
        low = chance.uniform(-1, 1) * 10 ** chance.randint(-9, 9)
        high = low + chance.random() * 10 ** chance.randint(-9, 9)
        found = svg.ticks(low, high)
        assert 1 <= len(found) <= 12
        slack = (high - low) * 1e-6 + abs(low) * 1e-12
        assert all(low - slack <= value <= high + slack for value in found)


def test_logarithmic_ticks_are_ones_twos_and_fives_until_they_crowd() -> None:
    assert svg.log_ticks(0.09, 1.1) == pytest.approx([0.1, 0.2, 0.5, 1])
    assert svg.log_ticks(90, 9000) == pytest.approx([100, 200, 500, 1000, 2000, 5000])
    assert svg.log_ticks(90, 90_000) == pytest.approx([100, 300, 1000, 3000, 10_000, 30_000])
    assert svg.log_ticks(1, 1e5) == pytest.approx([1, 10, 100, 1000, 1e4, 1e5])
    assert len(svg.log_ticks(1e-6, 1e9)) <= 6
    assert svg.log_ticks(3.1, 3.2) == [3.1]


def test_a_scale_maps_its_ends_to_its_ends_and_keeps_the_rest_between() -> None:
    scale = Scale(low=10, high=1000, start=0, end=100, log=True)
    assert [scale(10), scale(100), scale(1000), scale(1e9), scale(1e-9)] == pytest.approx([0, 50, 100, 100, 0])
    down = Scale(low=0, high=2, start=200, end=100)
    assert [down(0), down(1), down(2)] == [200, 150, 100]


@pytest.mark.parametrize("values", [[], [math.nan], [5.0], [0.0], [-3.0, -3.0], [1e300, 1e-300], [-0.4, 0.2]])
@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("log", [True, False])
def test_a_scale_shows_whatever_it_is_given(values: list[float], *, zero: bool, log: bool) -> None:
    scale = svg.scale_over(values, start=0, end=100, log=log, zero=zero)
    assert scale.low < scale.high
    for value in values:
        if math.isfinite(value) and (value > 0 or not log):
            assert 0 <= scale(value) <= 100
    if zero and not log:
        assert scale.low <= 0 <= scale.high


# ---- words


def test_a_text_that_is_too_wide_is_cut_with_an_ellipsis() -> None:
    assert svg.fitted("short", 100) == "short"
    cut = svg.fitted("a very long name of a model", 80)
    assert cut.endswith("…")
    assert svg.text_width(cut) <= 80
    assert svg.fitted("wide", 1) == "…"


def test_wide_characters_are_wide_and_marks_that_combine_are_not() -> None:
    assert svg.text_width("漢字") > svg.text_width("ab")
    assert svg.text_width("e\u0301") == svg.text_width("e")
    assert svg.text_width("WW") > svg.text_width("ii")


def test_a_label_without_room_is_left_out() -> None:
    room = Room(Box(0, 0, 60, 40))
    assert room.place("label", 20, 20) is not None
    assert room.place("a label wider than the room it is for", 20, 20) is None


# ---- charts


def point(x: float, y: float, label: str, **given: object) -> Point:
    return Point(x=x, y=y, label=label, **({"series": 0, "told": label} | given))  # type: ignore[arg-type]


def test_points_lie_where_their_numbers_say() -> None:
    points = [point(1, 0, "a"), point(2, 1, "b"), point(4, 0.5, "c")]
    root = parsed(svg.scatter(FRAME, points, x=LOG, y=PLAIN, frontier=[(1, 0), (2, 1)]))
    at = []
    for mark in root.iter(f"{NS}path"):
        if mark.attrib["class"].startswith("mark"):
            x, y = re.match(r"M([\d.]+) ([\d.]+)", mark.attrib["d"]).groups()  # type: ignore[union-attr]
            at.append((float(x) + 5, float(y)))
    (ax, ay), (bx, by), (cx, cy) = at
    assert bx - ax == pytest.approx(cx - bx, abs=0.2)  # 1, 2, 4 on a logarithmic axis
    assert ay - by == pytest.approx(2 * (ay - cy), abs=0.2)
    assert ay > cy > by  # up is more


def test_a_chart_says_what_it_is_and_names_every_link() -> None:
    drawing = svg.scatter(FRAME, [point(1, 1, "a<b>", href='/x?"a&b')], x=PLAIN, y=PLAIN, frontier=())
    root = parsed(drawing)
    title, description = root.find(f"{NS}title"), root.find(f"{NS}desc")
    assert title is not None
    assert description is not None
    assert (title.text, description.text) == ("A <title>", "How & why")
    assert root.attrib["aria-labelledby"] == f"{title.attrib['id']} {description.attrib['id']}"
    (link,) = root.iter(f"{NS}a")
    assert (link.attrib["href"], link.attrib["aria-label"]) == ('/x?"a&b', "a<b>")
    assert "style=" not in drawing


def test_labels_neither_leave_the_chart_nor_meet() -> None:
    chance = random.Random(11)
    for _ in range(60):
        points = [
            point(
                chance.uniform(0.01, 3),
                chance.uniform(-0.5, 0.1),
                chance.choice(["gpt-4o", "claude-sonnet-4-5-20250929", "漢字モデル", "m" * 60]),
                series=number,
                x_ci=(0.01, 3.2) if number == 1 else None,
                y_ci=(-0.6, 0.12) if number == 2 else None,
                hollow=number == 0,
            )
            for number in range(chance.randint(1, 10))
        ]
        assert_readable(svg.scatter(FRAME, points, x=LOG, y=PLAIN, frontier=[(p.x, p.y) for p in points]))
        lines = [
            Line(
                points=sorted((chance.uniform(1, 9000), chance.random()) for _ in range(chance.randint(0, 30))),
                label=f"model {number}",
                series=number,
                stepped=number % 2 == 0,
                marks=number % 3 == 0,
                dashed=number == 0,
            )
            for number in range(chance.randint(1, 8))
        ]
        assert_readable(svg.curves(FRAME, lines, x=LOG, y=PLAIN, y_range=(0, 1)))
        assert_readable(svg.curves(FRAME, lines, x=LOG, y=PLAIN))


def test_a_distribution_bears_its_shape_where_it_passes_the_half() -> None:
    line = Line(points=[(10, 0.2), (100, 0.6), (1000, 1.0)], label="a", series=1, stepped=True)
    never = Line(points=[(10, 0.1), (900, 0.4)], label="b", series=2, stepped=True)
    root = parsed(svg.curves(FRAME, [line, never], x=LOG, y=PLAIN, y_range=(0, 1)))
    at = {}
    for mark in root.iter(f"{NS}path"):
        if mark.attrib["class"].startswith("mark"):
            at.setdefault(mark.attrib["class"], re.match(r"M([\d.]+) ([\d.]+)", mark.attrib["d"]).groups())  # type: ignore[union-attr]
    curves = {path.attrib["class"]: path.attrib["d"] for path in root.iter(f"{NS}path")}
    second = re.search(r"H([\d.]+)V([\d.]+)", curves["curve s1 d1"]).groups()  # type: ignore[union-attr]
    assert float(at["mark s1"][0]) + 4.6 == pytest.approx(float(second[0]), abs=0.2)
    assert float(at["mark s1"][1]) + 4.6 == pytest.approx(float(second[1]), abs=0.2)
    assert "mark s2" in at  # it never passes the half, and has its shape at the end


def labels_of(drawing: str) -> list[ET.Element]:
    return [text for text in parsed(drawing).iter(f"{NS}text") if text.attrib["class"] == "label"]


def test_short_names_stand_beside_the_chart_once_each_in_the_order_the_lines_end() -> None:
    lines = [
        Line(points=[(1, 0.5), (9, 0.50 + 0.001 * number)], label=f"model {number}", series=number, marks=True)
        for number in range(6)
    ]
    runs = Line(points=[(1, 0.4), (3, 0.4)], label="model 0", series=0, dashed=True, told="model 0, weekly runs")
    early = Line(points=[(2, 0.9)], label="early", series=7)
    drawing = svg.curves(FRAME, [early, *lines, runs, Line(points=(), label="no point", series=1)], x=PLAIN, y=PLAIN)
    assert_readable(drawing)
    named = [text.text for text in labels_of(drawing)]
    assert named == ["early", *(f"model {number}" for number in reversed(range(6)))]
    assert drawing.count('class="leader') == len(named)
    assert "<title>model 0, weekly runs</title>" in drawing
    many = [Line(points=[(1, 1), (9, number)], label=f"m{number}", series=number) for number in range(40)]
    drawing = svg.curves(FRAME, many, x=PLAIN, y=PLAIN)
    assert_readable(drawing)
    assert len(labels_of(drawing)) == 13  # as many as there are lines of text beside the plot


def test_long_names_stand_in_rows_below_the_chart_and_are_not_cut() -> None:
    names = ["claude-sonnet-4-5-20250929", "gpt-4o", "gemini-2.5-pro-preview", "m" * 40, "tiny"]
    lines = [Line(points=[(1, 0.5), (9, number)], label=name, series=number) for number, name in enumerate(names)]
    drawing = svg.curves(FRAME, lines, x=PLAIN, y=PLAIN)
    assert_readable(drawing)
    found = labels_of(drawing)
    assert [text.text for text in found if "m" * 20 not in (text.text or "")] == [
        names[4],
        names[2],
        names[1],
        names[0],
    ]
    assert len({text.attrib["y"] for text in found}) == 4
    height = float(parsed(drawing).attrib["viewBox"].split()[3])
    assert height == FRAME.height + 4 * svg.LINE_PX
    assert "leader" not in drawing


def test_names_of_distributions_stand_in_the_order_of_their_medians() -> None:
    lines = [
        Line(points=[(low, 0.4), (2 * low, 0.6), (900, 1.0)], label=name, series=number, stepped=True)
        for number, (name, low) in enumerate((("slow", 400), ("fast", 10), ("middling", 90)))
    ]
    drawing = svg.curves(FRAME, lines, x=LOG, y=PLAIN, y_range=(0, 1))
    assert_readable(drawing)
    labels = labels_of(drawing)
    assert [text.text for text in labels] == ["fast", "middling", "slow"]
    assert [float(b.attrib["y"]) - float(a.attrib["y"]) for a, b in pairwise(labels)] == pytest.approx([15, 15], abs=1)
    assert "leader" not in drawing


def test_points_of_a_curve_that_nobody_could_see_apart_are_left_out() -> None:
    dense = [(1 + number / 5000, number / 5000) for number in range(5001)]
    line = Line(points=dense, label="a", series=1, stepped=True)
    drawing = svg.curves(FRAME, [line], x=PLAIN, y=PLAIN, y_range=(0, 1))
    assert len(drawing) < 12_000
    (curve,) = [
        path.attrib["d"] for path in parsed(drawing).iter(f"{NS}path") if path.attrib["class"].startswith("curve")
    ]
    first, last = re.match(r"M([\d.]+)", curve), re.search(r"H([\d.]+)V[\d.]+$", curve)
    assert first is not None
    assert last is not None
    assert float(last[1]) - float(first[1]) > 260


def test_the_words_of_two_limits_that_are_near_stand_on_either_side() -> None:
    row = Range(label="a", series=1, value=-0.5, ci=(-0.9, 0.2), told="a")
    marks = [(0.0, "equal"), (-0.1, "margin"), (-0.05, "hidden")]
    words = [box for kind, box in text_boxes(svg.ranges(FRAME, [row], axis=PLAIN, marks=marks)) if kind == "muted"]
    assert len(words) == 2  # there is no room for the third
    assert not words[0].meets(words[1])


def test_a_band_lies_around_its_line() -> None:
    line = Line(points=[(1, 0.5), (2, 0.6)], label="a", series=1, band=[(1, 0.4, 0.6), (2, 0.5, 0.7)], marks=True)
    weeks = Axis(title="week", format=str, marks=[(1, "1 Nov"), (2, "8 Nov")])
    drawing = svg.curves(FRAME, [line], x=weeks, y=PLAIN)
    assert_readable(drawing)
    root = parsed(drawing)
    (band,) = [each for each in root.iter(f"{NS}path") if each.attrib["class"] == "band s1"]
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", band.attrib["d"])]
    top_left, top_right, low_right, low_left = heights
    assert top_left < low_left
    assert top_right < low_right
    assert [text.text for text in root.iter(f"{NS}text") if text.attrib["class"] == "tick"][:2] == ["1 Nov", "8 Nov"]


def test_the_interval_of_one_moment_is_a_whisker() -> None:
    line = Line(points=[(1, 0.5)], label="a", series=1, band=[(1, 0.4, 0.6)], marks=True)
    weeks = Axis(title="week", format=str, marks=[(1, "1 Nov")])
    drawing = svg.curves(FRAME, [line], x=weeks, y=PLAIN)
    assert drawing.count('class="whisker') == 1
    assert 'class="band' not in drawing


def test_ticks_that_would_touch_are_left_out() -> None:
    line = Line(points=[(week, 1.0) for week in range(40)], label="a", series=1)
    weeks = Axis(title="week", format=str, marks=[(week, f"{week} November") for week in range(40)])
    drawing = svg.curves(FRAME, [line], x=weeks, y=PLAIN)
    ticks = [box for kind, box in text_boxes(drawing) if kind == "tick" and box.top > 240]
    assert 2 < len(ticks) < 12
    assert not any(one.meets(other) for index, one in enumerate(ticks) for other in ticks[index + 1 :])
    assert_readable(drawing)


def test_bars_are_as_long_as_their_numbers_and_a_little_is_seen() -> None:
    rows = [
        Bar(label="half", parts=[(50, "part-a", "x"), (50, "part-b", "y")], told="100", amount="100"),
        Bar(label="a name that is much too long for the chart to show it", parts=[(200, "part-a", "x")], told="200"),
        Bar(label="little", parts=[(0.001, "part-a", "x"), (0, "part-b", "y")], told="0.001", href="/x"),
    ]
    drawing = svg.bars(FRAME, rows, axis=PLAIN, mark=(150, "limit"))
    assert_readable(drawing)
    outlines = [p.attrib["d"] for p in parsed(drawing).iter(f"{NS}path") if p.attrib["class"].startswith("bar")]
    spans = [re.match(r"M([\d.]+) [\d.]+H([\d.]+)", outline).groups() for outline in outlines]  # type: ignore[union-attr]
    lengths = [float(end) - float(start) for start, end in spans]
    assert lengths[0] == pytest.approx(lengths[1], abs=0.2)
    assert lengths[2] == pytest.approx(4 * lengths[0], abs=0.3)
    assert lengths[3] == pytest.approx(1.5, abs=0.1)
    assert lengths[4] == 0
    assert svg.bars(FRAME, [], axis=PLAIN).startswith("<svg")


def test_a_range_without_a_value_says_why() -> None:
    rows = [
        Range(label="known", series=1, value=-0.02, ci=(-0.06, 0.02), told="known"),
        Range(label="no interval", series=2, value=0.01, ci=None, told="none", href="/pairs"),
        Range(
            label="unknown", series=3, value=None, ci=None, told="no pair is scored yet, and this goes on and on and on"
        ),
    ]
    drawing = svg.ranges(FRAME, rows, axis=PLAIN, marks=[(0, "equal"), (-0.001, "margin"), (-0.05, "far")])
    assert_readable(drawing)
    assert "no pair is scored yet" in drawing
    assert drawing.count('class="whisker') == 1
    assert svg.ranges(FRAME, [], axis=PLAIN).startswith("<svg")


def test_every_series_has_a_shape_of_its_own_and_the_ninth_begins_again() -> None:
    keys = [svg.shape_key(number) for number in range(9)]
    assert len({re.sub(r"s\d", "", key) for key in keys[:8]}) == 8
    assert keys[8] == keys[0]
    assert all('aria-hidden="true"' in key for key in keys)


def test_numbers_are_written_shortly() -> None:
    assert [svg.number(value) for value in (1.0, 1.26, -0.01, 0.04)] == ["1", "1.3", "0", "0"]
