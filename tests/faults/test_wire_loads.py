"""Rows 5, 10, 13 and 15 to 18: what is slow, large or crooked, in every lane, beside good requests."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.lanes import LANES, Lane
from tests.faults.wire_cases import JSON_TYPE, PROMPT, SSE_TYPE, WHOLE, always
from tests.live.identity_cases import answer, chunked_answer, head_only, request
from tests.support.client import Client, Received
from tests.support.http1 import HOP_BY_HOP, MessageReader
from tests.support.upstream import Answer, ConnectionLog
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Address
    from tests.support.faultserver import FaultServer

SOUND = answer(headers=JSON_TYPE, body=WHOLE)
MB = 1 << 20
SOME = ("off", "on", "locked")
"""Lanes that stand for all where every lane would take too long."""


def end_of(received: Received) -> tuple[object, ...]:
    """What must be the same direct and through every lane."""
    fields = [field for field in received.headers if field[0].lower() not in HOP_BY_HOP | {b"x-shadow-request-id"}]
    body = hashlib.sha256(received.body).digest()
    return (received.status, received.reason, fields, body, received.trailers, received.interim, received.complete)


@pytest.fixture
def addresses(faults: FaultServer, broken_lanes: dict[str, Lane]) -> dict[str, Address]:
    """Direct, and every lane."""
    return {"direct": faults.address} | {name: lane.address for name, lane in broken_lanes.items()}


# Row 15: a client that stops reading.

PART = 65_536


@functools.cache
def torrent() -> bytes:
    """24 MB: far more than may be held, and more than the socket to a client that does not read can take."""
    return b"".join(map(b"%07d\n".__mod__, range(3 * MB)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """What lies in a TCP socket's two queues, in bytes, and whose it is."""

    local: int
    remote: int
    unsent: int
    unread: int
    inode: str


def sockets() -> list[Queues]:
    """Every TCP socket of this machine."""
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, _, _, _, _, inode, *_ = line.split()
        unsent, unread = (int(part, 16) for part in queues.split(":"))
        ports = (int(address.split(":")[1], 16) for address in (local, remote))
        found.append(Queues(local=next(ports), remote=next(ports), unsent=unsent, unread=unread, inode=inode))
    return found


