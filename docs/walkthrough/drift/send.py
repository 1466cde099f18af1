"""Sixty questions an app might ask: `python send.py 0`, then 100, then 200.

Each wants JSON; with `sum` behind the number each wants a sum, in plain words.
"""

from __future__ import annotations

import json
import sys
import urllib.request

GATEWAY = "http://127.0.0.1:18080/v1/messages"
HEADERS = {"content-type": "application/json", "x-api-key": "sk-app", "anthropic-version": "2023-06-01"}

start, is_sum = int(sys.argv[1]), "sum" in sys.argv
for number in range(start, start + 60):
    text = f"item: lamp {number}; quantity: {number % 9}. Give it as JSON."
    if is_sum:
        text = f"What is {31 * number} + {number % 13}?"
    body = {"model": "pebble", "max_tokens": 200, "messages": [{"role": "user", "content": text}]}
    urllib.request.urlopen(urllib.request.Request(GATEWAY, json.dumps(body).encode(), HEADERS)).read()
