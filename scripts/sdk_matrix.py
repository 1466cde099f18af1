"""Old and new SDKs, through the gateway and directly: what the app sees and what reaches upstream must be equal.

    python scripts/sdk_matrix.py [--only anthropic-0,openai-3] [--lock]

Makes one virtual environment per SDK in .sdk/ from the hash-pinned locks in tests/sdk_matrix/locks/ (once), runs the
same calls (tests/sdk_matrix/calls.py) in each, directly at a simulator and through `shadow-gateway serve` in front of a
second simulator with the same script, and prints a table. Exit 1 when anything differs. `--lock` writes the locks anew
(needs uv).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shadow.simulator import Script, SimModel, Simulator, Timing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shadow.simulator import LogEntry

ROOT = Path(__file__).resolve().parent.parent
CALLS = ROOT / "tests" / "sdk_matrix" / "calls.py"
LOCKS = ROOT / "tests" / "sdk_matrix" / "locks"
HOME = ROOT / ".sdk"

LINES = {
    "anthropic-0": "anthropic>=0,<1",
    "anthropic-1": "anthropic>=1,<2",
    "anthropic-2": "anthropic>=2,<3",
    "openai-1": "openai>=1,<2",
    "openai-2": "openai>=2,<3",
    "openai-3": "openai>=3,<4",
}
ALSO_ON_NEWEST_PYTHON = ("anthropic-2", "openai-3")
SCRIPT = Script(
    models=(
        SimModel(name="pebble", timing=Timing(ttft_ms=2, gap_ms=0.2)),
        SimModel(name="boulder", thinks=True),
    ),
    keys=frozenset({"key-of-the-app"}),
)
# The connection between app and gateway is not the one between gateway and upstream.
OWN_OF_A_CONNECTION = frozenset({"host", "connection", "x-shadow-hop"})
CASE_HEADER = "x-case"
PATIENCE_S = 300


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of one SDK on one Python."""

    sdk: str
    version: str
    python: str
    cases: int
    requests: int
    differences: tuple[str, ...]


def newer_python() -> str | None:
    """Return a Python above our own, when one is installed: by its name on the path, or where pyenv keeps them."""
    named = [shutil.which(f"python3.{minor}") for minor in range(16, sys.version_info.minor, -1)]
    kept = [str(path) for path in (Path.home() / ".pyenv" / "versions").glob("3.1*/bin/python3")]
    found = {}
    for python in filter(None, [*named, *kept]):
        ask = [python, "-c", "import sys; print(*sys.version_info[:2])"]
        told = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.split()
        if told and (version := (int(told[0]), int(told[1]))) > sys.version_info[:2]:
            found[version] = python
    return found[max(found)] if found else None


