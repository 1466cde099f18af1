"""Listens where Slack would, and prints what arrives."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Channel(BaseHTTPRequestHandler):
    """Takes every message."""

    def do_POST(self) -> None:
        """Print the text that is shown where blocks are not."""
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        sys.stdout.write(said["text"] + "\n")
        sys.stdout.flush()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing else."""


HTTPServer(("127.0.0.1", 19091), Channel).serve_forever()
