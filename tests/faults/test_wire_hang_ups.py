"""Row 14: clients that hang up, in every phase and in every lane."""

from __future__ import annotations

import contextlib
import functools
import random
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.lanes import LANES, Lane
from tests.faults.wire_cases import CHUNKS, JSON_TYPE, OF_CHUNKS, OF_CLOSE, PROMPT, WHOLE, always
from tests.live.identity_cases import request
from tests.support.client import Client, ask
from tests.support.lateness import Lateness
from tests.support.upstream import Answer, Gate, Part
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.client import Address
    from tests.support.faultserver import FaultServer

pytestmark = pytest.mark.usefixtures("broken_lanes")

PHASES: dict[str, tuple[Part, ...]] = {
    "before the first byte": (),
    "after a 100": (b"HTTP/1.1 100 Continue\r\n\r\n",),
    "within the head": (OF_CHUNKS[:30],),
    "after the head": (OF_CHUNKS,),
    "mid-stream": (OF_CHUNKS, CHUNKS[:150]),
    "before the last chunk": (OF_CHUNKS, CHUNKS[:-5]),
    "at the last byte": (OF_CHUNKS, CHUNKS[:-1]),
    "before the close": (OF_CLOSE, WHOLE[:100]),
}
UPLOADS = {
    "in an upload": b"Content-Length: 90000\r\n\r\n" + bytes(5000),
    "in a chunk": b"Transfer-Encoding: chunked\r\n\r\n9\r\nab",
}


def leave_twice(client: Client) -> None:
    """A FIN, and a RST right behind it."""
    with contextlib.suppress(OSError):
        client.socket.shutdown(socket.SHUT_WR)
    client.reset()


LEAVE: dict[str, Callable[[Client], None]] = {"FIN": Client.close, "RST": Client.reset, "FIN and RST": leave_twice}


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """One hang-up: what the client had by then, what upstream had, and how long upstream's connection outlived it."""

    client: tuple[object, ...]
    upstream: tuple[object, ...]
    seconds: float


def hang_up(server: FaultServer, address: Address, target: str, phase: str, how: str) -> Left:
    """Ask, and leave in this phase."""
    had: tuple[object, ...] = ()
    client = Client(address)
    head = f"POST {target} HTTP/1.1\r\nHost: a\r\n".encode()
    if phase in UPLOADS:
        client.send(head + UPLOADS[phase])
        connection, seen = server.visit(target)
        eventually(lambda: len(seen.body) == (2 if phase == "in a chunk" else 5000), within_s=20)
    else:
        client.send(head + JSON_TYPE + b"Content-Length: %d\r\n\r\n" % len(PROMPT) + PROMPT)
        connection, seen = server.visit(target)
        eventually(lambda: seen.complete, within_s=20)
        if phase not in ("before the first byte", "within the head"):
            head_seen = client.receive_head()
            had = (head_seen.start, head_seen.headers if head_seen.status == 100 else head_seen.headers[:2])
    left_at = time.monotonic()
    LEAVE[how](client)
    eventually(lambda: connection.closed_at, within_s=20, what=f"the close upstream after a hang-up {phase}")
    asked = (seen.method, bytes(seen.body), seen.framing, seen.complete)
    return Left(client=had, upstream=asked, seconds=(connection.closed_at or 0.0) - left_at)


def test_upstream_is_closed_within_a_second_of_every_hang_up_and_it_is_recorded_once_as_aborted(
    faults: FaultServer, lanes: dict[str, Lane]
) -> None:
    """In every phase, stream or not, with FIN, RST and both."""
    for number, parts in enumerate(PHASES.values()):
        faults.add(f"hang-up-{number}", always(Answer(parts=parts, end="stall")))
    phases = [*PHASES, *UPLOADS]
    visits = {
        (lane, phase, how): f"/hang-up-{number}/{lane}/{how.replace(' ', '-')}/v1/messages"
        for number, phase in enumerate(phases)
        for how in LEAVE
        for lane in ("direct", *LANES)
    }
    addresses: dict[str, Address] = {"direct": faults.address} | {name: lane.address for name, lane in lanes.items()}
    with Lateness() as lateness, ThreadPoolExecutor(6) as pool:
        leaving = {
            (lane, phase, how): pool.submit(hang_up, faults, addresses[lane], target, phase, how)
            for (lane, phase, how), target in visits.items()
        }
        left = {key: future.result() for key, future in leaving.items()}
    for (lane, phase, how), one in left.items():
        direct = left["direct", phase, how]
        assert (one.client, one.upstream) == (direct.client, direct.upstream), (lane, phase, how)
    took = sorted(one.seconds for (lane, _, _), one in left.items() if lane != "direct")
    assert len(took) == len(LANES) * 10 * 3
    # A deadline that closed it instead would be recorded as one, below.
    assert took[int(len(took) * 0.99) - 1] <= lateness.bound(1)
    for (lane, _, _), target in visits.items():
        assert len(faults.visits(target)) == 1, target
        if lane not in ("direct", "locked"):
            (exchange,) = lanes[lane].exchanges(path=target)
            assert (exchange["outcome"], exchange["eligible"], lanes[lane].jobs(exchange)) == ("aborted", 0, []), target


