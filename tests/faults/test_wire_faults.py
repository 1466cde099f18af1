"""Faults on the wire: direct, and through the gateway with shadow off, on and broken; byte for byte, and on record."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.lanes import CONNECT_S, LANES, Lane
from tests.faults.wire_cases import CASES, Case
from tests.support.client import Client, Ended, NoAnswerError
from tests.support.http1 import HOP_BY_HOP, Headers, Message
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.client import Address, Received
    from tests.support.faultserver import FaultServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one client saw of one visit; without a head, only how it ended."""

    ended: Ended
    complete: bool = False
    status: int | None = None
    reason: bytes = b""
    headers: Headers | None = None
    framing: str = ""
    body: bytes = b""
    trailers: Headers | None = None
    interim: list[tuple[int, Headers]] | None = None
    all_headers: Headers | None = None
    took_s: float = 0.0

    @property
    def answer(self) -> tuple[object, ...]:
        """All of it that has to be the same in every lane."""
        head = (self.status, self.reason, self.headers, self.interim)
        return (*head, self.framing, self.body, self.trailers, self.complete)

    def field(self, name: bytes) -> bytes | None:
        """The only value of one field."""
        found = [value for key, value in self.all_headers or [] if key.lower() == name]
        assert len(found) < 2
        return found[0] if found else None


def end_to_end(headers: Headers, *own: bytes) -> Headers:
    """The fields that must come through, in order, with their case and repeats (RFC 9110 7.6.1)."""
    named = b",".join(value for name, value in headers if name.lower() == b"connection").lower().split(b",")
    dropped = HOP_BY_HOP | {name.strip() for name in named} | set(own)
    return [(name, value) for name, value in headers if name.lower() not in dropped]


def as_asked(request: Message) -> tuple[object, ...]:
    """A request as the upstream saw it, without its lane and the documented differences."""
    words = request.start.split(b"/")
    headers = end_to_end(request.headers, b"host", b"x-shadow-hop")
    return (words[:2], words[3:], headers, request.framing, bytes(request.body), request.trailers, request.complete)


def visit(case: Case, lane: str, address: Address, faults: FaultServer) -> Seen:
    """Ask once on a connection of its own."""
    began = time.monotonic()
    return replace(see(case, lane, address, faults), took_s=time.monotonic() - began)


def see(case: Case, lane: str, address: Address, faults: FaultServer) -> Seen:
    """Send the request and read the answer. A fault that waits for the client goes on when all before it has come."""
    with Client(address, timeout_s=60) as client:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.send(case.request(lane))
        try:
            if case.told == "cut":
                head = client.receive_head()
                while len(head.body) < (case.delivered or 0) and client.ended == "kept":
                    client.read_some()
                if lane == "direct" and case.stalls:
                    return seen_so_far(head)
                faults.gate(case.target(lane)).open()
            elif lane == "direct" and case.stalls:
                faults.visit(case.target(lane))
                return Seen(ended="kept")
            return seen(client.receive(method=case.method.encode()))
        except NoAnswerError as error:
            return Seen(ended=error.ended)


def seen(received: Received) -> Seen:
    """An answer as a client saw it, without the documented differences."""
    return Seen(
        ended=received.ended,
        complete=received.complete,
        status=received.status,
        reason=received.reason,
        headers=end_to_end(received.headers, b"x-shadow-request-id"),
        framing=received.framing,
        body=received.body,
        trailers=received.trailers,
        interim=received.interim,
        all_headers=received.headers,
    )


