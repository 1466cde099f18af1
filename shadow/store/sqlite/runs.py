"""Benchmark runs in the store: one process works on a run at a time, and its money cannot be overshot."""

from __future__ import annotations

import base64
import binascii
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from shadow.records import CandidateAnswer, Cost, Dialect, Outcome, Score, StoredScore
from shadow.runs import (
    DEFAULT_HEADERS,
    EVALUATORS_OF_RUN,
    Case,
    Cell,
    Earlier,
    EvaluatorOfRun,
    Run,
    RunAnswer,
    RunControl,
    RunLook,
    RunResult,
    StoredPrompt,
)
from shadow.store.sqlite.queries import load_queries
from shadow.store.sqlite.rows import judgement_columns, micros, nano_down, nano_up, usage_of, usd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from shadow.runs import RunKind, RunPlan
    from shadow.store.base import RunReservation
    from shadow.store.sqlite.connection import Connection, Row, Transaction

_ALONE, _PRIMARY, _CONTROL = "", "the primary's", "a control"
"""What an answer lay beside before a judge, where it was no earlier answer of the same model."""

_FORGOTTEN = ("forget_content", "forget_answers", "forget_reasons", "forget_look_reasons", "forget_judge_reasons")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """A score with the calls of a judge behind it, and what the answer lay beside."""

    evaluator: str
    version: str
    beside: str
    quality: bool
    score: Score


