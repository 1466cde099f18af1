"""Types and ranges of the configured values, and every fault as a sentence: what is wrong and what would be right."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gateway.configmodel import ConfigFile, section_at
from gateway.yamltree import FromEnvironment, Path, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic_core import ErrorDetails

_NOT_BUILT: Mapping[Path, str] = {}


def check_shape(values: Any) -> tuple[ConfigFile | None, list[Problem]]:
    """Validate keys, types and ranges; the model is None when there are problems."""
    try:
        return ConfigFile.checked(values), []
    except ValidationError as error:
        return None, list(_sentences(error, values))


def model_without(values: Any, broken: Iterable[Path]) -> ConfigFile | None:
    """Build the model of what is left without the broken parts, so that the rest can be checked too."""
    before, pruned = None, values
    for path in broken:
        pruned = _pruned(pruned, path, _meant_instead(path))
    model: ConfigFile | None = None
    while model is None and pruned != before:
        before = pruned
        model, problems = check_shape(pruned)
        for problem in problems:
            pruned = _pruned(pruned, problem.path)
    return model


def _pruned(values: Any, path: Path, meant: str | None = None) -> Any:
    """Copy without the value at `path`, which goes under the key that was `meant` where that is free.

    An entry of a list loses a key of its own; where that is not what is broken, the list goes as a whole, so that no
    index shifts.
    """
    if not path:
        return {}
    if not isinstance(values, dict) or path[0] not in values:
        return values
    rest = {key: value for key, value in values.items() if key != path[0]}
    inner = values[path[0]]
    if isinstance(inner, list) and _holds(inner, path[1:]):
        entries: list[Any] = list(inner)
        index = int(path[1])
        entries[index] = _pruned(inner[index], path[2:], meant)
        return {**rest, path[0]: entries}
    if len(path) == 1 and meant is not None:
        return {meant: inner, **rest}
    if len(path) == 1 or not isinstance(inner, dict):
        return rest
    return {**rest, path[0]: _pruned(inner, path[1:], meant)}


def _holds(entries: list[Any], path: Path) -> bool:
    """Tell whether `path` leads to a key of an entry that is there."""
    here: Any = entries
    for part in path:
        if not (isinstance(here, list) and isinstance(part, int)) and not (isinstance(here, dict) and part in here):
            return False
        here = here[part]  # type: ignore[index]  # an index of a list, or a key of a mapping: seen above
    return len(path) > 1 and isinstance(path[-1], str)


def _sentences(error: ValidationError, values: Any) -> Iterator[Problem]:
    details = error.errors(include_url=False)
    meant = {_meant(detail["loc"]) for detail in details if detail["type"] == "extra_forbidden"}
    for detail in details:
        path: Path = detail["loc"]
        if detail["type"] == "missing":
            if path not in meant:  # else the misspelt key is told already
                yield Problem(path=path[:-1], sentence=f"needs the key '{path[-1]}'")
        elif detail["type"] == "extra_forbidden":
            yield Problem(path=path, sentence=_unknown_key(path), at_key=True)
        elif path[-1:] == ("[key]",):
            yield Problem(path=path[:-1], sentence=_sentence(path[:-1], detail, path[-2]), at_key=True)
        else:
            yield Problem(path=path, sentence=_sentence(path, detail, _written(values, path)))


_TYPE_SENTENCES = {
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "list_type": "must be a list",
    "dict_type": "must hold keys and values",
    "model_type": "must hold keys and values",
}
_EXAMPLES: Mapping[Path, str] = {  # of an entry, where a bare name or number suggests itself
    ("shadow", "candidates"): ", such as {model: gpt-4o}",
    ("upstream", "routes"): ", such as {base_url: 'https://b.c'}",
    ("evaluators",): ", such as {type: is-json}",
    ("alerts",): ", such as {slack: 'https://hooks.slack.com/…'}",
    ("prices",): ", such as {input: 1.25, output: 10}",
}
_BOUND_SENTENCES = {
    "greater_than": ("must be greater than", "gt"),
    "greater_than_equal": ("must be at least", "ge"),
    "less_than": ("must be less than", "lt"),
    "less_than_equal": ("must be at most", "le"),
}


def _written(values: Any, path: Path) -> Any:
    """Return the value as it was written, before a variable was read as a number or a name as a mapping."""
    for part in path:
        if not isinstance(values, (dict, list)):
            break
        values = values[part]  # type: ignore[index]  # an index fits a list, a key a mapping: pydantic walked here
    return values


def _sentence(path: Path, detail: ErrorDetails, value: Any) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    instead = shown(path, value)
    if kind in _BOUND_SENTENCES:
        words, bound = _BOUND_SENTENCES[kind]
        return f"{words} {context[bound]:g}{instead}"
    if kind == "literal_error":
        hint = closest(str(value), re.findall(r"'([^']*)'", context["expected"])) if instead else ""
        return f"must be {context['expected']}{instead}{hint}"
    if kind == "value_error":
        sentence = str(context["error"])
        takes_value = sentence.startswith("must ") and not sentence.startswith("must not ")
        return f"{sentence}{instead}" if takes_value else sentence
    example = _EXAMPLES.get(path[:-1], "") if kind == "model_type" else ""
    return f"{_TYPE_SENTENCES.get(kind, detail['msg'])}{example}{instead}"


def _unknown_key(path: Path) -> str:
    if path in _NOT_BUILT:
        return _NOT_BUILT[path]
    meant = _meant(path)
    return f"unknown key; did you mean '{meant[-1]}'?" if meant else "unknown key"


def _meant(path: Path) -> Path:
    """Find the known key that comes closest; empty when none does."""
    section = section_at(path[:-1])
    names = [] if section is None else list(section.model_fields)
    close = difflib.get_close_matches(str(path[-1]), names, n=1)
    return (*path[:-1], close[0]) if close else ()


def _meant_instead(path: Path) -> str | None:
    """Name the known key that was probably meant by an unknown one."""
    meant = _meant(path) if path and isinstance(path[-1], str) else ()
    return str(meant[-1]) if meant and meant != path else None


def closest(word: str, names: Iterable[str]) -> str:
    """Say which name was probably meant; empty when none is near."""
    best = difflib.get_close_matches(word, list(names), n=1)
    return f"; did you mean '{best[0]}'?" if best else ""


_MAX_SHOWN = 60


def shown(path: Path, value: Any) -> str:
    """Say what was given, as `, not 5`; empty for what may be secret."""
    if isinstance(value, FromEnvironment) or any(part in ConfigFile.SECRETS for part in path):
        return ""
    if isinstance(value, str):
        return f", not '{value if len(value) <= _MAX_SHOWN else value[:_MAX_SHOWN] + '…'}'"
    if isinstance(value, (dict, list)):
        return ", not a list" if isinstance(value, list) else ", not keys and values"
    return ", not null" if value is None else f", not {str(value).lower()}"
