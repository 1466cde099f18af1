"""`/runs`: benchmark runs, newest first, and one of them in figures; prompts and answers are not among them."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from shadow.benchmark.summary import run_header, summarize
from shadow.web import parameters
from shadow.web.answers import ErrorAnswer, JsonAnswer
from shadow.web.parameters import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from shadow.runs import RunKind
    from shadow.store.base import Runs
    from shadow.web.admin import AdminSettings

_KINDS: tuple[RunKind, ...] = ("bench", "replay", "weekly")


class RunsApi:
    """The two routes over one store."""

    def __init__(self, *, runs: Runs, settings: Callable[[], AdminSettings]) -> None:
        self._runs = runs
        self._settings = settings
        # A whole run is in memory while it is added up.
        self._aggregating = asyncio.Lock()

    def routes(self) -> Sequence[Route]:
        """Give them to the app."""
        return (
            Route("/runs", self.page, methods=["GET"]),
            Route("/runs/{run_id}", self.run, methods=["GET"]),
        )

    async def page(self, request: Request) -> Response:
        """Give one page of runs, with progress and money, without figures."""
        values = parameters.single_values(request.query_params.multi_items(), known=("kind", "limit", "cursor"))
        try:
            runs, cursor = await self._runs.page(
                limit=parameters.limit(values), kind=_kind(values.get("kind")), cursor=parameters.text(values, "cursor")
            )
        except ValueError:
            raise ParameterError("cursor must be the next_cursor of an earlier page") from None
        return JsonAnswer({"runs": [run_header(run) for run in runs], "next_cursor": cursor})

    async def run(self, request: Request) -> Response:
        """Give one run in figures: per task the models, how they compare, and readings."""
        parameters.single_values(request.query_params.multi_items(), known=())
        async with self._aggregating:
            result = await self._runs.result(request.path_params["run_id"])
            if result is None:
                message = "no run has this id; GET /runs lists them"
                return ErrorAnswer(status=HTTPStatus.NOT_FOUND, kind="not_found", message=message)
            prices = self._settings().prices
            told: dict[str, Any] = await asyncio.to_thread(
                summarize,
                result,
                missing_line=lambda model: None if prices.price_of(model) is not None else prices.missing_line(model),
            )
        return JsonAnswer(told)


def _kind(value: str | None) -> RunKind | None:
    if value is None:
        return None
    found = next((kind for kind in _KINDS if kind == value), None)
    if found is None:
        raise ParameterError(f"kind must be one of {', '.join(_KINDS)}, not {value[:80]!r}")
    return found
