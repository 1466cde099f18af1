"""An answer of the API as templates use it: values by dotted path, and for a missing one the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from shadow.web.dashboard.formats import FORMATS, NARROW

NONE_SHOWN = "n/a"
_NO_REASON = "there is nothing to show here yet"
_REASONS: Mapping[str, str] = {
    "ttft_diff_ms": "no pair has a first token on both sides: only streamed answers have one",
    "latency_diff_ms": "no pair has a whole answer on both sides yet",
    "win_rate": "no pair is scored yet",
    "tie_rate": "no pair is scored yet",
    "loss_rate": "no pair is scored yet",
}
"""Why a value is missing, where the answer does not say it itself."""


class Node:
    """One object of an answer, with the way to it from the answer's root (`tasks.0.models.1`)."""

    def __init__(self, value: Mapping[str, Any], path: str = "", above: Node | None = None) -> None:
        self.value = value
        self.path = path
        self.above = above

    def __getitem__(self, name: str) -> Any:
        """Give what stands at a dotted path below this one; None when any part of the way is missing."""
        value: Any = self.value
        if "." not in name:
            return value.get(name)
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def node(self, name: str) -> Node:
        """Give the object at a dotted path; an empty one when there is none."""
        node = self
        for part in name.split("."):
            inner = node.value.get(part)
            node = Node(inner if isinstance(inner, Mapping) else {}, node.path_of(part), node)
        return node

    def nodes(self, name: str) -> Sequence[Node]:
        """Give the objects of the list at a name, in order."""
        found = self[name]
        each = found if isinstance(found, Sequence) and not isinstance(found, str) else ()
        return [
            Node(inner, f"{self.path_of(name)}.{index}", self)
            for index, inner in enumerate(each)
            if isinstance(inner, Mapping)
        ]

    def path_of(self, name: str) -> str:
        """Give the way from the root to a name below this one."""
        return f"{self.path}.{name}" if self.path else name

    def reason(self, name: str) -> str:
        """Say why the value at `name` is missing: the `reason` nearest to it."""
        *way, _ = name.split(".")
        node: Node | None = self.node(".".join(way)) if way else self
        while node is not None:
            told = node.value.get("reason")
            if isinstance(told, str) and told:
                return told
            node = node.above
        return next((why for part, why in _REASONS.items() if part in name), _NO_REASON)


class Notes:
    """The footnotes of one page: each missing value points to the reason why, and each reason is written once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Number and text of each, in order of first use."""
        return ((number, text) for text, number in self._numbers.items())

    def __bool__(self) -> bool:
        return bool(self._numbers)

    def number(self, text: str) -> int:
        """Give the number of a reason."""
        return self._numbers.setdefault(text, len(self._numbers) + 1)

    def fact(self, node: Node, name: str, form: str) -> Markup:
        """Write one number with its exact value and its place in the answer, or `n/a` with a footnote why."""
        value = node[name]
        if not isinstance(value, int | float) or isinstance(value, bool):
            return self.missing(node.reason(name))
        return number(value, form, path=node.path_of(name))

    def interval(self, node: Node, name: str, form: str) -> Markup:
        """Write an interval in brackets; nothing when there is none."""
        ends = node[name]
        if not isinstance(ends, Sequence) or len(ends) != 2:  # noqa: PLR2004  (low and high)
            return Markup()
        low, high = map(escape, _written(ends, form))
        return Markup(f'<span class="ci" data-path="{escape(node.path_of(name))}">[{low}, {high}]</span>')  # noqa: S704

    def bounds(self, node: Node, name: str, form: str, *, why: str) -> Markup:
        """Write the interval of a value that is there; where it has none, a footnote with what stands at `why`."""
        told = node[why]
        if isinstance(node[name], Sequence) or not isinstance(told, str):
            return self.interval(node, name, form)
        at = self.number(told)
        return Markup(
            '<span class="ci">no bounds<sup><a href="#note-{}" aria-label="why: note {}">{}</a></sup></span>'
        ).format(at, at, at)

    def missing(self, reason: str) -> Markup:
        """Write `n/a` with a footnote."""
        at = self.number(reason)
        link = f'<a href="#note-{at}" aria-label="why: note {at}">{at}</a>'
        return Markup(f'<span class="na">{NONE_SHOWN}<sup>{link}</sup></span>')  # noqa: S704  (a number of ours)


def number(value: float, form: str, *, path: str) -> Markup:
    """Write a number as people read it, with what it is exactly."""
    told = escape(FORMATS[form](value))
    return Markup(f'<data value="{value!r}" data-path="{escape(path)}" data-form="{form}">{told}</data>')  # noqa: S704


def _written(ends: Sequence[float], form: str) -> list[str]:
    """Both ends of an interval, without the unit the number beside it has; durations keep theirs, for it may change."""
    told = [FORMATS[form](end) for end in ends]
    if form in {"ms", "ms_signed"}:
        bare, unit = told[0].split(NARROW)
        return [bare, told[1]] if told[1].endswith(f"{NARROW}{unit}") else told
    return [text.partition(NARROW)[0].removesuffix("x") for text in told]


def keyed(name: str) -> str:
    """Make a name fit for an id: every other character becomes its number."""
    return "".join(char if char.isascii() and char.isalnum() else f"-{ord(char):x}" for char in name)
