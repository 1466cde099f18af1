"""The circuit breaker of one candidate."""

from shadow.breaker import Breaker


def _fail(breaker: Breaker, times: int, *, now_s: float) -> None:
    for _ in range(times):
        breaker.end(breaker.begin(), ok=False, now_s=now_s)


def test_a_healthy_candidate_has_all_its_room() -> None:
    breaker = Breaker()

    breaker.end(breaker.begin(), ok=True, now_s=0)

    assert breaker.room(0, bound=4) == 4
    assert breaker.is_closed


def test_the_fifth_failure_in_a_row_opens_it_for_thirty_seconds() -> None:
    breaker = Breaker()
    _fail(breaker, 4, now_s=10)
    assert breaker.room(10, bound=4) == 4

    _fail(breaker, 1, now_s=10)

    assert breaker.room(10, bound=4) == 0
    assert breaker.room(39.9, bound=4) == 0
    assert not breaker.is_closed


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = Breaker()
    _fail(breaker, 4, now_s=0)
    breaker.end(breaker.begin(), ok=True, now_s=0)

    _fail(breaker, 4, now_s=0)

    assert breaker.is_closed


def test_after_the_pause_one_call_alone_is_tried() -> None:
    breaker = Breaker()
    _fail(breaker, 5, now_s=0)

    assert breaker.room(30, bound=4) == 1
    assert breaker.room(30, bound=0) == 0
    breaker.begin()
    assert breaker.room(31, bound=4) == 0


def test_a_trial_that_works_closes_it() -> None:
    breaker = Breaker()
    _fail(breaker, 5, now_s=0)

    breaker.end(breaker.begin(), ok=True, now_s=31)

    assert breaker.is_closed
    assert breaker.room(31, bound=4) == 4


def test_a_trial_that_fails_opens_it_again_at_once() -> None:
    breaker = Breaker()
    _fail(breaker, 5, now_s=0)

    breaker.end(breaker.begin(), ok=False, now_s=31)

    assert breaker.room(60, bound=4) == 0
    assert breaker.room(61, bound=4) == 1


def test_a_trial_that_says_nothing_leaves_room_for_the_next_trial() -> None:
    breaker = Breaker()
    _fail(breaker, 5, now_s=0)

    breaker.end(breaker.begin(), ok=None, now_s=31)

    assert breaker.room(31, bound=4) == 1
    assert not breaker.is_closed


def test_calls_from_before_it_opened_have_no_say_afterwards() -> None:
    breaker = Breaker()
    early = breaker.begin()
    _fail(breaker, 5, now_s=0)

    breaker.end(early, ok=True, now_s=1)

    assert breaker.room(1, bound=4) == 0
