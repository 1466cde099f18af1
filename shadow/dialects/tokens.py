"""How many tokens a request can be at most, for the money that is reserved before it is sent."""

from __future__ import annotations

from typing import Any

from shadow.dialects.untrusted import UnreadableError, as_text, decode_any

_HIDDEN_PROMPT_TOKENS = 2_000
"""Room for what a provider adds unseen: its tool-use prompt (up to about 700 tokens today) and the framing of turns."""
_IMAGE_TOKENS = 50_000
"""More than the dearest image known: gpt-4o-mini charges 2,833 + 8 tiles x 5,667 = 48,169 tokens in high detail."""
_DOCUMENT_TOKENS = 200_000
"""At least so much for a document: a hundred pages of little text compress to a few kilobytes, and each page is billed
as a picture too. For one that is only named by its address, nothing else can be known here."""


def estimate_input_tokens(body: bytes) -> int:
    """Return an upper bound of the input tokens of a request body.

    Tokenizers of all families fall back to single bytes, so a text never has more tokens than UTF-8 bytes; JSON's own
    characters and escapes only add to the bound. Media are the exception: what an image costs depends on its pixels,
    not on its bytes, so each counts at a fixed price, and a document at no less than one. Typical English text has a
    quarter of the bound.
    """
    bound = len(body) + _HIDDEN_PROMPT_TOKENS
    try:
        waiting = [decode_any(body)]
    except UnreadableError:
        return bound
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            bound += _media_correction(node)
            waiting.extend(node.values())
    return bound


def _media_correction(node: dict[str, Any]) -> int:
    """Return by how much the bytes of one object's media miss what they cost."""
    if node.get("type") == "url" and as_text(node.get("url")):
        return _DOCUMENT_TOKENS
    if node.get("type") == "base64":
        data = as_text(node.get("data"))
        is_image = as_text(node.get("media_type")).startswith("image/")
        return _IMAGE_TOKENS - len(data) if is_image else max(0, _DOCUMENT_TOKENS - len(data))
    image = node.get("image_url")
    if isinstance(image, dict):
        image = image.get("url")
    if isinstance(image, str):
        return _IMAGE_TOKENS - (len(image) if image.startswith("data:") else 0)
    if as_text(node.get("file_data")):
        return max(0, _DOCUMENT_TOKENS - len(node["file_data"]))
    return _DOCUMENT_TOKENS if as_text(node.get("file_url")) else 0