def environment(sdk: str, python: str) -> Path:
    """Make the virtual environment of one SDK unless it stands as its lock says; returns its interpreter."""
    lock = LOCKS / f"{sdk}.lock"
    told = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    folder = HOME / f"{sdk}-{told.removeprefix('Python ')}"
    mark, digest = folder / ".made", hashlib.sha256(lock.read_bytes()).hexdigest()
    if not mark.exists() or mark.read_text() != digest:
        print(f"Making {folder.relative_to(ROOT)} with {told} from {lock.relative_to(ROOT)} ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        install = [folder / "bin" / "pip", "install", "-qq", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*install, "--no-deps", "--only-binary", ":all:", "-r", lock], check=True)
        mark.write_text(digest)
    return folder / "bin" / "python"


@contextlib.contextmanager
def serving(folder: Path, *, upstream: str) -> Iterator[str]:
    """The whole gateway, started by its command; every exchange is recorded and none is shadowed."""
    (folder / "config.yaml").write_text(
        f"listen: 127.0.0.1:0\nadmin: {{listen: 127.0.0.1:0}}\nupstream: {{base_url: '{upstream}'}}\n"
        "store: sqlite:///shadow.db\n"
    )
    process = subprocess.Popen(
        [Path(sys.executable).with_name("shadow-gateway"), "serve", "-c", "config.yaml"],
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=(folder / "stderr.log").open("w"),
        text=True,
    )
    try:
        lines = iter(process.stdout or ())
        told = next((line for line in lines if line.startswith("listening on ")), "")
        address = re.search(r"127\.0\.0\.1:\d+", told)
        if address is None:
            raise SystemExit(f"the gateway did not start:\n{(folder / 'stderr.log').read_text()[-2000:]}")
        yield f"http://{address[0]}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def told_by(python: Path, sdk: str, base_url: str) -> dict[str, Any]:
    """Run the calls in one environment; nothing of our own is on its path."""
    command = [str(python), "-I", str(CALLS), sdk.partition("-")[0], base_url]
    # SDKs read keys, addresses and proxies from the environment: they get none of ours.
    bare = {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S, env=bare)
    if run.returncode != 0:
        raise SystemExit(f"{sdk}: the calls ended with {run.returncode}:\n{run.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(run.stdout)
    return told


def received(simulator: Simulator) -> dict[str, list[Any]]:
    """What upstream saw, by case: every field in its order, and every byte of the body."""
    seen: dict[str, list[Any]] = {}
    for entry in simulator.log.entries():
        seen.setdefault(entry.header(CASE_HEADER) or "", []).append(as_received(entry))
    return seen


def as_received(entry: LogEntry) -> Any:
    """One request as upstream saw it, without what belongs to a connection alone."""
    fields = [(name, value) for name, value in entry.headers if name not in OWN_OF_A_CONNECTION]
    return entry.method, entry.path, entry.query, fields, entry.body, entry.credential, entry.status


def differences_of(direct: Any, through: Any, up_direct: Any, up_through: Any) -> list[str]:
    """Compare the two ways, case by case; the fine ones must be fine, the broken ones must not."""
    found = []
    for label in sorted({*direct, *through, *up_direct, *up_through}):
        told, also = direct.get(label), through.get(label)
        if told != also:
            found.append(f"{label}: the app saw {also!r:.300}, directly {told!r:.300}")
        sent, passed = up_direct.get(label), up_through.get(label)
        if not sent or sent != passed:
            found.append(f"{label}: upstream got {passed!r:.300}, directly {sent!r:.300}")
        if told and (told["saw"][:1] == ["error"] if isinstance(told["saw"], list) else False) == told["fine"]:
            found.append(f"{label}: should {'end well' if told['fine'] else 'fail'}, and told {told['saw']!r:.300}")
    return found


def measure(sdk: str, python: Path) -> Row:
    """Run one SDK both ways."""
    with (
        Simulator(SCRIPT) as direct,
        Simulator(SCRIPT) as behind,
        tempfile.TemporaryDirectory(prefix="shadow-sdk-") as folder,
        serving(Path(folder), upstream=behind.base_url) as gateway,
    ):
        expected = told_by(python, sdk, direct.base_url)
        through = told_by(python, sdk, gateway)
        return Row(
            sdk=sdk.partition("-")[0],
            version=expected["version"],
            python=expected["python"],
            cases=len(expected["seen"]),
            requests=len(behind.log),
            differences=tuple(
                differences_of(expected["seen"], through["seen"], received(direct), received(behind)),
            ),
        )


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| SDK | version | Python | cases | requests upstream | differences |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.sdk} | {row.version} | {row.python} | {row.cases} | {row.requests} | {len(row.differences)} |"
        for row in rows
    ]
    return "\n".join(lines)


def lock() -> None:
    """Write every lock anew: the newest version of each line, pinned by hash, naming no index."""
    LOCKS.mkdir(exist_ok=True)
    for sdk, wanted in LINES.items():
        command = ["uv", "pip", "compile", "-", "--universal", "--python-version", "3.11", "--generate-hashes"]
        command += ["--no-emit-index-url", "--no-header", "--no-annotate", "--upgrade", "--quiet"]
        command += ["-o", str(LOCKS / f"{sdk}.lock")]
        subprocess.run(command, input=wanted, text=True, check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    """Run the matrix; 1 when anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(LINES))
    parser.add_argument("--lock", action="store_true", help="write the locks anew and stop")
    options = parser.parse_args()
    if options.lock:
        lock()
        return 0
    unknown = [sdk for sdk in options.only if sdk not in LINES]
    if unknown:
        parser.error(f"no SDK line {unknown[0]!r}; there are: {', '.join(LINES)}")
    HOME.mkdir(exist_ok=True)
    newest = newer_python()
    wanted = [(sdk, sys.executable) for sdk in options.only]
    wanted += [(sdk, newest) for sdk in options.only if newest and sdk in ALSO_ON_NEWEST_PYTHON]
    made = [(sdk, environment(sdk, python)) for sdk, python in wanted]
    rows = []
    for sdk, python in made:
        started_s = time.monotonic()
        rows.append(measure(sdk, python))
        print(f"{sdk} {rows[-1].version} on {rows[-1].python}: {time.monotonic() - started_s:.0f} s", flush=True)
        for difference in rows[-1].differences:
            print(f"  {difference}")
    print(f"\n{table(rows)}")
    return 1 if any(row.differences for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
