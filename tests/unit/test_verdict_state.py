"""What a verdict remembers: small, exact, and the same after a restart."""

import math
import random
from dataclasses import replace

import msgspec
import pytest

from shadow.verdict import (
    AlphaBook,
    CostTest,
    Differences,
    FailureShares,
    Watch,
    e_value,
    log_e_value,
    rounded_down,
    rounded_up,
)
from shadow.verdict.differences import WATCH_BLOCK


@pytest.mark.parametrize(
    ("value", "down", "up"),
    [(0.0, 0.0, 0.0), (0.129, 0.12, 0.13), (-0.129, -0.13, -0.12), (0.8 - 0.51, 0.29, 0.29), (0.15 - 0.1, 0.05, 0.05)],
)
def test_a_difference_is_rounded_against_what_is_to_be_shown(value: float, down: float, up: float) -> None:
    assert (rounded_down(value), rounded_up(value)) == (down, up)


def test_rounding_makes_evidence_weaker_and_never_stronger() -> None:
    chance = random.Random(7)
    exact = [chance.uniform(-1, 1) for _ in range(300)]
    rounded = Differences()
    for value in exact:
        rounded = rounded.add(value)
    unrounded = dict.fromkeys(exact, 1)

    assert log_e_value(rounded.good, -0.05) <= log_e_value(unrounded, -0.05)
    assert log_e_value(rounded.bad, -0.05, "less") <= log_e_value(unrounded, -0.05, "less")
    assert rounded.conversations == 300
    assert len(rounded.good) <= 201


def test_differences_in_another_order_in_two_parts_and_after_a_restart_are_the_same() -> None:
    chance = random.Random(8)
    values = [chance.uniform(-1, 1) for _ in range(200)]

    def of(some: list[float]) -> Differences:
        whole = Differences()
        for value in some:
            whole = whole.add(value)
        return whole

    all_at_once, reversed_order, two_parts = of(values), of(values[::-1]), of(values[:70]) + of(values[70:])
    restarted = msgspec.json.decode(msgspec.json.encode(all_at_once), type=Differences)

    assert all_at_once == reversed_order == two_parts == restarted
    assert e_value(restarted.good, -0.05) == pytest.approx(e_value(two_parts.good, -0.05), rel=1e-9)


@pytest.mark.parametrize("value", [1.2, -1.2, math.nan])
def test_a_difference_outside_the_scale_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="between -1 and 1"):
        Differences().add(value)
    with pytest.raises(ValueError, match="between -1 and 1"):
        Watch().add(value)


@pytest.mark.parametrize("value", [1.2, -0.1, math.nan])
def test_a_share_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="a share lies between 0 and 1"):
        FailureShares().add_candidate(value)
    with pytest.raises(ValueError, match="a share lies between 0 and 1"):
        FailureShares().add_primary(value)


@pytest.mark.parametrize("usd", [math.nan, math.inf, -0.01])
def test_what_can_be_no_cost_does_not_spoil_the_test(usd: float) -> None:
    test = CostTest(w_usd=0.05, min_saving=0.05)
    test = test.add(candidate_usd=usd, primary_usd=0.01, reserve_usd=0.01)
    test = test.add(candidate_usd=0.01, primary_usd=usd, reserve_usd=0.01)
    test = test.add(candidate_usd=0.01, primary_usd=0.01, reserve_usd=math.nan)

    assert (test.conversations, test.unpriced, test.too_large) == (0, 2, 1)


def test_alpha_is_spent_per_batch_and_all_batches_together_stay_within_it() -> None:
    book = AlphaBook(alpha=0.05).join(["a", "b"]).join(["c"])

    assert book.of("a") == book.of("b") == pytest.approx(0.8 * 0.05 / 2)
    assert book.of("c") == pytest.approx(0.8 * 0.2 * 0.05)
    for number in range(50):
        book = book.join([f"later {number}"])
    assert math.fsum(book.of(name) for batch in book.batches for name in batch) <= 0.05 * (1 + 1e-12)


def test_a_candidate_that_comes_back_keeps_its_alpha_and_makes_no_new_batch() -> None:
    book = AlphaBook(alpha=0.05).join(["a", "b"])

    assert book.join(["b"]) is book
    assert book.join(["b", "c", "c"]).batches == (("a", "b"), ("c",))
    with pytest.raises(KeyError):
        book.of("c")


def _cost(costs: list[tuple[float, float]], *, w_usd: float = 0.05, min_saving: float = 0.05) -> CostTest:
    test = CostTest(w_usd=w_usd, min_saving=min_saving)
    for candidate_usd, primary_usd in costs:
        test = test.add(candidate_usd=candidate_usd, primary_usd=primary_usd, reserve_usd=w_usd)
    return test


def test_half_the_price_is_proved_cheaper_and_the_same_price_is_proved_no_saving() -> None:
    half, same = _cost([(0.005, 0.01)] * 100), _cost([(0.01, 0.01)] * 2000)

    assert half.saving == pytest.approx(0.5)
    assert half.log_e_saving is not None
    assert half.log_e_saving > math.log(1 / 0.04)
    assert same.log_e_no_saving is not None
    assert same.log_e_no_saving > math.log(1 / 0.04)


