"""Processes beside this one for checks that may hold the interpreter: what never ends costs a child, not this process.

Why: a JSON schema of 40 lines can ask for 2^40 steps, 200,000 combining marks take Unicode normalisation half a minute,
and neither lets another thread of the process run meanwhile (measured, docs/decisions/0017).
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING

import msgspec

from shadow.evaluators.base import TIME_LIMIT_S, failed, off_loop
from shadow.records import Score

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL_CHARS = 4_096
"""Up to here a thread of this process will do: the worst text of that length holds the interpreter for some 10 ms."""

COUNT = 2
"""How many checks may run apart at once."""

START_LIMIT_S = 60.0
"""How long a child may take to start, and a check to get one; a busy machine is slow."""

_SHARE = 8
"""Times its limit after which a child whose parent is gone ends itself."""

_LENGTH = struct.Struct(">Q")
_SCORE = msgspec.msgpack.Decoder(Score)
"""Made here: threads that read a class for the first time together see it half-read, and the process crashes."""
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")


class Cells:
    """Runs functions in children, one at a time in each; a child that takes too long is ended and replaced.

    Safe to use from several threads. `close` ends the children; so does the end of this object.
    """

    def __init__(self, *, count: int = COUNT, limit_s: float = TIME_LIMIT_S) -> None:
        self._limit_s = limit_s
        self._seats = threading.BoundedSemaphore(count)
        self._idle: list[_Cell] = []
        self.close = weakref.finalize(self, _end_all, self._idle)

    async def run(self, function: Callable[..., Score], *arguments: object) -> Score:
        """Call a picklable function elsewhere; never raises, what goes wrong is `failed` with its reason."""
        return await off_loop(
            lambda: self.run_here(function, *arguments), limit_s=START_LIMIT_S + self._limit_s, whose="cell"
        )

    def run_here(self, function: Callable[..., Score], *arguments: object) -> Score:
        """Do the same, blocking the calling thread."""
        asked = pickle.dumps((function, arguments), protocol=pickle.HIGHEST_PROTOCOL)
        if not self._seats.acquire(timeout=START_LIMIT_S):
            return failed("no process was free to check it")
        try:
            return self._ask(asked)
        finally:
            self._seats.release()

    def _ask(self, asked: bytes) -> Score:
        cell = self._idle.pop() if self._idle else _Cell(self._limit_s)
        try:
            answer = cell.ask(asked)
        except TimeoutError:
            cell.end()
            return failed(f"took longer than {self._limit_s:g} s")
        except (OSError, EOFError):
            cell.end()
            return failed("ended the process that checked it")
        self._idle.append(cell)
        return _SCORE.decode(answer)


class _Cell:
    """One child and the socket to it."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._ready = False
        self._socket, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}  # no key of ours
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  (this very module)
                [sys.executable, "-P", "-m", "shadow.evaluators.cells", str(theirs.fileno()), str(limit_s)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,  # a Ctrl-C at the terminal is not for it
            )

    def ask(self, asked: bytes) -> bytes:
        """Send one request and wait for its answer. Raises TimeoutError, OSError, EOFError."""
        if not self._ready:
            self._socket.settimeout(START_LIMIT_S)
            _receive(self._socket)
            self._ready = True
        self._socket.settimeout(self._limit_s)
        _send(self._socket, asked)
        return _receive(self._socket)

    def end(self) -> None:
        """End the child, whatever it does."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


def _end_all(cells: list[_Cell]) -> None:
    while cells:
        cells.pop().end()


def _send(to: socket.socket, message: bytes) -> None:
    to.sendall(_LENGTH.pack(len(message)))
    to.sendall(message)


def _receive(source: socket.socket) -> bytes:
    (length,) = _LENGTH.unpack(_exactly(source, _LENGTH.size))
    return _exactly(source, length)


def _exactly(source: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        part = source.recv(min(count - len(found), 1 << 20))
        if not part:
            raise EOFError
        found += part
    return bytes(found)


def main(fd: int, limit_s: float) -> None:
    """Be a child: answer one request after the other until the parent is gone."""
    with socket.socket(fileno=fd) as parent, contextlib.suppress(EOFError, OSError):
        _send(parent, b"ready")
        while True:
            asked = _receive(parent)
            signal.alarm(math.ceil(_SHARE * limit_s))  # ends this process even within C code, if nobody else does
            _send(parent, _answer(asked))
            signal.alarm(0)


def _answer(asked: bytes) -> bytes:
    try:
        function, arguments = pickle.loads(asked)  # noqa: S301  (written by our parent, never by anyone else)
        score = function(*arguments)
        return msgspec.msgpack.encode(_encodable(score))
    except RecursionError:
        return msgspec.msgpack.encode(failed("the input is nested too deeply"))
    except Exception as error:  # noqa: BLE001  (a fault of one check is that check's answer)
        return msgspec.msgpack.encode(failed(f"raised {type(error).__name__}"))


def _encodable(score: Score) -> Score:
    """Replace what UTF-8 cannot hold: a reason may quote half of a surrogate pair."""
    reason = score.reason.encode("utf-8", "replace").decode()
    return Score(status=score.status, value=score.value, reason=reason, cost_usd=score.cost_usd)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
