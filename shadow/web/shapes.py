"""What every JSON Schema of the admin port is made of."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """Point to one of `schemas()`."""
    return {"$ref": f"#/components/schemas/{name}"}


def object_of(properties: dict[str, Schema], description: str | None = None) -> Schema:
    """Build an object whose every listed field is always there."""
    schema: Schema = {"type": "object", "properties": properties, "required": list(properties)}
    return schema if description is None else {**schema, "description": description}


def typed(kind: str, description: str, **more: Any) -> Schema:
    """Build a value of one JSON type."""
    return {"type": kind, "description": description, **more}


def text(description: str, **more: Any) -> Schema:
    """Build a text."""
    return typed("string", description, **more)


def flag(description: str) -> Schema:
    """Build a truth value."""
    return typed("boolean", description)


def count(description: str) -> Schema:
    """Build a whole number that is not negative."""
    return typed("integer", description, minimum=0)


def number(description: str, **more: Any) -> Schema:
    """Build a number."""
    return typed("number", description, **more)


def maybe(schema: Schema) -> Schema:
    """Allow null, which means: not known, or not built yet (a `reason` stands beside)."""
    return {**schema, "type": [schema["type"], "null"]}


def moment(description: str) -> Schema:
    """Build a moment, ISO 8601."""
    return text(description, format="date-time")


def list_of(items: Schema) -> Schema:
    """Build a list."""
    return {"type": "array", "items": items}
