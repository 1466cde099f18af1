"""What evaluators may need from outside: handed in when they are built, so that none opens anything itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from shadow.evaluators.cells import Cells

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shadow.evaluators.base import CaseEvaluator, PairEvaluator


class Judges(Protocol):
    """Builds evaluators that ask a language model. Raises EvaluatorConfigError for options that cannot be used."""

    def pairwise(self, options: Mapping[str, Any]) -> PairEvaluator:
        """Build `llm-pairwise` from its options; `{}`: the cheap judge that `auto` asks."""
        ...

    def rubric(self, options: Mapping[str, Any]) -> CaseEvaluator:
        """Build `llm-rubric` from its options."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All of it. `judges` None: no model can be asked (no key), and `judges_missing` says why."""

    cells: Cells = field(default_factory=Cells)
    judges: Judges | None = None
    judges_missing: str = "no judge is configured"

    def close(self) -> None:
        """End what runs beside this process; used again, it is started again."""
        self.cells.close()
