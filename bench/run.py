"""Speed against nginx `proxy_pass`, as ratios within one run.

    python bench/run.py [--only unary,…] [--rounds 3] [--seconds 3]

Workloads: unary, fields, large, latency, streams, many, tls, cold, workers, shadow.

The thing measured is pinned to core 0 alone; the pretend upstream and the load generator share core 1 (with `workers`
everything shares both). For `tls` and `cold` a second nginx ends TLS before the pretend upstream. Each round runs every
target, in alternating order; medians are printed. CPU is what the kernel counted for the target's processes
(/proc/PID/task/*/schedstat), which is steadier than requests per second on a noisy machine. All load goes to
127.0.0.1 and ends by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

HERE = Path(__file__).resolve().parent
BUILD = HERE / ".build"
GATEWAY = Path(sys.executable).with_name("shadow-gateway")
TARGET_CORE, LOAD_CORE, BOTH_CORES = "0", "1", "0,1"

# mode, connections, request bytes, what the upstream answers, more options
WORKLOADS: dict[str, tuple[str, int, int, str, list[str]]] = {
    "unary": ("closed", 16, 1024, "bench-d0-n1-g0-b2048", []),
    "fields": ("closed", 16, 1024, "bench-d0-n1-g0-b2048-p", []),
    "large": ("closed", 8, 200_000, "bench-d0-n1-g0-b2048", []),
    "latency": ("open", 128, 1024, "bench-d0-n1-g0-b2048", ["-r", "100"]),
    "streams": ("stream", 200, 2000, "bench-d0-n100-g20000-b0", ["-R", "2"]),
    "many": ("stream", 1000, 2000, "bench-d0-n100-g20000-b0", ["-R", "2"]),
    "tls": ("closed", 16, 1024, "bench-d0-n1-g0-b2048", []),
    "cold": ("closed", 200, 1024, "bench-d0-n1-g0-b2048", []),
    "workers": ("closed", 32, 1024, "bench-d0-n1-g0-b2048", []),
    "shadow": ("open", 512, 4096, "bench-d50000-n1-g0-b2048", ["-r", "50"]),
}
TITLES = {
    "unary": "1 KB request, 2 KB answer, 16 connections, closed loop",
    "fields": "1 KB request, 2 KB answer with the header fields of a real provider, 16 connections, closed loop",
    "large": "200 KB request, 2 KB answer, 8 connections, closed loop",
    "latency": "1 KB request, 2 KB answer, 100 requests/s at random moments",
    "streams": "200 streams x 50 events/s",
    "many": "1,000 streams x 50 events/s",
    "tls": "1 KB request, 2 KB answer, 16 connections, the upstream behind TLS (nginx: proxy_pass https)",
    "cold": "The first half second after a start: 200 clients at once, the upstream behind TLS",
    "workers": "1 KB request, 2 KB answer, 32 connections, two processes on one port, both cores shared with the load",
    "shadow": "50 requests/s answered after 50 ms; every request shadowed to two candidates, or none",
}


@dataclass
class Target:
    """One thing to measure, already listening."""

    name: str
    port: int
    pids: list[int] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    """Its parent, to end it before the others."""
    headers: list[str] = field(default_factory=list)
    """Fields that its requests carry besides the usual ones."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"nothing listens on port {port}")


def descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        current = todo.pop()
        found.append(current)
        todo += children.get(current, [])
    return found