class SqliteRuns:
    """`shadow.store.base.Runs` on one reading and one writing connection."""

    def __init__(self, reader: Connection, writer: Connection) -> None:
        self._reader = reader
        self._writer = writer
        self._sql = load_queries("runs.sql")

    async def begin(self, plan: RunPlan, *, worker: str, lease_s: float, now: datetime, keep_content: bool) -> bool:
        """Store the plan and hold the run. False: there is one of this id, or of this kind and period, already."""
        bound = plan.max_cost_usd
        row = {
            "id": plan.id,
            "kind": plan.kind,
            "name": _text(plan.name),
            "period": plan.period,
            "now": micros(now),
            "models": _json(plan.models),
            "primary": plan.primary,
            "evaluators": _json(plan.evaluators),
            "repeats": plan.repeats,
            "seed": plan.seed,
            "fingerprint": plan.fingerprint,
            "base_urls": _json(plan.base_urls),
            "note": _text(plan.note),
            "max_cost_nano_usd": None if bound is None else nano_down(bound),
            "estimate_usd": plan.estimate_usd,
            "cases": len(plan.cases),
            "cells": plan.cells,
            "worker": worker,
            "lease_until": _lease_until(now, lease_s),
        }
        cases = [_case_row(plan.id, at, case, keep_content=keep_content) for at, case in enumerate(plan.cases)]
        async with self._writer.transaction() as transaction:
            begun = await transaction.run(self._sql["insert_run"], row)
            if begun:
                await transaction.run_many(self._sql["insert_case"], cases)
        return bool(begun)

    async def reopen(
        self,
        run_id: str,
        *,
        evaluators: Mapping[str, Sequence[EvaluatorOfRun]],
        max_cost_usd: float | None,
        worker: str,
        lease_s: float,
        now: datetime,
    ) -> int | None:
        """Hold a run again; returns how many answers were lost with the process before, None when it cannot be had."""
        row = {
            "id": run_id,
            "evaluators": _json(evaluators),
            "max_cost_nano_usd": None if max_cost_usd is None else nano_down(max_cost_usd),
            "worker": worker,
            "lease_until": _lease_until(now, lease_s),
            "now": micros(now),
        }
        async with self._writer.transaction() as transaction:
            if not await transaction.run(self._sql["reopen"], row):
                return None
            lost = await transaction.run(self._sql["lose"], {"id": run_id})
            await transaction.run(self._sql["lose_reserves"], {"id": run_id})
        return len(lost)

    async def hold(self, run_id: str, *, worker: str, lease_s: float, now: datetime) -> bool:
        """Go on holding it; False when it was taken over or ended."""
        row = {"id": run_id, "worker": worker, "lease_until": _lease_until(now, lease_s)}
        return bool(await self._writer.fetch(self._sql["hold"], row))

    async def reserve(
        self, run_id: str, cell: Cell, *, worst_case_usd: float | None, worker: str, now: datetime
    ) -> RunReservation:
        """Reserve the worst case and mark the answer as sent, in one transaction."""
        nano_usd = 0 if worst_case_usd is None else nano_up(worst_case_usd)
        async with self._writer.transaction() as transaction:
            found = await transaction.run(self._sql["money"], {"id": run_id})
            if not found or found[0]["worker"] != worker or found[0]["state"] != "running":
                return "gone"
            if not _fits(found[0], worst_case_usd):
                return "over_budget"
            sent = _key(run_id, cell) | {"now": micros(now), "nano_usd": nano_usd}
            if not await transaction.run(self._sql["mark_sent"], sent):
                return "taken"
            await transaction.run(self._sql["reserve"], {"id": run_id, "nano_usd": nano_usd})
        return "ok"

    async def reserve_again(
        self, run_id: str, cell: Cell, *, worst_case_usd: float | None, worker: str
    ) -> RunReservation:
        """Reserve once more for a retry, where the attempt before may have been billed."""
        nano_usd = 0 if worst_case_usd is None else nano_up(worst_case_usd)
        async with self._writer.transaction() as transaction:
            found = await transaction.run(self._sql["money"], {"id": run_id})
            if not found or found[0]["worker"] != worker or found[0]["state"] != "running":
                return "gone"
            if not _fits(found[0], worst_case_usd):
                return "over_budget"
            await transaction.run(self._sql["reserve_more"], _key(run_id, cell) | {"nano_usd": nano_usd})
            await transaction.run(self._sql["reserve"], {"id": run_id, "nano_usd": nano_usd})
        return "ok"

    async def finish(self, run_id: str, answer: RunAnswer, *, now: datetime) -> None:  # noqa: ARG002  (of the contract)
        """Keep an answer with its scores and settle its reserve; one that was given up meanwhile is not kept."""
        key = _key(run_id, answer.cell)
        async with self._writer.transaction() as transaction:
            held = await transaction.run(self._sql["held"], key)
            if not held:
                return
            reserved = held[0]["reserved_nano_usd"]
            await transaction.run(self._sql["finish_answer"], key | _answer_columns(answer))
            await transaction.run_many(self._sql["insert_score"], _score_rows(run_id, answer.cell, answer.scores))
            await self._keep_judgements(transaction, run_id, answer.cell, answer.scores)
            await self._settle(transaction, run_id, reserved=reserved, spent=_spent(answer, reserved))

    async def give_back(self, run_id: str, cell: Cell) -> None:
        """Undo a `reserve` whose question was never sent."""
        key = _key(run_id, cell)
        async with self._writer.transaction() as transaction:
            held = await transaction.run(self._sql["held"], key)
            if held:
                await transaction.run(self._sql["unsend"], key)
                await self._settle(transaction, run_id, reserved=held[0]["reserved_nano_usd"], spent=0)

    async def forget(self, run_id: str, cells: Sequence[Cell]) -> None:
        """Forget these answers and their scores, so that they are asked for again; what they cost stays spent."""
        async with self._writer.transaction() as transaction:
            for cell in cells:
                await transaction.run(self._sql["delete_scores"], _key(run_id, cell))
                await transaction.run(self._sql["delete_looks"], _key(run_id, cell))
                await transaction.run(self._sql["delete_answer"], _key(run_id, cell))

    async def reserve_scoring(self, run_id: str, *, worst_case_usd: float, worker: str) -> RunReservation:
        """Reserve what scoring answers that are stored may cost."""
        async with self._writer.transaction() as transaction:
            found = await transaction.run(self._sql["money"], {"id": run_id})
            if not found or found[0]["worker"] != worker or found[0]["state"] != "running":
                return "gone"
            if not _fits(found[0], worst_case_usd):
                return "over_budget"
            await transaction.run(self._sql["reserve"], {"id": run_id, "nano_usd": nano_up(worst_case_usd)})
        return "ok"

    async def rescore(
        self, run_id: str, cell: Cell, scores: Sequence[StoredScore], *, reserved_usd: float = 0.0
    ) -> None:
        """Replace the scores of one answer, comparisons apart, and settle what was reserved for them."""
        async with self._writer.transaction() as transaction:
            await transaction.run(self._sql["delete_own_scores"], _key(run_id, cell))
            await self._keep_scores(transaction, run_id, cell, scores, reserved_usd)

    async def add_scores(
        self, run_id: str, cell: Cell, scores: Sequence[StoredScore], *, reserved_usd: float = 0.0
    ) -> None:
        """Add scores to those of one answer and settle what was reserved for them."""
        async with self._writer.transaction() as transaction:
            await self._keep_scores(transaction, run_id, cell, scores, reserved_usd)

    async def _keep_scores(
        self, transaction: Transaction, run_id: str, cell: Cell, scores: Sequence[StoredScore], reserved_usd: float
    ) -> None:
        spent = nano_up(sum(stored.score.cost_usd for stored in scores))
        await transaction.run_many(self._sql["insert_score"], _score_rows(run_id, cell, scores))
        await self._keep_judgements(transaction, run_id, cell, scores)
        await self._settle(transaction, run_id, reserved=nano_up(reserved_usd), spent=spent)

    async def add_look(self, run_id: str, look: RunLook, *, reserved_usd: float = 0.0) -> None:
        """Keep what was said of an answer beside an earlier one, and settle what was reserved for it."""
        beside = f"{look.before.run_id}#{look.before.repeat}"
        judged = _Judged(evaluator=look.evaluator, version=look.version, beside=beside, quality=True, score=look.score)
        async with self._writer.transaction() as transaction:
            await transaction.run_many(self._sql["insert_look"], [_look_row(run_id, look)])
            await self._keep_calls(transaction, run_id, look.cell, judged)
            await self._settle_score(transaction, run_id, look.score, reserved_usd)

    async def add_control(
        self, run_id: str, cell: Cell, *, evaluator: str, version: str, score: Score, reserved_usd: float = 0.0
    ) -> None:
        """Keep the calls of a test of a judge on one answer, and settle what was reserved for it."""
        judged = _Judged(evaluator=evaluator, version=version, beside=_CONTROL, quality=True, score=score)
        async with self._writer.transaction() as transaction:
            await self._keep_calls(transaction, run_id, cell, judged)
            await self._settle_score(transaction, run_id, score, reserved_usd)

    async def controls(self, run_id: str) -> list[RunControl]:
        """Tests of judges in a run, but for those in which nothing was ruled."""
        winners: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
        for row in await self._reader.fetch(self._sql["controls"], {"id": run_id}):
            of_test = winners[row["case_id"], row["evaluator"], row["version"]]
            if row["winner"] is not None:
                of_test.setdefault(row["judge_order"], row["winner"])
        return [
            RunControl(case_id=case_id, evaluator=evaluator, version=version, winners=won)
            for (case_id, evaluator, version), won in winners.items()
        ]

    async def looks(self, run_id: str) -> list[RunLook]:
        """What was said of a run's answers beside earlier ones."""
        return [_look(row) for row in await self._reader.fetch(self._sql["looks"], {"id": run_id})]

    async def _keep_judgements(
        self, transaction: Transaction, run_id: str, cell: Cell, scores: Sequence[StoredScore]
    ) -> None:
        for stored in scores:
            judged = _Judged(
                evaluator=stored.evaluator,
                version=stored.version,
                beside=_PRIMARY if stored.role == "pair" else _ALONE,
                quality=stored.quality,
                score=stored.score,
            )
            await self._keep_calls(transaction, run_id, cell, judged)

    async def _keep_calls(self, transaction: Transaction, run_id: str, cell: Cell, judged: _Judged) -> None:
        """Keep every call of a judge behind a score, numbered on from those that are there."""
        if not judged.score.judgements:
            return
        key = _key(run_id, cell) | {
            "beside": judged.beside,
            "evaluator": judged.evaluator,
            "version": judged.version,
        }
        found = await transaction.run(self._sql["judgements_so_far"], key)
        rows = [
            (*key.values(), found[0]["next"] + number, judged.quality, *judgement_columns(each))
            for number, each in enumerate(judged.score.judgements)
        ]
        await transaction.run_many(self._sql["insert_run_judgement"], rows)

    async def _settle_score(self, transaction: Transaction, run_id: str, score: Score, reserved_usd: float) -> None:
        await self._settle(transaction, run_id, reserved=nano_up(reserved_usd), spent=nano_up(score.cost_usd))

    async def end(
        self,
        run_id: str,
        *,
        state: Literal["done", "stopped", "failed"],
        reason: str | None,
        worker: str,
        now: datetime,
    ) -> bool:
        """End it; False when this process no longer holds it."""
        row = {"id": run_id, "state": state, "reason": _text(reason), "worker": worker, "now": micros(now)}
        return bool(await self._writer.fetch(self._sql["end"], row))

    async def page(
        self, *, limit: int, kind: RunKind | None = None, fingerprint: str | None = None, cursor: str | None = None
    ) -> tuple[list[Run], str | None]:
        """Runs, newest first, and the cursor of the next page. Raises ValueError for a foreign cursor."""
        key, key_id = (None, None) if cursor is None else _read_cursor(cursor)
        asked = {"kind": kind, "fingerprint": fingerprint, "key": key, "key_id": key_id, "limit": limit + 1}
        rows = await self._reader.fetch(self._sql["runs"], asked)
        page = [_run(row) for row in rows[:limit]]
        return page, _cursor(page[-1]) if len(rows) > limit and page else None

    async def find(self, text: str) -> Run | None:
        """Find the run with this id, else the only one whose id begins so, else the newest of this name."""
        rows = await self._reader.fetch(self._sql["named"], {"text": text})
        ambiguous = len(rows) > 1 and rows[0]["id"] != text and rows[0]["name"] != text
        return _run(rows[0]) if rows and not ambiguous else None

    async def result(self, run_id: str) -> RunResult | None:
        """Read a run back whole; None when unknown."""
        found = await self._reader.fetch(self._sql["named"], {"text": run_id})
        if not found or found[0]["id"] != run_id:
            return None
        parts = {name: await self._reader.fetch(self._sql[name], {"id": run_id}) for name in ("cases", "answers")}
        scores: dict[Cell, list[StoredScore]] = {}
        for row in await self._reader.fetch(self._sql["scores"], {"id": run_id}):
            scores.setdefault(_cell(row), []).append(_score(row))
        return RunResult(
            run=_run(found[0]),
            cases=tuple(_case(row) for row in parts["cases"]),
            answers=tuple(_answer(row, scores.get(_cell(row), [])) for row in parts["answers"]),
        )

    async def prompts(self, *, since: datetime, until: datetime, task: str | None = None) -> list[StoredPrompt]:
        """Production prompts of the window whose content is kept, without it, oldest first."""
        window = {"since": micros(since), "until": micros(until), "task": task}
        rows = await self._reader.fetch(self._sql["prompts"], window)
        return [StoredPrompt(**{**row, "dialect": Dialect(row["dialect"])}) for row in rows]

    async def prompt_cases(self, prompts: Sequence[StoredPrompt]) -> list[Case]:
        """Make cases of chosen prompts, in their order; one whose content was deleted meanwhile is left out."""
        ids = {"ids": _json([prompt.exchange_id for prompt in prompts])}
        rows = await self._reader.fetch(self._sql["prompt_texts"], ids)
        texts = {row["exchange_id"]: row["prompt"] for row in rows}
        return [
            Case(
                id=prompt.exchange_id,
                dialect=prompt.dialect,
                request=texts[prompt.exchange_id].encode(),
                task=prompt.task,
                path=prompt.path,
                headers=DEFAULT_HEADERS[prompt.dialect],
                cluster=prompt.conversation,
                source=f"exchange {prompt.exchange_id}",
            )
            for prompt in prompts
            if prompt.exchange_id in texts
        ]

    async def costs_so_far(self, prompt_hashes: Sequence[str]) -> Mapping[tuple[str, str], float]:
        """What answers to these prompts cost in earlier runs, on average: (model, prompt hash) -> USD."""
        rows = await self._reader.fetch(self._sql["costs_so_far"], {"hashes": _json(sorted(set(prompt_hashes)))})
        return {(row["model"], row["prompt_hash"]): row["billed_usd"] for row in rows}

    async def forget_content(self, *, before: datetime) -> int:
        """Delete prompts, answers and reasons of runs that ended before then; returns how many texts."""
        limit = {"before": micros(before)}
        async with self._writer.transaction() as transaction:
            parts = [await transaction.run(self._sql[name], limit) for name in _FORGOTTEN]
        return sum(map(len, parts))

    async def _settle(self, transaction: Transaction, run_id: str, *, reserved: int, spent: int) -> None:
        money = {"id": run_id, "reserved_nano_usd": reserved, "spent_nano_usd": spent}
        await transaction.run(self._sql["settle"], money)


