"""The page at `/`: what this port is, and where its answers are. It shows no data, so it needs no script."""

from __future__ import annotations

import base64
import hashlib
import html

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem;color-scheme:light dark}"
    "code{font-size:.95em}dt{margin-top:1rem}dd{margin:0}"
)

STYLE_HASH = "sha256-" + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
"""Allows exactly this style sheet in the page's content security policy."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Shadow Gateway</title>
<style>{style}</style>
</head>
<body>
<h1>Shadow Gateway</h1>
<p>This is the admin port of Shadow Gateway {version}. It tells how the models behind your app
compare on your own traffic. Apps do not talk to this port: their <code>base_url</code> is the
address under <code>listen</code>.</p>
<p>{state}</p>
<dl>
<dt><a href="/stats">/stats</a></dt>
<dd>latency, cost and quality of every model, and how candidates compare (last 7 days;
<code>?since=24h</code> for less)</dd>
<dt><a href="/pairs?sort=worst">/pairs</a></dt>
<dd>single pairs of answers, those first where the candidate failed or lost most</dd>
<dt><a href="/verdicts">/verdicts</a></dt>
<dd>what is decided for each candidate, and what is not yet</dd>
<dt><a href="/openapi.json">/openapi.json</a></dt>
<dd>every path of this port, its parameters and its answers</dd>
</dl>
</body>
</html>
"""


def home_page(*, version: str, shadow_off_reason: str | None) -> str:
    """Give the page as HTML; everything that is not ours is escaped."""
    state = "Shadowing is on." if shadow_off_reason is None else f"Shadowing is off: {shadow_off_reason}."
    return _PAGE.format(style=_STYLE, version=html.escape(version), state=html.escape(state))
