"""How long the dashboard's three charts take to draw: `.venv/bin/python bench/charts.py`."""

from __future__ import annotations

import statistics
import time

from shadow.web import svg

ROUNDS, MODELS = 200, 5


def main() -> None:
    """Draw a scatter with intervals, a distribution and a trend with bands, and print the median."""
    frame = svg.Frame(name="bench", title="bench", description="bench")
    plain = svg.Axis(title="plain", format=lambda value: f"{value:g}")
    log = svg.Axis(title="log", format=lambda value: f"{value:g}", log=True)
    points = [
        svg.Point(x=0.1 * n + 0.1, y=0.01 * n, label=f"model {n}", series=n, x_ci=(0.05, 1), y_ci=(0, 0.1))
        for n in range(MODELS)
    ]
    curves = [
        svg.Line(
            points=[(10.0 * step + 10 + n, step / 80) for step in range(80)], label=f"m{n}", series=n, stepped=True
        )
        for n in range(MODELS)
    ]
    weeks = [
        svg.Line(
            points=[(week, 0.9 - n / 50) for week in range(12)],
            label=f"model {n}",
            series=n,
            band=[(week, 0.8, 1) for week in range(12)],
            marks=True,
        )
        for n in range(MODELS)
    ]
    took_ms, characters = [], 0
    for _ in range(ROUNDS):
        began = time.thread_time()
        drawn = [
            svg.scatter(frame, points, x=log, y=plain, frontier=[(0.1, 0), (0.5, 0.04)]),
            svg.curves(frame, curves, x=log, y=plain, y_range=(0, 1)),
            svg.curves(frame, weeks, x=plain, y=plain),
        ]
        took_ms.append((time.thread_time() - began) * 1000)
        characters = sum(map(len, drawn))
    median_ms = statistics.median(took_ms)
    print(f"three charts of {MODELS} models: {median_ms:.2f} ms of processor time (median), {characters:,} bytes")


if __name__ == "__main__":
    main()
