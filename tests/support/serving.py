"""Runs the installed `shadow-gateway serve` as a user does, and looks at its processes."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.addresses import ListenAddress
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

SCRIPT = str(Path(sys.executable).with_name("shadow-gateway"))
HEADERS = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
_READY_S = 30.0
_ENDED_S = 30.0


def plain_environment(**added: str) -> dict[str, str]:
    """The variables of this machine without any that configure the gateway."""
    ours = ("SHADOW_", "EZAI_", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | added


class Serve:
    """One running `serve`: `with Serve(folder, text) as serving: …`; killed at the end if it is still there."""

    def __init__(
        self, folder: Path, text: str, *, arguments: Sequence[str] = (), environ: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.file = folder / "config.yaml"
        self.file.write_text(text, encoding="utf-8")
        self._out, self._err = folder / "stdout.log", folder / "stderr.log"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [SCRIPT, "serve", "-c", "config.yaml", *arguments],
                cwd=folder,
                env=plain_environment() if environ is None else dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        """Wait until it told everything it tells at the start."""
        eventually(
            lambda: self.process.poll() is not None or "recording to" in self.stdout,
            within_s=_READY_S,
            what="the start",
        )
        assert self.process.poll() is None, self.stderr
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            children = self.children()
            self.process.kill()
            self.process.wait()
            for pid in children:
                eventually(lambda pid=pid: not is_alive(pid), within_s=_ENDED_S, what=f"the end of {pid}")  # type: ignore[misc]  # a loop variable bound at once

    @property
    def stdout(self) -> str:
        """What it told people."""
        return self._out.read_text("utf-8")

    @property
    def stderr(self) -> str:
        """Its log lines and those of its children."""
        return self._err.read_text("utf-8")

    @property
    def logged(self) -> list[dict[str, Any]]:
        """The JSON lines among them."""
        return [json.loads(line) for line in self.stderr.splitlines() if line.startswith("{")]

    @property
    def listen(self) -> ListenAddress:
        """Where apps connect."""
        return self._address(r"listening on https?://(\S+?),")

    @property
    def admin(self) -> ListenAddress:
        """Where the stats are."""
        return self._address(r"stats on http://(\S+)/stats")

    def children(self, module: str = "gateway.") -> list[int]:
        """Process ids of the children that run `module`."""
        pid = self.process.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()
        return [int(child) for child in found if module in command_line(int(child))]

    def child(self, module: str) -> int:
        """The only child that runs `module`, once it runs."""
        (pid,) = eventually(lambda: self.children(module), what=f"a child {module}")
        return pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the parent."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; gives the exit code."""
        return self.process.wait(_ENDED_S)

    def stop(self) -> int:
        """End it as a service manager does."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def _address(self, pattern: str) -> ListenAddress:
        found = re.search(pattern, self.stdout)
        assert found is not None, self.stdout
        return ListenAddress.parse(found[1])


def ask(
    address: ListenAddress, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """One request on a connection of its own; status and whole body."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=30)
    try:
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, {**HEADERS, **(headers or {})})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def question(text: str = "What is 2 + 2?", **more: Any) -> dict[str, Any]:
    """A Messages request."""
    return {"model": "primary", "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}


def is_alive(pid: int) -> bool:
    """True until the process has ended; a zombie has."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False


def command_line(pid: int) -> str:
    """Its arguments; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""
