"""What `check` and `serve` tell of judges and addresses before anything is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.announce import doubled_paths, shadow_lines
from gateway.config import load
from gateway.judges import named_judges

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
upstream: {base_url: 'http://127.0.0.1:9', api_key: the-key-of-ours}
primary: {model: claude-sonnet-4-6}
shadow: {candidates: [{model: gpt-4o}]}
evaluators: [{type: llm-pairwise, model: no-such-model}, {type: is-json, quality: true}]
tasks:
  - {name: support, match: {path: /a}}
  - {name: other, match: {path: /b}, evaluators: [{type: llm-rubric, model: gpt-4.1-mini, base_url: 'http://127.0.0.1:10'}]}
  - {name: third, match: {path: /c}, evaluators: [{type: llm-pairwise, model: gemini-2.5-flash}]}
"""


def test_each_judge_is_told_with_its_tasks_and_with_what_is_in_its_way(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    unpriced, keyless, sound = named_judges(load(file, {}))

    assert (unpriced.model, unpriced.tasks) == ("no-such-model", ("default", "support"))
    assert "the price of the judge no-such-model is unknown, so it is not asked" in (unpriced.unusable or "")
    assert (keyless.model, keyless.tasks) == ("gpt-4.1-mini", ("other",))
    assert "there is no API key for the judge gpt-4.1-mini at http://127.0.0.1:10" in (keyless.unusable or "")
    assert "compares gpt-4o (also of OpenAI)" in (keyless.warning or "")
    assert (sound.unusable, sound.warning) == (None, None)


def test_under_auto_the_default_judge_is_told_and_warned_of_its_relatives(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    auto = CONFIG.partition("evaluators")[0]
    file.write_text(auto, encoding="utf-8")
    lines = list(shadow_lines(load(file, {})))

    assert any(line.startswith("  claude-haiku-4-5: $1.00 in, $5.00 out per 1M tokens") for line in lines)
    assert any(
        line.startswith("  warning: the judge claude-haiku-4-5 compares claude-sonnet-4-6 (also of Anthropic)")
        for line in lines
    )


def test_the_key_of_a_judge_is_a_secret_and_no_live_process_learns_it(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    judge = "{type: llm-pairwise, base_url: 'https://judge.example', api_key: sk-of-the-judge-123}"
    file.write_text(CONFIG.partition("evaluators")[0] + f"evaluators: [{judge}]\n", encoding="utf-8")
    config = load(file, {})

    assert "sk-of-the-judge-123" in config.measuring.secrets
    assert "sk-of-the-judge-123" not in repr(config.live)
    assert "sk-of-the-judge-123" not in repr(config.effective)


def test_an_address_that_ends_with_the_version_of_the_apps_path_is_warned_of_once(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        """
upstream:
  base_url: http://127.0.0.1:9/v1
  api_key: k
  routes: {/v1/x: {base_url: 'http://127.0.0.1:9/v1/'}, /a: {base_url: 'http://127.0.0.1:9/v1'}}
shadow:
  candidates:
    - {model: m1}
    - {model: m2, base_url: 'http://127.0.0.1:10/v1', api_key: k}
    - {model: m3, base_url: 'http://127.0.0.1:11'}
""",
        encoding="utf-8",
    )
    lines = list(doubled_paths(load(file, {})))

    assert [line.partition(" ends with /v1,")[0] for line in lines] == [
        "warning: upstream.base_url",
        "warning: upstream.routes./v1/x.base_url",
        "warning: shadow.candidates[1].base_url",
    ]
    assert "http://127.0.0.1:10/v1/v1/chat/completions; leave /v1 away" in lines[-1]