def _fits(money: Row, worst_case_usd: float | None) -> bool:
    """Tell whether so much fits under the run's bound, beside what is spent and reserved."""
    bound = money["max_cost_nano_usd"]
    if bound is None:
        return True
    committed = money["spent_nano_usd"] + money["reserved_nano_usd"]
    return worst_case_usd is not None and committed + nano_up(worst_case_usd) <= bound


def _key(run_id: str, cell: Cell) -> Row:
    return {"id": run_id, "case_id": cell.case_id, "model": cell.model, "repeat": cell.repeat}


def _lease_until(now: datetime, lease_s: float) -> int:
    return micros(now + timedelta(seconds=lease_s))


def _text(value: str | None) -> str | None:
    """Text SQLite can hold: a lone surrogate (from a JSON escape) becomes a question mark."""
    return None if value is None else value.encode("utf-8", "replace").decode()


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _case_row(run_id: str, position: int, case: Case, *, keep_content: bool) -> tuple[Any, ...]:
    return (
        run_id,
        _text(case.id),
        position,
        case.prompt_hash,
        _text(case.task),
        case.dialect,
        _text(case.path),
        _json(dict(case.headers)),
        _text(case.cluster),
        _text(case.source),
        _text(case.expected) if keep_content else None,
        case.request if keep_content else None,
    )