def test_the_cost_test_is_the_e_process_of_the_differences_by_w() -> None:
    chance = random.Random(3)
    costs = [(chance.uniform(0, 0.02), chance.uniform(0, 0.02)) for _ in range(80)]
    test = _cost(costs)
    ys = {(candidate - 0.95 * primary) / 0.05: 1 for candidate, primary in costs}

    assert test.log_e_saving == pytest.approx(log_e_value(ys, 0, "less"), rel=1e-9)
    assert test.log_e_no_saving == pytest.approx(log_e_value(ys, 0, "greater"), rel=1e-9)
    assert _cost(costs[::-1]).log_e_saving == pytest.approx(test.log_e_saving, rel=1e-9)


def test_the_cost_state_survives_a_restart_bit_by_bit() -> None:
    test = _cost([(0.0051, 0.0123), (0.002, 0.03)])

    assert msgspec.json.decode(msgspec.json.encode(test), type=CostTest) == test


def test_a_conversation_that_may_cost_more_than_w_is_left_out_before_it_is_known_what_it_costs() -> None:
    test = CostTest(w_usd=0.05, min_saving=0.05).add(candidate_usd=0.001, primary_usd=0.01, reserve_usd=0.06)

    assert (test.conversations, test.too_large, test.left_out_share) == (0, 1, 1.0)
    assert test.saving is None


def test_a_conversation_without_a_known_cost_is_counted_apart() -> None:
    test = CostTest(w_usd=0.05, min_saving=0.05)
    test = test.add(candidate_usd=None, primary_usd=0.01, reserve_usd=0.01)
    test = test.add(candidate_usd=0.01, primary_usd=None, reserve_usd=0.01)

    assert (test.conversations, test.unpriced) == (0, 2)
    assert CostTest(w_usd=1, min_saving=0).left_out_share == 0


def test_a_cost_no_reserve_foresaw_ends_the_case_for_a_saving() -> None:
    test = _cost([(0.001, 0.01)] * 500 + [(0.2, 0.01)] + [(0.001, 0.01)] * 500)

    assert test.above == 1
    assert test.log_e_saving is None
    assert test.log_e_no_saving is not None
    assert _cost([(0.001, 0.2)]).log_e_no_saving is None


def test_a_test_that_may_use_a_part_of_alpha_needs_so_much_more_evidence() -> None:
    whole, part = _cost([(0.005, 0.01)] * 40), replace(_cost([(0.005, 0.01)] * 40), share=0.2)

    assert whole.log_e_saving is not None
    assert part.log_e_saving == pytest.approx(whole.log_e_saving + math.log(0.2))
    assert part.log_e_no_saving == pytest.approx((whole.log_e_no_saving or 0.0) + math.log(0.2))


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
def test_a_share_of_alpha_lies_above_nothing_and_is_not_above_all(share: float) -> None:
    with pytest.raises(ValueError, match="share lies above 0"):
        CostTest(w_usd=1.0, min_saving=0.05, share=share)


@pytest.mark.parametrize("w_usd", [0, -1, math.inf, math.nan])
def test_a_bound_that_bounds_nothing_is_refused(w_usd: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        CostTest(w_usd=w_usd, min_saving=0.05)


def test_a_watch_sees_a_loss_as_soon_after_a_thousand_good_conversations_as_at_once() -> None:
    def until_seen(good: int) -> int:
        watch = Watch()
        for _ in range(good):
            watch = watch.add(0.0)
        lost = 0
        while watch.log_e_value(0.05) < math.log(1 / 0.04):
            watch, lost = watch.add(-1.0 if lost % 2 else 0.0), lost + 1
        return lost

    assert until_seen(0) <= 30
    assert until_seen(1000) <= 50


def test_a_watch_starts_a_block_every_hundred_conversations_and_begins_at_one() -> None:
    watch = Watch()
    assert watch.log_e_value(0.05) == 0
    for _ in range(WATCH_BLOCK + 1):
        watch = watch.add(0.004)

    assert [sum(block.values()) for block in watch.blocks] == [WATCH_BLOCK, 1]
    assert watch.blocks[1] == {0.01: 1}
    assert watch.conversations == WATCH_BLOCK + 1
    assert msgspec.json.decode(msgspec.json.encode(watch), type=Watch).log_e_value(0.05) == watch.log_e_value(0.05)


def _shares(candidate: dict[float, int], primary: dict[float, int]) -> FailureShares:
    return FailureShares(primary=primary, candidate=candidate)


def test_a_candidate_that_never_fails_is_proved_not_to_fail_more() -> None:
    line = math.log(1 / 0.04)

    assert _shares({0.0: 200}, {}).log_e_value(0.02, 0.04) < line
    assert _shares({0.0: 400}, {}).log_e_value(0.02, 0.04) > line


def test_what_the_primary_fails_itself_is_allowed_to_the_candidate() -> None:
    candidate = {0.0: 2850, 1.0: 150}

    assert _shares(candidate, {0.0: 3000}).log_e_value(0.02, 0.04) < 0
    assert _shares(candidate, {0.0: 57_000, 1.0: 3000}).log_e_value(0.02, 0.04) > math.log(1 / 0.04)


def test_failure_shares_are_rounded_against_the_candidate() -> None:
    shares = FailureShares().add_candidate(1 / 3).add_primary(1 / 3)

    assert shares.candidate == {0.34: 1}
    assert shares.primary == {0.33: 1}


def test_a_primary_that_always_fails_leaves_a_limit_that_can_be_tested() -> None:
    assert _shares({0.0: 10}, {1.0: 5000}).candidate_limit(0.02, 0.04) == 0.99
