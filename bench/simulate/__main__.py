"""Does the verdict keep its word? `make simulate`: every demand beside what was measured, and what other rules do.

    python -m bench.simulate [--short] [--seed N] [--only WORD] [--markdown FILE] [--data DIR]

Seeded, on one core, some minutes. Exit code 1 when a demand is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from bench.simulate import money, quality, weekly
from bench.simulate.recorded import recorded
from bench.simulate.streams import Row, Size

Simulation = Callable[[np.random.Generator, Size], Iterator[Row]]
SIMULATIONS: Sequence[Simulation] = (*quality.SIMULATIONS, *money.SIMULATIONS, *weekly.SIMULATIONS)
SEED = 20261127


def run(*, seed: int = SEED, size: Size, only: str = "", tell: Callable[[str], None] = lambda _: None) -> list[Row]:
    """Run the simulations whose name holds `only`, each with a stream of chance of its own."""
    rows: list[Row] = []
    for number, simulation in enumerate(SIMULATIONS):
        if only not in simulation.__name__:
            continue
        began = time.monotonic()
        found = list(simulation(np.random.default_rng([seed, number]), size))
        rows += found
        tell(f"{simulation.__name__}: {(simulation.__doc__ or '').strip()} ({time.monotonic() - began:.1f} s)")
        for row in found:
            tell("\n".join(f"    {line}" for line in lines(row)))
    return rows


def _show(rows: Iterator[Row]) -> list[Row]:
    found = list(rows)
    print("\n".join(f"    {line}" for row in found for line in lines(row)))
    return found


def lines(row: Row) -> list[str]:
    """One row for a terminal."""
    told = [f"{'ok  ' if row.holds else 'MISS'} {row.name}: {row.counted}: {value(row)} (required {demand(row)})"]
    told += [f"       {rule}: {number(measured, row.unit)}" for rule, measured in row.others.items()]
    return [*told, f"       {row.note}"] if row.note else told


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table for the documentation."""
    head = (
        "| simulated | counted | required | ours | other rules on the same streams |\n| --- | --- | --- | --- | --- |\n"
    )
    body = []
    for row in rows:
        others = "; ".join(f"{rule} {number(measured, row.unit)}" for rule, measured in row.others.items())
        note = f" ({row.note})" if row.note else ""
        bold = f"**{value(row)}**" + ("" if row.holds else " MISSED")
        body.append(f"| {row.name} | {row.counted} | {demand(row)} | {bold}{note} | {others} |\n")
    return head + "".join(body)


def value(row: Row) -> str:
    """What was measured, with its Monte Carlo error."""
    if row.error is None:
        return number(row.measured, row.unit)
    if row.unit == "%" and row.measured in {0.0, 1.0}:
        return f"{number(row.measured, row.unit)} (error below {number(row.error, row.unit)})"
    return f"{number(row.measured, row.unit)} ± {number(row.error, row.unit)}"


def demand(row: Row) -> str:
    """What is required."""
    sign, limit = ("≥", row.at_least) if row.at_least is not None else ("≤", row.at_most)
    if not limit:
        return "0"
    return f"{sign} {limit * 100:g} %" if row.unit == "%" else f"{sign} {number(limit, row.unit)}"


def number(measured: float, unit: str) -> str:
    """A rate in percent, dollars, or a count."""
    if unit == "%":
        return f"{measured * 100:.1f} %"
    if unit == "$":
        return f"${measured:.2f}"
    return f"{measured:,.0f}" if measured < 10**9 else "never"


def main() -> int:
    """Run, print, and say by the exit code whether every demand is met."""
    parser = argparse.ArgumentParser(prog="python -m bench.simulate", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the form of `make test`: fewer and shorter streams")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", default="", help="only simulations whose name holds this")
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    parser.add_argument("--data", type=Path, help="also judge recorded answers of real models, from this folder")
    options = parser.parse_args()
    size = Size.short() if options.short else Size()
    print(
        f"seed {options.seed}, {size.streams} streams of up to {size.length} conversations, looked at after every one"
    )
    began = time.monotonic()
    rows = run(seed=options.seed, size=size, only=options.only, tell=lambda line: print(line, flush=True))
    if options.data:
        rows += _show(recorded(options.data, np.random.default_rng(options.seed), size))
    missed = [row for row in rows if not row.holds]
    if options.markdown:
        options.markdown.write_text(markdown(rows))
    print(f"{len(rows) - len(missed)} of {len(rows)} demands met in {time.monotonic() - began:.0f} s")
    for row in missed:
        print(f"MISSED: {row.name}: {value(row)}, required {demand(row)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
