"""What alerts say, and when a state is one: pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shadow.alerts.lookout import (
    budget_observation,
    coverage_sums,
    drops_observation,
    is_news,
    lead_observations,
    run_budget_observation,
    standing_observations,
)
from shadow.alerts.slack import slack_message
from shadow.alerts.watch import changes
from shadow.alerts.webhook import webhook_headers
from shadow.alerts.words import OFF_POLICY, Standing, name, sentence_of, standing_of, standing_of_lead, title_of, usd
from shadow.leads import Lead
from shadow.notices import Alert, AlertTarget, Mute, Observation, TargetKind, Watched
from shadow.runfacts import RunFacts

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def standing(**given: Any) -> Standing:
    values: dict[str, Any] = {
        "task": "default", "primary": "p", "candidate": "c", "state": "promote", "why": "Proved.", "n": 3,
    }  # fmt: skip
    return Standing(**(values | given))


def seen(state: str, **given: Any) -> Observation:
    return Observation(**({"kind": "drift", "subject": "s", "state": state} | given))


def alert(**given: Any) -> Alert:
    values: dict[str, Any] = {
        "id": "a", "kind": "drift", "subject": "s", "state": "worse", "previous": None, "created_at": NOW,
        "title": "t", "sentence": "s",
    }  # fmt: skip
    return Alert(**(values | given))


# --- changes ---


def told(observation: Observation, watched: dict[str, Watched]) -> list[str]:
    remembered, alerts = changes([observation], watched, (), now=NOW, batch="b")
    watched |= {each.subject: each for each in remembered}
    return [each.state for each in alerts]


def test_a_state_is_told_once_and_a_flicker_never() -> None:
    watched: dict[str, Watched] = {}
    states = ["low", "high", "low", "high", "high", "high", "low", "high", "low", "low", "low"]
    all_told = [told(seen(state, looks=3, silent=state == "low"), watched) for state in states]
    assert [each for each in all_told if each] == [["high"]]
    assert watched["s"].told == "low"
    assert told(seen("high"), watched) == ["high"]


def test_nothing_is_written_while_nothing_changes() -> None:
    watched: dict[str, Watched] = {}
    assert told(seen("worse"), watched) == ["worse"]
    assert changes([seen("worse")], watched, (), now=NOW + timedelta(days=1), batch="b") == ([], [])


def test_the_alert_says_what_was_before_and_alerts_sort_as_they_were_seen() -> None:
    before = {"b": Watched(subject="b", told="steady", told_at=NOW, seen="steady", looks=1)}
    _, alerts = changes([seen("worse", subject="a"), seen("worse", subject="b")], before, (), now=NOW, batch="b")
    assert [(each.id, each.previous) for each in alerts] == [("b-000", None), ("b-001", "steady")]


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        ("all", True), ("kind:drift", True), ("kind:budget", False), ("task:support", True), ("task:x", False),
        ("model:claude", True), ("model:gpt", False), ("nonsense:x", False),
    ],
)  # fmt: skip
def test_a_mute_covers_what_it_names(scope: str, covered: bool) -> None:  # noqa: FBT001
    mute = Mute(scope=scope, until=NOW)
    _, (made,) = changes([seen("worse", task="support", primary="claude")], {}, [mute], now=NOW, batch="b")
    assert made.muted is covered


def test_a_target_is_named_without_its_address() -> None:
    target = AlertTarget(kind="slack", url="https://hooks.slack.com/services/T/B/key", kinds=("drift",))
    assert target.key.startswith("slack-")
    assert target.key == AlertTarget(kind="slack", url=target.url).key
    assert (target.takes("drift"), target.takes("budget"), AlertTarget(kind="slack", url="x").takes("budget")) == (
        True, False, True,
    )  # fmt: skip
    assert "key" not in repr(target).replace("key=", "")
    assert target.name == f"{target.key} (slack to hooks.slack.com)"


@pytest.mark.parametrize(
    ("kind", "url", "named"),
    [
        ("webhook", "https://hooks.example.com/in/secret", "webhook to hooks.example.com"),
        ("webhook", "http://[::1]:9000?secret", "webhook to [::1]:9000"),
        ("webhook", "https://secret@hooks.example.com#secret", "webhook to hooks.example.com"),
        ("apprise", "discord://secret/secret", "apprise to discord"),
        ("apprise", "secret", "apprise"),
    ],
)
def test_a_target_is_named_for_people_by_its_place_and_where_it_leads(kind: TargetKind, url: str, named: str) -> None:
    assert AlertTarget(kind=kind, url=url, entry=1).name == f"alerts[1] ({named})"


# --- words ---


def test_what_is_not_known_is_said_to_be_so() -> None:
    told = sentence_of(standing(why=""))
    assert told == (
        "Task default, live traffic, 3 conversations: quality difference not known. Cost: not known. "
        "Cost per quality point: c n/a, p n/a. Not tested: nothing that was recorded."
    )
    half = sentence_of(standing(difference=0.1, interval=(0.0, 0.2), cost_ratio=0.5, saving_usd_per_month=12.5))
    assert "quality differs by +0.100 (interval +0.000 to +0.200)" in half
    assert "Cost: 50 % of the primary's, saving $12.50 a month." in half
    assert "Cost: 1,570 % of the primary's" in sentence_of(standing(cost_ratio=15.7))
    assert "differs by +0.100." in sentence_of(standing(difference=0.1))
    unknown = sentence_of(standing(cost_ratio=0.5, cost_ratio_interval=(0.4, 0.6)))
    assert "Cost: 50 % of the primary's (40 % to 60 %); what that saves a month is not known." in unknown


@pytest.mark.parametrize(
    ("state", "interval", "title"),
    [
        ("promote", (0.01, 0.2), "c now outperforms p - consider switching"),
        ("promote", (-0.01, 0.2), "c does the work of p for less - consider switching"),
        ("promote", None, "c does the work of p for less - consider switching"),
        ("better_costlier", (0.01, 0.2), "c is better than p, and does not save money"),
        ("reject", None, "c is worse than p: no longer shadowed"),
        ("equivalent", None, "c is as good as p and saves nothing"),
        ("withdrawn", None, "c no longer holds what it promised: the switch from p is off"),
        ("undecided", None, "c against p: undecided"),
    ],
)
def test_titles_say_no_more_than_is_proved(state: str, interval: Any, title: str) -> None:
    assert title_of(standing(state=state, interval=interval)) == title


def test_a_comparison_is_read_as_stats_and_verdicts_tell_it() -> None:
    comparison = {
        "primary": "p", "candidate": "c", "verdict": "promote", "why": "w", "conversations": 9,
        "quality_diff": {"mean": 0.1, "ci": [0.0, 0.2], "level": 0.9},
        "cost_ratio": {"value": 0.5, "ci": [None, 1]},
        "projected_saving_usd_per_month": {"value": 10.0, "ci": [5, 15]},
        "coverage": {
            "eligible": 100, "not_sampled": 95, "skipped": {"server_tools": 3, "dialect": 2, "mcp": 1, "files": 1},
            "dropped": {"too_old": 1},
        },
    }  # fmt: skip
    models = [
        {"model": "p", "role": "primary", "cost_per_quality_point_usd": {"value": 0.002}},
        {"model": "c", "role": "candidate", "cost_per_quality_point_usd": None},
    ]
    read = standing_of("t", comparison, models)
    assert (read.n, read.interval, read.cost_ratio_interval, read.saving_interval) == (9, (0.0, 0.2), None, (5, 15))
    assert read.cost_per_quality_point == (0.002, None)
    assert read.not_tested == (
        "95 % of the exchanges were not sampled",
        "7 skipped (server_tools 3, dialect 2, files 1)",
        "1 lost (too_old 1)",
        OFF_POLICY,
    )
    compared = {"cost_per_quality_point_usd": {"primary": {"value": 1.0}, "candidate": {"value": 2.0}}}
    assert standing_of("t", comparison | compared).cost_per_quality_point == (1.0, 2.0)
    empty = standing_of("t", {"primary": "p", "candidate": "c"})
    assert (empty.state, empty.n, empty.difference) == ("insufficient_data", 0, None)
    assert empty.not_tested == ("how much of the traffic it was asked is not known", OFF_POLICY)


def test_money_has_as_many_digits_as_it_needs_and_names_are_cut_to_one_printable_line() -> None:
    assert [usd(value) for value in (1234.5, 12.345, 0.01234, 0.0000123, -2.5)] == [
        "$1,234", "$12.35", "$0.0123", "$0.000012", "-$2.50",
    ]  # fmt: skip
    assert name("a\nb\u202ec\x1b[0m") == "a b c [0m"
    assert name("x" * 100) == "x" * 79 + "…"


# --- lookout ---


def test_all_that_can_be_known_is_read_only_for_what_is_about_to_be_told() -> None:
    subject = "verdict/default/p/c"
    assert [is_news(standing(state=state), {}) for state in ("undecided", "promote", "withheld")] == [False, True, True]
    assert not is_news(standing(state="promote"), {subject: "promote"})
    assert is_news(standing(state="withdrawn"), {subject: "promote"})
    assert not is_news(standing(state="withheld"), {"trust/default/p/c": "lost"})


def test_a_lead_of_the_weekly_runs_is_told_and_a_loss_is_left_to_the_verdict() -> None:
    def lead(state: Any, **given: Any) -> Lead:
        values: dict[str, Any] = {
            "task": "default", "primary": "p", "candidate": "c", "state": state, "why": "Proved.", "n": 200,
            "unit": "conversations", "runs": 4, "evaluator": "is-json", "version": "1", "since_run": "r",
            "anew": None, "missing": 0, "not_applicable": 0, "answers": 400, "failures": 0, "primary_answers": 400,
            "primary_failures": 0, "difference": 0.03, "interval": (0.01, 0.05), "level": 0.92, "cost_ratio": 0.4,
            "cost_ratio_interval": None, "cost_per_quality_point": (0.2, 0.1),
        }  # fmt: skip
        return Lead(**(values | given))

    def look(*leads: Lead) -> list[Observation]:
        return lead_observations(
            [standing_of_lead(each, live=None) for each in leads], config_file=None, several_tasks=True
        )

    (good,) = look(lead("promote"))
    assert (good.state, good.silent, good.title) == ("promote", False, "c now outperforms p - consider switching")
    assert "4 weekly runs, 200 conversations" in good.sentence
    assert good.facts["switch"]["change"] == "primary.model: c"
    (bad,) = look(lead("reject"))
    assert (bad.state, bad.silent) == ("open", True)
    assert look(lead("withheld")) == []


def test_trust_is_told_when_lost_and_when_found_again_but_never_when_it_was_always_there() -> None:
    def look(state: str, told: dict[str, str]) -> list[tuple[str, str, bool]]:
        found = standing_observations([standing(state=state)], told, config_file="c", several_tasks=False)
        return [(each.kind, each.state, each.silent) for each in found]

    assert look("promote", {}) == [("verdict", "promote", False)]
    assert look("withheld", {}) == [("trust", "lost", False)]
    assert look("undecided", {"trust/default/p/c": "lost"}) == [
        ("trust", "trusted", False), ("verdict", "open", True),
    ]  # fmt: skip
    assert look("undecided", {"trust/default/p/c": "trusted"})[0] == ("trust", "trusted", True)


def money(used: float, *, share: float = 0.5, told: str | None = None, cap: float = 5.0) -> Observation:
    return budget_observation(
        spent_usd=used, reserved_usd=0.0, cap_usd=cap, day="2026-11-01", day_share=share, told=told
    )


def test_a_budget_that_is_used_up_day_after_day_is_one_state() -> None:
    assert money(4.7).state == "open"
    assert money(4.75).state == "exhausted"
    assert money(0.1, share=0.01, told="exhausted").state == "exhausted"  # a new day has just begun
    assert money(4.5, share=0.95, told="exhausted").state == "exhausted"
    assert money(3.0, share=0.95, told="exhausted").state == "open"
    assert "budget_usd_per_day is 0" in money(0.0, cap=0.0).sentence
    assert "$4.75 of $5.00 a day" in money(4.75).sentence


def test_losses_have_two_thresholds_and_need_enough_exchanges() -> None:
    def state(lost: int, told: str | None = None, sampled: int = 100) -> str | None:
        found = drops_observation(sampled=sampled, dropped={"too_old": lost}, over="a day", told=told)
        return None if found is None else found.state

    assert [state(4), state(5), state(4, "high"), state(2, "high"), state(1, "high")] == [
        "low", "high", "high", "high", "low",
    ]  # fmt: skip
    assert state(20, sampled=49) is None
    rows = [
        {"candidate": None, "state": None, "reason": None, "count": 900},
        {"candidate": "c", "state": "done", "reason": None, "count": 90},
        {"candidate": "c", "state": "dropped", "reason": "too_old", "count": 6},
        {"candidate": "d", "state": "dropped", "reason": "too_old", "count": 4},
    ]
    assert coverage_sums(rows) == (100, {"too_old": 10})


def test_a_run_that_ran_out_of_money_is_told() -> None:
    def run(state: str, reason: str | None) -> RunFacts:
        return RunFacts(
            id="r", period=None, state=state, reason=reason, started_at=NOW, finished_at=NOW, primary="p",
            models=("p",), note="", spent_usd=4.9, max_cost_usd=5.0, answers=(),
        )  # fmt: skip

    assert run_budget_observation([]) is None
    short = run_budget_observation([run("stopped", "the next answer may cost up to $1, which does not fit under $5")])
    assert short is not None
    assert (short.state, short.silent) == ("exhausted", False)
    for other in (run("done", None), run("stopped", "the measuring process ended"), run("stopped", None)):
        fine = run_budget_observation([other])
        assert fine is not None
        assert fine.silent


# --- on the wire ---


def test_nothing_in_an_alert_can_ping_a_channel_or_break_slacks_limits() -> None:
    hostile = "<!channel> & <https://evil|click>\n\u202e" + "x" * 5000
    message = slack_message(
        alert(title=hostile, sentence=hostile, details=tuple((hostile, hostile) for _ in range(15)))
    )
    text = json.dumps(message, ensure_ascii=False)
    assert "<!channel>" not in text.replace(message["blocks"][0]["text"]["text"], "")
    assert "<https" not in json.dumps(message["blocks"][1:])
    assert message["blocks"][0]["text"]["type"] == "plain_text"  # where nothing is markup
    assert len(message["blocks"][0]["text"]["text"]) <= 150
    assert len(message["blocks"][1]["text"]["text"]) <= 3000
    assert len(message["blocks"][2]["fields"]) == 10
    assert all(len(field["text"]) <= 2000 for field in message["blocks"][2]["fields"])
    assert "\u202e" not in text
    assert [block["type"] for block in slack_message(alert())["blocks"]] == ["header", "section", "context"]


def test_an_alert_tells_how_to_be_quiet_and_a_test_that_cannot_be_does_not() -> None:
    def about(kind: str) -> str:
        return str(slack_message(alert(kind=kind))["blocks"][-1]["elements"][0]["text"])

    assert about("drift").endswith(" · quiet for a week: `shadow-gateway alert mute kind:drift --for 7d`")
    assert about("test").startswith("test · ")
    assert "mute" not in about("test")


def test_without_a_secret_a_webhook_carries_no_signature() -> None:
    assert webhook_headers(alert(), b"{}", secret=None, timestamp=7) == {
        "x-shadow-alert-id": "a", "x-shadow-timestamp": "7",
    }  # fmt: skip