def _case(row: Row) -> Case:
    return Case(
        id=row["case_id"],
        dialect=Dialect(row["dialect"]),
        request=row["request"] or b"",
        expected=row["expected"],
        task=row["task"],
        path=row["path"],
        headers=msgspec.json.decode(row["headers"], type=dict[str, str]),
        cluster=row["cluster"],
        source=row["source"],
        known_hash=None if row["request"] else row["prompt_hash"],
    )


def _cell(row: Row) -> Cell:
    return Cell(case_id=row["case_id"], model=row["model"], repeat=row["repeat"])


def _answer_columns(run_answer: RunAnswer) -> Row:
    answer, usage = run_answer.answer, run_answer.answer.usage
    return {
        "attempts": run_answer.attempts,
        "started_at": micros(answer.started_at),
        "outcome": answer.outcome,
        "status": answer.status,
        "latency_ms": answer.latency_ms,
        "ttft_ms": answer.ttft_ms,
        "first_text_ms": answer.first_text_ms,
        "stop_reason": _text(answer.stop_reason),
        "model_answered": _text(answer.model_answered),
        "streamed": answer.streamed,
        "input_tokens": None if usage is None else usage.input,
        "cache_read_tokens": None if usage is None else usage.cache_read,
        "cache_write_5m_tokens": None if usage is None else usage.cache_write_5m,
        "cache_write_1h_tokens": None if usage is None else usage.cache_write_1h,
        "output_tokens": None if usage is None else usage.output,
        "attempt_billed_usd": answer.cost.billed_usd,
        "attempt_uncached_usd": answer.cost.uncached_usd,
        "attempt_price_source": answer.cost.source,
        "cost_billed_usd": run_answer.cost.billed_usd,
        "cost_uncached_usd": run_answer.cost.uncached_usd,
        "price_source": run_answer.cost.source,
        "error": _text(answer.error),
        "output": _text(run_answer.output),
        "tool_calls": _text(run_answer.tool_calls),
    }


