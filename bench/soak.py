"""Resource bounds of the whole gateway, measured on its real processes: `make soak`, at most ten minutes.

    python -m bench.soak [--only aborts,soak,…] [--requests N] [--aborts N] [--seconds S] [--seed N]

Five parts, each on fresh processes: single large things and many small ones (bounds), clients that hang up (aborts),
all of these at random beside a steady probe (chaos), kills, locks, a full disk and reloads at random (mix), and long
mixed traffic (soak, which gets the time that is left). Prints one table; exit code 1 when a bound is broken. Run it
alone: on a busy machine the clock tells of the machine. All load goes to 127.0.0.1 and ends by itself.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.live import raise_open_files_limit
from tests.support import bounds
from tests.support.bounds import Figure, Rig
from tests.support.chaos import run_mix
from tests.support.heavy import Heavy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTS = ("bounds", "aborts", "chaos", "mix", "soak")
TOTAL_S = 600
DRIP_TEE_MB = 8


class Run:
    """One run: its options, its folder, its upstream, and the figures so far."""

    def __init__(self, options: argparse.Namespace, folder: Path, heavy: Heavy) -> None:
        self.options = options
        self.figures: list[Figure] = []
        self._folder = folder
        self._heavy = heavy
        self._rigs = 0
        self._began = time.monotonic()

    def rig(self, **config: object) -> Rig:
        """Fresh processes."""
        self._rigs += 1
        return Rig(self._folder / f"rig-{self._rigs}", self._heavy, **config)  # type: ignore[arg-type]  # JSON values

    def tell(self, line: str) -> None:
        """Say where we are."""
        print(f"  {time.monotonic() - self._began:5.0f} s  {line}", flush=True)

    def take(self, figures: list[Figure]) -> None:
        """Keep figures for the table, and tell them at once."""
        self.figures += figures
        for figure in figures:
            self.tell(f"{figure}{'' if figure.ok else '   BROKEN'}")

    def bounds(self) -> None:
        """Run what is large and what is many."""
        with self.rig() as rig:
            self.take(bounds.upload(rig))
            self.take(bounds.upload(rig, chunked=True))
            self.take(bounds.giant_event(rig))
            self.take(bounds.bomb(rig))
            self.take(bounds.slow_giant(rig))
        with self.rig() as rig:
            self.take(bounds.slow_readers(rig))
        with self.rig(upstream={"max_connections": 5000}) as rig:
            self.take(bounds.idle_clients(rig))
        with self.rig(shadow={"tee_memory_mb": DRIP_TEE_MB}) as rig:
            self.take(bounds.drip(rig, tee_mb=DRIP_TEE_MB))
        with self.rig() as rig:
            self.take(bounds.ceiling(rig))
        with self.rig(shadow={"sample_rate": 0.1}) as rig:
            self.take(bounds.many_streams(rig))

    def aborts(self) -> None:
        """Hang up in every way."""
        with self.rig() as rig:
            self.take(bounds.aborts(rig, count=self.options.aborts, seed=self.options.seed))
            self.take(bounds.idle_again(rig))

    def soak(self) -> None:
        """Carry on for long."""
        options = self.options
        with self.rig(shadow={"sample_rate": 0.02}) as rig:
            left_s = max(30.0, TOTAL_S - 25 - (time.monotonic() - self._began))
            soaked = bounds.soak(rig, requests=options.requests, seed=options.seed, within_s=left_s, tell=self.tell)
            self.take(soaked)

    def mix(self) -> None:
        """Kill, lock, fill and reload at random, then look at what was promised."""
        report = run_mix(self.options.seconds, self.options.seed)
        for line in report.lines():
            self.tell(line)
        for line in report.violations:
            self.tell(f"BROKEN: {line}")
        self.take(
            [Figure(what="promises broken in the mix of faults", measured=len(report.violations), bound=0, unit="")]
        )

    def chaos(self) -> None:
        """Break things at random beside a steady probe."""
        with self.rig() as rig:
            self.take(bounds.chaos(rig, seconds=self.options.seconds, seed=self.options.seed))


def table(figures: list[Figure]) -> Iterator[str]:
    """The figures as people read them."""
    width = max(len(figure.what) for figure in figures)
    yield f"{'what':{width}}  {'bound':>10}  {'measured':>10}  {'':4}  ok"
    for figure in figures:
        bound, measured = f"{figure.bound:.4g}", f"{figure.measured:.4g}"
        yield f"{figure.what:{width}}  {bound:>10}  {measured:>10}  {figure.unit:4}  {'yes' if figure.ok else 'NO'}"


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), help="some parts only")
    parser.add_argument("--requests", type=int, default=200_000, help="of the soak (200000)")
    parser.add_argument("--aborts", type=int, default=10_000, help="hang-ups (10000)")
    parser.add_argument("--seconds", type=float, default=30, help="of chaos, and of mix (30)")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="told at the start"
    )
    options = parser.parse_args()
    unknown = [name for name in options.only if name not in PARTS]
    if unknown:
        parser.error(f"no part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    return options


def main() -> int:
    """Run the parts asked for; 1 when a bound is broken."""
    options = parsed()
    raise_open_files_limit()
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"seed {options.seed}, {os.cpu_count()} cores, load before {load}, {files} open files", flush=True)
    with tempfile.TemporaryDirectory(prefix="shadow-soak-") as folder, Heavy() as heavy:
        run = Run(options, Path(folder), heavy)
        for name in options.only:
            part: Callable[[], None] = getattr(run, name)
            run.tell(f"part {name}")
            try:
                part()
            except Exception as error:  # noqa: BLE001  (the other parts can still tell something; the exit code is 1)
                run.tell("".join(traceback.format_exception(error)))
                run.take([Figure(what=f"parts that ended early: {name}", measured=1, bound=0, unit="")])
    print()
    for line in table(run.figures):
        print(line)
    broken = [figure for figure in run.figures if not figure.ok]
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"\n{len(run.figures)} figures, {len(broken)} broken; seed {options.seed}; load after {load}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
