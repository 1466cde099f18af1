"""One alert as Slack's Block Kit: text from outside can neither ping a channel nor break the limits. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.notices import ALERT_KINDS

if TYPE_CHECKING:
    from shadow.notices import Alert

_HEADER_CHARS = 150
_SECTION_CHARS = 2800
_FIELD_CHARS = 1800
_MAX_FIELDS = 10
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def slack_message(alert: Alert) -> dict[str, Any]:
    """Give the body for an incoming webhook: the text is the fallback, the blocks what is shown."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(plain(alert.title), _HEADER_CHARS)}},
        {"type": "section", "text": _mrkdwn(alert.sentence, _SECTION_CHARS)},
    ]
    if alert.details:
        fields = [
            {"type": "mrkdwn", "text": f"*{escaped(label, 100)}*\n{escaped(text, _FIELD_CHARS)}"}
            for label, text in alert.details[:_MAX_FIELDS]
        ]
        blocks.append({"type": "section", "fields": fields})
    about = escaped(f"{alert.kind} · {alert.created_at:%Y-%m-%d %H:%M} UTC · {alert.id}", 400)
    if alert.kind in ALERT_KINDS:  # a test cannot be muted
        about += f" · quiet for a week: `shadow-gateway alert mute kind:{alert.kind} --for 7d`"
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": about}]})
    return {"text": escaped(f"{alert.title}: {alert.sentence}", _SECTION_CHARS), "blocks": blocks}


def escaped(text: str, limit: int) -> str:
    """Make text of others harmless: `<!channel>` pings everybody, so & < > are escaped. No longer than `limit` so."""
    pieces = [_ESCAPES.get(char, char) for char in cut(plain(text), limit)]
    while sum(map(len, pieces)) > limit:
        pieces[-2:] = ["…"]
    return "".join(pieces)


def cut(text: str, limit: int) -> str:
    """Shorten to `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def plain(text: str) -> str:
    """Drop control and direction marks; line breaks become spaces."""
    return "".join(char if char.isprintable() else " " for char in text)


def _mrkdwn(text: str, limit: int) -> dict[str, str]:
    return {"type": "mrkdwn", "text": escaped(text, limit)}