def descriptors(pid: int) -> Counter[str]:
    """The open files of a process, by kind."""
    found: Counter[str] = Counter()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed while we looked
            found[str(path.readlink()).partition(":")[0]] += 1
    return found


CHURNED = 2000


def broken_when_told(parts: tuple[Part, ...], gate: Gate) -> Answer:
    """So much of an answer, and a RST when the test says so."""
    return Answer(parts=(*parts, gate), end="reset")


def churn(server: FaultServer, address: Address, number: int) -> None:
    """One client that asks and leaves: at once, when upstream was asked, or when something has come.

    Every seventh time upstream breaks the connection at about the same moment.
    """
    chance = random.Random(number)
    phase = chance.choice([*PHASES, *UPLOADS])
    target = f"/churn-{[*PHASES, *UPLOADS].index(phase)}/{number}/v1/messages"
    client = Client(address, timeout_s=30)
    head = f"POST {target} HTTP/1.1\r\nHost: a\r\n".encode()
    if phase in UPLOADS:
        client.send(head + UPLOADS[phase])
    else:
        client.send(head + JSON_TYPE + b"Content-Length: %d\r\n\r\n" % len(PROMPT) + PROMPT)
    if number % 3 == 0 and phase not in UPLOADS and phase not in ("before the first byte", "within the head"):
        client.receive_head()
    elif number % 3 == 1:
        server.visit(target, within_s=30)
    if number % 7 == 0:
        server.gate(target).open()
    chance.choice([*LEAVE.values()])(client)


def test_two_thousand_hang_ups_leave_nothing_behind(faults: FaultServer, lanes: dict[str, Lane]) -> None:
    """No upstream connection, no open file, no doubled record; and the next request is answered at once."""
    lane = lanes["on"]
    for number, parts in enumerate(PHASES.values()):
        faults.add(f"churn-{number}", functools.partial(broken_when_told, parts))
    assert ask(lane.address, request("POST", "/before", body=b"{}")).body == b"ok"
    pid = lane.live
    before = descriptors(pid)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(functools.partial(churn, faults, lane.address), range(CHURNED)))
    churned = [log for log in faults.connections if any(b"/churn-" in one.target for one in log.requests)]
    eventually(lambda: all(log.closed_at for log in churned), within_s=20, what="closing every connection upstream")
    eventually(lambda: descriptors(pid) - before <= Counter(socket=2), within_s=20, what="closing every socket")
    assert lane.live == pid
    with Lateness() as lateness:
        began = time.monotonic()
        assert ask(lane.address, request("POST", "/after", body=b"{}")).body == b"ok"
        took_s = time.monotonic() - began
    assert took_s < lateness.bound(1)
    asked = {one.target.decode() for log in churned for one in log.requests if b"/churn-" in one.target}
    query = "SELECT path, outcome FROM exchange WHERE path LIKE '/churn-%'"
    eventually(lambda: {row["path"] for row in lane.rows(query)} >= asked, within_s=30, what="every record")
    recorded = lane.rows(query)
    assert len(recorded) == len({row["path"] for row in recorded}) <= CHURNED
    outcomes = Counter(row["outcome"] for row in recorded)
    assert outcomes.keys() <= {"aborted", "error_stream", "error_connect"}
    assert outcomes["aborted"] > len(recorded) * 0.8
    assert len(asked) > CHURNED / 2
    query = "SELECT DISTINCT state, reason FROM shadow_job JOIN exchange ON exchange_id = id WHERE path LIKE '/churn-%'"
    assert [row for row in lane.rows(query) if tuple(row.values()) != ("skipped", "primary_error")] == []
