"""What bounds the price of a request: how many answers, how long at most, and what is not billed by the price list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from shadow.dialects.requests import encoded, raw_fields, raw_list, type_of
from shadow.dialects.untrusted import UnreadableError, as_count, decode_any
from shadow.records import Dialect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgspec import Raw

_LIMITS: Mapping[Dialect, Sequence[str]] = {
    Dialect.ANTHROPIC_MESSAGES: ("max_tokens",),
    # OpenAI's own models since o1 know the first name only, many other servers the second only.
    Dialect.OPENAI_CHAT: ("max_completion_tokens", "max_tokens"),
    Dialect.OPENAI_RESPONSES: ("max_output_tokens",),
}
_LARGEST_LIMIT = 10**9
_MULTIPLIERS = ("n", "best_of")
"""Each of so many answers may be as long as the limit, and all of them are paid; the second is vLLM's."""

_AT_LIST_PRICE: Mapping[str, frozenset[str]] = {
    "service_tier": frozenset({"auto", "default", "flex", "standard", "standard_only"}),
    "speed": frozenset({"standard"}),
    "inference_geo": frozenset({"global"}),
}
"""Settings with a price of their own, and the values that never cost more than the list says."""
_OFF_THE_LIST = ("audio", "compaction", "fallbacks", "models", "plugins", "prediction")
"""Another model may answer, another kind of token is billed, or tokens are billed beyond the output limit."""


class Spending(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a request says about the most it can cost."""

    answers: int = 1
    output_limit: int | None = None
    """Tokens of one answer at most; None: the request sets no limit."""
    unlisted: str | None = None
    """The first parameter that may change the price from the list's."""


def spending(dialect: Dialect, body: bytes) -> Spending:
    """Say what bounds a request's price; raises UnreadableError where a bound is there and cannot be understood."""
    members = raw_fields(body)
    answers = max(_count(members, name, least=1) or 1 for name in _MULTIPLIERS)
    # For an OpenAI-compatible server 0 may mean "without limit".
    least = 0 if dialect is Dialect.ANTHROPIC_MESSAGES else 1
    limits = [_count(members, name, least=least) for name in _LIMITS[dialect]]
    return Spending(
        answers=answers,
        output_limit=max((limit for limit in limits if limit is not None), default=None),
        unlisted=_unlisted(members),
    )


def limit_name(dialect: Dialect) -> str:
    """Return the parameter that sets the output limit."""
    return _LIMITS[dialect][0]


def with_output_limit(dialect: Dialect, body: bytes, tokens: int) -> bytes:
    """Set the output limit of a request that has none; raises UnreadableError."""
    return bytes(encoded({**raw_fields(body), limit_name(dialect): encoded(tokens)}))


def _count(members: Mapping[str, Raw], name: str, *, least: int) -> int | None:
    value = _value(members, name)
    if value is None:
        return None
    count = as_count(value)
    if count is None or not least <= count <= _LARGEST_LIMIT:
        raise UnreadableError(f"{name} is no number of tokens or answers that can be reserved for")
    return count


def _unlisted(members: Mapping[str, Raw]) -> str | None:
    for name, listed in _AT_LIST_PRICE.items():
        value = _value(members, name)
        if value is not None and (not isinstance(value, str) or value not in listed):
            return name
    if _value(members, "modalities") not in (None, [], ["text"]):
        return "modalities"
    if _compacts(members.get("context_management")):
        return "context_management"
    return next((name for name in _OFF_THE_LIST if _value(members, name)), None)


def _compacts(management: Raw | None) -> bool:
    """Say whether the provider may summarise the history first, which is billed beside the answer."""
    if management is None:
        return False
    edits = raw_list(management)
    if edits is None:
        try:
            edits = raw_list(raw_fields(management).get("edits"))
        except UnreadableError:
            edits = None
    return any(type_of(edit).startswith("compact") for edit in edits or ())


def _value(members: Mapping[str, Raw], name: str) -> Any:
    return decode_any(members[name]) if name in members else None
