"""Which models come from one house: a judge tends to prefer what its own relatives write. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_FAMILIES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (family, re.compile(pattern))
    for family, pattern in (
        ("Anthropic", r"claude"),
        ("OpenAI", r"gpt|chatgpt|codex|davinci|o[1-9](-|$)"),
        ("Google", r"gemini|gemma|palm|bison"),
        ("xAI", r"grok"),
        ("Meta", r"(meta-)?llama"),
        ("Mistral", r"mistral|mixtral|codestral|ministral|magistral|devstral|pixtral"),
        ("DeepSeek", r"deepseek"),
        ("Alibaba", r"qwen|qwq"),
        ("Amazon", r"(amazon-)?nova|titan"),
        ("Cohere", r"command|c4ai|aya"),
        ("Moonshot", r"kimi|moonshot"),
        ("Zhipu", r"glm|chatglm"),
        ("Microsoft", r"phi|mai-"),
        ("MiniMax", r"minimax|abab"),
    )
)


def family_of(model: str) -> str | None:
    """Name the house a model comes from; None when its name does not tell."""
    name = model.lower().rpartition("/")[2].rpartition(":")[2] or model.lower()
    parts = (name, name.rpartition(".")[2])  # `anthropic.claude-…`, `us.anthropic.claude-…`
    return next((family for family, pattern in _FAMILIES for part in parts if pattern.match(part)), None)


def relatives(judge: str, models: Iterable[str]) -> tuple[str, ...]:
    """List those of the compared models that are the judge itself or come from its house."""
    house = family_of(judge)
    return tuple(model for model in models if model == judge or (house is not None and family_of(model) == house))


def self_preference_warning(judge: str, models: Iterable[str]) -> str | None:
    """Say that a judge compares its own relatives; None when it does not."""
    named = relatives(judge, dict.fromkeys(models))
    if not named:
        return None
    house = family_of(judge)
    how = f"also of {house}" if house is not None else "the same model"
    return (
        f"the judge {judge} compares {', '.join(named)} ({how}): judges tend to prefer their relatives; "
        "choose a judge of another house, and check it with `shadow-gateway label`"
    )
