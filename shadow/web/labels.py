"""What people say about pairs, blind or not: labels in, labels out, and pairs that wait for one."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from shadow.judge.blind import CHOICES, DEFAULT_SEED, side_a, winner_of
from shadow.store.base import Label
from shadow.web.answers import ErrorAnswer, JsonAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from starlette.responses import Response

    from shadow.store.base import Judging

MAX_NAME_CHARS = 100
DEFAULT_LABELLER = "anonymous"
_FIELDS = ("pair", "choice", "labeller", "seed")


async def take_label(body: Mapping[str, Any], *, store: Judging, now: datetime, source: str = "api") -> Response:
    """Keep one label: `{"pair", "choice": A|tie|B|primary|candidate|null, "labeller"?, "seed"?}`; null takes it back.

    A and B are the sides that `shadow.judge.blind` gives this pair for the seed; the answer says whose they were.
    """
    fault = _fault(body)
    if fault is not None:
        return ErrorAnswer(status=HTTPStatus.BAD_REQUEST, kind="bad_label", message=fault)
    pair, choice = body["pair"], body["choice"]
    labeller, seed = body.get("labeller", DEFAULT_LABELLER), body.get("seed", DEFAULT_SEED)
    exchange_id, _, candidate = pair.partition(":")
    if choice is None:
        removed = await store.remove_label(exchange_id=exchange_id, candidate=candidate, labeller=labeller)
        return JsonAnswer({"pair": pair, "labeller": labeller, "removed": removed})
    blind = choice in {"A", "B", "tie"}
    shown_as_a = side_a(pair, seed)
    label = Label(
        exchange_id=exchange_id,
        candidate=candidate,
        labeller=labeller,
        winner=winner_of(choice, shown_as_a),
        choice=choice,
        side_a=shown_as_a if blind else None,
        seed=seed if blind else None,
        source=source,
        labelled_at=now,
    )
    if not await store.keep_label(label):
        message = "no pair has this id; its exchange may be older than retention_days"
        return ErrorAnswer(status=HTTPStatus.NOT_FOUND, kind="not_found", message=message)
    told = {"pair": pair, "labeller": labeller, "choice": choice, "winner": label.winner, "side_a": label.side_a}
    return JsonAnswer(told, status=HTTPStatus.CREATED)


def _fault(body: Mapping[str, Any]) -> str | None:
    """Say what is wrong with a label; None when it can be kept."""
    unknown = next((name for name in body if name not in _FIELDS), None)
    if unknown is not None:
        return f"{str(unknown)[:80]!r} is no field of a label; known: {', '.join(_FIELDS)}"
    pair = body.get("pair")
    if not isinstance(pair, str) or not all(pair.partition(":")) or len(pair) > 1000:  # noqa: PLR2004  (no id is longer)
        return "pair must be `<exchange id>:<candidate>`"
    if "choice" not in body:
        return f"choice is needed: one of {', '.join(CHOICES)}, or null to take the label back"
    choice = body["choice"]
    if choice is not None and choice not in CHOICES:
        return f"choice must be one of {', '.join(CHOICES)}, or null to take the label back"
    for name in ("labeller", "seed"):
        value = body.get(name, "x")
        if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARS or not value.isprintable():
            return f"{name} must be a printable text of 1 to {MAX_NAME_CHARS} characters"
    return None
