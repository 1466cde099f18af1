"""Figures of weekly runs and of shadow weeks, read without any content (but for the prompts of a run's own cases)."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from shadow.records import Dialect
from shadow.runfacts import (
    GOLDEN,
    AnswerFact,
    CaseFact,
    Decider,
    JudgedFact,
    LookFact,
    RunFacts,
    ScoreFact,
    ShadowWeek,
)
from shadow.runs import EVALUATORS_OF_RUN, Case
from shadow.store.sqlite.queries import load_queries
from shadow.store.sqlite.rows import micros, usd

if TYPE_CHECKING:
    from shadow.runs import Earlier
    from shadow.store.sqlite.connection import Connection, Row

_FIRST_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
_SIDES = ("primary", "candidate")
_KNOWN_RUNS = 104


class SqliteTrends:
    """`shadow.store.base.Trends` on a reading connection."""

    def __init__(self, reader: Connection) -> None:
        self._reader = reader
        self._sql = load_queries("trends.sql")
        self._known: dict[tuple[str, datetime | None], RunFacts] = {}
        """Runs that have ended do not change, unless they are taken up again: then they end later."""

    async def weekly_runs(self, *, limit: int) -> list[RunFacts]:
        """Weekly runs that have ended, oldest first, at most the newest `limit`."""
        rows = await self._reader.fetch(self._sql["weekly_runs"], {"limit": limit})
        found = []
        for row in reversed(rows):
            key = (row["id"], row["finished_at"])
            facts = self._known.pop(key, None) or await self._facts(row)
            self._known[key] = facts
            found.append(facts)
        for key in list(self._known)[: -max(limit, _KNOWN_RUNS)]:  # those not asked for lately
            del self._known[key]
        return found

    async def _facts(self, row: Row) -> RunFacts:
        answers = await self._reader.fetch(self._sql["answers_of_run"], {"id": row["id"]})
        listed = EVALUATORS_OF_RUN.decode(row["evaluators"])
        relative = {each.name for of_task in listed.values() for each in of_task if not each.absolute}
        scores: dict[tuple[str, str, int], list[ScoreFact]] = defaultdict(list)
        for score in await self._reader.fetch(self._sql["scores_of_run"], {"id": row["id"]}):
            scores[score["case_id"], score["model"], score["repeat"]].append(
                ScoreFact(
                    evaluator=score["evaluator"],
                    version=score["version"],
                    quality=score["quality"],
                    pairwise=score["role"] == "pair" or score["evaluator"] in relative,
                    status=score["status"],
                    value=score["value"],
                    cost_usd=score["cost_usd"],
                )
            )
        looks = await self._reader.fetch(self._sql["looks_of_run"], {"id": row["id"]})
        judged = await self._reader.fetch(self._sql["judged_of_run"], {"id": row["id"]})
        bound = row["max_cost_nano_usd"]
        return RunFacts(
            id=row["id"],
            period=row["period"],
            state=row["state"],
            reason=row["reason"],
            started_at=row["started_at"],
            finished_at=row["finished_at"],
            primary=row["primary"],
            models=tuple(msgspec.json.decode(row["models"], type=list[str])),
            note=row["note"],
            spent_usd=usd(row["spent_nano_usd"]),
            max_cost_usd=None if bound is None else usd(bound),
            answers=tuple(
                AnswerFact(
                    case_id=each["case_id"],
                    prompt=each["prompt_hash"],
                    task=each["task"],
                    cluster=each["cluster"],
                    golden=(each["source"] or "").startswith(GOLDEN),
                    model=each["model"],
                    repeat=each["repeat"],
                    outcome=each["outcome"],
                    model_answered=each["model_answered"],
                    latency_ms=each["latency_ms"],
                    ttft_ms=each["ttft_ms"],
                    cost_usd=each["cost_uncached_usd"],
                    reserve_usd=usd(each["reserved_nano_usd"]),
                    scores=tuple(scores[each["case_id"], each["model"], each["repeat"]]),
                    kept=bool(each["kept"]),
                )
                for each in answers
            ),
            deciders={
                task: Decider(evaluator=each.name, version=each.version, absolute=each.absolute)
                for task, of_task in listed.items()
                for each in of_task
                if each.quality
            },
            looks=tuple(_look(each) for each in looks),
            judged=tuple(JudgedFact(**{**each, "grades": bool(each["grades"])}) for each in judged),
        )

    async def asked_cases(self, *, since: datetime) -> dict[str, CaseFact]:
        """Every prompt that weekly runs asked since then, by hash."""
        rows = await self._reader.fetch(self._sql["asked_cases"], {"since": micros(since)})
        return {
            row["prompt_hash"]: CaseFact(
                case_id=row["case_id"],
                prompt=row["prompt_hash"],
                task=row["task"],
                source=row["source"],
                runs=row["runs"],
                kept=bool(row["kept"]),
            )
            for row in rows
        }

    async def cases_of_run(self, run_id: str) -> list[Case]:
        """Give the cases of a run whose request is kept, in their order."""
        rows = await self._reader.fetch(self._sql["cases_of_run"], {"id": run_id})
        return [
            Case(
                id=row["case_id"],
                dialect=Dialect(row["dialect"]),
                request=row["request"],
                expected=row["expected"],
                task=row["task"],
                path=row["path"],
                headers=msgspec.json.decode(row["headers"], type=dict[str, str]),
                cluster=row["cluster"],
                source=row["source"],
            )
            for row in rows
        ]

    async def output(self, run_id: str, *, case_id: str, model: str, repeat: int) -> str | None:
        """Give what is kept of one answer of a run; None when nothing is."""
        key = {"run_id": run_id, "case_id": case_id, "model": model, "repeat": repeat}
        rows = await self._reader.fetch(self._sql["output"], key)
        return rows[0]["output"] if rows else None

    async def look_reason(
        self, run_id: str, *, case_id: str, model: str, repeat: int, before: Earlier, evaluator: str, version: str
    ) -> str | None:
        """Why a judge ruled so of an answer beside an earlier one; None when nothing is kept."""
        key = {
            "run_id": run_id,
            "case_id": case_id,
            "model": model,
            "repeat": repeat,
            "before_run_id": before.run_id,
            "before_repeat": before.repeat,
            "evaluator": evaluator,
            "version": version,
        }
        rows = await self._reader.fetch(self._sql["look_reason"], key)
        return rows[0]["reason"] or None if rows else None

    async def shadow_weeks(self, *, since: datetime, until: datetime, task: str | None = None) -> list[ShadowWeek]:
        """Shadowed pairs of live traffic by week, task and model; a primary's are those of all its candidates once."""
        window = {"since": micros(since), "until": micros(until), "task": task}
        conversations = await self._reader.fetch(self._sql["shadow_conversations"], window)
        latencies = await self._reader.fetch(self._sql["shadow_latencies"], window)
        groups: dict[tuple[int, str, str, str], dict[str, Row]] = defaultdict(dict)
        for row in conversations:
            for side in _SIDES:
                # A primary that several candidates are compared with appears with each: the first will do.
                groups[row["week"], row["task"], row[side], side].setdefault(row["conversation"], row)
        heard: dict[tuple[int, str, str, str], Row] = {}
        for row in latencies:
            for side in _SIDES:
                heard.setdefault((row["week"], row["task"], row[side], side), row)
        return [
            _week(key, list(rows.values()), heard.get(key))
            for key, rows in sorted(groups.items(), key=lambda each: [str(part) for part in each[0]])
            if key[2] is not None
        ]