def _answer(row: Row, scores: Sequence[StoredScore]) -> RunAnswer:
    return RunAnswer(
        answer=CandidateAnswer(
            exchange_id=row["case_id"],
            candidate=row["model"],
            started_at=row["started_at"],
            outcome=Outcome(row["outcome"]),
            status=row["status"],
            latency_ms=row["latency_ms"],
            ttft_ms=row["ttft_ms"],
            first_text_ms=row["first_text_ms"],
            stop_reason=row["stop_reason"],
            model_answered=row["model_answered"],
            usage=usage_of(row),
            cost=Cost(
                billed_usd=row["attempt_billed_usd"],
                uncached_usd=row["attempt_uncached_usd"],
                source=row["attempt_price_source"],
            ),
            error=row["error"],
            streamed=row["streamed"],
        ),
        repeat=row["repeat"],
        attempts=row["attempts"],
        cost=Cost(billed_usd=row["cost_billed_usd"], uncached_usd=row["cost_uncached_usd"], source=row["price_source"]),
        output=row["output"],
        tool_calls=row["tool_calls"],
        scores=tuple(scores),
    )


def _score_rows(run_id: str, cell: Cell, scores: Sequence[StoredScore]) -> list[tuple[Any, ...]]:
    return [
        (
            run_id,
            cell.case_id,
            cell.model,
            cell.repeat,
            stored.evaluator,
            stored.version,
            stored.quality,
            stored.role,
            stored.score.status,
            stored.score.value,
            _text(stored.score.reason),
            stored.score.cost_usd,
            stored.measures,
        )
        for stored in scores
    ]


