"""An app in front of a whole `serve` whose measuring side is in trouble: its answers byte for byte, and the books."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import threading
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.client import Client, Received
from tests.support.serving import ask, question
from tests.support.upstream import Answer, Upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.http1 import Message
    from tests.support.serving import Serve

MIB = 1 << 20
_OURS = b"x-shadow-request-id"


def spoken(text: str, *, model: str = "primary", output_tokens: int = 6) -> dict[str, Any]:
    """A whole Messages answer."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": output_tokens},
    }


def json_answer(body: bytes, *fields: bytes, status: bytes = b"200 OK", length: int | None = None) -> bytes:
    """An answer with its length, whole unless `length` says otherwise."""
    head = (b"HTTP/1.1 " + status, b"content-type: application/json", b"content-length: %d" % (length or len(body)))
    return b"\r\n".join((*head, *fields, b"", body))


def streamed_answer(text: str) -> tuple[bytes, ...]:
    """The same as an event stream, in the pieces in which it is sent."""
    start = spoken("") | {"content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
            for word in text.split(" ")
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 6}},
        {"type": "message_stop"},
    ]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    chunks = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
    return (head, *(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks), b"0\r\n\r\n")


def live_answer(request: Message) -> Answer:
    """What the primary says: JSON, or the same words as a stream."""
    if json.loads(request.body).get("stream"):
        return Answer(parts=streamed_answer("the sea is wide and deep"))
    return Answer(parts=(json_answer(json.dumps(spoken('{"answer": 4}')).encode(), b"x-of-the-upstream: 1"),))


@contextlib.contextmanager
def primary() -> Iterator[Upstream]:
    """The upstream every live answer comes from."""
    with Upstream() as upstream:
        upstream.answer(live_answer, by_body=True)
        yield upstream


def configured(upstream: Upstream, *candidates: Any, **changes: Any) -> dict[str, Any]:
    """A configuration that shadows everything; `changes` replace whole keys, those of `shadow` one by one."""
    named = [{"model": one} if isinstance(one, str) else one for one in candidates or ("rival",)]
    # The jobs that are counted are the candidates' alone: the primary is asked nothing again.
    shadow = {"sample_rate": 1, "noise_floor_rate": 0, "budget_usd_per_day": 1000, "candidates": named}
    shadow |= changes.pop("shadow", {})
    price = {"input": 1, "output": 2}
    return {
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0"},
        "upstream": {"base_url": upstream.base_url, "api_key": "key-of-the-gateway"},
        "shadow": shadow,
        "prices": {"primary": price} | {one["model"]: price for one in named},
        "evaluators": [{"type": "is-json"}],
    } | changes


class App:
    """Asks through the gateway and compares each answer with the one the upstream gives directly."""

    def __init__(self, serving: Serve, upstream: Upstream) -> None:
        self._address = (serving.listen.host, serving.listen.port)
        self._direct = {stream: _told(_ask(upstream.address, stream=stream, number=0)) for stream in (False, True)}
        self.count = 0

    def ask(self, times: int = 1, *, padding: int = 0, fields: bytes = b"") -> None:
        """Ask new questions; an answer that differs, is late or does not come fails the test."""
        for _ in range(times):
            self.count += 1
            stream = self.count % 2 == 0
            received = _ask(self._address, stream=stream, number=self.count, padding=padding, fields=fields)
            assert _told(received) == self._direct[stream]
            assert received.complete

    @contextlib.contextmanager
    def asking(self, *, fields: bytes = b"") -> Iterator[None]:
        """Ask all the time while the block runs; what goes wrong there fails the test at the end of the block."""
        done, faults = threading.Event(), list[BaseException]()

        def loop() -> None:
            try:
                while not done.wait(0.02):
                    self.ask(fields=fields)
            except BaseException as fault:  # noqa: BLE001  (raised again in the test's thread)
                faults.append(fault)

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
        if faults:
            raise faults[0]


def _ask(address: tuple[str, int], *, stream: bool, number: int, padding: int = 0, fields: bytes = b"") -> Received:
    asked = question(f"Question {number}: answer as JSON. {'x' * padding}", stream=stream)
    body = json.dumps(asked).encode()
    head = b"POST /v1/messages HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\nx-api-key: of-the-app\r\n"
    with Client(address, timeout_s=30) as client:
        return client.ask(head + fields + b"content-length: %d\r\n\r\n" % len(body) + body)