def _look(row: Row) -> LookFact:
    return LookFact(
        task=row["task"],
        prompt=row["prompt_hash"],
        cluster=row["cluster"],
        case_id=row["case_id"],
        model=row["model"],
        repeat=row["repeat"],
        before_run=row["before_run_id"],
        before_case_id=row["before_case_id"],
        before_repeat=row["before_repeat"],
        evaluator=row["evaluator"],
        version=row["version"],
        status=row["status"],
        value=row["value"],
        reason=row["reason"],
    )


def _week(key: tuple[int, str, str, str], rows: list[Row], heard: Row | None) -> ShadowWeek:
    week, task, model, side = key
    scored = [row for row in rows if row[f"quality_{side}"] is not None]
    whole = [row for row in scored if row[f"n_{side}"] == row[f"priced_{side}"] == row["exchanges"]]
    return ShadowWeek(
        week=_FIRST_MONDAY + timedelta(weeks=week),
        task=task,
        model=model,
        role=side,
        exchanges=sum(row["exchanges"] for row in rows),
        qualities=[row[f"quality_{side}"] for row in scored],
        sums=[(row[f"cost_{side}"], row[f"sum_{side}"]) for row in whole],
        latencies_ms=_numbers(heard, f"latency_{side}"),
        ttfts_ms=_numbers(heard, f"ttft_{side}"),
    )


def _numbers(row: Row | None, column: str) -> list[float]:
    return [] if row is None or row[column] is None else [float(each) for each in row[column].split(",")]
