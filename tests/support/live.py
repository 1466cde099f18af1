"""Starts a real live process the way the supervisor does, and looks into its store."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.control import Event, Replace, Start, Tls, decode, encode, plain
from gateway.settings import LiveSettings, RecordingSettings, Upstream
from shadow.records import Candidate
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Address

DEPLOYMENT_ID = "deployment-of-the-tests"


def settings_for(base_url: str, store: Path, **changes: Any) -> LiveSettings:
    """Settings under which everything is recorded and every conversation sampled, with some of them changed.

    `changes` are fields of LiveSettings or of RecordingSettings.
    """
    recording = RecordingSettings(
        store=f"sqlite:///{store}",
        shadow_enabled=True,
        sample_rate=1.0,
        candidates=(Candidate(model="candidate-model", base_url=base_url),),
    )
    fields = {field.name for field in dataclasses.fields(RecordingSettings)}
    recording = dataclasses.replace(recording, **{name: changes.pop(name) for name in fields & changes.keys()})
    settings = LiveSettings(deployment_id=DEPLOYMENT_ID, upstream=Upstream(base_url=base_url), recording=recording)
    return dataclasses.replace(settings, **changes)


def bound_socket(family: socket.AddressFamily = socket.AF_INET, address: Address = ("127.0.0.1", 0)) -> socket.socket:
    """A bound, not yet listening socket as the supervisor makes it."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    if family != socket.AF_UNIX:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(address)
    return listener


class Live:
    """One running live process."""

    def __init__(self, *, settings: LiveSettings, listener: socket.socket, folder: Path, tls: Tls | None) -> None:
        name = listener.getsockname()
        self.address: Address = name if isinstance(name, str) else name[:2]
        self.store = folder / "shadow.db"
        self.events: list[Event] = []
        self._log = folder / f"live-{listener.fileno()}.log"
        status_in, status_out = os.pipe()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "gateway.live"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(listener.fileno(), status_out),
                cwd=folder,
            )
        os.close(status_out)
        self._events_thread = threading.Thread(target=self._read_events, args=(status_in,), daemon=True)
        self._events_thread.start()
        start = Start(settings=plain(settings), socket_fds=(listener.fileno(),), status_fd=status_out, tls=tls)
        self.send_line(encode(start))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def log(self) -> str:
        """Everything it printed so far."""
        return self._log.read_text(errors="replace")

    def wait_for(self, event: str, *, within_s: float = 20.0) -> Event:
        """Wait until it reported `event`."""

        def look() -> Event | None:
            seen = next((one for one in list(self.events) if one.event == event), None)
            assert seen or self.process.poll() is None, f"it ended ({self.process.returncode}): {self.log}"
            return seen

        reported = eventually(look, within_s=within_s, what=f"{event} from the live process")
        assert reported
        return reported

    def replace(self, settings: LiveSettings) -> None:
        """Hand it new settings, as the supervisor does after a reload."""
        self.send_line(encode(Replace(settings=plain(settings))))

    def send_line(self, line: bytes) -> None:
        """Write one line to its standard input."""
        assert self.process.stdin
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def close_stdin(self) -> None:
        """End its standard input, as the end of the supervisor would."""
        assert self.process.stdin
        self.process.stdin.close()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, *, within_s: float = 20.0) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(within_s)

    def stop(self) -> None:
        """Stop it with SIGTERM; it must end with 0 and have had nothing to complain about."""
        if self.process.poll() is None:
            self.terminate()
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._close_pipes()
        assert code == 0, f"exit code {code}: {self.log}"
        assert "Traceback" not in self.log, self.log

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self.process.kill()
        self.process.wait()
        self._close_pipes()

    def _close_pipes(self) -> None:
        self.close_stdin()
        self._events_thread.join(5)

    def _read_events(self, status_in: int) -> None:
        with os.fdopen(status_in, "rb") as lines:
            for line in lines:
                self.events.append(decode(line, Event))

    # What the operating system knows of it.

    def open_sockets(self) -> int:
        """How many sockets it holds."""
        count = 0
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed while we looked
                count += str(descriptor.readlink()).startswith("socket:")
        return count

    def peak_memory_bytes(self, *, since_now: bool = False) -> int:
        """VmHWM: the most memory it had; `since_now` lets the peak begin anew at what it has at present."""
        if since_now:
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

    # What it wrote to its store.

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Rows of one query; none while the store or its tables are not there yet."""
        if not self.store.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'exchange'").fetchall():
                return []
            return [dict(row) for row in connection.execute(query, values)]

    def exchange(self, *, request_id: str | None = None, path: str | None = None) -> dict[str, Any]:
        """The one exchange with this id, or with this path, as soon as it is there."""
        (row,) = self.exchanges(request_id=request_id, path=path)
        return row

    def exchanges(
        self, *, request_id: str | None = None, path: str | None = None, count: int = 1
    ) -> list[dict[str, Any]]:
        """The exchanges with this id, or with this path, in order of their start, as soon as `count` are there."""
        column, value = ("id", request_id) if request_id else ("path", path)

        def look() -> list[dict[str, Any]]:
            rows = self.rows(f"SELECT * FROM exchange WHERE {column} = ? ORDER BY started_at", value)
            return rows if len(rows) >= count else []

        return eventually(look, what=f"{count} exchanges with {column} {value} in the store")

    def jobs(self, exchange: dict[str, Any]) -> list[dict[str, Any]]:
        """The shadow jobs of one exchange; they are written in the same transaction as the exchange."""
        return self.rows("SELECT * FROM shadow_job WHERE exchange_id = ?", exchange["id"])


@contextmanager
def running(
    settings: LiveSettings,
    folder: Path,
    *,
    listener: socket.socket | None = None,
    tls: Tls | None = None,
) -> Iterator[Live]:
    """A live process that is ready; stopped and checked at the end, unless the test already stopped it."""
    with listener or bound_socket() as bound:
        live = Live(settings=settings, listener=bound, folder=folder, tls=tls)
        try:
            live.wait_for("ready")
            yield live
        except BaseException:
            live.kill()
            print(live.log)  # noqa: T201  (pytest shows it beside the failure)
            raise
        live.stop()
