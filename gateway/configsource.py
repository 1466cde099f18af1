"""Where configured values come from, the file or variables, and how a message names their place."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from gateway.addresses import is_loopback, origin_parts
from gateway.yamltree import FromEnvironment, Path, Place, Problem, Tree, read_tree, text_fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EZAI_ORIGIN = "https://ezaiapi.com"

START_VARIABLES: Mapping[str, Path] = {
    "SHADOW_LISTEN": ("listen",),
    "SHADOW_ADMIN_LISTEN": ("admin", "listen"),
    "SHADOW_STORE": ("store",),
    "SHADOW_CANDIDATES": ("shadow", "candidates"),
}
"""Variables that stand in for a file when there is none; with a file they are not read."""

_OURS = "SHADOW_"
_NAMES = tuple(name.removeprefix(_OURS) for name in (*START_VARIABLES, "SHADOW_ADMIN_TOKEN"))
_MIN_SECRET = 8
VERSION_DIGITS = 12
"""How much of a file's SHA-256 is shown."""
_CLOSE = 0.85
"""One or two letters astray. Looser, and names that others set (Kubernetes sets SHADOW_GATEWAY_PORT for a service of
our name) would keep us from starting."""


class ConfigErrors(Exception):  # noqa: N818  (it carries them all)
    """The configuration cannot be used; `lines` holds one finished sentence for each fault, in the file's order."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


@dataclass(slots=True, kw_only=True)
class Source:
    """Plain values, and how to name the place of each in a message."""

    file: str | None
    folder: FilePath
    tree: Tree
    variables: dict[Path, str] = field(default_factory=dict)
    """Paths that were filled from a variable."""
    load_python: bool = False
    """Also load `python` evaluators, in a process of their own: that runs the user's code."""
    version: str | None = None
    """How the SHA-256 of the file begins, as `sha256sum` shows it; None without a file."""

    def line(self, problem: Problem) -> str:
        """Say it in one line: where, which key, what is wrong and what would be right."""
        path = problem.path
        variable = next((self.variables[start] for start in starts(path) if start in self.variables), None)
        if variable is not None:
            parts = ["environment", variable]
        elif self.file is None:
            parts = ["environment", dotted(path)]
        else:
            place = self._place(problem)
            parts = [self.file if place is None else f"{self.file}:{place.line}:{place.column}", dotted(path)]
        line = ": ".join([*(part for part in parts if part), self._without_variables(problem)])
        return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)

    def _without_variables(self, problem: Problem) -> str:
        """Give the sentence without what a variable put into the file: it may be a key in the wrong place."""
        value: Any = self.tree.values
        for part in problem.path:
            inside = (isinstance(value, dict) and part in value) or (isinstance(value, list) and isinstance(part, int))
            value = value[part] if inside else None
        sentence = problem.sentence
        if isinstance(value, FromEnvironment):
            for text in (str(value), value.rpartition(":")[0], value.partition(":")[2]):
                sentence = sentence.replace(text, "…") if len(text) >= _MIN_SECRET else sentence
        return sentence

    def order(self, problem: Problem) -> tuple[int, int]:
        """Give the sort key: the file's order."""
        place = self._place(problem)
        return (0, 0) if place is None else (place.line, place.column)

    def _place(self, problem: Problem) -> Place | None:
        """Where the key stands, where the value stands, or what they would have stood in."""
        if problem.at_key and problem.path in self.tree.keys:
            return self.tree.keys[problem.path]
        places = self.tree.places
        return problem.place or next((places[start] for start in starts(problem.path) if start in places), None)


