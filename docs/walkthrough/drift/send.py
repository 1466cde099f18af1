"""Sixty questions an app might ask, each of which wants JSON: `python send.py 0`, then 100, then 200."""

from __future__ import annotations

import json
import sys
import urllib.request

GATEWAY = "http://127.0.0.1:18080/v1/messages"
HEADERS = {"content-type": "application/json", "x-api-key": "sk-app", "anthropic-version": "2023-06-01"}

start = int(sys.argv[1])
for number in range(start, start + 60):
    text = f"item: lamp {number}; quantity: {number % 9}. Give it as JSON."
    body = {"model": "pebble", "max_tokens": 200, "messages": [{"role": "user", "content": text}]}
    urllib.request.urlopen(urllib.request.Request(GATEWAY, json.dumps(body).encode(), HEADERS)).read()
