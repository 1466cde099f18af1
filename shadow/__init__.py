"""The measuring side: it understands, asks, scores, decides and shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.records import EvalCase, Score

if TYPE_CHECKING:
    from shadow.benchmark.article import (
        BenchmarkResult,
        ExactMatchEvaluator,
        JSONValidityEvaluator,
        LLMJudgeEvaluator,
        ModelBenchmark,
        run_benchmark_suite,
    )
    from shadow.evaluators.base import CaseEvaluator, Evaluator, PairEvaluator

__all__ = [
    "BenchmarkResult",
    "CaseEvaluator",
    "EvalCase",
    "Evaluator",
    "ExactMatchEvaluator",
    "JSONValidityEvaluator",
    "LLMJudgeEvaluator",
    "ModelBenchmark",
    "PairEvaluator",
    "Score",
    "run_benchmark_suite",
]

_LATE = {
    **dict.fromkeys(("CaseEvaluator", "Evaluator", "PairEvaluator"), "shadow.evaluators.base"),
    **dict.fromkeys(
        (
            "BenchmarkResult",
            "ExactMatchEvaluator",
            "JSONValidityEvaluator",
            "LLMJudgeEvaluator",
            "ModelBenchmark",
            "run_benchmark_suite",
        ),
        "shadow.benchmark.article",
    ),
}


def __getattr__(name: str) -> Any:
    """Load what is not nouns on first use: the live process imports this package and must stay light."""
    if name in _LATE:
        import importlib  # noqa: PLC0415  (the point of this function)

        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module 'shadow' has no attribute {name!r}")
