"""Asks one server at even moments from a process of its own: `python -m tests.support.probe PORT PATH SECONDS PER_S`.

Prints a JSON list of milliseconds. Questions that were not asked because an answer was late count as if they had been,
so a server that stands still is seen for as long as it does.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path


def start(port: int, path: str, *, seconds: float, per_s: float = 100.0) -> subprocess.Popen[bytes]:
    """Begin to ask."""
    words = [str(port), path, str(seconds), str(per_s)]
    folder = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-m", "tests.support.probe", *words], stdout=subprocess.PIPE, cwd=folder)


def ended(process: subprocess.Popen[bytes]) -> list[float]:
    """Wait for the end; the milliseconds of each answer, in order of size."""
    out, _ = process.communicate(timeout=120)
    return sorted(json.loads(out))


def _ask(port: int, path: str, *, seconds: float, per_s: float) -> list[float]:
    took = []
    request = f"GET {path} HTTP/1.1\r\nhost: probed\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        due = time.monotonic()
        ends_at = due + seconds
        while due < ends_at:
            time.sleep(max(0.0, due - time.monotonic()))
            asked = time.monotonic()
            connection.sendall(request)
            if not connection.recv(65_536).startswith(b"HTTP/1.1 200"):
                raise SystemExit("no answer")
            late_ms = (time.monotonic() - asked) * 1000
            took.append(late_ms)
            while (late_ms := late_ms - 1000 / per_s) > 0:
                took.append(late_ms)
            due = max(due + 1 / per_s, time.monotonic())
    return took


if __name__ == "__main__":
    port, path, seconds, per_s = sys.argv[1:]
    print(json.dumps(_ask(int(port), path, seconds=float(seconds), per_s=float(per_s))))  # noqa: T201  (the parent reads)
