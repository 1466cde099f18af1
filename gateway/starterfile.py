"""The commented `config.yaml` that `init` writes, and its schema."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLE_CANDIDATES = ("gpt-4o", "gemini-2.5-pro")


def config_text(candidates: Sequence[str] = EXAMPLE_CANDIDATES) -> str:
    """Write the file with these candidates; without any, the list is empty."""
    template = resources.files("gateway").joinpath("template.yaml").read_text("utf-8")
    lines = [
        f"    - model: {json.dumps(name, ensure_ascii=False) if _needs_quotes(name) else name}" for name in candidates
    ]
    return template.replace("@CANDIDATES@", "\n".join(lines) or "    []")


def schema_text() -> str:
    """Write the JSON Schema that the file's first line points to."""
    from gateway.configmodel import json_schema  # noqa: PLC0415  (pydantic is slow to load, and `--help` needs none)

    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _needs_quotes(name: str) -> bool:
    """Tell whether a name could be read as a number or a word of YAML's; a usual model name cannot."""
    return not (name[:1].isalpha() and all(char.isalnum() or char in "-._/" for char in name) and "-" in name)