def cpu_ns(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        try:
            tasks = list(Path(f"/proc/{pid}/task").iterdir())
        except OSError:
            continue
        for task in tasks:
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue
    return total


def listener(port: int, pids: list[int]) -> list[int]:
    """Which of these processes are live processes of the gateway: their command line says so."""
    del port
    return [pid for pid in pids if b"gateway.live" in Path(f"/proc/{pid}/cmdline").read_bytes()]


class Bench:
    """Everything started for one run, and its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.upstream_port = free_port()
        self.tls_port = 0
        self.ca_file = folder / "ca.pem"

    def start(self, command: list[str], *, core: str) -> subprocess.Popen[bytes]:
        log = (self.folder / "stderr.log").open("ab")
        process = subprocess.Popen(["taskset", "-c", core, *command], stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def end(self, target: Target) -> None:
        """End one target before the others."""
        if target.process is not None:
            target.process.terminate()
            target.process.wait(30)
            self.processes.remove(target.process)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()

    def upstream(self) -> None:
        self.start([str(BUILD / "upstream"), str(self.upstream_port)], core=LOAD_CORE)
        wait_for(self.upstream_port)

    def tls_front(self) -> None:
        """An nginx that ends TLS before the pretend upstream."""
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        authority.cert_pem.write_to_path(str(self.ca_file))
        (self.folder / "front.pem").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(str(self.folder / "front.key"))
        self.tls_port = free_port()
        self._start_nginx("front", self.tls_port, core=LOAD_CORE, listens_tls=True)

    def nginx(self, name: str = "nginx", *, over_tls: bool = False, workers: int = 1) -> Target:
        port = free_port()
        core = TARGET_CORE if workers == 1 else BOTH_CORES
        return self._start_nginx(name, port, core=core, asks_tls=over_tls, workers=workers)

    def _start_nginx(
        self, name: str, port: int, *, core: str, listens_tls: bool = False, asks_tls: bool = False, workers: int = 1
    ) -> Target:
        folder = self.folder / name.replace(" ", "-")
        folder.mkdir()
        certificate = f"ssl_certificate {self.folder}/front.pem; ssl_certificate_key {self.folder}/front.key;"
        checks = f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {self.ca_file}; proxy_ssl_name localhost;"
        text = (HERE / "nginx.conf.in").read_text()
        for mark, value in (
            ("@FOLDER@", str(folder)),
            ("@WORKERS@", str(workers)),
            ("@UPSTREAM@", str(self.tls_port if asks_tls else self.upstream_port)),
            ("@PORT@", str(port)),
            ("@SSL@", "ssl" if listens_tls else ""),
            ("@CERTIFICATE@", certificate if listens_tls else ""),
            ("@SCHEME@", "https" if asks_tls else "http"),
            ("@CHECKS@", checks if asks_tls else ""),
        ):
            text = text.replace(mark, value)
        (folder / "nginx.conf").write_text(text)
        process = self.start(["nginx", "-c", str(folder / "nginx.conf")], core=core)
        wait_for(port)
        return Target(name, port, descendants(process.pid), process)

    def gateway(self, name: str, *, sample_rate: float, role: str, over_tls: bool = False, workers: int = 1) -> Target:
        port, admin = free_port(), free_port()
        folder = self.folder / name.replace(" ", "-").replace("%", "").replace(",", "")
        folder.mkdir()
        upstream = f"https://127.0.0.1:{self.tls_port}" if over_tls else f"http://127.0.0.1:{self.upstream_port}"
        config = {
            "listen": f"127.0.0.1:{port}",
            "admin": {"listen": f"127.0.0.1:{admin}"},
            "workers": workers,
            "upstream": {
                "base_url": upstream,
                "api_key": "sk-bench-candidate",
                "ca_file": str(self.ca_file) if over_tls else None,
            },
            "shadow": {
                "sample_rate": sample_rate,
                "conversation": {"key": "request"},
                "candidates": [{"model": "bench-a"}, {"model": "bench-b"}],
                "budget_usd_per_day": 1_000_000.0,
            },
            "evaluators": [{"type": "icontains", "value": "quick"}],
            "prices": {model: {"input": 1.0, "output": 1.0} for model in ("bench", "bench-a", "bench-b")},
            "store": f"sqlite:///{folder}/bench.db",
        }
        (folder / "config.yaml").write_text(json.dumps(config))
        process = self.start([str(GATEWAY), "serve", "-c", str(folder / "config.yaml"), "--role", role], core=LOAD_CORE)
        wait_for(port)
        time.sleep(1)
        pids = listener(port, descendants(process.pid))
        for pid in pids:
            core = TARGET_CORE if workers == 1 else BOTH_CORES
            subprocess.run(["taskset", "-a", "-cp", core, str(pid)], check=True, stdout=subprocess.DEVNULL)
        return Target(name, port, pids, process)


def load(target: Target, workload: str, *, seconds: float, warm_up: float) -> dict[str, Any]:
    mode, connections, size, spec, more = WORKLOADS[workload]
    warm_up = 3.0 if mode == "stream" else warm_up
    command = [
        "taskset",
        "-c",
        LOAD_CORE,
        str(BUILD / "load"),
        "-p",
        str(target.port),
        "-m",
        mode,
        "-c",
        str(connections),
    ]
    command += ["-b", str(size), "-S", spec, "-d", str(seconds), *more]
    command += [word for line in target.headers for word in ("-H", line)]
    if mode != "stream" and warm_up:  # warm up apart, so that the CPU counted covers the measured part only
        short = list(command)
        short[short.index("-d") + 1] = str(warm_up)
        subprocess.run([*short, "-w", "0"], check=True, capture_output=True)
        warm_up = 0
    whole = descendants(target.process.pid) if target.process else target.pids
    before, whole_before = cpu_ns(target.pids), cpu_ns(whole)
    out = subprocess.run([*command, "-w", str(warm_up)], check=True, capture_output=True, text=True)
    spent = (cpu_ns(target.pids) - before) / 1e3
    row: dict[str, Any] = json.loads(out.stdout)
    # in a stream run events also flow while the streams start up (a ramp of two seconds counts half)
    events = row["events_per_second"] * (seconds + warm_up - 1)
    counted = max(1, events if mode == "stream" else row["done"])
    row["cpu_us"] = spent / counted
    row["cpu_whole_us"] = (cpu_ns(whole) - whole_before) / 1e3 / counted
    return row


def measure(targets: list[Target], workload: str, *, rounds: int, seconds: float) -> str:
    rows: dict[str, list[dict[str, Any]]] = {target.name: [] for target in targets}
    for number in range(rounds):
        for target in targets if number % 2 == 0 else reversed(targets):
            rows[target.name].append(load(target, workload, seconds=seconds, warm_up=1))
    lines = [f"### {TITLES[workload]}", ""]
    streaming = WORKLOADS[workload][0] == "stream"
    lines += STREAM_HEAD if streaming else UNARY_HEAD
    reference = next((found for name, found in rows.items() if "nginx" in name), rows[targets[0].name])
    lines += [
        (stream_line if streaming else unary_line)(target.name, rows[target.name], reference) for target in targets
    ]
    return "\n".join(lines)


UNARY_HEAD = [
    "| target | requests/s | x nginx | CPU us/request | x nginx | p50 ms | p99 ms | failed |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
]
STREAM_HEAD = [
    "| target | events/s | CPU us/event | x nginx | event delay p50 / p99 ms | whole streams | lost events | failed |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
]


def median(rows: list[dict[str, Any]], *path: str) -> float:
    values = []
    for row in rows:
        value: Any = row
        for key in path:
            value = value[key]
        values.append(float(value))
    return statistics.median(values)


def ratio(one: float, other: float) -> str:
    return f"{one / other:.2f}" if one and other else "-"


def failed(rows: list[dict[str, Any]]) -> int:
    return sum(row["broken"] + row["bad_status"] for row in rows)


def unary_line(name: str, rows: list[dict[str, Any]], reference: list[dict[str, Any]]) -> str:
    speed = statistics.median(
        [row["per_second"] / other["per_second"] for row, other in zip(rows, reference, strict=True)]
    )
    cpu = median(rows, "cpu_us")
    return (
        f"| {name} | {median(rows, 'per_second'):.0f} | {speed:.2f} "
        f"| {cpu:.0f} | {ratio(cpu, median(reference, 'cpu_us'))} "
        f"| {median(rows, 'latency_us', 'p50') / 1e3:.2f} | {median(rows, 'latency_us', 'p99') / 1e3:.2f} "
        f"| {failed(rows)} |"
    )


def stream_line(name: str, rows: list[dict[str, Any]], reference: list[dict[str, Any]]) -> str:
    cpu = median(rows, "cpu_us")
    whole, streams = sum(row["whole_streams"] for row in rows), sum(row["done"] for row in rows)
    return (
        f"| {name} | {median(rows, 'events_per_second'):.0f} | {cpu:.1f} | {ratio(cpu, median(reference, 'cpu_us'))} "
        f"| {median(rows, 'delay_us', 'p50') / 1e3:.2f} / {median(rows, 'delay_us', 'p99') / 1e3:.1f} "
        f"| {whole} of {streams} | {sum(row['lost_events'] for row in rows)} | {failed(rows)} |"
    )


def build() -> None:
    BUILD.mkdir(exist_ok=True)
    for name in ("upstream", "load"):
        subprocess.run(["cc", "-O2", "-o", str(BUILD / name), str(HERE / f"{name}.c"), "-lm"], check=True)


def in_the_open(bench: Bench) -> list[Target]:
    return [
        Target("direct", bench.upstream_port),
        bench.nginx(),
        bench.gateway("gateway, sample_rate 0", sample_rate=0.0, role="gateway"),
        bench.gateway("gateway, sample_rate 1", sample_rate=1.0, role="gateway"),
    ]


def over_tls(bench: Bench) -> list[Target]:
    return [
        bench.nginx("nginx to TLS", over_tls=True),
        bench.gateway("gateway to TLS, sample_rate 0", sample_rate=0.0, role="gateway", over_tls=True),
        bench.gateway("gateway to TLS, sample_rate 1", sample_rate=1.0, role="gateway", over_tls=True),
    ]


def two_processes(bench: Bench) -> list[Target]:
    return [
        bench.nginx("nginx, two workers", workers=2),
        bench.gateway("gateway, two workers, sample_rate 0", sample_rate=0.0, role="gateway", workers=2),
        bench.gateway("gateway, two workers, sample_rate 1", sample_rate=1.0, role="gateway", workers=2),
    ]


def with_and_without_shadowing(bench: Bench) -> list[Target]:
    return [
        bench.gateway("shadowing off", sample_rate=0.0, role="all"),
        bench.gateway("100 % shadowed", sample_rate=1.0, role="all"),
    ]


def measure_cold(bench: Bench, *, rounds: int) -> str:
    """Each round starts both anew: there is no connection to the upstream yet."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for number in range(rounds):
        for start in (
            lambda at: bench.nginx(f"nginx {at}", over_tls=True),
            lambda at: bench.gateway(f"gateway {at}", sample_rate=0.0, role="gateway", over_tls=True),
        ):
            target = start(number)
            rows.setdefault(target.name.split()[0], []).append(load(target, "cold", seconds=0.5, warm_up=0))
            bench.end(target)
    lines = [f"### {TITLES['cold']}", "", *UNARY_HEAD]
    return "\n".join([*lines, *(unary_line(name, found, rows["nginx"]) for name, found in rows.items())])


GROUPS = (
    (("unary", "fields", "large", "latency", "streams", "many"), in_the_open),
    (("tls",), over_tls),
    (("workers",), two_processes),
    (("shadow",), with_and_without_shadowing),
)


def run(options: argparse.Namespace, folder: Path) -> None:
    bench = Bench(folder)
    try:
        bench.upstream()
        bench.tls_front()
        for workloads, start in GROUPS:
            wanted = [name for name in workloads if name in options.only]
            targets = start(bench) if wanted else []
            for workload in wanted:
                seconds = max(4.0, options.seconds) if workload == "shadow" else options.seconds
                table = measure(targets, workload, rounds=options.rounds, seconds=seconds)
                print("\n" + (table.replace("x nginx", "x off") if workload == "shadow" else table), flush=True)
            for target in targets:
                bench.end(target)
        if "cold" in options.only:
            print("\n" + measure_cold(bench, rounds=options.rounds), flush=True)
    finally:
        bench.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    unknown = [name for name in options.only if name not in WORKLOADS]
    if unknown:
        parser.error(f"no workload {unknown[0]!r}; there are: {', '.join(WORKLOADS)}")
    for tool in ("cc", "nginx", "taskset"):
        if shutil.which(tool) is None:
            raise SystemExit(f"bench needs {tool}; on Debian: apt-get install gcc nginx-light util-linux")
    if (os.cpu_count() or 1) < 2:
        raise SystemExit("bench needs two cores: one for what is measured, one for the load")
    build()
    with tempfile.TemporaryDirectory(prefix="shadow-bench-") as folder:
        run(options, Path(folder))


if __name__ == "__main__":
    main()
