"""Files in the shape of the Anthropic API: two that are always there."""

from __future__ import annotations

from typing import Any

from shadow.simulator.refused import RefusedError

PATH = "/v1/files"


def _file(number: int, name: str, mime_type: str, size_bytes: int) -> dict[str, Any]:
    return {
        "id": f"file_{number:024d}",
        "type": "file",
        "filename": name,
        "mime_type": mime_type,
        "size_bytes": size_bytes,
        "created_at": "2026-01-01T00:00:00Z",
        "downloadable": False,
        "expires_at": None,
    }


FILES = (_file(1, "terms.pdf", "application/pdf", 20_480), _file(2, "notes.txt", "text/plain", 512))


def page() -> dict[str, Any]:
    """List both, in the shape of the stable API and of the older beta."""
    ends = {"first_id": FILES[0]["id"], "last_id": FILES[-1]["id"]}
    return {"data": list(FILES), "has_more": False, "next_page": None, **ends}


def get(file_id: str) -> dict[str, Any]:
    """Tell about one. Raises RefusedError (404)."""
    found = next((file for file in FILES if file["id"] == file_id), None)
    if found is None:
        raise RefusedError(404, f"no file {file_id}")
    return found
