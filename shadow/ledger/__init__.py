from shadow.ledger.epochs import Plan
from shadow.ledger.evidence import Facts
from shadow.ledger.outcome import Judging, Outcome, Totals, conversation_outcome
from shadow.ledger.state import LedgerState

__all__ = ["Facts", "Judging", "LedgerState", "Outcome", "Plan", "Totals", "conversation_outcome"]
