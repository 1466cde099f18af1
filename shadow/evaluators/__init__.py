"""What scores an answer: one file a kind, a registry, and the set a task runs."""

from shadow.evaluators.base import CaseEvaluator, Evaluator, EvaluatorConfigError, PairEvaluator
from shadow.evaluators.registry import EVALUATOR_TYPES, EvaluatorSet, build_evaluators

__all__ = [
    "EVALUATOR_TYPES",
    "CaseEvaluator",
    "Evaluator",
    "EvaluatorConfigError",
    "EvaluatorSet",
    "PairEvaluator",
    "build_evaluators",
]
