"""What a process holds, as the operating system and the interpreter tell it: memory, files, tasks, objects."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

MIB = 1 << 20

_CENSUS = """\
# Put before all others on the path of the processes under test: SIGUSR1 writes down which tasks and objects there are,
# SIGUSR2 begins to note how much the main thread computes between two ticks of a 10 ms timer, again: writes it down.
import asyncio, collections, gc, json, os, signal, time

def _count(*_):
    gc.collect()
    tasks = [task for task in list(asyncio.tasks._all_tasks) if not task.done()]
    objects = [one for one in gc.get_objects() if type(one).__module__.startswith(("gateway.", "shadow."))]
    ours = collections.Counter(type(one).__name__ for one in objects)
    connections = [one for one in objects if type(one).__module__ == "gateway.upstream"]
    connections = [one for one in connections if type(one).__name__ == "Connection"]
    idle = {{id(each) for one in connections for row in one.pool._idle.values() for each in row}}
    ours["upstream connections neither idle nor at work"] = sum(
        id(one) not in idle and one.receiver is None for one in connections
    )
    path = os.path.join({folder!r}, f"census-{{os.getpid()}}.json")
    with open(path + ".part", "w") as file:
        json.dump({{"tasks": len(tasks), "objects": dict(ours), "all": len(gc.get_objects())}}, file)
    os.replace(path + ".part", path)

signal.signal(signal.SIGUSR1, _count)

_ticks = []

def _tick(loop, before):
    now = time.thread_time()
    _ticks.append(now - before)
    loop.call_later(0.01, _tick, loop, now)

def _lag(*_):
    if not _ticks:
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, _tick, loop, time.thread_time())
        _ticks.append(0.0)
        return
    path = os.path.join({folder!r}, f"lag-{{os.getpid()}}.json")
    with open(path + ".part", "w") as file:
        json.dump(_ticks, file)
    os.replace(path + ".part", path)

signal.signal(signal.SIGUSR2, _lag)
"""


def census_environment(folder: Path) -> dict[str, str]:
    """Variables under which each Python process started answers `census`."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(_CENSUS.format(folder=str(folder)), encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


def census(pid: int, folder: Path) -> dict[str, Any]:
    """Ask a process how many unfinished `tasks` and which `objects` of ours it has, after a full collection."""
    path = folder / f"census-{pid}.json"
    path.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    eventually(path.exists, within_s=30, what=f"the census of process {pid}")
    counted: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return counted


def start_lag(pid: int) -> None:
    """Begin to note how much work the event loop of a process does between two ticks of a 10 ms timer."""
    os.kill(pid, signal.SIGUSR2)


def lag_ms(pid: int, folder: Path) -> list[float]:
    """Milliseconds of computing between two ticks since `start_lag`, in order of size.

    It is how late a timer would have come with a processor to itself; what others on the machine compute is not in it.
    """
    path = folder / f"lag-{pid}.json"
    os.kill(pid, signal.SIGUSR2)
    eventually(path.exists, within_s=30, what=f"the lag of process {pid}")
    return sorted(tick * 1000 for tick in json.loads(path.read_text("utf-8")))


def rss_bytes(pid: int) -> int:
    """Resident memory at present (VmRSS)."""
    return _status_bytes(pid, "VmRSS:")


def peak_bytes(pid: int) -> int:
    """The most resident memory since `reset_peak` (VmHWM)."""
    return _status_bytes(pid, "VmHWM:")


def reset_peak(pid: int) -> None:
    """Let the peak begin anew at what there is at present."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def open_files(pid: int) -> int:
    """How many file descriptors it holds."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def children(pid: int) -> dict[int, str]:
    """The processes below this one, all generations, with their command lines."""
    found: dict[int, str] = {}
    with contextlib.suppress(FileNotFoundError):
        for word in Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split():
            command = Path(f"/proc/{word}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            found |= {int(word): command} | children(int(word))
    return found


class Rise:
    """By how much each process was above `before` at its worst moment."""

    def __init__(self, pids: Mapping[str, int], *, before: Mapping[str, int]) -> None:
        self._pids = pids
        self._before = before
        self.bytes: dict[str, int] = {}

    def __enter__(self) -> Self:
        for pid in self._pids.values():
            reset_peak(pid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bytes = {name: max(0, peak_bytes(pid) - self._before[name]) for name, pid in self._pids.items()}


@dataclass
class Watch:
    """Resident memory of some processes, looked at again and again in a thread of its own."""

    pids: Mapping[str, int]
    every_s: float = 0.25
    seen: list[tuple[float, dict[str, int]]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(self.every_s):
            with contextlib.suppress(OSError, StopIteration):  # one of them has just ended
                self.seen.append((time.monotonic(), {name: rss_bytes(pid) for name, pid in self.pids.items()}))

    def series(self, name: str, *, since: float = 0.0, until: float = float("inf")) -> list[int]:
        """What was seen of one process in a stretch of monotonic time."""
        return [row[name] for at, row in self.seen if since <= at <= until]


def growth(values: Sequence[int]) -> float:
    """How much higher the last third of a series lies than its first: a share, by medians, so a peak is no trend."""
    third = max(1, len(values) // 3)
    first, last = statistics.median(values[:third]), statistics.median(values[-third:])
    return last / first - 1


def _status_bytes(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
