"""The admin port as a Starlette app: stats, pairs and exchanges as JSON, health checks, reload."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from shadow.judge.blind import DEFAULT_SEED
from shadow.pricing import price_exchange
from shadow.stats import RolledRows, StatsRows, build_stats, latency_curves
from shadow.stats.rolled_besides import several_judges
from shadow.store.base import ROW_BY_ROW, StoreError
from shadow.web import labels, parameters
from shadow.web.answers import ErrorAnswer, JsonAnswer, PageAnswer
from shadow.web.bodies import is_json, json_body, no_json_type
from shadow.web.dashboard import Dashboard
from shadow.web.feedback import take_feedback
from shadow.web.guard import Guard, holds_token
from shadow.web.home import STYLE_HASH, home_page
from shadow.web.metrics import MetricsApi
from shadow.web.moment import Moment, moment_of
from shadow.web.openapi import openapi
from shadow.web.parameters import ParameterError, Window
from shadow.web.runs import RunsApi
from shadow.web.verdicts import VerdictApi

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from shadow.records import Cost, ExchangeRecord
    from shadow.store.base import FeedbackDoor, Reader, Runs
    from shadow.web.admin import AdminSettings, Prices
    from shadow.web.weekly import WeeklyApi

"""An expected text may be as long as a long answer."""
MAX_PAIRS_TO_LABEL = 20
"""Pairs with their content in one answer: prompts may be long."""

_PRICING_CHUNK = 5000

NEWEST_CONVERSATIONS = 1000
"""So many of the window's newest exchanges tell whether one conversation key holds much of the traffic."""