def _told(received: Received) -> tuple[Any, ...]:
    """Everything of an answer but the one field that is ours."""
    headers = [(name, value) for name, value in received.headers if name.lower() != _OURS]
    return (received.version, received.status, received.reason, headers, received.body, received.trailers)


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask the store itself."""
    with closing(sqlite3.connect(f"file:{folder}/shadow.db?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(sql).fetchall()


def stored(folder: Path) -> int:
    """How many exchanges are in the store; none while it cannot be read."""
    with contextlib.suppress(sqlite3.OperationalError):
        return int(rows(folder, "SELECT count(*) FROM exchange")[0][0])
    return 0


def wait_until_stored(folder: Path, count: int, *, within_s: float = 60) -> None:
    """Wait until so many exchanges are in the store."""
    eventually(lambda: stored(folder) >= count, within_s=within_s, what=f"{count} exchanges")
    assert stored(folder) == count


def states(folder: Path) -> dict[str, int]:
    """How many jobs are in which state; none while the store cannot be read."""
    with contextlib.suppress(sqlite3.OperationalError):
        return dict(rows(folder, "SELECT state || coalesce(':' || reason, ''), count(*) FROM shadow_job GROUP BY 1"))
    return {}


def wait_until_done(folder: Path, *, within_s: float = 60) -> None:
    """Wait until every shadow job has ended."""

    def all_ended() -> bool:
        found = states(folder)
        return bool(found) and found.keys().isdisjoint({"pending", "leased", "sent"})

    eventually(all_ended, within_s=within_s, what="the end of all jobs")


def is_whole(folder: Path) -> bool:
    """Whether SQLite finds nothing wrong with the file."""
    return rows(folder, "PRAGMA integrity_check") == [("ok",)]


def stats(serving: Serve) -> dict[str, Any]:
    """What `/stats` says, as soon as it can be asked."""

    def look() -> bytes | None:
        try:
            status, body = ask(serving.admin, "GET", "/stats")
        except OSError:
            return None
        return body if status == 200 else None

    found: dict[str, Any] = json.loads(eventually(look, within_s=30, what="the stats"))
    return found


def books(serving: Serve) -> dict[str, dict[str, Any]]:
    """The coverage by candidate, after checking that each adds up and that all speak of the same exchanges."""
    (task,) = stats(serving)["tasks"]
    found = {one["candidate"]: one["coverage"] for one in task["comparisons"]}
    for coverage in found.values():
        lost = sum(coverage["skipped"].values()) + sum(coverage["dropped"].values())
        assert coverage["sampled"] == coverage["sent"] + lost + coverage["pending"], coverage
        assert coverage["eligible"] == coverage["sampled"] + coverage["not_sampled"], coverage
    (primary_model,) = [each for each in task["models"] if each["role"] == "primary"]
    assert {coverage["eligible"] for coverage in found.values()} == {primary_model["requests"]}
    return found


def complaints(serving: Serve) -> Counter[str]:
    """The log's messages at WARNING and above, with numbers of their own left out, and how often each came."""
    return Counter(
        "".join(char for char in line["message"] if not char.isdigit())
        for line in serving.logged
        if line["level"] in {"warning", "error", "critical"}
    )


@contextlib.contextmanager
def small_disk(folder: Path, *, size_bytes: int) -> Iterator[Path]:
    """A file system of its own that holds so much; the test is skipped where nobody may mount one."""
    if os.geteuid() != 0:
        pytest.skip("a small file system can only be mounted by root")
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0700", "tmpfs", str(folder)]
    try:
        made = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if made.returncode:
        pytest.skip(f"mounting is not allowed here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def may_write(folder: Path, *, allowed: bool) -> None:
    """Make a small disk read-only, or writable again."""
    subprocess.run(["mount", "-o", f"remount,{'rw' if allowed else 'ro'}", str(folder)], check=True)


def fill(folder: Path, *, leaving: int = 0) -> Path:
    """Use up what is free on a small disk but for some bytes; deleting the file gives it back."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while file.write(bytes(65_536)):
                pass
        if leaving:
            file.truncate(max(0, file.tell() - leaving))
    return ballast


def model_of(request: Message) -> str:
    """Which candidate a shadow call is meant for."""
    model: str = json.loads(request.body)["model"]
    return model