def dotted(path: Path) -> str:
    """`shadow.candidates[0].model`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def starts(path: Path) -> Iterator[Path]:
    """Yield the path itself, its parent, … and the root."""
    return (path[:length] for length in range(len(path), -1, -1))


def read_file(file: str, environ: Mapping[str, str]) -> Source:
    """Read a YAML file. Raises ConfigErrors when it cannot be read as one at all."""
    try:
        read = FilePath(file).read_bytes()
        text = read.decode("utf-8-sig")
    except OSError as error:
        raise ConfigErrors([f"{file}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigErrors([f"{file}: must be UTF-8 text; byte {error.start} is not"]) from None
    tree = read_tree(text, environ)
    version = hashlib.sha256(read).hexdigest()[:VERSION_DIGITS]
    source = Source(file=file, folder=FilePath(file).absolute().parent, tree=tree, version=version)
    if any(not problem.path for problem in tree.problems):
        raise ConfigErrors([source.line(problem) for problem in tree.problems])
    if tree.values is not None and not isinstance(tree.values, dict):
        raise ConfigErrors([source.line(Problem(path=(), sentence="must hold keys and values, such as 'listen: …'"))])
    tree.values = tree.values or {}
    return source


def read_environment(environ: Mapping[str, str]) -> Source:
    """Read the variables that stand in for a file."""
    tree = Tree(values={})
    source = Source(file=None, folder=FilePath.cwd(), tree=tree)
    for name, path in START_VARIABLES.items():
        text = environ.get(name)
        fault = text_fault(text or "")
        if fault is not None:
            source.variables[path] = name
            tree.problems.append(Problem(path=path, sentence=fault))
        elif text:
            value: Any = _candidate_list(text) if name == "SHADOW_CANDIDATES" else text
            _fill(source, path, value, name)
    return source


def misspelt(source: Source, environ: Mapping[str, str]) -> list[str]:
    """Say which variables are probably meant to be ours and are not: unread, each would change nothing in silence.

    A variable that the file itself asks for is no mistake, whatever it is called.
    """
    lines = []
    for name in sorted(environ):
        stem = name.removeprefix(_OURS)
        if stem == name or stem in _NAMES or name in source.tree.variables:
            continue
        meant = difflib.get_close_matches(stem, _NAMES, n=1, cutoff=_CLOSE)
        if meant:
            lines.append(f"environment: {name}: no such variable is read; did you mean {_OURS}{meant[0]}?")
    return lines


def _candidate_list(text: str) -> list[dict[str, str]]:
    return [{"model": name.strip()} for name in text.split(",") if name.strip()]


def add_defaults(source: Source, environ: Mapping[str, str]) -> None:
    """Fill in the defaults that are variables: SHADOW_ADMIN_TOKEN, EZAI_API_KEY and HTTPS_PROXY."""
    upstream = source.tree.values.get("upstream")
    base_url = upstream.get("base_url") if isinstance(upstream, dict) else None
    _fill(source, ("admin", "token"), environ.get("SHADOW_ADMIN_TOKEN"), "SHADOW_ADMIN_TOKEN")
    if may_take_ezai_key(base_url):
        _fill(source, ("upstream", "api_key"), environ.get("EZAI_API_KEY"), "EZAI_API_KEY")
    proxy_variable = "HTTPS_PROXY" if environ.get("HTTPS_PROXY") else "https_proxy"
    _fill(source, ("upstream", "proxy"), environ.get(proxy_variable), proxy_variable)


def may_take_ezai_key(base_url: Any) -> bool:
    """Tell whether EZAI_API_KEY may be used unasked: for EzAI and this machine, any other origin must be written."""
    if not isinstance(base_url, str):
        return True
    try:
        scheme, host, port = origin_parts(base_url)
    except ValueError:
        return False
    return is_loopback(host) or (scheme, host, port) == origin_parts(EZAI_ORIGIN)


def _fill(source: Source, path: Path, value: Any, variable: str) -> None:
    """Set an absent value from a variable, unless the file holds something else in the way."""
    if not value:
        return
    mapping = source.tree.values
    for part in path[:-1]:
        if mapping.get(part) is None:
            mapping[part] = {}
        mapping = mapping[part]
        if not isinstance(mapping, dict):
            return
    if path[-1] not in mapping:
        mapping[path[-1]] = value
        source.variables[path] = variable
