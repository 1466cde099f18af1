"""Weekly runs, trends and alerts over HTTP: what changed over weeks, when the next run is, and the word to run now."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from starlette.routing import Route

from shadow.alerts.words import Standing, standing_of_lead
from shadow.ledger.figures import current_views
from shadow.runs import Earlier
from shadow.stats.weeks import week_points, weeks
from shadow.store.base import ROW_BY_ROW
from shadow.trends import in_order, trend_points
from shadow.web import parameters
from shadow.web.answers import ErrorAnswer, JsonAnswer
from shadow.web.runpoints import RunPoints

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from shadow.drift import AnswerOf, Drift
    from shadow.leads import Lead
    from shadow.ledger import Plan
    from shadow.notices import Mute
    from shadow.rollups import Summed
    from shadow.runfacts import RunFacts, ShadowWeek
    from shadow.stats.weeks import WeekPart
    from shadow.store.base import Reader, Trends
    from shadow.trends import ModelDrift

    Key = tuple[str, str, str]
    """Task, primary and candidate."""

MAX_OUTPUT_CHARS = 1000
"""How much of an answer is shown as an example."""

MAX_RUNS = 104
"""Weekly runs that are looked at: two years."""

FROM_SUMS = (
    f"live weeks before the newest {ROW_BY_ROW:,} exchanges, or whose rows are deleted, are read from sums: "
    "a primary's times are those of all its live answers, percentiles are within 1 %, and intervals over conversations "
    "are null"
)


class Timetable(Protocol):
    """The schedule at work."""

    @property
    def next_at(self) -> datetime | None:
        """When the next run is due."""
        ...

    @property
    def is_working(self) -> bool:
        """True while a run is under way here."""
        ...

    def ask(self) -> bool:
        """Have a run begin now; False while one is under way or asked for."""
        ...


class Outbox(Protocol):
    """The part of `shadow.store.base.Watching` that is shown."""

    async def alerts(self, *, limit: int) -> list[dict[str, Any]]:
        """List the newest alerts with how they travelled."""
        ...

    async def mutes(self, *, now: datetime) -> list[Mute]:
        """List the mutes in force."""
        ...


class Verdicts(Protocol):
    """The part of `shadow.store.base.Ledger` that a lead is set beside."""

    async def views(self) -> Sequence[Mapping[str, Any]]:
        """Give every candidate of every epoch."""
        ...


class WeeklyApi:
    """`GET /trends`, `GET /alerts` and `POST /runs`. `timetable` gives None where no runs are made.

    `plan` gives the rules that leads are decided by, `verdicts` what live traffic says.

    Points of live weeks that were made of sums are kept until the sums change, what runs come down to until there are
    others.
    """

    def __init__(
        self,
        *,
        trends: Trends,
        outbox: Outbox,
        reader: Reader,
        plan: Callable[[], Plan],
        verdicts: Verdicts,
        timetable: Callable[[], Timetable | None] = lambda: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._trends = trends
        self._reader = reader
        self._plan = plan
        self._verdicts = verdicts
        self._known: dict[datetime, tuple[Sequence[Summed], list[dict[str, Any]]]] = {}
        self._of_runs = RunPoints()
        self._outbox = outbox
        self._timetable = timetable
        self._now = now

    def routes(self) -> list[Route]:
        """Give the routes, for the app."""
        return [
            Route("/trends", self.trends, methods=["GET"]),
            Route("/alerts", self.alerts, methods=["GET"]),
            Route("/runs", self.ask_run, methods=["POST"]),
        ]

    async def trends(self, request: Request) -> Response:
        """Tell quality, cost per quality point and latency of every model over runs and shadow weeks; leads; drift."""
        tasks, rest = parameters.several(request.query_params.multi_items(), "task")
        given = parameters.single_values(rest, known=("since", "until", "task", "model"))
        window = parameters.window(given, now=self._now(), default=parameters.DEFAULT_TREND)
        model = parameters.text(given, "model")
        runs = await self._trends.weekly_runs(limit=MAX_RUNS)
        inside = [run for run in runs if window.since <= run.started_at < window.until]
        parts = weeks(window.since, window.until)
        by_sums = await self._in_sums(parts, window.until)
        live = await self._rolled_weeks(parts[:by_sums])
        rows: Sequence[ShadowWeek] = ()
        if by_sums < len(parts):
            only = tasks[0] if len(tasks) == 1 else None
            rows = await self._trends.shadow_weeks(since=parts[by_sums][1], until=window.until, task=only)
        told = await asyncio.to_thread(
            _told, self._of_runs, runs, inside, rows, live, plan=self._plan(), tasks=tasks, model=model
        )
        told["leads"] = await self._beside_live(told["leads"])
        await self._show_outputs(told["drift"])
        told_from = "rows" if not by_sums else "sums" if by_sums == len(parts) else "both"
        read = {"from": told_from, "reason": await self._why_sums() if by_sums else None}
        answer = {"since": window.since, "until": window.until, "read": read, **told, "next_run": self._next()}
        return JsonAnswer(answer)

    async def _beside_live(self, leads: Sequence[Lead]) -> list[dict[str, Any]]:
        """Set what live traffic says beside each lead."""
        live = _standings(current_views(await self._verdicts.views())) if leads else {}
        return [_lead(lead, live.get((lead.task, lead.primary, lead.candidate))) for lead in leads]

    async def _in_sums(self, parts: Sequence[WeekPart], until: datetime) -> int:
        """Count the oldest weeks, which are read from sums; the newest are read row by row as far as that is quick."""
        count = len(parts)
        while count and not await self._reader.holds_more_than(ROW_BY_ROW, since=parts[count - 1][1], until=until):
            count -= 1
        return count

    async def _why_sums(self) -> str:
        due = await self._reader.rollups.due()
        if due is None:
            return FROM_SUMS
        before = datetime.fromtimestamp(due, UTC).isoformat()
        return f"{FROM_SUMS}; those of before {before} are still being made, for an older version kept none"

    async def _rolled_weeks(self, parts: Sequence[WeekPart]) -> list[dict[str, Any]]:
        """Make the points of live weeks out of sums, and only those whose sums have changed since the last time."""
        kept: dict[datetime, tuple[Sequence[Summed], list[dict[str, Any]]]] = {}
        for monday, since, until in parts:
            sums = await self._reader.rollups.window(since=since, until=until)
            known = self._known.get(monday)
            if sums.rows or known is None or not _same(known[0], sums.summed):
                known = (() if sums.rows else sums.summed, await asyncio.to_thread(week_points, monday, sums))
            kept[monday] = known
        self._known = kept
        return [point for _, points in kept.values() for point in points]

    async def _show_outputs(self, drifts: Sequence[Mapping[str, Any]]) -> None:
        """Put beside the examples of changes what is kept of both answers; null with `content: none`."""
        for drift in drifts:
            for change in drift["changes"]:
                for example in change["examples"]:
                    for side in (example["before"], example["now"]):
                        output = await self._trends.output(
                            side["run"], case_id=side["case"], model=drift["model"], repeat=side["repeat"]
                        )
                        side["output"] = None if output is None else output[:MAX_OUTPUT_CHARS]
                    example["reason"] = await self._why(drift, example) if drift["compared"] else None

    async def _why(self, drift: Mapping[str, Any], example: Mapping[str, Any]) -> str | None:
        now, before = example["now"], example["before"]
        said = await self._trends.look_reason(
            now["run"],
            case_id=now["case"],
            model=drift["model"],
            repeat=now["repeat"],
            before=Earlier(run_id=before["run"], case_id=before["case"], repeat=before["repeat"]),
            evaluator=drift["evaluator"],
            version=drift["version"],
        )
        return None if said is None else said[:MAX_OUTPUT_CHARS]

    async def alerts(self, request: Request) -> Response:
        """List the newest alerts, how each travelled, and what is muted."""
        given = parameters.single_values(request.query_params.multi_items(), known=("limit",))
        alerts = await self._outbox.alerts(limit=parameters.limit(given))
        mutes = await self._outbox.mutes(now=self._now())
        return JsonAnswer({"alerts": alerts, "mutes": [{"scope": mute.scope, "until": mute.until} for mute in mutes]})

    async def ask_run(self, request: Request) -> Response:
        """Have a weekly run begin now; this answer does not wait for it."""
        content_type = request.headers.get("content-type")
        if content_type is None or content_type.partition(";")[0].strip().lower() != "application/json":
            message = "POST needs the header `content-type: application/json`"
            return ErrorAnswer(status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE, kind="content_type", message=message)
        timetable = self._timetable()
        if timetable is None:
            message = "this process makes no runs: there is no API key for the primary (upstream.api_key)"
            return ErrorAnswer(status=HTTPStatus.SERVICE_UNAVAILABLE, kind="no_runs", message=message)
        if not timetable.ask():
            message = "a run is under way or asked for; GET /runs shows how far it is"
            return ErrorAnswer(status=HTTPStatus.CONFLICT, kind="run_under_way", message=message)
        note = "the run begins within seconds; GET /runs shows how far it is, and the log why there is none"
        return JsonAnswer({"run": "asked", "note": note}, status=HTTPStatus.ACCEPTED)

    def _next(self) -> dict[str, Any]:
        timetable = self._timetable()
        if timetable is None:
            return {"at": None, "under_way": False, "reason": "this process makes no runs: no API key for the primary"}
        at = timetable.next_at
        reason = (
            None if at is not None else "benchmark.schedule is null: runs are made by POST /runs or bench --scheduled"
        )
        return {"at": at, "under_way": timetable.is_working, "reason": reason}


def _same(known: Sequence[Summed], found: Sequence[Summed]) -> bool:
    return len(known) == len(found) > 0 and all(one is other for one, other in zip(known, found, strict=True))


def _told(
    of_runs: RunPoints,
    runs: Sequence[RunFacts],
    inside: Sequence[RunFacts],
    rows: Sequence[ShadowWeek],
    live: Sequence[dict[str, Any]],
    *,
    plan: Plan,
    tasks: Sequence[str],
    model: str | None,
) -> dict[str, Any]:
    """Add it all up. CPU work: runs in a thread. Leads and drift rest on all runs, whatever the window."""
    points = [*of_runs.points(inside), *trend_points((), rows), *live]
    leads, drifts = of_runs.proved(runs, plan=plan)

    def wanted(task: str) -> bool:
        return not tasks or task in tasks

    return {
        "points": in_order(points, tasks=tasks, model=model),
        "leads": [lead for lead in leads if wanted(lead.task) and model in {None, lead.candidate}],
        "drift": [_drift(each, runs) for each in drifts if wanted(each.task) and model in {None, each.model}],
    }


def _standings(views: Sequence[Mapping[str, Any]]) -> dict[Key, Standing]:
    """Where candidates stand on live traffic, so far as a verdict says; a comparison that has ended stands nowhere."""
    found = {}
    for view in views:
        verdict = json.loads(view["verdict"])
        if verdict.get("state") and not verdict.get("ended"):
            key = view["task"], view["primary"], view["candidate"]
            found[key] = Standing(
                task=view["task"],
                primary=view["primary"],
                candidate=view["candidate"],
                state=verdict["state"],
                why=verdict["why"],
                n=view["entered"],
            )
    return found


def _lead(lead: Lead, live: Standing | None) -> dict[str, Any]:
    return {
        **{name: getattr(lead, name) for name in lead.__dataclass_fields__},
        "live": None if live is None else {"verdict": live.state, "conversations": live.n},
        "beside": standing_of_lead(lead, live=live).beside,
    }


def _drift(each: ModelDrift, runs: Sequence[RunFacts]) -> dict[str, Any]:
    report = each.report
    return {
        "task": each.task,
        "model": each.model,
        "role": "primary" if each.is_primary else "candidate",
        "evaluator": each.evaluator,
        "version": each.version,
        "decides": each.decides,
        "noise_floor": {"n": report.noise.n, "discordance": report.noise.discordance},
        "now": None
        if report.now is None
        else {
            "since_run": runs[report.now.since_run].id,
            "conversations": report.now.pairs,
            "mean": report.now.mean,
            "ci": report.now.interval,
            "level": report.now.level,
        },
        "evidence": {
            "log_e_worse": report.log_e_worse,
            "log_e_better": report.log_e_better,
            "needed_log_e": report.needed_log_e,
        },
        "changes": [] if each.withheld is not None else [_change(drift, runs) for drift in report.drifts],
        "compared": each.compared,
        "judge": None if each.judge is None else {"trusted": each.judge.trusted, "reason": each.judge.reason},
        "withheld": each.withheld,
        "reason": each.reason,
        "model_answered": [{"run": runs[number].id, "name": name} for number, name in each.answered],
    }


def _change(drift: Drift, runs: Sequence[RunFacts]) -> dict[str, Any]:
    change = drift.change
    return {
        "direction": drift.direction,
        "found_in_run": runs[drift.found_run].id,
        "since_run": runs[change.since_run].id,
        "conversations": change.pairs,
        "mean": change.mean,
        "ci": change.interval,
        "level": change.level,
        "examples": [
            {
                "case": example.now.case_id,
                "difference": example.difference,
                "before": _answer(example.before, runs),
                "now": _answer(example.now, runs),
            }
            for example in drift.examples
        ],
    }


def _answer(answer: AnswerOf, runs: Sequence[RunFacts]) -> dict[str, Any]:
    return {
        "run": runs[answer.run].id,
        "case": answer.case_id,
        "repeat": answer.repeat,
        "quality": answer.quality,
    }