def held_by_the_gateway(lane: Lane, upstream: int, client: Client, connection: ConnectionLog) -> int:
    """Bytes that upstream has sent and that lie in no socket: they are in the gateway's own memory."""
    inodes = set()
    for path in Path(f"/proc/{lane.live}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            inodes.add(str(path.readlink()).removeprefix("socket:[").removesuffix("]"))
    known = sockets()
    up = [one for one in known if one.inode in inodes and one.remote == upstream]
    ports = {one.local for one in up}
    port = client.socket.getsockname()[1]
    in_sockets = sum(one.unread for one in up)
    in_sockets += sum(one.unsent for one in known if one.local == upstream and one.remote in ports)
    in_sockets += sum(one.unsent for one in known if one.inode in inodes and one.remote == port)
    in_sockets += sum(one.unread for one in known if one.local == port)
    return connection.sent + PART - in_sockets  # of the part that is on its way, all may be there already


def stands_still(connection: ConnectionLog) -> None:
    """Wait until upstream gets rid of nothing more: everything on the way is full, or it all lies on the way."""
    seen, since = -1, time.monotonic()
    deadline = since + 20
    while (now := time.monotonic()) - since < 0.4:
        assert now < deadline
        if connection.sent != seen:
            seen, since = connection.sent, now
        time.sleep(0.02)


def test_a_client_that_stops_reading_stops_its_upstream_and_a_mebibyte_at_most_is_held(
    faults: FaultServer, addresses: dict[str, Address], broken_lanes: dict[str, Lane]
) -> None:
    """Row 15: back-pressure; and when it reads on, it gets the rest whole."""
    faults.add("torrent", always(Answer(parts=(*answer(body=torrent(), size=PART).parts,))))

    def drink(where: str) -> tuple[object, ...]:
        with Client(addresses[where], receive_buffer=8192, timeout_s=60) as client:
            client.send(request("GET", f"/torrent/{where}"))
            connection, _ = faults.visit(f"/torrent/{where}")
            stands_still(connection)
            if where != "direct":  # a look at sockets through which bytes still flow says nothing, so look again
                measure = functools.partial(held_by_the_gateway, broken_lanes[where], faults.address[1], client)
                earlier = faults.sent_before[f"/torrent/{where}"]
                eventually(lambda: measure(connection) - earlier <= MB, what=f"a bound in lane {where}")
            return end_of(client.receive())

    with ThreadPoolExecutor(len(addresses)) as pool:
        drunk = dict(zip(addresses, pool.map(drink, addresses), strict=True))
    assert {where for where, end in drunk.items() if end != drunk["direct"]} == set()


# Row 17: clients that crawl, and row 15 again: clients that never read on. They wait while the other tests run.

HEAD = b"POST /crawl/v1/messages HTTP/1.1\r\nHost: a\r\n"


class Crawler:
    """A client that says something and then no more, or a byte now and then, until it is closed."""

    def __init__(self, address: Address, said: bytes, *, drips: bool = False) -> None:
        assert not isinstance(address, str)
        self.socket = socket.create_connection(address)
        self.socket.sendall(said)
        self.socket.setblocking(False)
        self.drips = drips
        self.began = time.monotonic()
        self.lived_s: float | None = None
        self.heard = b""

    def look(self) -> None:
        """Send a byte, when it is one that drips, and read what is there."""
        if self.lived_s is not None:
            return
        try:
            data = self.socket.recv(65536)
            if data:
                self.heard += data
            else:
                self.lived_s = time.monotonic() - self.began
        except BlockingIOError:
            with contextlib.suppress(OSError):
                if self.drips:
                    self.socket.send(b"x")
        except OSError:
            self.lived_s = time.monotonic() - self.began

    @property
    def status(self) -> int | None:
        """Of the answer, if there was one."""
        reader = MessageReader("answer")
        reader.feed(self.heard)
        return reader.messages[0].status if reader.messages else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """All who crawl, by lane and manner, and those who never read on, by lane."""

    crawlers: dict[tuple[str, str], list[Crawler]]
    stuck: dict[str, tuple[Client, ConnectionLog]]


@pytest.fixture(scope="module")
def patience(faults: FaultServer, broken_lanes: dict[str, Lane]) -> Iterator[Patience]:
    """They begin here, and a thread keeps them going."""
    faults.add("stuck", always(Answer(parts=(*answer(body=torrent(), size=PART).parts,))))
    stuck = {}
    for name in LANES:
        client = Client(broken_lanes[name].address, receive_buffer=8192, timeout_s=60)
        client.send(request("POST", f"/stuck/{name}/v1/messages", body=PROMPT))
        stuck[name] = client, faults.visit(f"/stuck/{name}/v1/messages")[0]
    manners = {
        "slow heads": (20, HEAD + b"X-Slow: ", True),
        "half heads": (10, HEAD[:30], False),
        "slow bodies": (10, HEAD + b"Content-Length: 1000\r\n\r\n{", False),
        "silence": (20, b"", False),
    }
    crawlers = {
        (lane, manner): [Crawler(broken_lanes[lane].address, said, drips=drips) for _ in range(count)]
        for lane in SOME
        for manner, (count, said, drips) in manners.items()
    }
    everyone = [one for many in crawlers.values() for one in many]
    done = threading.Event()

    def crawl() -> None:
        while not done.wait(0.2):
            for one in everyone:
                one.look()

    thread = threading.Thread(target=crawl)
    thread.start()
    try:
        yield Patience(crawlers=crawlers, stuck=stuck)
    finally:
        done.set()
        thread.join()
        for one in everyone:
            one.socket.close()
        for client, _ in stuck.values():
            client.close()


def test_good_requests_are_answered_beside_clients_that_crawl(
    faults: FaultServer, addresses: dict[str, Address], patience: Patience
) -> None:
    """Row 17: every one of them, byte for byte."""
    faults.add("good", always(SOUND))

    def ask_fifty(where: str) -> set[str]:
        with Client(addresses[where], timeout_s=30) as client:
            asked = [request("POST", f"/good/{where}/{number}", body=PROMPT) for number in range(50)]
            return {repr(end_of(client.ask(one))) for one in asked}

    with ThreadPoolExecutor(len(addresses)) as pool:
        answers = dict(zip(addresses, pool.map(ask_fifty, addresses), strict=True))
    assert len(answers["direct"]) == 1
    assert {where for where, found in answers.items() if found != answers["direct"]} == set()
    assert all(one.lived_s is None or one.lived_s > 1 for many in patience.crawlers.values() for one in many)


# Row 5: thinking upstreams.


def test_requests_that_wait_for_their_first_byte_keep_no_other_waiting(
    faults: FaultServer, addresses: dict[str, Address], patience: Patience
) -> None:
    """Row 5: all that wait, wait until the others have their answers."""
    faults.add("think", lambda gate: Answer(parts=(gate, *SOUND.parts)))
    faults.add("quick", always(SOUND))
    for where in LANES:
        waiting = [Client(addresses[where]) for _ in range(20)]
        with contextlib.ExitStack() as stack:
            for number, client in enumerate(waiting):
                stack.enter_context(client)
                client.send(request("POST", f"/think/{where}/{number}", body=PROMPT))
            for number in range(20):
                faults.visit(f"/think/{where}/{number}")
            with Client(addresses[where]) as other:
                quick = {repr(end_of(other.ask(request("POST", f"/quick/{n}", body=PROMPT)))) for n in range(20)}
            for number in range(20):
                faults.gate(f"/think/{where}/{number}").open()
            assert {repr(end_of(client.receive())) for client in waiting} == quick
            assert len(quick) == 1


# Row 13: leave to send.


def test_a_client_that_waits_for_leave_gets_it_from_upstream_and_sends_then(
    faults: FaultServer, addresses: dict[str, Address]
) -> None:
    """Row 13: the 100 is upstream's own, and the body goes up only after it."""
    faults.add(
        "leave", always(Answer(on_head=(head_only("100 Continue", b"x-leave: granted\r\n"),), parts=SOUND.parts))
    )
    ends = {}
    for where, address in addresses.items():
        target = f"/leave/{where}/v1/messages"
        with Client(address) as client:
            length = b"Content-Length: %d\r\n" % len(PROMPT)
            client.send(request("POST", target, JSON_TYPE + length + b"Expect: 100-continue\r\n"))
            assert client.receive_head().status == 100
            _, seen = faults.visit(target)
            assert bytes(seen.body) == b""
            client.send(PROMPT)
            ends[where] = end_of(client.receive())
        assert bytes(seen.body) == PROMPT
    assert {where for where, end in ends.items() if end != ends["direct"]} == set()


# Rows 10 and 16: large bodies.


def test_an_event_of_50_mb_passes(faults: FaultServer, addresses: dict[str, Address], patience: Patience) -> None:
    """Row 10: without a single line end; what is too large to be copied is not shadowed, and that is said."""
    event = b"data: " + b"x" * (50 * MB)
    passing = chunked_answer(event, [MB], headers=SSE_TYPE + b"connection: close\r\n", size=MB)
    faults.add("giant", always(Answer(parts=passing.parts, end="fin")))
    ends = {}
    for where in ("direct", "on", "locked"):
        with Client(addresses[where], timeout_s=60) as client:
            received = client.ask(request("POST", f"/giant/{where}/v1/messages", body=PROMPT))
        assert len(received.body) == len(event)
        ends[where] = end_of(received)
    assert {where for where, end in ends.items() if end != ends["direct"]} == set()


def test_an_upload_of_100_mb_passes(faults: FaultServer, addresses: dict[str, Address], patience: Patience) -> None:
    """Row 16: the live path has no limit for bodies, with a length or in chunks."""
    closing = head_only("200 OK", b"connection: close\r\ncontent-length: 2\r\n") + b"ok"
    faults.add("upload", always(Answer(parts=(closing,), end="fin")))
    blocks = [hashlib.sha256(b"%d" % number).digest() * (MB // 32) for number in range(100)]
    sent = hashlib.sha256(b"".join(blocks)).digest()
    ends = set()
    for where, framing in (("direct", "length"), ("on", "length"), ("locked", "chunked")):
        target = f"/upload/{where}/v1/messages"
        with Client(addresses[where], timeout_s=60) as client:
            if framing == "length":
                client.send(request("POST", target, b"Content-Length: %d\r\n" % (100 * MB)))
            else:
                client.send(request("POST", target, b"Transfer-Encoding: chunked\r\n"))
            for block in blocks:
                client.send(block if framing == "length" else b"%x\r\n%s\r\n" % (len(block), block))
            if framing == "chunked":
                client.send(b"0\r\n\r\n")
            ends.add(repr(end_of(client.receive())))
        _, seen = faults.visit(target)
        assert (seen.framing, seen.complete, hashlib.sha256(seen.body).digest()) == (framing, True, sent), where
        faults.forget_the_closed()
    assert len(ends) == 1


# Row 18: a handful; the whole corpus is in test_hostile_http.py.

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
CROOKED: dict[str, bytes] = {
    "a length and chunks": (
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "two lengths": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "the same length twice": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "an odd coding": b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "bare line feeds": b"POST /x HTTP/1.1\nHost: a\nContent-Length: 0\n\n",
    "a folded field": b"POST /x HTTP/1.1\r\nHost: a\r\nX: a\r\n Content-Length: 44\r\n\r\n",
    "no host": b"POST /x HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "two hosts": b"POST /x HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n",
    "a blank before the colon": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length : 44\r\n\r\n",
}


@pytest.mark.parametrize("crooked", CROOKED)
def test_a_crooked_request_gets_a_400_and_what_follows_it_goes_nowhere(
    faults: FaultServer, addresses: dict[str, Address], patience: Patience, crooked: str
) -> None:
    """Row 18: in every lane the same."""
    ends = set()
    for lane in LANES:
        with Client(addresses[lane]) as client:
            received = client.ask(CROOKED[crooked] + SMUGGLED)
            assert client.closes_within(10)
        assert received.status == 400
        assert received.header(b"x-shadow-gateway-error") == b"bad_request"
        ends.add((received.reason, received.body, received.complete))
    assert len(ends) == 1
    assert json.loads(received.body)["error"]["message"]
    assert faults.visits("/smuggled") == []
    assert faults.visits("/x") == []


# The end of those who wait.


def all_closed(crawlers: list[Crawler]) -> bool:
    """Whether none of them is left."""
    return all(one.lived_s is not None for one in crawlers)


def test_clients_that_crawl_are_closed_at_their_deadline(patience: Patience) -> None:
    """Row 17: within 15 s, heads with a 408, and so are bodies that stop arriving."""
    for (lane, manner), crawlers in patience.crawlers.items():
        eventually(functools.partial(all_closed, crawlers), within_s=30, what=f"closing {manner} in {lane}")
        assert [one.lived_s for one in crawlers if (one.lived_s or 0) > 15] == [], (lane, manner)
        assert {one.status for one in crawlers} == {None if manner == "silence" else 408}, (lane, manner)


def test_a_client_that_never_reads_on_is_cut_off_and_recorded_as_aborted(
    broken_lanes: dict[str, Lane], patience: Patience
) -> None:
    """Row 15: after the write-stall timeout; what it has is the beginning of the answer, and does not look whole."""
    for name, (client, connection) in patience.stuck.items():
        eventually(functools.partial(getattr, connection, "closed_at"), within_s=30, what="the close upstream")
        received = client.receive(method=b"POST")
        assert (received.complete, received.ended) == (False, "reset")
        assert torrent().startswith(received.body)
        if name != "locked":
            (exchange,) = broken_lanes[name].exchanges(path=f"/stuck/{name}/v1/messages")
            assert (exchange["outcome"], exchange["eligible"], broken_lanes[name].jobs(exchange)) == ("aborted", 0, [])
