"""Numbers, texts and differences as the dashboard shows them."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from html import escape
from typing import Any

import pytest

from shadow.web.dashboard import diffs, formats, words
from shadow.web.dashboard.fit import fitting
from shadow.web.dashboard.nodes import Node, Notes, keyed
from shadow.web.dashboard.texts import one_line, shown, visible
from tests.support.dashboard import HOSTILE, comparison

# ---- numbers


@pytest.mark.parametrize(
    ("form", "value", "written"),
    [
        ("count", 16400, "16,400"),
        ("count", 0, "0"),
        ("usd", 0, "$0"),
        ("usd", 1234.6, "$1,235"),
        ("usd", 12.345, "$12.35"),
        ("usd", 0.5, "$0.50"),
        ("usd", 0.00123, "$0.00123"),
        ("usd", 1.5e-9, "$0.00000000150"),
        ("usd", -3.2, "\u2212$3.20"),
        ("usd_signed", 3.2, "+$3.20"),
        ("usd_signed", -3.2, "\u2212$3.20"),
        ("usd_per_1k", 0.0043, "$4.30"),
        ("share", 0, "0\u202f%"),
        ("share", 0.0113, "1.1\u202f%"),
        ("share", 0.81, "81\u202f%"),
        ("quality", 0.9124, "0.912"),
        ("points", -0.021, "\u22122.1\u202fpts"),
        ("points", 0.012, "+1.2\u202fpts"),
        ("points", -0.0001, "0.0\u202fpts"),
        ("ms", 840.4, "840\u202fms"),
        ("ms", 2345, "2.35\u202fs"),
        ("ms", 23456, "23.5\u202fs"),
        ("ms", 210_000, "3.5\u202fmin"),
        ("ms_signed", -420, "\u2212420\u202fms"),
        ("ms_signed", 1500, "+1.50\u202fs"),
        ("ms_signed", 0.2, "0\u202fms"),
        ("ms_fine", 0.1843, "0.184\u202fms"),
        ("ms_fine", 3.1, "3.10\u202fms"),
        ("ms_fine", 2345, "2.35\u202fs"),
        ("ratio", 0.52, "0.52x"),
        ("days", 3.2, "4 days"),
        ("days", 0.75, "18 hours"),
        ("days", 1 / 24, "1 hour"),
        ("days", 0.01, "15 minutes"),
        ("size", 840, "840\u202fB"),
        ("size", 12_300, "12.3\u202fkB"),
        ("size", 4e6, "4.0\u202fMB"),
        ("plain", 12_345, "12,345"),
        ("plain", -0.1234, "\u22120.123"),
        ("plain", -0.0, "0"),
    ],
)
def test_a_number_is_written_with_its_unit(form: str, value: float, written: str) -> None:
    assert formats.FORMATS[form](value) == written


def test_a_time_without_zone_or_sense_is_none() -> None:
    assert formats.moment("2026-11-20T13:00:00+01:00") == datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert formats.moment(datetime(2026, 11, 20, tzinfo=UTC)) == datetime(2026, 11, 20, tzinfo=UTC)
    assert formats.moment("2026-11-20T13:00:00") is None
    assert formats.moment("yesterday") is None
    assert formats.moment(None) is None


# ---- texts


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_steers_or_hides_is_left_in_a_text(text: str) -> None:
    told = visible(text)
    assert "\x00" not in told
    assert "\x1b" not in told
    assert not set(told) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u2028\ufeff\x9b\x07")
    told.encode()  # no half characters


def test_what_cannot_be_seen_is_named() -> None:
    assert visible("a\x00b\x1b[31m\x7f\u202e\r\n\tc\ud800") == "a\u2400b\u241b[31m\u2421[U+202E]\n\tc[U+D800]"
    assert visible("\U0001f469\u200d\U0001f680") == "\U0001f469\u200d\U0001f680"  # a joined picture stays one


@pytest.mark.parametrize("text", [*HOSTILE, "short", "", '"' * 5000, "\u202e" * 5000, "é" * 5000])
@pytest.mark.parametrize("limit", [1, 100, 4000])
def test_a_text_takes_no_more_room_than_it_may(text: str, limit: int) -> None:
    it = shown(text, limit_bytes=limit)
    assert len(escape(it.text).encode()) <= limit
    assert 0 <= it.left_out <= len(text)
    assert (it.left_out == 0) == (it.text == visible(text))


def test_what_was_left_out_is_counted_in_characters_of_the_original() -> None:
    assert shown("abcdef", limit_bytes=4).left_out == 2
    assert shown("\u202eabc", limit_bytes=9).left_out == 2  # the mark is written with eight


def test_a_line_is_one_line() -> None:
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line("x" * 300, limit=10) == "x" * 9 + "…"


# ---- differences


def test_words_that_only_one_side_says_are_marked_and_all_is_kept() -> None:
    found = diffs.word_diff("Yes, within 30 days.", "Yes, in 14 days.")
    assert found is not None
    assert "".join(run.text for run in found.primary) == "Yes, within 30 days."
    assert "".join(run.text for run in found.candidate) == "Yes, in 14 days."
    assert [run.text for run in found.primary if run.own] == ["within", "30"]
    assert [run.text for run in found.candidate if run.own] == ["in", "14"]
    assert not found.equal
    same = diffs.word_diff("a b", "a b")
    assert same is not None
    assert same.equal


def test_both_sides_of_any_word_diff_are_whole() -> None:
    chance = random.Random(3)
    for _ in range(200):
        one, other = ("".join(chance.choices("ab \n.é", k=chance.randint(0, 60))) for _ in range(2))
        found = diffs.word_diff(one, other)
        assert found is not None
        assert "".join(run.text for run in found.primary) == one
        assert "".join(run.text for run in found.candidate) == other
        assert "".join(r.text for r in found.primary if not r.own) == "".join(
            r.text for r in found.candidate if not r.own
        )


def test_long_answers_are_not_compared_word_by_word() -> None:
    assert diffs.word_diff("a " * diffs.MAX_WORDS, "a") is None


def places(found: diffs.JsonDiff | None) -> list[tuple[str, str, str | None, str | None]]:
    assert found is not None
    return [(place.path, place.kind, place.primary, place.candidate) for place in found.places]


def test_json_is_compared_place_by_place_those_that_differ_first() -> None:
    found = diffs.json_diff('{"a": 1, "b": {"c": [1, 2]}, "d": null}', '```json\n{"b": {"c": [1, 3, 4]}, "a": 1}\n```')
    assert places(found) == [
        ("b.c[1]", "changed", "2", "3"),
        ("d", "gone", "null", None),
        ("b.c[2]", "new", None, "4"),
        ("a", "same", "1", "1"),
        ("b.c[0]", "same", "1", "1"),
    ]
    assert found is not None
    assert (found.differing, found.total, found.left_out) == (3, 5, 0)


@pytest.mark.parametrize(
    "text", ["not json", "3", '"text"', "", "[" * 100_000, '{"a": 1' + " " * 300_000 + "}", *HOSTILE]
)
def test_what_is_no_json_object_is_not_compared_as_one(text: str) -> None:
    assert diffs.json_diff(text, "{}") is None


def test_a_document_of_many_or_deep_places_is_cut() -> None:
    many = diffs.json_diff(json.dumps(list(range(1000))), "[]")
    assert many is not None
    assert (len(many.places), many.left_out) == (diffs.MAX_ROWS, 1001 - diffs.MAX_ROWS)
    deep = diffs.json_diff("[" * 80 + "]" * 80, "{}")
    assert deep is not None
    assert deep.total == 2


def test_tool_calls_are_paired_by_name() -> None:
    ours = '[{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": "{\\"y\\": 2}"}, {"name": "h"}]'
    theirs = (
        '[{"name": "g", "arguments": {"y": 3}}, {"name": "f", "arguments": {"x": 1}}, {"name": "k", "arguments": "x"}]'
    )
    found = [(call.name, call.kind, places(call.arguments)) for call in diffs.call_diffs(ours, theirs)]
    assert found == [
        ("f", "same", [("x", "same", "1", "1")]),
        ("g", "changed", [("y", "changed", "2", "3")]),
        ("h", "gone", []),
        ("k", "new", [("(all)", "new", None, '"x"')]),
    ]
    assert diffs.call_diffs(None, "not json") == []


# ---- values and reasons


def test_a_missing_value_gives_the_nearest_reason_once() -> None:
    node = Node({"a": {"value": None, "reason": "because of a"}, "b": {"c": {"d": None}, "reason": "because of b"}})
    notes = Notes()
    assert not notes
    assert "because" not in notes.fact(node, "a.value", "usd")
    assert notes.fact(node, "a.value", "usd") == notes.fact(node, "a.value", "usd")
    notes.fact(node, "b.c.d", "usd")
    notes.fact(node, "nowhere.at.all", "usd")
    assert list(notes) == [(1, "because of a"), (2, "because of b"), (3, "there is nothing to show here yet")]
    assert notes


def test_a_value_is_written_with_its_place_and_exactly() -> None:
    node = Node({"tasks": [{"x": {"y": 0.1234567}}, "no object"]}).nodes("tasks")[0]
    told = str(Notes().fact(node, "x.y", "quality"))
    assert told == '<data value="0.1234567" data-path="tasks.0.x.y" data-form="quality">0.123</data>'
    assert Notes().fact(Node({"flag": True}), "flag", "count").startswith('<span class="na">')
    assert Node({"text": "x"}).nodes("text") == []
    interval = str(Notes().interval(Node({"ci": [-0.01, 0.02]}), "ci", "points"))
    assert "[\u22121.0, +2.0]" in interval
    assert Notes().interval(Node({"ci": None}), "ci", "points") == ""


def test_the_ends_of_a_duration_keep_their_units_where_they_differ() -> None:
    assert "[182, 206\u202fms]" in Notes().interval(Node({"ci": [182.1, 206.2]}), "ci", "ms")
    assert "[840\u202fms, 6.10\u202fs]" in Notes().interval(Node({"ci": [840, 6100]}), "ci", "ms")


def test_a_percentile_without_bounds_says_why() -> None:
    notes = Notes()
    row = Node({"p95_ci": None, "p50_ci": [1, 2], "ci_reason": "30 values: for bounds of its own p95 needs 72"})
    assert "no bounds" in notes.bounds(row, "p95_ci", "ms", why="ci_reason")
    assert list(notes) == [(1, "30 values: for bounds of its own p95 needs 72")]
    assert "[1, 2" in notes.bounds(row, "p50_ci", "ms", why="ci_reason")
    assert notes.bounds(Node({"p95_ci": None}), "p95_ci", "ms", why="ci_reason") == ""


def test_what_has_no_reason_of_its_own_is_told_in_the_pages_words() -> None:
    assert "streamed" in Node({"ttft_diff_ms": {"p50": None}}).reason("ttft_diff_ms.p50")
    assert Node({}).reason("unheard_of") == "there is nothing to show here yet"


def test_an_axis_of_durations_has_round_numbers() -> None:
    assert [formats.ms_tick(value) for value in (50, 500, 1000, 2500, 20_000, 120_000)] == [
        "50\u202fms", "500\u202fms", "1\u202fs", "2.5\u202fs", "20\u202fs", "2\u202fmin",
    ]  # fmt: skip


# ---- what fits on a page


def fit_task(name: str, *, models: int) -> dict[str, Any]:
    names = [f"m{number}" for number in range(models)]
    return {
        "task": name,
        "models": [{"model": "p", "role": "primary"}, *({"model": each, "role": "candidate"} for each in names)],
        "comparisons": [{"candidate": each} for each in names],
    }


def test_a_page_shows_the_tasks_it_has_room_for_in_their_order() -> None:
    tasks = [fit_task("a", models=4), fit_task("b", models=9), fit_task("c", models=1)]
    shown, left = fitting(Node({"tasks": tasks}).nodes("tasks"), room=12)
    assert [task["task"] for task in shown] == ["a"]
    assert left == ["b", "c"]
    assert fitting([], room=3) == ([], [])


def test_a_task_with_too_many_models_is_cut_and_says_by_how_many() -> None:
    (task,), left = fitting(Node({"tasks": [fit_task("a", models=30)]}).nodes("tasks"), room=12)
    assert left == []
    assert [row["model"] for row in task.nodes("models")] == ["p", *(f"m{number}" for number in range(11))]
    assert [one["candidate"] for one in task.nodes("comparisons")] == [f"m{number}" for number in range(11)]
    assert task["not_shown"] == 19
    assert task.nodes("models")[3].path == "tasks.0.models.3"


def test_a_name_becomes_fit_for_an_id() -> None:
    assert keyed("a/b c") == "a-2fb-20c"


# ---- words


def test_a_candidates_sentences_say_how_long_and_what_it_saves() -> None:
    one = Node(comparison("m"))
    assert words.until_known(one) == (
        "About 120 to 400 more conversations are needed, 4 days at the present traffic, for about $1.40."
    )
    assert words.monthly_saving(one) == "At this traffic it saves $132 a month (between $110 and $151)."


@pytest.mark.parametrize(
    ("given", "until", "saving"),
    [
        (
            {"more_needed": {"conversations": {"low": 9, "high": None}, "days": None, "usd": None}},
            "About 9 more",
            "saves",
        ),
        ({"more_needed": {"conversations": {"low": None}}}, None, "saves"),
        ({"verdict": "promote"}, None, "saves"),
        ({"verdict": "reject"}, None, None),
        (
            {"projected_saving_usd_per_month": {"value": -12.0, "ci": None}},
            "About 120",
            "At this traffic it costs $12.00 a month more.",
        ),
        ({"projected_saving_usd_per_month": {"value": None}}, "About 120", None),
    ],
)
def test_what_is_not_known_is_not_said(given: dict[str, Any], until: str | None, saving: str | None) -> None:
    one = Node(comparison("m", **given))
    for told, part in ((words.until_known(one), until), (words.monthly_saving(one), saving)):
        assert (told is None) == (part is None)
        assert part is None or part in str(told)


def test_the_sentence_is_shown_in_its_parts() -> None:
    why = "It is not known yet whether m can take over; proved: cheaper; over 9 conversations; about 9 more are needed"
    told = words.sentence(Node(comparison("m", why=why)))
    assert told.lead == "It is not known yet whether m can take over."
    assert told.points == [
        "Proved: cheaper.",
        "About 9 more are needed.",
        "At this traffic it saves $132 a month (between $110 and $151).",
    ]
    assert told.rest == ["Over 9 conversations."]
    plain = words.sentence(Node(comparison("m", why="gpt-4o may do.", projected_saving_usd_per_month={"value": None})))
    assert plain.lead == "gpt-4o may do."
    assert [point[:9] for point in plain.points] == ["About 120"]
    assert words.sentence(Node({"verdict": None})).lead == "Nothing is known yet."


def test_every_verdict_has_words_of_its_own() -> None:
    known = [
        None, "insufficient_data", "withheld", "undecided", "promote", "better_costlier", "equivalent", "reject",
        "withdrawn",
    ]  # fmt: skip
    assert len({words.verdict_words(verdict).name for verdict in known}) == len(known)
    assert words.verdict_words("of-tomorrow").name == "of-tomorrow"
    assert words.verdict_words(["odd"]).tone == "calm"
