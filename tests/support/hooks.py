"""A receiver of alerts on a real socket: it keeps what arrives and answers as its script says."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FINE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True, kw_only=True)
class Hook:
    """The receiver: `script` holds the next answers (a status, `hang` or `reset`); when it is empty all is fine."""

    url: str = ""
    script: deque[int | str] = field(default_factory=deque)
    received: list[Received] = field(default_factory=list)
    headers: str = ""
    """Further head lines of an answer that is not fine."""

    @property
    def accepted(self) -> list[Received]:
        return self._accepted

    _accepted: list[Received] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            found = Received(path=lines[0].split()[1], headers=headers, body=body)
            self.received.append(found)
            step = self.script.popleft() if self.script else 200
            if step == "hang":
                await asyncio.sleep(60)
            elif step == "reset":
                writer.transport.abort()
            elif step == 200:
                self._accepted.append(found)
                writer.write(FINE)
            else:
                writer.write(
                    f"HTTP/1.1 {step} No\r\n{self.headers}content-length: 0\r\nconnection: close\r\n\r\n".encode()
                )
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def hook(*script: int | str, path: str = "/services/T0/B0/key-of-this-channel") -> AsyncIterator[Hook]:
    """Listen on a free port until the end of the block."""
    receiver = Hook(script=deque(script))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}"
    try:
        yield receiver
    finally:
        server.close()
        server.close_clients() if hasattr(server, "close_clients") else None
