"""How many tokens a request can be at most, for the money that is reserved before it is sent."""

from __future__ import annotations

from typing import Any

from shadow.dialects.untrusted import UnreadableError, as_text, decode_any

_HIDDEN_PROMPT_TOKENS = 2_000
"""Room for what a provider adds unseen: its tool-use prompt (up to about 700 tokens today) and the framing of turns."""
_IMAGE_TOKENS = 50_000
"""More than the dearest image known: gpt-4o-mini charges 2,833 + 8 tiles x 5,667 = 48,169 tokens in high detail."""
_LINKED_DOCUMENT_TOKENS = 200_000
"""For a document that is only named by its address; its size cannot be known here."""


def estimate_input_tokens(body: bytes) -> int:
    """Return an upper bound of the input tokens of a request body.

    Tokenizers of all families fall back to single bytes, so a text never has more tokens than UTF-8 bytes; JSON's own
    characters and escapes only add to the bound. Images are the exception in both directions and are counted at a
    fixed price each: inline ones are longer than they cost, linked ones shorter. Inline documents count by their base64
    length (a page of a few kilobytes costs a few thousand tokens). Typical English text has a quarter of the bound.
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
        return _LINKED_DOCUMENT_TOKENS
    if node.get("type") == "base64" and as_text(node.get("media_type")).startswith("image/"):
        return _image_correction(as_text(node.get("data")))
    image = node.get("image_url")
    if isinstance(image, dict):
        image = image.get("url")
    if isinstance(image, str):
        return _image_correction(image) if image.startswith("data:") else _IMAGE_TOKENS
    return _LINKED_DOCUMENT_TOKENS if as_text(node.get("file_url")) else 0


def _image_correction(inline: str) -> int:
    return min(0, _IMAGE_TOKENS - len(inline))
