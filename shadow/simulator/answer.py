"""What a played model answers: the truth where a question has one, spoiled at the rate the script says.

The prompts that have a true answer (the convention tests and the demo use):

* arithmetic: `What is 17 + 25?` (also `-`, `*`, `x`), and a later turn `Add 5 to that.`, `Subtract 5 from that.`,
  `Multiply that by 5.`, counted from the last number in the last answer;
* extraction: facts as `key: value`, separated by `;` or new lines, and a JSON schema (or the words `as JSON`);
* tools: a question that names a word of a tool's name (`get_weather`: `What is the weather in Paris?`), with arguments
  from `in <Place>`, from `key: value` facts, or the first value of an enum;
* the two questions of the article: the capital of France, a Python function that reverses a string;
* anything else is answered in prose, which is never wrong.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from shadow.simulator.script import Manner, Script, SimModel, draw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shadow.simulator.question import Question, Tool

Stop = Literal["end", "tool", "max_tokens", "stop_sequence", "refusal", "paused"]
Kind = Literal["tool", "report", "json", "number", "prose"]

APPLICABLE: Mapping[Kind, frozenset[Manner]] = {
    "tool": frozenset({"wrong", "off_schema", "broken_json", "refusal", "empty"}),
    "report": frozenset({"wrong", "refusal", "empty", "truncated", "paused"}),
    "json": frozenset({"wrong", "off_schema", "broken_json", "fenced", "refusal", "empty", "truncated"}),
    "number": frozenset({"wrong", "refusal", "empty", "truncated", "paused"}),
    "prose": frozenset({"refusal", "empty", "truncated", "paused"}),
}
REFUSAL = "I cannot help with that."

_SUM = re.compile(r"what is (-?\d+)\s*(\+|-|\*|x|plus|minus|times)\s*(-?\d+)", re.IGNORECASE)
_NEXT = re.compile(r"\b(add|subtract|multiply)\b\D*?(-?\d+)", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d+")
_FACT = re.compile(r"([A-Za-z][\w ]*?)\s*[:=]\s*([^;\n]+)")
_PLACE = re.compile(r"\bin ([A-Z][\w'-]*(?: [A-Z][\w'-]*)*)")
_KNOWN = (
    (re.compile(r"capital of france", re.IGNORECASE), "The capital of France is Paris."),
    (
        re.compile(r"python function to reverse a string", re.IGNORECASE),
        "```python\ndef reverse(text: str) -> str:\n    return text[::-1]\n```",
    ),
)
_SENTENCE = (
    "the answer depends on what you measure and how often you look at it because small samples mislead while larger "
    "ones settle slowly so start with one clear question write down the result you expect then compare both sides "
    "under the same conditions and keep the numbers next to the decision they led to"
)
_WORDS = tuple(_SENTENCE.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One tool call; `arguments` is JSON text, possibly broken."""

    name: str
    arguments: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model says, before it is put into a dialect."""

    manner: Manner
    stop: Stop = "end"
    text: str = ""
    thinking: str = ""
    calls: tuple[Call, ...] = ()
    stop_sequence: str | None = None


def kind_of(question: Question) -> Kind:
    """Which sort of answer is asked for."""
    if question.tool_result is not None:
        return "report"
    if chosen_tool(question) is not None:
        return "tool"
    if question.schema is not None or question.json_mode or "as json" in question.last.lower():
        return "json"
    return "prose" if true_number(question) is None else "number"


def chosen_tool(question: Question) -> Tool | None:
    """Choose the tool a right answer calls, or None when it calls none."""
    if not question.tools or question.tool_choice == "none":
        return None
    asked = question.last.lower()
    fitting = (tool for tool in question.tools if any(word in asked for word in _name_words(tool.name)))
    if question.tool_choice is None:
        return next(fitting, None)
    named = (tool for tool in question.tools if tool.name == question.tool_choice)
    return next(named, None) or next(fitting, question.tools[0])


def true_number(question: Question) -> int | None:
    """Give the right result of the arithmetic in the last turn, or None when there is none."""
    asked = question.last
    if found := _SUM.search(asked):
        return _calculate(int(found[1]), found[2], int(found[3]))
    if found := _NEXT.search(asked):
        earlier = next((text for role, text in reversed(question.turns) if role == "assistant"), "")
        if numbers := _NUMBER.findall(earlier):
            return _calculate(int(numbers[-1]), found[1], int(found[2]))
    return None


def true_json(question: Question) -> Any:
    """Give the right JSON value for an extraction."""
    found = facts(question.last)
    if question.schema is not None:
        return _fill(question.schema, "", found)
    return {name: _plain_value(value) for name, value in found.items()} or {"answer": true_number(question)}


def true_arguments(question: Question, tool: Tool) -> dict[str, Any]:
    """Give the right arguments of a tool call."""
    found = dict(facts(question.last))
    if place := _PLACE.search(question.last):
        for name in ("city", "location", "place"):
            found.setdefault(name, place[1])
    filled = _fill({**tool.schema, "type": "object"}, "", found)
    return filled if isinstance(filled, dict) else {}


def facts(text: str) -> dict[str, str]:
    """Read the `key: value` facts of a prompt; keys in lower case with underscores."""
    return {match[1].strip().lower().replace(" ", "_"): match[2].strip().rstrip(".") for match in _FACT.finditer(text)}


def answer(question: Question, model: SimModel, script: Script, *, forced: Manner | None = None) -> Answer:
    """Answer deterministically by (model, prompt). `forced` overrides the model's own manner where it applies."""
    kind = kind_of(question)
    seed = (script.seed, model.name, question.fingerprint)
    applicable = APPLICABLE[kind]
    manner = forced if forced in applicable else model.quality.manner(applicable, draw(*seed, "manner"))
    if forced == "right":
        manner = "right"
    thinking = _prose(30, *seed, "thinking") if model.thinks or question.thinking else ""
    said = _say(question, kind, manner, model, seed)
    return _cut_to_limits(replace(said, thinking=thinking), question)


