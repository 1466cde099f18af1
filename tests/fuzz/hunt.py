"""Coverage-guided fuzzing of the targets with atheris: `python -m tests.fuzz.hunt [TARGET...]`; see `make fuzz`.

The parent runs one child a target, one after the other, and prints a table. A child goes on after a finding: each place
that fails is told once, shrunk, and kept in `.fuzz/findings`. Exit code 1 when there was one.
"""

# ruff: noqa: T201  (a command that prints a table)

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

# Atheris names every module that it instruments.
with (
    contextlib.redirect_stderr(io.StringIO()),
    atheris.instrument_imports(include=["gateway", "shadow", "yaml", "json"]),
):
    from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(".fuzz")
MAX_BYTES = 4096
SLOW_S = 10
"""An input that takes longer is a finding too (instrumented code is some five times slower than usual)."""
MAX_SHRINKS = 2000


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--child"]:
        _hunt(arguments[1], seconds=int(arguments[2]))
        return 0
    seconds = int(os.environ.get("FUZZ_SECONDS", "60"))
    names = arguments or list(TARGETS)
    unknown = sorted(set(names) - set(TARGETS))
    if unknown:
        print(f"no such target: {', '.join(unknown)}; there are: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    print(f"{'target':<18}{'executions':>12}{'edges':>8}{'features':>10}{'corpus':>8}{'findings':>10}", flush=True)
    found = 0
    for name in names:
        found += _row(name, seconds)
    print(f"{found} findings" + (f", each shrunk and with its trace in {ROOT}/findings" if found else ""))
    return 1 if found else 0


def _row(name: str, seconds: int) -> int:
    log = ROOT / "logs" / f"{name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        code = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.hunt", "--child", name, str(seconds)],
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    text = log.read_text(errors="replace")
    status = re.findall(r"^#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+) corp: (\d+)", text, re.MULTILINE)
    runs, edges, features, corpus = status[-1] if status else ("0", "0", "0", "0")
    findings = text.count("\nFINDING ") + bool(code)
    print(f"{name:<18}{int(runs):>12,}{edges:>8}{features:>10}{corpus:>8}{findings:>10}", flush=True)
    return findings


def _hunt(name: str, *, seconds: int) -> None:
    """Run one target until the time is over; libFuzzer ends the process."""
    target = TARGETS[name]
    corpus = ROOT / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = ROOT / "logs" / f"{name}.dict"
    words.parent.mkdir(parents=True, exist_ok=True)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    findings = ROOT / "findings"
    findings.mkdir(parents=True, exist_ok=True)
    known: set[str] = set()

    def run(data: bytes) -> None:
        place = place_of_failure(target.check, data)
        if place is None or place in known:
            return
        known.add(place)
        small = shrunk(target.check, data, place)
        path = findings / f"{name}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
        path.write_bytes(small)
        print(f"\nFINDING {place}: {len(small)} bytes in {path}", flush=True)
        try:
            target.check(small)
        except BaseException:  # noqa: BLE001  (a panic of foreign code is no Exception)
            trace = traceback.format_exc()
            path.with_suffix(".txt").write_text(f"{small!r}\n\n{trace}")
            print(trace, flush=True)

    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES}",
        f"-timeout={SLOW_S}",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        f"-artifact_prefix={findings}/{name}-",
        *([f"-dict={words}"] if target.words else []),
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], run)
    atheris.Fuzz()


def place_of_failure(check: Callable[[bytes], None], data: bytes) -> str | None:
    """Where a check fails: the kind of error and the last of our own lines; None when it holds."""
    try:
        check(data)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  (a panic of foreign code is no Exception)
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
        return f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
    return None


def shrunk(check: Callable[[bytes], None], data: bytes, place: str) -> bytes:
    """A shorter input that fails at the same place: parts are left out, halves first, for as long as it still fails."""
    tries, size = 0, max(len(data) // 2, 1)
    while size and tries < MAX_SHRINKS:
        at = 0
        while at < len(data) and tries < MAX_SHRINKS:
            tries += 1
            shorter = data[:at] + data[at + size :]
            if place_of_failure(check, shorter) == place:
                data = shorter
            else:
                at += size
        size //= 2
    return data


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode("utf-8", "surrogatepass"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
