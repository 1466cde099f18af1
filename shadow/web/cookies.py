"""What stands for the admin token in a browser: a cookie made of it, and a word that only our own forms carry."""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie

COOKIE = "shadow_admin"
LIFETIME_S = 12 * 3600
_MAX_COOKIE = 4096


def cookie_value(token: str, *, now_s: float) -> str:
    """Make the cookie's value: when it ends, and a proof that whoever made it knew the token. Not the token itself."""
    ends = int(now_s) + LIFETIME_S
    return f"{ends}.{_proof(token, ends)}"


def cookie_holds(value: str, token: str, *, now_s: float) -> bool:
    """Tell whether a cookie was made of this token and has not ended. A new token ends all cookies of the old one."""
    ends, _, proof = value.partition(".")
    if not (ends.isascii() and ends.isdecimal()) or len(ends) > 12:  # noqa: PLR2004  (a time in seconds is shorter)
        return False
    return hmac.compare_digest(proof.encode(), _proof(token, int(ends)).encode()) and now_s < int(ends) <= (
        now_s + LIFETIME_S
    )


def cookie_of(header: str) -> str | None:
    """Find our cookie in a Cookie header; None when it is not there or the header cannot be read."""
    try:
        morsel = SimpleCookie(header[:_MAX_COOKIE]).get(COOKIE)
    except CookieError:
        return None
    return None if morsel is None else morsel.value


def set_cookie(value: str, *, secure: bool, lifetime_s: int = LIFETIME_S) -> str:
    """Write the Set-Cookie header: for this site alone, out of reach of scripts, not sent along from other sites."""
    return f"{COOKIE}={value}; Path=/; Max-Age={lifetime_s}; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"


def form_word(secret: bytes) -> str:
    """The word each form of this process carries; a page of another origin cannot read it."""
    return hmac.new(secret, b"form", hashlib.sha256).hexdigest()


def form_word_holds(value: str, secret: bytes) -> bool:
    """Tell whether a form carried it."""
    return hmac.compare_digest(value.encode("utf-8", "replace"), form_word(secret).encode())


def _proof(token: str, ends: int) -> str:
    return hmac.new(token.encode(), f"shadow-gateway dashboard {ends}".encode(), hashlib.sha256).hexdigest()
