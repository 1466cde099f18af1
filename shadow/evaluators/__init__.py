"""What scores an answer: one file a kind, a registry, and the set a task runs."""

from shadow.evaluators.base import CaseEvaluator, Evaluator, EvaluatorConfigError, PairEvaluator
from shadow.evaluators.registry import (
    ENTRY_POINTS,
    EVALUATOR_TYPES,
    EvaluatorSet,
    build_evaluators,
    check_spec,
    closest_type,
    known_types,
    loads_code,
)
from shadow.evaluators.services import Judges, Services

__all__ = [
    "ENTRY_POINTS",
    "EVALUATOR_TYPES",
    "CaseEvaluator",
    "Evaluator",
    "EvaluatorConfigError",
    "EvaluatorSet",
    "Judges",
    "PairEvaluator",
    "Services",
    "build_evaluators",
    "check_spec",
    "closest_type",
    "known_types",
    "loads_code",
]
