"""The measuring side: it understands, asks, scores, decides and shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.records import EvalCase, Score

if TYPE_CHECKING:
    from shadow.evaluators.base import CaseEvaluator, Evaluator, PairEvaluator

__all__ = ["CaseEvaluator", "EvalCase", "Evaluator", "PairEvaluator", "Score"]


def __getattr__(name: str) -> Any:
    """Load the evaluator protocols on first use: the live process imports this package and must stay light."""
    if name in {"CaseEvaluator", "Evaluator", "PairEvaluator"}:
        from shadow.evaluators import base  # noqa: PLC0415  (the point of this function)

        return getattr(base, name)
    raise AttributeError(f"module 'shadow' has no attribute {name!r}")
