"""`auto`: the checks a request itself asks for; what a newcomer gets without configuring anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from shadow.evaluators.base import Measures, not_applicable
from shadow.evaluators.is_json import IsJson
from shadow.evaluators.is_valid_tool_call import IsValidToolCall
from shadow.evaluators.json_schema import JsonSchema
from shadow.evaluators.request_checks import wants_json

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score


class RequestChecks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The lowest of the checks that apply: the request's schema, its JSON mode, its tools.

    Free text asks for no check; there it is not applicable.
    """

    version: ClassVar[str] = "1"
    measures: ClassVar[Measures] = "format"
    absolute: ClassVar[bool] = True

    def check(self, case: EvalCase) -> Score:
        """Run what applies; a check that fails to run is reported before one that passes."""
        results = [JsonSchema().check(case), IsValidToolCall().check(case)]
        if wants_json(case.request):
            results.append(IsJson().check(case))
        applicable = [score for score in results if score.status != "not_applicable"]
        if not applicable:
            return not_applicable(
                "the request asks for no check (free text, no schema, no tool call); configure evaluators for it"
            )
        broken = next((score for score in applicable if score.status == "failed"), None)
        return broken or min(applicable, key=lambda score: score.value or 0.0)
