"""Judges of the simulator, and cases to put before them without a store."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from shadow.candidates import CallLimits
from shadow.judge.bench import Bench, Terms
from shadow.judge.client import Network
from shadow.judge.hire import Agency, Home, Place
from shadow.judge.prompt import PAIRWISE_SYSTEM
from shadow.pricing import PriceBook
from shadow.records import EvalCase, Price, ToolCall
from shadow.redaction import Redactor
from shadow.simulator import FaultRate, Script, SimModel, Timing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from shadow.judge.client import Api, KeyForm

KEY = "sk-of-the-upstream-0123456789"
PRICE = Price(input=1.0, output=5.0)
JUDGES = (
    SimModel(name="truthful", judge="truthful"),
    SimModel(name="always-a", judge="always_a"),
    SimModel(name="always-tie", judge="always_tie"),
    SimModel(name="random", judge="random"),
    SimModel(name="prose", judge="prose"),
    SimModel(name="ten", judge="ten"),
    SimModel(name="empty", judge="empty"),
    SimModel(name="injected", judge="injected"),
    SimModel(name="refusing", judge="refusal"),
    SimModel(name="broken", judge="truthful", faults=(FaultRate(fault="500", rate=1.0),)),
    SimModel(name="slow", judge="truthful", timing=Timing(header_delay_ms=60_000)),
)
SCRIPT = Script(models=JUDGES)
PLAYED_ALONE = ("any-name", "judge-always-a", "judge-ten", "judge-injected")
"""Judges that a simulator without a script plays."""


@contextlib.asynccontextmanager
async def judge(
    base_url: str,
    model: str = "truthful",
    *,
    system: str = PAIRWISE_SYSTEM,
    home: Home | None = None,
    redact: Sequence[Any] = (),
    limits: CallLimits | None = None,
    api: Api = "anthropic",
    api_key: str | None = None,
    api_key_header: KeyForm | None = None,
    elsewhere: bool = False,
    **terms: Any,
) -> AsyncIterator[Bench]:
    """Hire a judge at `base_url`, the upstream unless it is `elsewhere`."""
    agency = Agency(
        home=home or Home(base_url="http://127.0.0.1:9" if elsewhere else base_url, api_key=KEY),
        prices=PriceBook(dict.fromkeys((*PLAYED_ALONE, *(each.name for each in JUDGES)), PRICE)),
        redactor=Redactor(redact),
        network=Network(limits=limits or CallLimits(), deployment_id="deployment-1"),
    )
    place = Place(base_url=base_url if elsewhere else None, api_key=api_key, api_key_header=api_key_header, api=api)
    try:
        yield agency.hire(Terms(model=model, **terms), place, system=system)
    finally:
        await agency.aclose()


def case(
    output: str = "The answer is 42.",
    *,
    prompt: str = "What is 17 + 25?",
    exchange_id: str = "exchange-1",
    tool_calls: tuple[ToolCall, ...] = (),
    model: str = "primary",
    task: str = "default",
    **request: Any,
) -> EvalCase:
    """One answer to a Messages request."""
    asked = {"model": "primary", "max_tokens": 300, "messages": [{"role": "user", "content": prompt}], **request}
    return EvalCase(
        request=json.loads(json.dumps(asked)),
        output=output,
        tool_calls=tool_calls,
        exchange_id=exchange_id,
        model=model,
        task=task,
        role="primary" if model == "primary" else "candidate",
    )


def rival(output: str, **given: Any) -> EvalCase:
    """The candidate's answer to the same."""
    return case(output, **{"model": "rival", **given})
