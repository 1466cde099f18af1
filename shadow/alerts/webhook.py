"""One alert as a signed JSON body for any receiver. Pure: the time is an argument.

The receiver recomputes `v1=` + hex(HMAC-SHA256(secret, timestamp + "." + body)) over the raw body, compares it in
constant time, refuses a timestamp older than five minutes, and forgets an alert id it has seen.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from shadow.notices import Alert

VERSION = 1
ID_HEADER = "x-shadow-alert-id"
TIME_HEADER = "x-shadow-timestamp"
SIGNATURE_HEADER = "x-shadow-signature"


def webhook_body(alert: Alert) -> bytes:
    """Give the body: every field of the alert, and the version of this form."""
    fields = {name: getattr(alert, name) for name in alert.__dataclass_fields__ if name != "muted"}
    return msgspec.json.encode({"version": VERSION, **fields})


def webhook_headers(alert: Alert, body: bytes, *, secret: str | None, timestamp: int) -> dict[str, str]:
    """Give the headers that identify and sign it; `timestamp` in seconds since 1970. No secret: no signature."""
    headers = {ID_HEADER: alert.id, TIME_HEADER: str(timestamp)}
    if secret is not None:
        headers[SIGNATURE_HEADER] = signature(secret, timestamp, body)
    return headers


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Sign the timestamp and the body."""
    return "v1=" + hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
