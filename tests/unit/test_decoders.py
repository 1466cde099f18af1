"""Classes are read by decoders that are made when their module is imported.

msgspec reads a class when the first value of it is decoded. Where two threads do that at once for a class with another
one inside, the second sees the first one's half-made notes, and the process ends by SIGSEGV (seen with 0.22).
"""

from __future__ import annotations

import ast
import builtins
from pathlib import Path
from typing import TYPE_CHECKING

import shadow

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(shadow.__file__).parents[1]

ONE_THREAD = {
    "gateway/control.py": "the first line a process reads, and those the parent's loop reads",
    "shadow/dialects/requests.py": "the fields of a class whose decoder was handed in",
    "shadow/evaluators/registry.py": "evaluators are made by one thread, before any of them works",
    "shadow/judge/options.py": "likewise",
    "shadow/web/feedback.py": "the event loop",
    "shadow/web/verdicts.py": "the event loop",
}
"""Where a class may be named at each call, and why no other thread reads it at the same time."""


def classes_named_at_calls() -> Iterator[tuple[str, str]]:
    """Give the file and the type of each call that decodes into something else than plain JSON values."""
    for path in sorted([*ROOT.glob("shadow/**/*.py"), *ROOT.glob("gateway/**/*.py")]):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(call, ast.Call) or not ast.unparse(call.func).startswith("msgspec."):
                continue
            if ast.unparse(call.func).rpartition(".")[2] not in {"decode", "convert"}:
                continue
            types = [each.value for each in call.keywords if each.arg == "type"] or call.args[1:]
            names = {node.id for kind in types for node in ast.walk(kind) if isinstance(node, ast.Name)}
            if not names <= {*dir(builtins), "Any"}:
                yield str(path.relative_to(ROOT)), ast.unparse(types[0])


def test_no_thread_reads_a_class_for_the_first_time() -> None:
    found = list(classes_named_at_calls())
    assert {file for file, _ in found} == set(ONE_THREAD), found
