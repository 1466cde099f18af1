"""Answers, expected texts and requests made to break what looks at them: each with a name."""

from __future__ import annotations

import json
from typing import Any

from shadow.records import EvalCase, ToolCall

MILLION = 1_000_000


def doubling_schema(depth: int) -> dict[str, Any]:
    """A schema of a few lines that takes 2^depth steps to check."""
    definitions: dict[str, Any] = {"a0": {"type": "integer"}}
    for number in range(1, depth + 1):
        definitions[f"a{number}"] = {"allOf": [{"$ref": f"#/$defs/a{number - 1}"}] * 2}
    return {"$defs": definitions, "$ref": f"#/$defs/a{depth}"}


TEXTS: dict[str, str] = {
    "nothing": "",
    "NUL": "a\0b\0",
    "half a surrogate pair": "\ud800 half \udfff",
    "right to left and zero width": "\u202e\u200b\ufeff{}",
    "a bare number": "5",
    "NaN": "NaN",
    "negative infinity": "[-Infinity]",
    "a key twice": '{"a": 1, "a": 2}',
    "a fence": '```json\n{"a": 1}\n```',
    "fences that never close": "```" * 100_000,
    "200,000 brackets": "[" * 200_000,
    "deep but balanced": "[" * 50_000 + "]" * 50_000,
    "deep objects": '{"a":' * 100_000,
    "braces": "{" * MILLION,
    "5,000 digits": "9" * 5_000,
    "5,000 digits in JSON": "[" + "9" * 5_000 + "]",
    "many digits": "1 " * (MILLION // 2),
    "one long number": "1" * MILLION,
    "grouped digits": "1,234," * 200_000,
    "a huge exponent": "1e999999",
    "exponents": "[1e999, -1e999]",
    "a catastrophe for backtracking": "a" * 50_000 + "b",
    "combining marks": "e" + "\u0301\u0327" * 100_000,
    "letters that grow when folded": "\u0130" * MILLION,
    "spaces": " " * MILLION,
    "many empty lists": "[" + "[]," * 600_000 + "1]",
    "many objects": "[" + ",".join('{"a": 1}' for _ in range(100_000)) + "]",
    "unique keys": json.dumps({f"k{number}": number for number in range(60_000)}),
    "10 MB": "word " * (2 * MILLION),
}

REQUESTS: dict[str, dict[str, Any]] = {
    "no request": {},
    "not what it should be": {"tools": "all", "response_format": [1], "messages": None, "tool_choice": 3},
    "JSON mode": {"response_format": {"type": "json_object"}},
    "a schema of 2^60 steps": {"output_format": {"schema": doubling_schema(60)}},
    "a schema with a catastrophic pattern": {"output_format": {"schema": {"type": "string", "pattern": "^(a|a)*$"}}},
    "a schema that refers to itself": {"output_format": {"schema": {"$ref": "#"}}},
    "a schema elsewhere": {"output_format": {"schema": {"$ref": "http://127.0.0.1:9/x"}}},
    "no schema at all": {"output_format": {"schema": {"type": "nope", "minimum": "x"}}},
    "tools": {"tools": [{"name": "f", "input_schema": doubling_schema(60)}], "tool_choice": {"type": "any"}},
}

CALLS: dict[str, tuple[ToolCall, ...]] = {
    "no calls": (),
    "broken arguments": (ToolCall(name="f", arguments="{" * 100_000),),
    "an unknown tool": (ToolCall(name="\ud800", arguments="{}"),),
    "valid arguments": (ToolCall(name="f", arguments="1"),),
    "10 MB of arguments": (ToolCall(name="f", arguments="9" * (10 * MILLION)),),
}


def corpus() -> dict[str, EvalCase]:
    """Every text alone and as its own expected text, every request and every call with an answer that gets that far."""
    cases = {f"text: {name}": EvalCase(request={}, output=text) for name, text in TEXTS.items()}
    cases |= {
        f"expected: {name}": EvalCase(request={}, output=text + "x", expected=text) for name, text in TEXTS.items()
    }
    cases |= {f"request: {name}": EvalCase(request=request, output="1") for name, request in REQUESTS.items()}
    cases |= {
        f"calls: {name}": EvalCase(request=REQUESTS["tools"], output="", tool_calls=calls)
        for name, calls in CALLS.items()
    }
    return cases
