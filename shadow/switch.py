"""What to change when a candidate may take over, word for word: pure, and never done by itself."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLAIN = re.compile(r"[A-Za-z_]([A-Za-z0-9_./:@-]*[A-Za-z0-9_])?")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchAdvice:
    """The change in words and as YAML."""

    file: str
    """The file to edit."""
    change: str
    """The one line: `primary.model: gpt-4o`."""
    yaml: str
    """What is to stand in the file, safe to paste: what to do with the candidates is a comment, for they are a list."""
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchAdvisor:
    """Gives the advice that belongs to a verdict, and none to any but `promote`."""

    config_file: str | None
    several_tasks: bool = False

    def __call__(self, verdict: Mapping[str, Any]) -> dict[str, Any] | None:
        """Advise on a verdict as `/verdicts` tells it (task, primary, candidate, verdict), unless it is of the past."""
        if verdict["verdict"] != "promote" or verdict.get("ended") is not None:
            return None
        advice = switch_advice(
            candidate=verdict["candidate"],
            primary=verdict["primary"],
            config_file=self.config_file,
            task=verdict["task"],
            several_tasks=self.several_tasks,
        )
        return asdict(advice)


def switch_advice(
    *, candidate: str, primary: str, config_file: str | None, task: str = "default", several_tasks: bool = False
) -> SwitchAdvice:
    """Tell how to make `candidate` answer the app in place of `primary`.

    `config_file` is the configuration in force; None: only the environment was read, so that there is no file yet.
    `several_tasks` says that the verdict is about one task of several: `primary.model` replaces the model of all.
    """
    file = config_file or "config.yaml"
    new, old = _scalar(candidate), _scalar(primary)
    written = f"in {file}" if config_file else f"in a new {file} (`shadow-gateway init` writes one)"
    caution = (
        f"primary.model changes the model of every task; this verdict is about task {task} only. Where the other "
        f"tasks should stay, let the app of {task} ask for {candidate} itself"
    )
    keep = (
        f"put {old} under shadow.candidates and take {new} out, so that {primary} goes on being measured and a regret "
        "shows as a verdict"
    )
    steps = (
        f"{written} set primary.model: {new}",
        keep,
        f"shadow-gateway check -c {file}",
        "reload: kill -HUP of `serve`, or POST /reload",
        *([caution] if several_tasks else []),
    )
    return SwitchAdvice(
        file=file,
        change=f"primary.model: {new}",
        yaml=(
            f"primary:\n  model: {new}\n"
            f"# under shadow.candidates, beside those that stay:\n#   - model: {old}\n"
            f"# and no longer:\n#   - model: {new}\n"
        ),
        steps=steps,
    )


def _scalar(name: str) -> str:
    """Write a model's name so that YAML reads it as text."""
    if _PLAIN.fullmatch(name) and name.lower() not in _WORDS:
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in escaped) + '"'