def _look_row(run_id: str, look: RunLook) -> tuple[Any, ...]:
    cell, before, score = look.cell, look.before, look.score
    return (
        run_id,
        cell.case_id,
        cell.model,
        cell.repeat,
        before.run_id,
        before.case_id,
        before.repeat,
        look.evaluator,
        look.version,
        score.status,
        score.value,
        _text(score.reason),
        score.cost_usd,
    )


def _look(row: Row) -> RunLook:
    return RunLook(
        cell=_cell(row),
        before=Earlier(run_id=row["before_run_id"], case_id=row["before_case_id"], repeat=row["before_repeat"]),
        evaluator=row["evaluator"],
        version=row["version"],
        score=Score(status=row["status"], value=row["value"], reason=row["reason"], cost_usd=row["cost_usd"]),
    )


def _score(row: Row) -> StoredScore:
    score = Score(status=row["status"], value=row["value"], reason=row["reason"], cost_usd=row["cost_usd"])
    return StoredScore(
        evaluator=row["evaluator"],
        version=row["version"],
        quality=row["quality"],
        role=row["role"],
        score=score,
        measures=row["measures"],
    )


def _run(row: Row) -> Run:
    bound = row["max_cost_nano_usd"]
    return Run(
        id=row["id"],
        kind=row["kind"],
        name=row["name"],
        period=row["period"],
        state=row["state"],
        reason=row["reason"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        models=tuple(msgspec.json.decode(row["models"], type=list[str])),
        primary=row["primary"],
        evaluators=EVALUATORS_OF_RUN.decode(row["evaluators"]),
        repeats=row["repeats"],
        seed=row["seed"],
        fingerprint=row["fingerprint"],
        base_urls=msgspec.json.decode(row["base_urls"], type=dict[str, str]),
        note=row["note"],
        max_cost_usd=None if bound is None else usd(bound),
        estimate_usd=row["estimate_usd"],
        spent_usd=usd(row["spent_nano_usd"]),
        reserved_usd=usd(row["reserved_nano_usd"]),
        cases=row["cases"],
        cells=row["cells"],
        answered=row["answered"],
    )


def _spent(answer: RunAnswer, reserved_nano_usd: int) -> int:
    """Sum what attempts and scoring cost, in nano-dollars; when that is unknown, no less than the reserve."""
    scoring_usd = sum(stored.score.cost_usd for stored in answer.scores)
    billed_usd = answer.cost.billed_usd
    return max(reserved_nano_usd, nano_up(scoring_usd)) if billed_usd is None else nano_up(billed_usd + scoring_usd)


def _cursor(run: Run) -> str:
    plain = msgspec.json.encode((micros(run.started_at), run.id))
    return base64.urlsafe_b64encode(plain).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[int, str]:
    """Read what `_cursor` put in. Raises ValueError."""
    try:
        plain = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(plain, type=tuple[int, str])
    except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"cursor {cursor!r} is not one that a page of runs gave") from error
