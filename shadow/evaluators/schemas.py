"""Validating a JSON value against a schema that may come from outside: linear-time patterns, nothing fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema_rs

from shadow.evaluators.base import failed, passed

if TYPE_CHECKING:
    from shadow.records import Score

MAX_REASON_CHARS = 200


class UnusableSchemaError(Exception):
    """The schema is none, or needs another document; the message says why."""


def validate(value: Any, schema: Any) -> Score:
    """Score a JSON value against a schema; the first violation is the reason."""
    try:
        validator = validator_of(schema)
    except UnusableSchemaError as error:
        return failed(str(error))
    try:
        violation = next(iter(validator.iter_errors(value)), None)
    except ValueError as error:
        return failed(f"the value cannot be checked: {_short(error)}")
    if violation is None:
        return passed(ok=True, reason="")
    where = "/".join(str(part) for part in violation.instance_path) or "the top"
    return passed(ok=False, reason=f"at {where[:MAX_REASON_CHARS]}: violates {violation.kind.name}")


def validator_of(schema: Any) -> Any:
    """Compile a schema. Raises UnusableSchemaError."""
    try:
        return jsonschema_rs.validator_for(schema, retriever=_never_fetch)
    except (ValueError, TypeError) as error:
        raise UnusableSchemaError(f"the schema cannot be used: {_short(error)}") from error


def _never_fetch(uri: str) -> Any:
    raise ValueError(f"references another document ({uri[:80]}), which is never fetched")


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:MAX_REASON_CHARS] if str(error) else type(error).__name__
