"""What to change when a candidate may take over."""

from __future__ import annotations

import pytest
import yaml

from shadow.switch import SwitchAdvisor, switch_advice


def test_the_advice_names_the_file_the_line_and_keeps_the_old_primary_as_a_candidate() -> None:
    advice = switch_advice(candidate="gpt-4o", primary="claude-sonnet-4-5", config_file="deploy/config.yaml")
    assert (advice.file, advice.change) == ("deploy/config.yaml", "primary.model: gpt-4o")
    assert advice.yaml == (
        "primary:\n  model: gpt-4o\n"
        "# under shadow.candidates, beside those that stay:\n#   - model: claude-sonnet-4-5\n"
        "# and no longer:\n#   - model: gpt-4o\n"
    )
    assert advice.steps[0] == "in deploy/config.yaml set primary.model: gpt-4o"
    assert "claude-sonnet-4-5 goes on being measured" in advice.steps[1]
    assert len(advice.steps) == 4


def test_without_a_file_it_says_how_to_get_one_and_with_several_tasks_what_else_would_change() -> None:
    advice = switch_advice(candidate="b", primary="a", config_file=None, task="support", several_tasks=True)
    assert advice.steps[0] == "in a new config.yaml (`shadow-gateway init` writes one) set primary.model: b"
    assert "this verdict is about task support only" in advice.steps[-1]


@pytest.mark.parametrize(
    "name", ["gpt-4o", "on", "null", "1e3", "a: b", "- x", 'say "hi"', "back\\slash", "tab\there", "ü", "x:"]
)
def test_whatever_a_model_is_called_the_file_says_exactly_that(name: str) -> None:
    advice = switch_advice(candidate=name, primary=name, config_file="c.yaml")
    assert yaml.safe_load(advice.yaml) == {"primary": {"model": name}}, "pasted as it is, no candidate goes"
    told = [line.removeprefix("#   ") for line in advice.yaml.splitlines() if line.startswith("#   - ")]
    assert yaml.safe_load("\n".join(told)) == [{"model": name}, {"model": name}]


def test_there_is_nothing_to_switch_to_without_a_promotion_or_once_its_comparison_has_ended() -> None:
    advisor = SwitchAdvisor(config_file="c.yaml")
    verdict = {"task": "default", "primary": "a", "candidate": "b", "verdict": "promote", "ended": None}
    advice = advisor(verdict)
    assert advice is not None
    assert advice["change"] == "primary.model: b"
    assert advisor({**verdict, "ended": "b is not among shadow.candidates any more"}) is None
    assert advisor({**verdict, "verdict": "undecided"}) is None
