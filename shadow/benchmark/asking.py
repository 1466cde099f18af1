"""One question to one model, asked until it is answered or given up: what every attempt cost is counted."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shadow.candidates import Asked, CandidateClient, ShadowCopy, UnsendableError, bounded, copy_for
from shadow.records import Cost, Dialect, JobBody, Outcome
from shadow.runs import DEFAULT_PATHS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from shadow.pricing import PriceBook
    from shadow.records import Candidate
    from shadow.redaction import Redactor
    from shadow.runs import Case

RETRIES = 2
"""A question is asked again at most so often."""

BACKOFF_S = (0.5, 2.0, 8.0)
MAX_REST_S = 60.0
"""A 429 that asks for a longer rest is waited for no longer than this; the attempt after it decides."""

_REPEATED_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_BROKEN = frozenset({Outcome.ERROR_CONNECT, Outcome.ERROR_STREAM, Outcome.TIMEOUT})
_WITHOUT_PRICE = frozenset({"price_unknown", "price_varies", "no_output_limit"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One case as it leaves for one model. `worst_case_usd` None: what it may cost cannot be known, see `unpriced`."""

    copy: ShadowCopy
    dialect: Dialect
    worst_case_usd: float | None
    unpriced: str | None = None
    """`price_unknown`, `price_varies` or `no_output_limit`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """What came of one question: the last attempt, how many there were, and what all of them cost."""

    asked: Asked
    count: int
    cost: Cost


class Asker:
    """Puts cases to models. Makes no decision about money but one: a retry that may cost anew is asked for first."""

    def __init__(
        self,
        *,
        client: CandidateClient,
        prices: PriceBook,
        redactor: Redactor,
        deployment_id: str,
        retries: int = RETRIES,
    ) -> None:
        self._client = client
        self._prices = prices
        self._redactor = redactor
        self._deployment_id = deployment_id
        self._retries = retries

    def question(self, candidate: Candidate, case: Case) -> Question:
        """Make the copy that leaves, and say what it may cost at most. Raises UnsendableError."""
        copy = copy_for(candidate, _body(case), redactor=self._redactor, deployment_id=self._deployment_id)
        try:
            copy, worst = bounded(candidate, copy, case.dialect, prices=self._prices)
        except UnsendableError as error:
            if error.reason not in _WITHOUT_PRICE:
                raise
            return Question(copy=copy, dialect=case.dialect, worst_case_usd=None, unpriced=error.reason)
        return Question(copy=copy, dialect=case.dialect, worst_case_usd=worst)

    async def ask(
        self,
        candidate: Candidate,
        case: Case,
        question: Question,
        *,
        may_pay_again: Callable[[], Awaitable[bool]],
        pause: Callable[[float], Awaitable[bool]],
        rested: Callable[[float], None] = lambda _: None,
    ) -> Attempts:
        """Ask, and ask again after a failure that may pass. Never raises: what went wrong is the last answer's outcome.

        An attempt that was not billed (429, 5xx, no connection) leaves its reserve to the next one; after one that may
        have been (a stream that broke, a timeout), `may_pay_again` has to agree. `pause` waits
        between attempts and tells whether to go on; `rested` is told the seconds a 429 asks for.
        """
        costs: list[Cost] = []
        for attempt in itertools.count(1):
            asked = await self._client.ask(candidate, question.copy, exchange_id=case.id, dialect=question.dialect)
            costs.append(asked.answer.cost)
            if asked.rest_s is not None:
                rested(min(asked.rest_s, MAX_REST_S))
            if attempt > self._retries or not _may_pass(asked):
                break
            if asked.answer.cost.billed_usd != 0 and not await may_pay_again():
                break
            backoff_s = BACKOFF_S[min(attempt, len(BACKOFF_S)) - 1]
            if not await pause(backoff_s if asked.rest_s is None else min(asked.rest_s, MAX_REST_S)):
                break
        return Attempts(asked=asked, count=len(costs), cost=total_cost(costs))


def total_cost(costs: Sequence[Cost]) -> Cost:
    """Add attempts up; unknown when one of them is, and then the first such reason stands."""
    unknown = next((cost for cost in costs if cost.billed_usd is None or cost.uncached_usd is None), None)
    if unknown is not None:
        return Cost(billed_usd=None, uncached_usd=None, source=unknown.source)
    return Cost(
        billed_usd=sum(cost.billed_usd or 0.0 for cost in costs),
        uncached_usd=sum(cost.uncached_usd or 0.0 for cost in costs),
        source=costs[-1].source,
    )


def _may_pass(asked: Asked) -> bool:
    answer = asked.answer
    if answer.outcome is Outcome.ERROR_HTTP:
        return answer.status in _REPEATED_STATUSES
    # Nobody knows what became of a call on a kept connection that was being closed; it says nothing about the model.
    closed = answer.outcome is Outcome.ABORTED and answer.status is None
    return answer.outcome in _BROKEN or closed


def _body(case: Case) -> JobBody:
    return JobBody(
        exchange_id=case.id,
        dialect=case.dialect,
        path=case.path or DEFAULT_PATHS[case.dialect],
        query="",
        request_headers=case.headers,
        request=case.request,
        response=b"",
        response_status=0,
        response_streamed=False,
    )
