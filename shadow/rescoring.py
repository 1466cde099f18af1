"""Scores again what was scored before anybody said what is right: from what is still kept, for nothing."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from shadow.records import ENDED_WELL, EvalCase, Outcome, ToolCall, Usage
from shadow.store.base import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from shadow.compare import Keeper
    from shadow.evaluators import EvaluatorSet
    from shadow.records import ExchangeRecord, StoredScore
    from shadow.store.base import FeedbackDoor

_log = logging.getLogger(__name__)

CHUNK = 20

_CALLS = msgspec.json.Decoder(tuple[ToolCall, ...])


class Rescorer:
    """Looks for expected texts that came late and brings the scores they change up to date.

    An evaluator is concerned when it says something else with the expected text than without; the others, and those
    that cost money, keep their word. With nothing kept of the answers there is nothing to score.
    """

    def __init__(
        self,
        *,
        feedback: FeedbackDoor,
        evaluators: Mapping[str, EvaluatorSet],
        keeper: Keeper,
        now: Callable[[], datetime],
    ) -> None:
        self._feedback = feedback
        self._evaluators = evaluators
        self._keeper = keeper
        self._now = now

    async def once(self) -> int:
        """Work through some of what waits; returns how many exchanges."""
        waiting = await self._feedback.to_rescore(limit=CHUNK)
        for exchange_id, expected in waiting:
            scores = await self._again_or_nothing(exchange_id, expected)
            await self._feedback.rescored(exchange_id, expected=expected, scores=scores, now=self._now())
        return len(waiting)

    async def _again_or_nothing(self, exchange_id: str, expected: str) -> list[tuple[str, StoredScore]]:
        """Score again; a fault of ours costs this exchange its new scores, and no other one its turn."""
        try:
            return await self._again(exchange_id, expected)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001  (told once, here; its message may quote a prompt)
            _log.error("an exchange could not be scored again: %s", type(error).__name__)
            return []

    async def _again(self, exchange_id: str, expected: str) -> list[tuple[str, StoredScore]]:
        exchange, rows = await self._feedback.kept_pairs(exchange_id)
        changed: dict[tuple[str, str, str], tuple[str, StoredScore]] = {}
        if exchange is None:
            return []
        for row in rows:
            pair = await asyncio.to_thread(_cases, exchange, row)
            if pair is None:
                continue
            evaluators = self._evaluators.get(row["task"]) or self._evaluators["default"]
            primary, candidate = replace(pair[0], expected=expected), pair[1]
            before = await evaluators.score_free(*pair)
            after = await evaluators.score_free(primary, candidate and replace(candidate, expected=expected))
            for old, new in zip(before, after, strict=True):
                if new.score != old.score:
                    whose = "" if new.role == "primary" else str(row["candidate"])
                    changed[whose, new.evaluator, new.role] = (row["candidate"], self._keeper.score(new))
        return list(changed.values())


def _cases(exchange: ExchangeRecord, row: Mapping[str, Any]) -> tuple[EvalCase, EvalCase | None] | None:
    """Both answers as they are kept, the second None where the candidate gave none; None when there is nothing left."""
    if row["prompt"] is None or row["primary_output"] is None:
        return None
    try:
        request = msgspec.json.decode(row["prompt"])
        primary = EvalCase(
            request=request,
            output=row["primary_output"],
            tool_calls=_calls(row["primary_tool_calls"]),
            stop_reason=exchange.stop_reason,
            usage=exchange.usage,
            latency_ms=exchange.latency_ms,
            ttft_ms=exchange.ttft_ms,
        )
        if Outcome(row["outcome"]) not in ENDED_WELL or row["candidate_output"] is None:
            return primary, None
        return primary, EvalCase(
            request=request,
            output=row["candidate_output"],
            tool_calls=_calls(row["candidate_tool_calls"]),
            stop_reason=row["stop_reason"],
            usage=_usage(row),
            latency_ms=row["latency_ms"],
            ttft_ms=row["ttft_ms"],
            cost_usd=row["cost_billed_usd"],
        )
    except msgspec.MsgspecError:  # redaction took a part of the JSON along
        return None


def _calls(text: str | None) -> tuple[ToolCall, ...]:
    return _CALLS.decode(text) if text else ()


def _usage(row: Mapping[str, Any]) -> Usage | None:
    if row["input_tokens"] is None:
        return None
    return Usage(
        input=row["input_tokens"],
        cache_read=row["cache_read_tokens"],
        cache_write_5m=row["cache_write_5m_tokens"],
        cache_write_1h=row["cache_write_1h_tokens"],
        output=row["output_tokens"],
    )
