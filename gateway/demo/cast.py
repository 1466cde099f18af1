"""The cast of the demo: one primary, three candidates, and the configuration they run under. All of it is made up."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import msgspec

from shadow.records import Price
from shadow.simulator import FaultRate, Quality, Script, SimModel, Timing

if TYPE_CHECKING:
    from collections.abc import Mapping

PRIMARY = SimModel(
    name="demo-atlas",
    quality=Quality(wrong=0.03, off_schema=0.02, fenced=0.01),
    timing=Timing(ttft_ms=140, gap_ms=7, jitter=0.3),
    phrase="That makes {number}.",
    price=Price(input=3.0, output=15.0, cache_read=0.3, cache_write=3.75),
    # the SDK repeats it after 20 ms, as it would a real hiccup
    faults=(FaultRate(fault="500; retry-after-ms=20", rate=0.02),),
)
CANDIDATES = (
    # as good as the primary, for a sixth of the price: the find
    SimModel(
        name="demo-oak",
        quality=Quality(wrong=0.03, off_schema=0.01, fenced=0.01),
        timing=Timing(ttft_ms=90, gap_ms=5, jitter=0.3),
        price=Price(input=0.5, output=2.5, cache_read=0.05, cache_write=0.625),
    ),
    # fast and all but free, and wrong more often than right
    SimModel(
        name="demo-swift",
        quality=Quality(wrong=0.6, off_schema=0.06, broken_json=0.05, refusal=0.03),
        timing=Timing(ttft_ms=40, gap_ms=2, jitter=0.3),
        price=Price(input=0.15, output=0.6, cache_read=0.015, cache_write=0.19),
        faults=(FaultRate(fault="500", rate=0.04),),
    ),
    # thinks first: the best answers, slow and dear
    SimModel(
        name="demo-summit",
        quality=Quality(wrong=0.01),
        timing=Timing(ttft_ms=220, gap_ms=10, jitter=0.3),
        price=Price(input=5.0, output=25.0, cache_read=0.5, cache_write=6.25),
        thinks=True,
    ),
)
JUDGE = SimModel(
    name="demo-judge",
    timing=Timing(ttft_ms=60, gap_ms=1),
    price=Price(input=0.1, output=0.5),
    judge="truthful",
)
"""Reads free text for the task `tutor`."""

SCRIPT = Script(models=(PRIMARY, *CANDIDATES, JUDGE), seed="demo")

APP_KEY = "demo-key-of-the-app"
GATEWAY_KEY = "demo-key-of-the-gateway"
"""What candidates are asked with. Both keys open nothing but the simulator."""

IDLE_S = 5.0
"""The pause that closes a conversation here; half an hour is usual, and nobody waits that long for a demo.

A start that is recorded later than that comes too late to count, and a busy machine takes its time.
"""

MARGIN = 0.15
"""How much worse a cheaper model may be here; 0.05 is usual, and needs hundreds of conversations."""

FAILURE_MARGIN = 0.15
MIN_CONVERSATIONS = 20

CALCULATOR = "calculator"
"""The task whose answers have a known truth; everything else is scored by what the request itself asks for."""


TUTOR = "tutor"
"""The task that nothing but a judge can score: free text."""

JUDGED = {"type": "llm-pairwise", "model": JUDGE.name, "quality": True, "control_rate": 1.0}
"""Every judgement comes with a control, so that half a minute shows how far it can be trusted; 0.05 is usual."""


def config_of(*, upstream: str, noise_floor: bool = True) -> Mapping[str, object]:
    """Give the demo's configuration, as `config.yaml` would hold it.

    `noise_floor`: the primary is asked again, which only the dashboard and `/stats` show.
    """
    truth = {"type": "python", "target": "shadow.simulator.truth:RightAnswer", "name": "right-answer", "quality": True}
    prices = {model.name: _without_none(asdict(model.price)) for model in SCRIPT.models}
    return {
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0"},
        "upstream": {"base_url": upstream, "api_key": GATEWAY_KEY},
        "shadow": {
            "sample_rate": 1.0,
            "conversation": {"idle_s": IDLE_S},
            "candidates": [{"model": model.name} for model in CANDIDATES],
            # made-up dollars: a tenth of the cap is there at midnight, and the whole demo reserves less than that
            "budget_usd_per_day": 1000.0,
            "max_concurrency": 48,
            "content": "full",
            **({} if noise_floor else {"noise_floor_rate": 0}),
        },
        "tasks": [
            {"name": CALCULATOR, "match": {"header": {"x-app": CALCULATOR}}, "evaluators": [truth]},
            {"name": TUTOR, "match": {"header": {"x-app": TUTOR}}, "evaluators": [JUDGED]},
        ],
        # what requests ask for: their schema, their tools; here that is all that matters
        "evaluators": [{"type": "request-checks", "quality": True, "decides": True}],
        "verdict": {
            "margin": MARGIN,
            "failure_margin": FAILURE_MARGIN,
            "min_conversations": MIN_CONVERSATIONS,
        },
        # the demo will be gone before any night
        "benchmark": {"schedule": None},
        "prices": prices,
        "store": "sqlite:///shadow.db",
    }


def config_text(*, upstream: str, noise_floor: bool = True) -> str:
    """Write the configuration; JSON is YAML too."""
    config = config_of(upstream=upstream, noise_floor=noise_floor)
    return msgspec.json.format(msgspec.json.encode(config), indent=2).decode()


def _without_none(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
