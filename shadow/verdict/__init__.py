from shadow.verdict.alpha import AlphaBook
from shadow.verdict.cost import CostTest
from shadow.verdict.differences import Differences, FailureShares, Watch, rounded_down, rounded_up
from shadow.verdict.eprocess import confidence_sequence, e_value, log_e_value
from shadow.verdict.evidence import (
    STOPS,
    Estimate,
    Evidence,
    Guard,
    Latch,
    MoreNeeded,
    Pace,
    Proof,
    Rules,
    State,
    Verdict,
)

__all__ = [
    "STOPS",
    "AlphaBook",
    "CostTest",
    "Differences",
    "Estimate",
    "Evidence",
    "FailureShares",
    "Guard",
    "Latch",
    "MoreNeeded",
    "Pace",
    "Proof",
    "Rules",
    "State",
    "Verdict",
    "Watch",
    "confidence_sequence",
    "e_value",
    "log_e_value",
    "rounded_down",
    "rounded_up",
]
