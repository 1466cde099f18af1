"""Who enters a comparison, and when: nobody overtakes."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from shadow.entry import Admitted, Place, Standing, enter

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=1)


def _admitted(minute: int, standing: Standing = "settled", name: str | None = None) -> Admitted:
    started_at = NOON + timedelta(minutes=minute)
    return Admitted(conversation=name or f"c{minute}", started_at=started_at, standing=standing)


def _names(admitted: Sequence[Admitted]) -> list[str]:
    return [each.conversation for each in admitted]


def test_settled_conversations_enter_in_the_order_of_their_start() -> None:
    entry = enter([_admitted(3), _admitted(1), _admitted(2)], last=None, known_until=LATER)

    assert _names(entry.entering) == ["c1", "c2", "c3"]
    assert entry.waiting == []
    assert entry.last == Place(NOON + timedelta(minutes=3), "c3")
    assert entry.why == "nothing waits"


def test_an_open_conversation_holds_up_all_that_began_after_it() -> None:
    entry = enter([_admitted(1), _admitted(2, "open"), _admitted(3), _admitted(4)], last=None, known_until=LATER)

    assert _names(entry.entering) == ["c1"]
    assert _names(entry.waiting) == ["c2", "c3", "c4"]
    assert entry.why == "the conversation of 2026-11-02 12:02 is still open; 2 that began later wait behind it"


def test_one_that_waits_for_its_score_holds_up_the_others_too() -> None:
    entry = enter([_admitted(1, "pending"), _admitted(2)], last=None, known_until=LATER)

    assert entry.entering == []
    assert "an answer or a score of the conversation of 2026-11-02 12:01 is still to come" in entry.why
    assert entry.last is None


def test_one_that_is_left_out_holds_up_nobody() -> None:
    entry = enter([_admitted(1, "left_out"), _admitted(2)], last=None, known_until=LATER)

    assert _names(entry.entering) == ["c2"]
    assert _names(entry.left_out) == ["c1"]


def test_without_money_for_the_judge_nothing_enters() -> None:
    entry = enter([_admitted(1), _admitted(2)], last=None, known_until=LATER, judge_has_money=False)

    assert entry.entering == []
    assert entry.why == "the judge has no money, so none of the 2 that wait may enter"


def test_one_heard_of_too_late_is_never_counted() -> None:
    first = enter([_admitted(5)], last=None, known_until=LATER)

    entry = enter([_admitted(4), _admitted(6)], last=first.last, known_until=LATER)

    assert _names(entry.late) == ["c4"]
    assert _names(entry.entering) == ["c6"]


def test_one_so_recent_that_an_earlier_one_may_be_unknown_waits() -> None:
    entry = enter([_admitted(1), _admitted(5)], last=None, known_until=NOON + timedelta(minutes=5))

    assert _names(entry.entering) == ["c1"]
    assert entry.why == "one that began before 2026-11-02 12:05 may not be known yet"


def test_equal_starts_are_ordered_by_their_id_and_the_place_survives_a_restart() -> None:
    entry = enter([_admitted(1, name="b"), _admitted(1, name="a")], last=None, known_until=LATER)
    assert _names(entry.entering) == ["a", "b"]

    again = enter([_admitted(1, name="c")], last=Place(NOON + timedelta(minutes=1), "b"), known_until=LATER)
    assert _names(again.entering) == ["c"]


def test_the_result_does_not_depend_on_how_often_one_looks() -> None:
    everything = [_admitted(minute) for minute in range(30)]
    at_once = _names(enter(everything, last=None, known_until=LATER).entering)

    in_steps: list[str] = []
    last = None
    for seen in range(30):
        known = [_admitted(minute, "settled" if (minute * 7) % 30 <= seen else "open") for minute in range(30)]
        entry = enter([each for each in known if each.conversation not in in_steps], last=last, known_until=LATER)
        in_steps += _names(entry.entering)
        last = entry.last

    assert in_steps == at_once
