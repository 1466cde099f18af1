"""Speed against other gateways in one run: direct, nginx, ours, LiteLLM's proxy, Portkey's open-source gateway.

    python bench/peers.py [--rounds 3] [--seconds 3] [--only unary,streams] [--without litellm,portkey]

Makes what it needs in .peers/, once: a virtual environment with LiteLLM from the hash-pinned bench/peers/litellm.lock,
and Portkey's gateway from bench/peers/package-lock.json (needs node and npm). Nothing of either runs at installation.
Each target is pinned to core 0, one process of each kind; the pretend provider and the load share core 1. Run it alone.

LiteLLM 1.82.7 and 1.82.8 were malicious and nothing below 1.84 is taken. Its lock overrides one bound: it asks for a
certifi of a day later than there is, which no plain HTTP benchmark touches.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import run
from run import Bench, Target, descendants, free_port, load, median

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
HOME = HERE.parent / ".peers"
LITELLM_GOAL, PORTKEY_GOAL = 300, 30
STARTS_WITHIN_S = 180

run.WORKLOADS |= {
    "unary": ("closed", 16, 1024, "bench-d0-n1-g0-b2048", []),
    "few streams": ("stream", 20, 2000, "bench-d0-n100-g20000-b0", ["-R", "2"]),
}
TITLES = {
    "unary": "1 KB request, 2 KB answer, 16 connections, closed loop; POST /v1/messages",
    "streams": "20 streams x 50 events/s; POST /v1/messages",
}
ASKED = {
    "model": "bench",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "bench-d0-n5-g0-b64 Hello."}],
}


def fresh(folder: Path, *pins: Path) -> str | None:
    """Return the digest to mark a folder with once it is made, None when it stands as its pins say."""
    digest = hashlib.sha256(b"".join(pin.read_bytes() for pin in pins)).hexdigest()
    mark = folder / ".made"
    if mark.exists() and mark.read_text() == digest:
        return None
    print(f"Making .peers/{folder.name} from {', '.join(f'bench/peers/{pin.name}' for pin in pins)} ...", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return digest


def install_litellm() -> Path:
    """Make LiteLLM's virtual environment; returns its command."""
    folder = HOME / "litellm"
    digest = fresh(folder, PEERS / "litellm.lock")
    if digest is not None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [folder / "bin" / "pip", "install", "-qq", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*install, "--no-deps", "--only-binary", ":all:", "-r", PEERS / "litellm.lock"], check=True)
        (folder / ".made").write_text(digest)
    return folder / "bin" / "litellm"


def install_portkey() -> Path:
    """Install Portkey's gateway; returns its script."""
    folder = HOME / "portkey"
    pins = [PEERS / "package.json", PEERS / "package-lock.json"]
    digest = fresh(folder, *pins)
    if digest is not None:
        for pin in pins:
            shutil.copy(pin, folder)
        install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(install, cwd=folder, check=True)
        (folder / ".made").write_text(digest)
    return folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


def version_of(name: str) -> str:
    """Say which version of a peer was installed."""
    if name == "nginx":
        told = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
        return told.rpartition("/")[2].split()[0]
    if name == "litellm":
        found = (HOME / "litellm").glob("lib/*/site-packages/litellm-*.dist-info")
        return next(found).name.removeprefix("litellm-").removesuffix(".dist-info")
    package = HOME / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "package.json"
    return str(json.loads(package.read_text())["version"])


def ask(target: Target, *, stream: bool = False) -> tuple[int, bytes]:
    """Ask a target once; status 0 when it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=30)
    fields = dict(line.split(": ", 1) for line in target.headers)
    fields |= {"content-type": "application/json", "x-api-key": "sk-bench-0000", "anthropic-version": "2023-06-01"}
    try:
        connection.request(
            "POST", "/v1/messages", json.dumps({**ASKED, "stream": stream}, separators=(",", ":")), fields
        )
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        return 0, repr(error).encode()
    finally:
        connection.close()


def ready(target: Target) -> Target:
    """Wait until a target answers a request as it should."""
    end = time.monotonic() + STARTS_WITHIN_S
    while (answer := ask(target))[0] != 200:
        if time.monotonic() > end or (target.process and target.process.poll() is not None):
            raise SystemExit(f"{target.name} does not answer: {answer[0]} {answer[1][:500]!r}")
        time.sleep(0.5)
    if target.process:
        target.pids = descendants(target.process.pid)
    return target


def start(bench: Bench, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a peer pinned to the measured core, with an environment of its own."""
    words = [f"{name}={value}" for name, value in environment.items()]
    bare = [f"PATH={os.environ['PATH']}", f"HOME={bench.folder}", "LANG=C.UTF-8"]
    return bench.start(["env", "-i", *bare, *words, *command], core=run.TARGET_CORE)


