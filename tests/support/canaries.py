"""Keys that are planted to be looked for: every spelling in which one could be kept, and how to find them in bytes."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus


def forms(key: str) -> set[bytes]:
    """The key as it is, in JSON, escaped letter by letter, in a URL, in hex, in base64 whatever stands around it."""
    spelled = {key, quote(key), quote(key, safe=""), quote_plus(key), json.dumps(key)[1:-1].replace("/", "\\/")}
    spelled |= {quote(key, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d")}
    spelled |= {key.replace("/", "\\\\/"), key.replace("/", "\\\\\\\\/")}
    spelled |= {key.encode().hex(), key.encode().hex().upper()}
    spelled |= {"".join(f"\\u{ord(letter):04x}" for letter in key)}
    for offset in range(3):
        first, end = -(-offset * 8 // 6), (offset + len(key)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            spelled.add(encode(b"u" * offset + key.encode()).decode()[first:end])
    return {text.encode() for text in spelled}


def held(data: bytes, *keys: str) -> list[str]:
    """Which keys the bytes hold in whatever form."""
    return [key for key in keys if any(form in data for form in forms(key))]
