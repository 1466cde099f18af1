"""`json-schema`: the answer is JSON that follows a schema, the configured one or the request's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from shadow.evaluators import json_text
from shadow.evaluators.base import EvaluatorConfigError, Measures, not_applicable, passed
from shadow.evaluators.request_checks import schema_of
from shadow.evaluators.schemas import UnusableSchemaError, validate, validator_of

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score


class JsonSchema(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 when the answer is JSON and valid under the schema, else 0.

    The schema is `schema`, or the request's (`response_format`, `text.format`, `output_config.format`); with neither it
    is not applicable, as for an answer that is only tool calls. `lenient: true` accepts JSON inside a fence or between
    words. A configured schema that cannot be used is refused, a request's is `failed`. References to other documents
    are never fetched.
    """

    schema: dict[str, Any] | None = None
    lenient: bool = False

    version: ClassVar[str] = "2"
    measures: ClassVar[Measures] = "format"
    absolute: ClassVar[bool] = True
    needs_request: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.schema is not None:
            try:
                validator_of(self.schema)
            except UnusableSchemaError as error:
                raise EvaluatorConfigError(f"json-schema: {error}") from error

    def is_heavy(self, case: EvalCase) -> bool:
        """Tell whether a schema is to be used: a few lines of one can ask for hours of work."""
        return self.schema is not None or schema_of(case.request) is not None

    def check(self, case: EvalCase) -> Score:
        """Read the answer and validate it."""
        schema = self.schema if self.schema is not None else schema_of(case.request)
        if schema is None:
            return not_applicable("neither the configuration nor the request names a schema")
        if case.tool_calls and not case.output.strip():
            return not_applicable("the answer is a tool call")
        parsed = json_text.embedded(case.output) if self.lenient else json_text.strict(case.output)
        if parsed.error is not None:
            return passed(ok=False, reason=parsed.error)
        return validate(parsed.value, schema)