def seen_so_far(message: Message) -> Seen:
    """The beginning of an answer that goes no further."""
    return Seen(
        ended="kept",
        status=message.status,
        reason=message.words[2],
        headers=end_to_end(message.headers),
        framing=message.framing,
        body=bytes(message.body),
        trailers=[],
        interim=[],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What was seen, by slug and lane, and when all of it was played."""

    seen: dict[tuple[str, str], Seen]
    since: datetime
    until: datetime


@pytest.fixture(scope="module")
def table(faults: FaultServer, lanes: dict[str, Lane]) -> Table:
    """Every case played once direct and once in every lane, while what is to be broken in that lane is broken."""
    since = datetime.now(UTC)
    addresses: dict[str, Address] = {"direct": faults.address} | {name: lane.address for name, lane in lanes.items()}
    with contextlib.ExitStack() as stack:
        for lane in lanes.values():
            stack.enter_context(lane.broken())
        # Those that wait for a deadline all wait at once, and beside them the others are played.
        with ThreadPoolExecutor(200) as waiting, ThreadPoolExecutor(12) as busy:
            playing = {
                (case.slug, lane): (waiting if case.row in (3, 5, 6) else busy).submit(
                    visit, case, lane, address, faults
                )
                for case in CASES
                for lane, address in addresses.items()
                if not (case.below and lane == "direct")
            }
            found = {key: future.result() for key, future in playing.items()}
            return Table(seen=found, since=since, until=datetime.now(UTC))


def test_the_table_makes_far_more_than_200_comparisons_and_no_name_is_used_twice() -> None:
    """The goal table asks for 200."""
    slugs = Counter(case.slug for case in CASES)
    assert [slug for slug, times in slugs.items() if times > 1] == []
    assert (len(LANES), len(CASES)) == (6, 209)
    assert len(LANES) * len(CASES) == 1254
    assert {case.row for case in CASES} >= {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 35}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.slug)
def test_the_client_sees_what_a_direct_client_sees(case: Case, table: Table, faults: FaultServer) -> None:
    """Rows 1 to 13, 16 and 35 (the number before the case's name), in every lane."""
    for lane in LANES:
        through = table.seen[case.slug, lane]
        if case.told in ("502", "504"):
            assert_own_error(through, status=int(case.told))
            continue
        direct = table.seen[case.slug, "direct"]
        assert through.answer == direct.answer, lane
        if case.told == "cut":
            assert (through.complete, through.ended, len(through.body)) == (False, "reset", case.delivered), lane
        else:
            assert (through.complete, through.ended) == (True, direct.ended), lane
        assert through.field(b"x-shadow-request-id"), lane


@pytest.mark.parametrize("case", [case for case in CASES if not case.below], ids=lambda case: case.slug)
def test_the_upstream_is_asked_once_and_for_the_same(case: Case, table: Table, faults: FaultServer) -> None:
    """Rows 1, 2, 5 to 13, 16 and 35: nothing is tried again, whatever went wrong."""
    ((_, directly),) = faults.visits(case.target("direct"))
    for lane in LANES:
        ((_, asked),) = faults.visits(case.target(lane))
        assert as_asked(asked) == as_asked(directly), lane


def test_no_connection_is_told_within_the_connect_timeout(table: Table) -> None:
    """Row 3: also where nobody answers at all. The room is for a busy machine; the kernel would try for minutes."""
    took = {key: seen.took_s for key, seen in table.seen.items() if key[0].startswith(("3-", "4-"))}
    assert len(took) == len(LANES) * 6
    assert {key: took_s for key, took_s in took.items() if took_s > CONNECT_S + 10} == {}


def test_an_origin_that_asked_for_peace_is_left_alone_by_the_copies(table: Table, lanes: dict[str, Lane]) -> None:
    """Row 7: after a 429 or a 529 nothing is shadowed to that origin for a while."""
    for lane in ("on", "hanging", "locked", "killed"):
        (rest,) = lanes[lane].rows("SELECT origin, rest_until FROM origin_rest")
        assert rest["rest_until"] > table.since.timestamp() * 1e6, lane


def assert_own_error(seen: Seen, *, status: int) -> None:
    """An answer of ours: whole, marked, in the shape of the API, and without a word about what lies behind us."""
    assert (seen.status, seen.complete, seen.ended) == (status, True, "kept")
    assert seen.field(b"x-shadow-gateway-error")
    assert seen.field(b"x-shadow-request-id")
    assert seen.field(b"x-should-retry") is None
    body = json.loads(seen.body)
    assert body["type"] == "error"
    assert body["error"]["type"]
    message = body["error"]["message"].lower()
    assert message
    assert [
        word for word in ("127.0.0.1", "localhost", ".invalid", "certificate", "errno", "/") if word in message
    ] == []


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What a lane's store says of the table, by path."""

    exchanges: dict[str, list[dict[str, Any]]]
    jobs: dict[str, set[tuple[str, str | None]]]


@pytest.fixture(scope="module")
def books(table: Table, lanes: dict[str, Lane]) -> dict[str, Books]:
    """The books of every lane, once all of the table is in them; also of one whose store was deleted."""
    found = {}
    for name in LANES:
        paths = {case.target(name) for case in CASES}
        lane = lanes[name]
        query = "SELECT path FROM exchange"
        eventually(lambda: paths <= {row["path"] for row in lane.rows(query)}, within_s=30, what=f"records of {name}")  # noqa: B023  (asked at once)
        one = Books(exchanges=defaultdict(list), jobs=defaultdict(set))
        for row in lane.rows("SELECT * FROM exchange"):
            one.exchanges[row["path"]].append(row)
        for row in lane.rows("SELECT path, state, reason FROM shadow_job JOIN exchange ON exchange_id = id"):
            one.jobs[row["path"]].add((row["state"], row["reason"]))
        found[name] = one
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.slug)
def test_the_exchange_is_recorded_once_and_only_what_ended_well_is_shadowed(
    case: Case, table: Table, books: dict[str, Books]
) -> None:
    """Rows 1 to 13, 16 and 35: the outcome, the status, and what becomes of the copy."""
    for lane, book in books.items():
        path = case.target(lane)
        exchanges = book.exchanges[path]
        assert [(found["outcome"], found["status"]) for found in exchanges] == [(case.outcome, case.status)], lane
        assert exchanges[0]["id"].encode() == table.seen[case.slug, lane].field(b"x-shadow-request-id"), lane
        if lane == "off" or case.fate == "no job":
            assert book.jobs[path] == set(), lane
        elif case.fate == "asked":
            assert {state for state, _ in book.jobs[path]} & {"pending", "leased", "sent", "done", "dropped"}, lane
            assert "skipped" not in {state for state, _ in book.jobs[path]} or lane == "hanging", lane
        else:
            assert book.jobs[path] == {("skipped", case.fate)}, lane


@pytest.mark.parametrize("lane", [lane for lane in LANES if lane != "off"])
def test_the_books_of_the_whole_table_are_exact(
    lane: str, table: Table, books: dict[str, Books], lanes: dict[str, Lane]
) -> None:
    """Eligible = sampled + not sampled, sampled = sent + skipped + dropped + pending."""
    recognised = [case for case in CASES if case.fate != "no job"]
    totals: Counter[str] = Counter()
    candidates = 2 if lane == "hanging" else 1
    for coverage in lanes[lane].coverage(since=table.since, until=table.until):
        parts = (coverage["sent"], *coverage["skipped"].values(), *coverage["dropped"].values(), coverage["pending"])
        assert coverage["sampled"] == sum(parts)
        assert coverage["eligible"] == coverage["sampled"] + coverage["not_sampled"]
        totals.update({name: coverage[name] for name in ("eligible", "sampled", "not_sampled")})
        totals.update(coverage["skipped"])
    assert totals["eligible"] == totals["sampled"] == candidates * len(recognised)
    for fate in ("primary_error", "unreadable", "too_large"):
        assert totals[fate] == candidates * sum(case.fate == fate for case in recognised)


def test_every_well_ended_exchange_of_the_healthy_lane_is_asked_of_the_candidate_once(
    table: Table, lanes: dict[str, Lane]
) -> None:
    """What came through whole is measured as well."""
    asked = {case.target("on") for case in CASES if case.fate == "asked"}
    query = "SELECT path FROM exchange JOIN shadow_job ON exchange_id = id WHERE state = 'done'"
    eventually(lambda: {row["path"] for row in lanes["on"].rows(query)} >= asked, within_s=60, what="the shadow calls")
