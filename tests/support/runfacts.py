"""Weekly runs as facts, made by hand: two models `p` (primary) and `c`, one run a week."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shadow.ledger import Judging, Plan
from shadow.runfacts import AnswerFact, Decider, JudgedFact, RunFacts, ScoreFact
from shadow.verdict import Rules

SUNDAY = datetime(2026, 11, 1, 3, tzinfo=UTC)
WEEK = timedelta(days=7)
CHECK = Decider(evaluator="is-json", version="1", absolute=True)
JUDGE = Decider(evaluator="llm-pairwise", version="1:j", absolute=False)


def score(value: float | None, **given: Any) -> ScoreFact:
    values: dict[str, Any] = {
        "evaluator": "is-json", "version": "1", "quality": True, "pairwise": False,
        "status": "failed" if value is None else "scored", "value": value, "cost_usd": 0.0,
    }  # fmt: skip
    return ScoreFact(**(values | given))


def ruling(value: float | None) -> ScoreFact:
    """What the judge that compares says."""
    return score(value, evaluator=JUDGE.evaluator, version=JUDGE.version, pairwise=True)


def answer(prompt: str, model: str, quality: float | None, **given: Any) -> AnswerFact:
    values: dict[str, Any] = {
        "case_id": prompt, "prompt": prompt, "task": "default", "cluster": None, "golden": False, "model": model,
        "repeat": 0, "outcome": "ok", "model_answered": model, "latency_ms": 100.0, "ttft_ms": 10.0, "cost_usd": 0.01,
        "reserve_usd": 0.05, "scores": (score(quality),),
    }  # fmt: skip
    return AnswerFact(**(values | given))


def run(number: int, *answers: AnswerFact, decider: Decider = CHECK, **given: Any) -> RunFacts:
    values: dict[str, Any] = {
        "id": f"run-{number}", "period": None, "state": "done", "reason": None, "started_at": SUNDAY + number * WEEK,
        "finished_at": SUNDAY + number * WEEK, "primary": "p", "models": ("p", "c"), "note": "", "spent_usd": 0.0,
        "max_cost_usd": 5.0, "answers": answers, "deciders": {"default": decider},
    }  # fmt: skip
    return RunFacts(**(values | given))


def pairs(start: int, count: int, *, p: float | None, c: float | None, **given: Any) -> list[AnswerFact]:
    """Answers of both to so many prompts; `given` is the candidate's."""
    made = []
    for at in range(start, start + count):
        made += [answer(f"x{at}", "p", p), answer(f"x{at}", "c", c, **given)]
    return made


def rulings(start: int, count: int, value: float | None, **given: Any) -> list[AnswerFact]:
    """Answers of both that a judge compares; `given` is the candidate's."""
    made = []
    for at in range(start, start + count):
        told = {"scores": (ruling(value),)} | given
        made += [answer(f"x{at}", "p", None, scores=()), answer(f"x{at}", "c", None, **told)]
    return made


def judged(controls: int = 10, passed: int | None = None, **given: Any) -> JudgedFact:
    values: dict[str, Any] = {
        "task": "default", "evaluator": JUDGE.evaluator, "version": JUDGE.version, "judge": "j", "ruled": 30,
        "controls": controls, "controls_passed": controls if passed is None else passed,
    }  # fmt: skip
    return JudgedFact(**(values | given))


def plan(decider: Decider = CHECK, *, alpha: float = 0.05, judging: dict[str, Any] | None = None, **rules: Any) -> Plan:
    """What the configuration says: `decider` decides, by these rules."""
    how = Judging(
        quality=decider.evaluator,
        versions={decider.evaluator: decider.version},
        definition="",
        pairwise=not decider.absolute,
    )
    return Plan(alpha=alpha, rules=Rules(**rules), judging={"default": replace(how, **(judging or {}))}, candidates={})
