"""The two kinds of answer of the admin port, JSON and one page, with the headers every answer carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMON_HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}

JSON_POLICY = "default-src 'none'; frame-ancestors 'none'"


class JsonAnswer(Response):
    """A JSON body. Times are written as ISO 8601 with zone; a number that is not finite is written as null."""

    media_type = "application/json"

    def __init__(self, content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        own = {**COMMON_HEADERS, "content-security-policy": JSON_POLICY, **(headers or {})}
        super().__init__(content, status_code=status, headers=own)

    def render(self, content: Any) -> bytes:
        """Encode the body; msgspec writes NaN and infinities as null."""
        return msgspec.json.encode(content)


class ErrorAnswer(JsonAnswer):
    """`{"error": {"type", "message"}}`: what happened and what would be right, in one sentence."""

    def __init__(self, *, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__({"error": {"type": kind, "message": message}}, status=status, headers=headers)


class PageAnswer(Response):
    """The one HTML page, under a policy that allows its own style sheet (by hash) and nothing else."""

    media_type = "text/html"

    def __init__(self, html: str, *, style_hash: str) -> None:
        policy = (
            f"default-src 'none'; style-src '{style_hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        super().__init__(html, headers={**COMMON_HEADERS, "content-security-policy": policy})
