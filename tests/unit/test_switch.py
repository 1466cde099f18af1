"""What to change when a candidate may take over."""

from __future__ import annotations

import pytest
import yaml

from shadow.switch import switch_advice


def test_the_advice_names_the_file_the_line_and_keeps_the_old_primary_as_a_candidate() -> None:
    advice = switch_advice(candidate="gpt-4o", primary="claude-sonnet-4-5", config_file="deploy/config.yaml")
    assert (advice.file, advice.change) == ("deploy/config.yaml", "primary.model: gpt-4o")
    assert yaml.safe_load(advice.yaml) == {
        "primary": {"model": "gpt-4o"},
        "shadow": {"candidates": [{"model": "claude-sonnet-4-5"}]},
    }
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
    read = yaml.safe_load(advice.yaml)
    assert (read["primary"]["model"], read["shadow"]["candidates"][0]["model"]) == (name, name)