def count_tokens(text: str) -> int:
    """Tokens of a text, about four bytes each; 0 for nothing."""
    return (len(text.encode()) + 3) // 4


def output_tokens(said: Answer) -> int:
    """Tokens of a whole answer, thinking included; never 0, as at the real APIs."""
    parts = [said.text, said.thinking, *(call.name + call.arguments for call in said.calls)]
    return max(1, sum(map(count_tokens, parts)))


def _say(question: Question, kind: Kind, manner: Manner, model: SimModel, seed: tuple[str, ...]) -> Answer:
    if manner == "refusal":
        return Answer(manner=manner, stop="refusal", text=REFUSAL)
    if manner == "empty":
        return Answer(manner=manner)
    tool = chosen_tool(question) if kind == "tool" else None
    if tool is not None:
        arguments = _json_text(true_arguments(question, tool), tool.schema, manner, seed)
        call = Call(name=tool.name, arguments=arguments, id=f"call_{question.fingerprint}")
        return Answer(manner=manner, stop="tool", calls=(call,))
    text = _text_of(question, kind, manner, model, seed)
    if manner == "truncated":
        return Answer(manner=manner, stop="max_tokens", text=text[: len(text) // 2])
    return Answer(manner=manner, stop="paused" if manner == "paused" else "end", text=text)


def _text_of(question: Question, kind: Kind, manner: Manner, model: SimModel, seed: tuple[str, ...]) -> str:
    if kind == "json":
        text = _json_text(true_json(question), question.schema or {}, manner, seed)
        return f"```json\n{text}\n```" if manner == "fenced" else text
    if kind == "number":
        number = true_number(question) or 0
        said = number if manner != "wrong" else number + 1 + int(9 * draw(*seed, "off"))
        return model.phrase.format(number=said)
    if kind == "report":
        result = "not known" if manner == "wrong" else question.tool_result
        return f"Here is what I found: {result}"
    known = next((text for pattern, text in _KNOWN if pattern.search(question.last)), None)
    return known or _prose(model.words, *seed, "prose")


def _cut_to_limits(said: Answer, question: Question) -> Answer:
    """Apply the client's stop sequences and token limit to the text."""
    for stop in question.stop:
        if stop and stop in said.text:
            said = replace(said, text=said.text.partition(stop)[0], stop="stop_sequence", stop_sequence=stop)
    if question.max_tokens is not None and output_tokens(said) > question.max_tokens:
        room = max(0, question.max_tokens - count_tokens(said.thinking)) * 4
        text = said.text.encode()[:room].decode(errors="ignore")
        calls = tuple(replace(call, arguments=call.arguments[:room]) for call in said.calls)
        return replace(
            said, text=text, calls=calls, stop="max_tokens", thinking=said.thinking[: question.max_tokens * 4]
        )
    return said


def _json_text(value: Any, schema: Mapping[str, Any], manner: Manner, seed: tuple[str, ...]) -> str:
    if manner == "wrong":
        value = _spoil(value, schema, *seed)
    if manner == "off_schema":
        value = _break_schema(value, schema)
    text = json.dumps(value, ensure_ascii=False)
    return text[: max(1, len(text) * 2 // 3)] if manner == "broken_json" else text


def _spoil(value: Any, schema: Mapping[str, Any], *seed: str) -> Any:
    """Change what a value says and keep to the schema."""
    if isinstance(value, dict) and value:
        name = sorted(value)[int(len(value) * draw(*seed, "spoil"))]
        return {**value, name: _spoil(value[name], schema.get("properties", {}).get(name, {}), *seed)}
    if isinstance(schema.get("enum"), list):
        return next((each for each in schema["enum"] if each != value), value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"not {value}" if value else "unknown"
    return value


def _break_schema(value: Any, schema: Mapping[str, Any]) -> Any:
    """Leave a required key out; without one, answer with a type nobody asked for."""
    required = schema.get("required")
    if isinstance(value, dict) and isinstance(required, list) and required:
        return {name: each for name, each in value.items() if name != required[-1]}
    return ["this", "is", "not", "what", "was", "asked"] if not isinstance(value, list) else {"items": value}


def _fill(schema: Mapping[str, Any], name: str, found: Mapping[str, str]) -> Any:
    """Build the value a schema asks for out of the facts; what is not told gets the type's zero."""
    if isinstance(schema.get("properties"), dict):
        required = schema.get("required") or []
        return {
            key: _fill(each, key, found)
            for key, each in schema["properties"].items()
            if key in required or key.lower() in found or "properties" in each
        }
    told = found.get(name.lower())
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return next((each for each in schema["enum"] if told and str(each).lower() in told.lower()), schema["enum"][0])
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type", "string")
    return _CONVERT.get(kind[0] if isinstance(kind, list) else kind, str)(told or "")


def _to_number(told: str) -> float:
    found = re.search(r"-?\d+(?:\.\d+)?", told.replace(",", ""))
    return float(found[0]) if found else 0.0


_CONVERT: Mapping[str, Any] = {
    "string": str,
    "integer": lambda told: int(_to_number(told)),
    "number": _to_number,
    "boolean": lambda told: told.lower() in {"true", "yes", "1"},
    "array": lambda told: [part.strip() for part in told.split(",") if part.strip()],
    "object": lambda _: {},
    "null": lambda _: None,
}


def _plain_value(told: str) -> Any:
    try:
        return json.loads(told)
    except ValueError:
        return told


def _calculate(left: int, operator: str, right: int) -> int:
    if operator.lower() in {"+", "plus", "add"}:
        return left + right
    if operator.lower() in {"-", "minus", "subtract"}:
        return left - right
    return left * right


def _name_words(name: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", name.lower()) if word and word not in {"get", "set", "the", "find"}]


def _prose(words: int, *seed: str) -> str:
    start = int(len(_WORDS) * draw(*seed))
    chosen = [_WORDS[(start + number * (1 + start % 3)) % len(_WORDS)] for number in range(words)]
    return " ".join(chosen).capitalize() + "."
