"""The JSON body of a POST: of the right type, of a bounded size, an object."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from shadow.web.answers import ErrorAnswer

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_BODY_BYTES = 256 << 10


def is_json(request: Request) -> bool:
    """Tell whether it says that it carries JSON, which a page of another origin cannot say without asking."""
    content_type = request.headers.get("content-type")
    return content_type is not None and content_type.partition(";")[0].strip().lower() == "application/json"


async def json_body(request: Request, *, optional: bool = False) -> dict[str, Any] | ErrorAnswer:
    """Read the JSON object a POST carries, of a bounded size; what it is else is told.

    With `optional` no body at all is as good as `{}`.
    """
    if not is_json(request):
        return no_json_type()
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            message = f"the body may hold at most {MAX_BODY_BYTES} bytes"
            return ErrorAnswer(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE, kind="too_large", message=message)
    if optional and not body:
        return {}
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return ErrorAnswer(status=HTTPStatus.BAD_REQUEST, kind="bad_json", message="the body must be a JSON object")
    return value


def no_json_type() -> ErrorAnswer:
    """Refuse a body of another type."""
    message = "POST needs the header `content-type: application/json`"
    return ErrorAnswer(status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE, kind="content_type", message=message)