def litellm(bench: Bench) -> Target:
    """LiteLLM's proxy: one worker, no database, no callbacks, no retries."""
    command, port, key = install_litellm(), free_port(), f"sk-{secrets.token_hex(16)}"
    upstream = f"http://127.0.0.1:{bench.upstream_port}"
    settings = {"model": "anthropic/bench", "api_base": upstream, "api_key": "sk-bench-0000"}
    config = {
        "model_list": [{"model_name": "bench", "litellm_params": settings}],
        "litellm_settings": {"callbacks": [], "num_retries": 0, "telemetry": False},
        "general_settings": {"master_key": key},
    }
    (bench.folder / "litellm.yaml").write_text(json.dumps(config))
    words = [str(command), "--config", str(bench.folder / "litellm.yaml"), "--host", "127.0.0.1"]
    words += ["--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    process = start(bench, words, quiet)
    return ready(Target("LiteLLM proxy", port, process=process, headers=[f"Authorization: Bearer {key}"]))


def portkey(bench: Bench) -> Target:
    """Portkey's gateway: one Node process, made to listen on this machine alone."""
    script, port = install_portkey(), free_port()
    words = ["node", "--require", str(PEERS / "loopback.cjs"), str(script), f"--port={port}", "--headless"]
    process = start(bench, words, {"NODE_ENV": "production"})
    where = f"x-portkey-custom-host: http://127.0.0.1:{bench.upstream_port}/v1"
    return ready(Target("Portkey gateway", port, process=process, headers=["x-portkey-provider: anthropic", where]))


PEER_STARTS = {"litellm": litellm, "portkey": portkey}


def rows_of(targets: list[Target], workload: str, *, rounds: int, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Measure every target in every round, in alternating order."""
    rows: dict[str, list[dict[str, Any]]] = {target.name: [] for target in targets}
    for number in range(rounds):
        for target in targets if number % 2 == 0 else reversed(targets):
            rows[target.name].append(load(target, workload, seconds=seconds, warm_up=2))
    return rows


def unary_table(rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    """One line a target; `per core` is what one core of CPU time carries, by the CPU of all of its processes."""
    lines = [f"### {TITLES['unary']}", ""]
    lines += ["| target | requests/s | CPU us/request | of all its processes | per core | p50 ms | p99 ms | failed |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for name, found in rows.items():
        cpu, whole = median(found, "cpu_us"), median(found, "cpu_whole_us")
        per_core = f"{1e6 / whole:.0f}" if whole else "-"
        lines.append(
            f"| {name} | {median(found, 'per_second'):.0f} | {cpu:.0f} | {whole:.0f} | {per_core} "
            f"| {median(found, 'latency_us', 'p50') / 1e3:.2f} | {median(found, 'latency_us', 'p99') / 1e3:.1f} "
            f"| {run.failed(found)} |"
        )
    return lines


def times_as_many(rows: dict[str, list[dict[str, Any]]], ours: str, theirs: str, goal: int) -> str:
    """Say how many times as many requests a core carries with us, in three ways."""

    def ratio(field: str) -> float:
        pairs = zip(rows[ours], rows[theirs], strict=True)
        return statistics.median([one[field] / other[field] if other[field] else 0.0 for one, other in pairs])

    seconds, cpu, whole = ratio("per_second"), 1 / ratio("cpu_us"), 1 / ratio("cpu_whole_us")
    verdict = "reached" if seconds >= goal else "NOT reached"
    return (
        f"* {ours} / {theirs}: {seconds:.0f} x the requests/s on one core (goal {goal}: {verdict}), "
        f"{cpu:.0f} x by CPU, {whole:.0f} x by the CPU of all processes"
    )


def last_error(log: Path) -> str:
    """Return the last line of a log that names an error."""
    lines = log.read_text(errors="replace").splitlines()
    return next((line.strip()[:200] for line in reversed(lines) if "Error" in line), "")


def stream_table(targets: list[Target], log: Path, *, rounds: int, seconds: float) -> list[str]:
    """Streams where they work; where they do not, what one stream was answered with."""
    broken = {}
    for target in targets:
        status, body = ask(target, stream=True)
        if status != 200 or b"message_stop" not in body:
            broken[target.name] = f"{status} {body.decode('utf-8', 'replace')[:160]} ({last_error(log)})"
    working = [target for target in targets if target.name not in broken]
    rows = rows_of(working, "few streams", rounds=rounds, seconds=seconds)
    lines = [f"### {TITLES['streams']}", ""]
    lines += ["| target | events/s | CPU us/event | event delay p50 / p99 ms | whole streams | lost events | failed |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for name, found in rows.items():
        whole, streams = sum(row["whole_streams"] for row in found), sum(row["done"] for row in found)
        lines.append(
            f"| {name} | {median(found, 'events_per_second'):.0f} | {median(found, 'cpu_us'):.1f} "
            f"| {median(found, 'delay_us', 'p50') / 1e3:.2f} / {median(found, 'delay_us', 'p99') / 1e3:.1f} "
            f"| {whole} of {streams} | {sum(row['lost_events'] for row in found)} | {run.failed(found)} |"
        )
    return [*lines, *(f"\n{name} cannot stream this: {why}" for name, why in broken.items())]


def compare(options: argparse.Namespace, folder: Path) -> None:
    """Start everything, measure, print."""
    bench = Bench(folder)
    try:
        bench.upstream()
        off, on = "ours, sample_rate 0", "ours, sample_rate 1"
        targets = [
            Target("direct", bench.upstream_port),
            bench.nginx(),
            bench.gateway(off, sample_rate=0.0, role="gateway"),
            bench.gateway(on, sample_rate=1.0, role="gateway"),
        ]
        versions = [f"nginx {version_of('nginx')}"]
        peers = {}
        for name, begin in PEER_STARTS.items():
            if name not in options.without:
                peers[name] = begin(bench)
                versions.append(f"{peers[name].name} {version_of(name)}")
        targets += peers.values()
        print(f"Python {sys.version.split()[0]}; {', '.join(versions)}", flush=True)
        if "unary" in options.only:
            rows = rows_of(targets, "unary", rounds=options.rounds, seconds=options.seconds)
            print("\n" + "\n".join(unary_table(rows)) + "\n")
            for name, goal in (("litellm", LITELLM_GOAL), ("portkey", PORTKEY_GOAL)):
                if name in peers:
                    print("\n".join(times_as_many(rows, ours, peers[name].name, goal) for ours in (on, off)))
            print(flush=True)
        if "streams" in options.only:
            print(
                "\n".join(stream_table(targets, folder / "stderr.log", rounds=options.rounds, seconds=options.seconds)),
                flush=True,
            )
    finally:
        bench.stop()


def main() -> None:
    """Check what is needed, then compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(TITLES))
    parser.add_argument("--without", type=lambda text: text.split(","), default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    if unknown := [name for name in options.only if name not in TITLES]:
        parser.error(f"no workload {unknown[0]!r}; there are: {', '.join(TITLES)}")
    for tool in ("cc", "nginx", "taskset"):
        if shutil.which(tool) is None:
            raise SystemExit(f"bench-peers needs {tool}; on Debian: apt-get install gcc nginx-light util-linux")
    if shutil.which("npm") is None and "portkey" not in options.without:
        print("node and npm are not installed: Portkey's gateway is left out")
        options.without.append("portkey")
    if (os.cpu_count() or 1) < 2:
        raise SystemExit("bench-peers needs two cores: one for what is measured, one for the load")
    run.build()
    with tempfile.TemporaryDirectory(prefix="shadow-peers-") as folder:
        compare(options, Path(folder))


if __name__ == "__main__":
    main()
