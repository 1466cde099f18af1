"""`POST /feedback`: what users of an app say later about the primary's answer to one exchange."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from shadow.records import Feedback
from shadow.web.answers import ErrorAnswer, JsonAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from starlette.responses import Response

    from shadow.store.base import FeedbackDoor
    from shadow.web.admin import AdminSettings


class FeedbackBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is posted. What is left out is not said, and leaves what was said before as it is."""

    request_id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    """`x-shadow-request-id` of the live answer."""
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """How good the primary's answer was."""
    expected: str | None = None
    """What would have been right."""


async def take_feedback(
    body: Mapping[str, Any], *, door: FeedbackDoor, settings: AdminSettings, now: datetime
) -> Response:
    """Check and keep one word about an exchange; the same again changes nothing."""
    try:
        said = msgspec.convert(body, type=FeedbackBody)
    except msgspec.ValidationError as error:
        return _bad(f"the body cannot be used: {error}")
    if said.score is None and said.expected is None:
        return _bad("say something: `score` (0 to 1), `expected` (what would have been right), or both")
    expected, changed = said.expected, False
    if expected is not None:
        if settings.keep_text is None:
            message = "`content: none` keeps nothing of what is said, so `expected` cannot be kept; post a score"
            return ErrorAnswer(status=HTTPStatus.CONFLICT, kind="not_kept", message=message)
        expected, changed = await asyncio.to_thread(settings.keep_text, expected)
    kept = await door.give(
        Feedback(
            exchange_id=said.request_id, given_at=now, score=said.score, expected=expected, expected_changed=changed
        )
    )
    if kept is None:
        message = "no exchange has this id; it may be older than retention_days, or not written yet (up to a second)"
        return ErrorAnswer(status=HTTPStatus.NOT_FOUND, kind="not_found", message=message)
    kept["request_id"] = kept.pop("exchange_id")
    return JsonAnswer({"feedback": kept, "note": _note(kept["expected"], changed=kept["expected_changed"])})


def _bad(message: str) -> ErrorAnswer:
    return ErrorAnswer(status=HTTPStatus.BAD_REQUEST, kind="bad_body", message=message)


def _note(expected: str | None, *, changed: bool) -> str:
    if expected is None:
        return "shown as the primary's `feedback`; it says nothing about any candidate"
    if changed:
        return "redaction changed the expected text: it is shown, and not used to score"
    return "answers that are still kept, and those to come, are scored with the expected text"
