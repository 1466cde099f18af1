"""A YAML file as plain values that remember where they stood, with `${VARIABLES}` replaced after parsing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

Path = tuple[str | int, ...]
"""Keys and list indexes from the root to a value."""

_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<fallback>:-[^}]*)?\}|\$\{")
_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
"""As YAML 1.1 counts lines."""
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_REAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
# NUL ends every name of a file early; half of a surrogate pair ("\ud800", or a variable's byte that is not UTF-8) is no
# character, and nothing that is asked of the system can hold it.
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_UNUSABLE_SENTENCE = "must be text in UTF-8, without NUL"
MAX_DEPTH = 64
MAX_VALUES = 100_000
"""Values of one file; an alias counts at each use, or some twenty lines could stand for more than any memory holds."""
_WORDS: Mapping[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", "+.inf"), float("inf")),
    "-.inf": float("-inf"),
    ".nan": float("nan"),
}


class FromEnvironment(str):
    """Text in which a variable was replaced: converted to what its key wants, and never shown in a message."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something stands in the file; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong at one place; `path` is empty when the file as a whole cannot be read."""

    path: Path
    sentence: str
    place: Place | None = None
    """None: where `path` stands."""
    at_key: bool = False
    """The key is at fault, not its value."""


@dataclass(slots=True, kw_only=True)
class Tree:
    """The values of one file, the place of each key and value, and what was wrong already while reading."""

    values: Any = None
    keys: dict[Path, Place] = field(default_factory=dict)
    places: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    variables: set[str] = field(default_factory=set)
    """Names of the variables the file asks for."""


class _Loader(yaml.SafeLoader):
    """Parses only: plain scalars stay text, because YAML 1.1 reads `no` as false, 012 as 10 and 1e3 as text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  (PyYAML's own class attribute)


def plain_value(text: str) -> Any:
    """Read an unquoted scalar by the YAML 1.2 core schema: null, true, false, a number, or text."""
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _REAL.fullmatch(text):
        return float(text)
    return text


def text_fault(text: str) -> str | None:
    """Say why a text cannot be used for anything; None when it can."""
    return _UNUSABLE_SENTENCE if _UNUSABLE.search(text) else None


def read_tree(text: str, environ: Mapping[str, str]) -> Tree:
    """Parse `text`; never raises, what is wrong is in `problems`."""
    tree = Tree()
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        place = _place_of_index(text, error.position)
        tree.problems.append(Problem(path=(), sentence=f"not valid YAML: {error.reason}", place=place))
    except yaml.MarkedYAMLError as error:
        tree.problems.append(_syntax_problem(error, text))
    except RecursionError:
        tree.problems.append(Problem(path=(), sentence="not valid YAML: nested too deeply"))
    except (ValueError, OverflowError):  # PyYAML takes the numbers of escapes and directives as they come
        at = None if loader is None else _place(loader.get_mark())
        tree.problems.append(Problem(path=(), sentence="not valid YAML: a number out of range", place=at))
    else:
        if root is not None:
            tree.values = _Reader(tree, environ).value(root, (), ())
    return tree


class _Reader:
    """Walks the node tree once: values, places, duplicate keys and variables."""

    def __init__(self, tree: Tree, environ: Mapping[str, str]) -> None:
        self._tree = tree
        self._environ = environ
        self._count = 0

    def value(self, node: yaml.Node, path: Path, above: tuple[yaml.Node, ...]) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            return self._too_many(node)
        self._tree.places[path] = _place(node.start_mark)
        if node in above:
            self._wrong(path, "an alias may not contain itself", node)
        elif len(above) >= MAX_DEPTH:
            self._wrong((), f"not valid YAML: nested too deeply, in more than {MAX_DEPTH} levels", node)
            self._count = MAX_VALUES + 1  # told once; the rest need not be read
        elif node.tag not in _PLAIN_TAGS:
            self._wrong(path, f"YAML tags such as {node.tag} are not supported", node)
        else:
            return self._read(node, path, above)
        return None

    def _too_many(self, node: yaml.Node) -> None:
        if self._count == MAX_VALUES + 1:
            self._wrong((), f"holds more than {MAX_VALUES} values (an alias counts at each use)", node)

    def _read(self, node: yaml.Node, path: Path, above: tuple[yaml.Node, ...]) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, (*above, node))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, index), (*above, node)) for index, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        """Read a quoted scalar as text, a plain one as what it means."""
        text = self._replaced(node, path) if "${" in node.value else node.value
        fault = text_fault(text)
        if fault is not None:
            self._wrong(path, fault, node)
            return ""
        return text if "${" in node.value or getattr(node, "style", None) is not None else plain_value(text)

    def _mapping(self, node: yaml.MappingNode, path: Path, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._wrong(path, "a key must be text", key_node)
                continue
            key: str = key_node.value
            fault = text_fault(key)
            if fault is not None:
                self._wrong(path, f"a key {fault}", key_node)
                continue
            here = (*path, key)
            if key in values:
                first = self._tree.keys[here].line
                self._wrong(here, f"duplicate key, it stands in line {first} already", key_node)
                continue
            self._tree.keys[here] = _place(key_node.start_mark)
            values[key] = self.value(value_node, here, above)
        return values

    def _replaced(self, node: yaml.Node, path: Path) -> str:
        names: list[str] = []

        def replace(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            name, fallback = match["name"], match["fallback"]
            if name is None:
                self._wrong(path, "'${' needs a variable's name and '}'; write '$${' for a literal '${'", node)
                return ""
            names.append(name)
            self._tree.variables.add(name)
            if fallback is not None:
                return self._environ.get(name) or fallback[2:]
            if name not in self._environ:
                sentence = f"the variable {name} is not set; set it, or give a default: ${{{name}:-default}}"
                self._wrong(path, sentence, node)
                return ""
            return self._environ[name]

        text = _VARIABLE.sub(replace, node.value)
        return FromEnvironment(text) if names else text

    def _wrong(self, path: Path, sentence: str, node: yaml.Node) -> None:
        self._tree.problems.append(Problem(path=path, sentence=sentence, place=_place(node.start_mark)))


_PLAIN_TAGS = frozenset({"tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})


def _place(mark: Any) -> Place:
    return Place(line=mark.line + 1, column=mark.column + 1)


def _place_of_index(text: str, index: int) -> Place:
    rows = _LINE_BREAK.split(text[:index])
    return Place(line=len(rows), column=len(rows[-1]) + 1)


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    parts = [part for part in (error.context, error.problem) if part]
    sentence = "not valid YAML: " + ", ".join(parts)
    if mark is not None and text[: mark.index + 1].endswith("${"):
        sentence += '; between braces or brackets a variable needs quotes: "${NAME}"'
    return Problem(path=(), sentence=sentence, place=None if mark is None else _place(mark))