def build_app(
    *,
    reader: Reader,
    settings: Callable[[], AdminSettings],
    verdicts: VerdictApi | None = None,
    reload: Callable[[], None] | None = None,
    weekly: WeeklyApi | None = None,
    feedback: FeedbackDoor | None = None,
    runs: Runs | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Starlette:
    """Build the admin app.

    `settings` is asked once per request, so that a reload needs no new app. `verdicts` shows the ledger; None where
    there is none. `reload` tells the supervisor to read its configuration again and returns at once; None when nobody
    supervises this process. `feedback` None: none is taken here; `runs` None: there is no `/runs`; `weekly` None: no
    trends and no alerts. `now` gives aware UTC.
    """
    verdicts = verdicts or VerdictApi()
    api = AdminApi(reader=reader, settings=settings, verdicts=verdicts, reload=reload, feedback=feedback, now=now)
    metrics = MetricsApi(reader=reader, settings=settings, now=now)
    app = Starlette(
        routes=[
            Route("/", api.home, methods=["GET"]),
            Route("/healthz", api.healthz, methods=["GET"]),
            Route("/readyz", api.readyz, methods=["GET"]),
            Route("/metrics", metrics.metrics, methods=["GET"]),
            Route("/stats", api.stats, methods=["GET"]),
            Route("/latency", api.latency, methods=["GET"]),
            Route("/verdicts", verdicts.verdicts, methods=["GET"]),
            Route("/epochs", verdicts.epochs, methods=["POST"]),
            Route("/pairs", api.pairs, methods=["GET"]),
            # a path, because a candidate's name may hold slashes
            Route("/pairs/{pair_id:path}", api.pair, methods=["GET"]),
            Route("/exchanges/{exchange_id}", api.exchange, methods=["GET"]),
            Route("/openapi.json", api.openapi, methods=["GET"]),
            Route("/labels", api.labels, methods=["GET"]),
            Route("/labels/next", api.pairs_to_label, methods=["GET"]),
            Route("/feedback", api.feedback, methods=["POST"]),
            Route("/reload", api.reload, methods=["POST"]),
            *(weekly.routes() if weekly is not None else ()),
            *Dashboard(settings=settings).routes(),
            *(() if runs is None else RunsApi(runs=runs, settings=settings).routes()),
        ],
        middleware=[Middleware(Guard, settings=settings)],
        exception_handlers={
            HTTPException: _refused_by_router,
            ParameterError: _bad_parameter,
            StoreError: _store_unusable,
            Exception: _unexpected,
        },
    )
    # A redirect would repeat the Host of the request in its Location, and no path here ends with a slash.
    app.router.redirect_slashes = False
    return app


class AdminApi:
    """The routes. Nothing is kept between requests but the lock that lets one aggregation run at a time."""

    def __init__(
        self,
        *,
        reader: Reader,
        settings: Callable[[], AdminSettings],
        verdicts: VerdictApi,
        reload: Callable[[], None] | None,
        feedback: FeedbackDoor | None,
        now: Callable[[], datetime],
    ) -> None:
        self._reader = reader
        self._settings = settings
        self._verdicts = verdicts
        self._reload = reload
        self._feedback = feedback
        self._now = now
        # All rows of a window are in memory while they are added up; two impatient readers must not double that.
        self._aggregating = asyncio.Lock()

    async def home(self, _request: Request) -> Response:
        """Show the page for people who open the port in a browser."""
        settings = self._settings()
        page = home_page(version=settings.version, shadow_off_reason=settings.shadow_off_reason)
        return PageAnswer(page, style_hash=STYLE_HASH)

    async def healthz(self, _request: Request) -> Response:
        """Answer 200 as long as this process answers; the store is not asked."""
        return JsonAnswer({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Answer 200 when the store can be read, else 503; the reason is told to those who may read the rest, too."""
        health = await self._reader.health()
        if health["ok"]:
            return JsonAnswer({"ready": True})
        told = holds_token(request.scope["headers"], self._settings().token)
        reason = health["reason"] if told else "the store is not usable"
        return JsonAnswer({"ready": False, "reason": reason}, status=HTTPStatus.SERVICE_UNAVAILABLE)

    async def stats(self, request: Request) -> Response:
        """Tell every model's latency, cost and quality, and the comparisons, over one window."""
        values = _values(request, "since", "until", "task", "model", "room")
        window = parameters.window(values, now=self._now())
        task, model = parameters.text(values, "task"), parameters.text(values, "model")
        room, moment = parameters.room(values), moment_of(request.scope)
        return JsonAnswer(await self._stats(window, task=task, model=model, room=room, moment=moment))

    async def latency(self, request: Request) -> Response:
        """Tell how each model's durations are spread over one window."""
        names, rest = parameters.several(request.query_params.multi_items(), "task")
        values = parameters.single_values(rest, known=("since", "until", "task"))
        now = self._now()
        window = parameters.window(values, now=now)
        async with self._aggregating:
            day = now.astimezone(UTC).date().isoformat()
            only = names[0] if len(names) == 1 else None
            rows = await self._rows(window, task=only, day=day, moment=moment_of(request.scope))
            tasks = await asyncio.to_thread(latency_curves, rows, tasks=names)
        return JsonAnswer({"since": window.since, "until": window.until, "tasks": tasks})

    async def pairs(self, request: Request) -> Response:
        """Give one page of pairs, without their content."""
        values = _values(request, "task", "candidate", "show", "since", "until", "sort", "limit", "cursor")
        bounds = parameters.bounds(values, now=self._now())
        try:
            rows, cursor = await self._reader.pairs(
                task=parameters.text(values, "task"),
                candidate=parameters.text(values, "candidate"),
                show=parameters.show(values),
                since=bounds.since,
                until=bounds.until,
                sort=parameters.sort(values),
                limit=parameters.limit(values),
                cursor=parameters.text(values, "cursor"),
            )
        except ValueError:
            raise ParameterError("cursor must be the next_cursor of an earlier page, with the same filters") from None
        return JsonAnswer({"pairs": rows, "next_cursor": cursor})

    async def pair(self, request: Request) -> Response:
        """Give one pair with what is kept of prompt and answers, and its scores."""
        _values(request)
        pair = await self._reader.pair(request.path_params["pair_id"])
        return JsonAnswer(pair) if pair is not None else _unknown("pair", "its exchange")

    async def exchange(self, request: Request) -> Response:
        """Give one exchange with its shadow jobs, answers and scores."""
        _values(request)
        exchange = await self._reader.exchange(request.path_params["exchange_id"])
        return JsonAnswer(exchange) if exchange is not None else _unknown("exchange", "it")

    async def labels(self, request: Request) -> Response:
        """Give what people said about pairs, oldest first."""
        values = _values(request, "task", "candidate", "limit")
        rows = await self._reader.labels(
            task=parameters.text(values, "task"),
            candidate=parameters.text(values, "candidate"),
            limit=parameters.limit(values),
        )
        return JsonAnswer({"labels": rows})

    async def pairs_to_label(self, request: Request) -> Response:
        """Draw pairs that a person has not labelled, with their content; which side is A is the reader's to shuffle."""
        values = _values(request, "task", "candidate", "limit", "labeller")
        rows = await self._reader.pairs_to_label(
            labeller=parameters.text(values, "labeller") or labels.DEFAULT_LABELLER,
            task=parameters.text(values, "task"),
            candidate=parameters.text(values, "candidate"),
            limit=min(parameters.limit(values), MAX_PAIRS_TO_LABEL),
        )
        return JsonAnswer({"pairs": rows, "seed": DEFAULT_SEED})

    async def openapi(self, _request: Request) -> Response:
        """Describe this port as OpenAPI 3.1."""
        return JsonAnswer(openapi(version=self._settings().version))

    async def feedback(self, request: Request) -> Response:
        """Keep what users of the app say about one exchange, or a person's label of a pair."""
        body = await json_body(request)
        if isinstance(body, ErrorAnswer):
            return body
        if "pair" in body:
            return await labels.take_label(body, store=self._reader, now=self._now())
        if self._feedback is None:
            message = "this process keeps no feedback"
            return ErrorAnswer(status=HTTPStatus.SERVICE_UNAVAILABLE, kind="no_feedback", message=message)
        return await take_feedback(body, door=self._feedback, settings=self._settings(), now=self._now())

    async def reload(self, request: Request) -> Response:
        """Ask the supervisor to read its configuration again; it decides and logs, this answer does not wait."""
        if not is_json(request):
            return no_json_type()
        if self._reload is None:
            message = "this process has no supervisor to signal; restart it to read the configuration again"
            return ErrorAnswer(status=HTTPStatus.SERVICE_UNAVAILABLE, kind="no_supervisor", message=message)
        self._reload()
        note = "the configuration is being read again; if it is invalid nothing changes and the log says why"
        return JsonAnswer({"reload": "asked", "note": note}, status=HTTPStatus.ACCEPTED)

    async def _stats(
        self, window: Window, *, task: str | None, model: str | None, room: int | None, moment: Moment
    ) -> dict[str, Any]:
        settings = self._settings()
        now = self._now()
        async with self._aggregating:
            await self._price_pending(settings.prices)
            rows = await self._rows(window, task=task, day=now.astimezone(UTC).date().isoformat(), moment=moment)
            return await asyncio.to_thread(
                build_stats,
                rows,
                since=window.since,
                until=window.until,
                now=now,
                rules=settings.conversations,
                task=task,
                model=model,
                tasks=settings.tasks,
                candidates=settings.candidates,
                budget_usd_per_day=settings.budget_usd_per_day,
                shadow_off_reason=settings.shadow_off_reason,
                judges_unusable=settings.judges_unusable,
                max_missing=settings.max_missing,
                missing_line=_missing_line(settings.prices),
                verdicts=await self._verdicts.current(task=task),
                noise_floor_off_reason=settings.noise_floor_off_reason,
                room=room,
            )

    async def _price_pending(self, prices: Prices) -> None:
        def price(exchange: ExchangeRecord) -> Cost:
            return price_exchange(exchange, prices=prices)

        while await self._reader.price_pending(price, limit=_PRICING_CHUNK) >= _PRICING_CHUNK:
            pass

    async def _rows(self, window: Window, *, task: str | None, day: str, moment: Moment) -> StatsRows | RolledRows:
        """Read what a window holds, once for one moment."""
        rows = moment.find(window, task)
        if rows is None:
            rows = await self._read(window, task=task, day=day)
            moment.keep(window, task, rows)
        return rows

    async def _read(self, window: Window, *, task: str | None, day: str) -> StatsRows | RolledRows:
        """Read it row by row where that is quick, for then all is exact; else the sums."""
        since, until = window.since, window.until
        if await self._reader.holds_more_than(ROW_BY_ROW, since=since, until=until):
            return await self._rolled_rows(window, task=task, day=day)
        return StatsRows(
            exchanges=await self._reader.exchanges(since=since, until=until, task=task),
            answers=await self._reader.answers(since=since, until=until, task=task),
            scores=await self._reader.scores(since=since, until=until, task=task),
            feedback=await self._reader.feedback(since=since, until=until, task=task),
            noise_floor=await self._reader.noise_floor(since=since, until=until, task=task),
            coverage=await self._reader.coverage(since=since, until=until, task=task),
            dropped=await self._reader.dropped(),
            budget=await self._reader.budget(day=day),
            budget_day=day,
            judge_spent_usd=await self._reader.judge_spent_usd(day=day),
            judging=await self._reader.judge_tallies(since=since, until=until, task=task),
            labels=await self._reader.label_tallies(since=since, until=until, task=task),
        )

    async def _rolled_rows(self, window: Window, *, task: str | None, day: str) -> RolledRows:
        since, until, rollups = window.since, window.until, self._reader.rollups
        read = await rollups.window(since=since, until=until, task=task)
        due = await rollups.due()
        rows = RolledRows(
            window=read,
            began=await rollups.began(read),
            conversations=await rollups.newest_conversations(read, task=task, limit=NEWEST_CONVERSATIONS),
            due_before=None if due is None else datetime.fromtimestamp(due, UTC),
            dropped=await self._reader.dropped(),
            budget=await self._reader.budget(day=day),
            budget_day=day,
            judge_spent_usd=await self._reader.judge_spent_usd(day=day),
        )
        if await asyncio.to_thread(lambda: several_judges(rows.totals)):
            rows = replace(rows, newest_judges=await rollups.newest_judges(read))
        return rows


def _missing_line(prices: Prices) -> Callable[[str], str | None]:
    return lambda model: None if prices.price_of(model) is not None else prices.missing_line(model)


def _values(request: Request, *known: str) -> dict[str, str]:
    return parameters.single_values(request.query_params.multi_items(), known=known)


def _unknown(noun: str, whose: str) -> ErrorAnswer:
    message = f"no {noun} has this id; {whose} may be older than retention_days, or not written yet (up to a second)"
    return ErrorAnswer(status=HTTPStatus.NOT_FOUND, kind="not_found", message=message)


async def _refused_by_router(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (Starlette's handler signature is wider than what it passes)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allow = (error.headers or {})["Allow"]
        message = f"this path answers {allow} only"
        return ErrorAnswer(
            status=error.status_code, kind="method_not_allowed", message=message, headers={"allow": allow}
        )
    message = "there is no such path here; /openapi.json lists them"
    return ErrorAnswer(status=HTTPStatus.NOT_FOUND, kind="not_found", message=message)


async def _bad_parameter(_request: Request, error: Exception) -> Response:
    return ErrorAnswer(status=HTTPStatus.BAD_REQUEST, kind="bad_parameter", message=str(error))


async def _store_unusable(_request: Request, error: Exception) -> Response:
    return ErrorAnswer(status=HTTPStatus.SERVICE_UNAVAILABLE, kind="store", message=str(error))


async def _unexpected(_request: Request, _error: Exception) -> Response:
    # Starlette raises the error again after this answer, so the server logs it, once.
    message = "this answer could not be made; the log of the measuring process says why"
    return ErrorAnswer(status=HTTPStatus.INTERNAL_SERVER_ERROR, kind="internal", message=message)
