"""What the admin port answers, written down as OpenAPI 3.1."""

from __future__ import annotations

from typing import Any


def openapi(*, version: str) -> dict[str, Any]:
    """Give the document."""
    return {"openapi": "3.1.0", "info": {"title": "Shadow Gateway", "version": version}, "paths": {}}
