"""Slow clients beside good ones: how many good streams stay whole, and how long the slow ones are kept.

`sh scripts/slowhttp.sh` (or `make slowhttp`) takes about four minutes. Each kind of slow client of slowhttptest opens
300 connections to a live port, while 50 good clients ask for one stream after the other.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.http1 import Message, chunked
from tests.support.live import Live, running, settings_for
from tests.support.upstream import Answer, Upstream

SLOW = 300
GOOD = 50
EVENT = b"data: {}\n\n"
EVENTS = 20
PAUSE_S = 0.05
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM = chunked(EVENT * EVENTS, [len(EVENT)])
BIG = b"HTTP/1.1 200 OK\r\ncontent-length: 4000000\r\n\r\n" + bytes(4_000_000)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of slow client: what it does, for how long it tries, and for how long one may be kept."""

    name: str
    arguments: tuple[str, ...]
    lasts_s: int
    bound_s: int


KINDS = (
    Kind("heads, a field every 3 s", ("-H", "-i", "3"), 35, 15),
    Kind("bodies, 32 bytes every 10 s", ("-B", "-i", "10", "-s", "8192", "-x", "10"), 70, 45),
    Kind("reads, 32 bytes every 5 s", ("-X", "-n", "5", "-z", "32", "-w", "512", "-y", "1024", "-k", "1"), 130, 90),
)


def handler(request: Message) -> Answer:
    """A stream for good clients, something big for slow readers."""
    if request.target == b"/big":
        return Answer(parts=(BIG,))
    pieces = [STREAM[at : at + len(STREAM) // EVENTS + 1] for at in range(0, len(STREAM), len(STREAM) // EVENTS + 1)]
    return Answer(parts=(HEAD, *(part for piece in pieces for part in (piece, PAUSE_S))))


async def good_client(live: Live, until: float, seen: Counter[str], ports: set[int]) -> None:
    """Ask for one stream after the other and compare each byte."""
    while time.monotonic() < until:
        try:
            reader, writer = await asyncio.open_connection(*live.address)
            ports.add(writer.get_extra_info("sockname")[1])
            writer.write(b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
            async with asyncio.timeout(20):
                await reader.readuntil(b"\r\n\r\n")
                whole = await reader.readexactly(len(STREAM)) == STREAM
            writer.close()
        except (OSError, EOFError, TimeoutError) as error:
            seen[type(error).__name__] += 1
        else:
            seen["whole" if whole else "other bytes"] += 1


async def slow_clients(kind: Kind, live: Live) -> None:
    """Run slowhttptest to its end."""
    host, port = live.address
    path = "big" if "-X" in kind.arguments else "slow"
    given = (*kind.arguments, "-c", str(SLOW), "-r", str(SLOW), "-l", str(kind.lasts_s), "-p", "5")
    process = await asyncio.create_subprocess_exec(
        "slowhttptest", *given, "-u", f"http://{host}:{port}/{path}", stdout=DEVNULL, stderr=DEVNULL
    )
    await process.wait()


async def watch(live: Live, good_ports: set[int], until: float) -> tuple[int, float]:
    """Look at the kernel's table: how many slow connections there were, and how long one was open at most."""
    first: dict[int, float] = {}
    kept_s: dict[int, float] = {}
    while (now := time.monotonic()) < until:
        ports = established(live.address[1])
        first = {port: first.get(port, now) for port in ports}  # a port that was gone may come back with another client
        for port in ports:
            kept_s[port] = max(kept_s.get(port, 0.0), now - first[port])
        await asyncio.sleep(0.5)
    slow = [seconds for port, seconds in kept_s.items() if port not in good_ports]
    return len(slow), max(slow, default=0.0)


def established(port: int) -> list[int]:
    """The ports of the clients that are connected to a port of this machine."""
    rows = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    return [int(peer[-4:], 16) for here, peer, state in rows if state == "01" and int(here[-4:], 16) == port]


async def one_round(kind: Kind, upstream: Upstream) -> bool:
    """Run one kind beside the good clients and print its line; whether it held."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running(settings_for(upstream.base_url, folder / "shadow.db"), folder) as live:
            seen: Counter[str] = Counter()
            until = time.monotonic() + max(30, kind.lasts_s)
            ports: set[int] = set()
            (most, kept_s), *_ = await asyncio.gather(
                watch(live, ports, until),
                slow_clients(kind, live),
                *(good_client(live, until, seen, ports) for _ in range(GOOD)),
            )
    share = seen["whole"] / seen.total()
    held = most >= 0.8 * SLOW and share >= 0.999 and kept_s <= kind.bound_s
    print(
        f"{kind.name:28} {most:5} {kept_s:10.1f} s {kind.bound_s:6} s {seen.total():7} {share:9.2%}  "
        f"{'ok' if held else f'NOT KEPT {dict(seen)}'}",
        flush=True,
    )
    return held


async def main() -> int:
    """Print the table."""
    print(f"{'slow clients':28} {'open':>5} {'kept':>12} {'bound':>8} {'streams':>7} {'whole':>9}")
    with Upstream() as upstream:
        upstream.answer(handler)
        held = [await one_round(kind, upstream) for kind in KINDS]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
