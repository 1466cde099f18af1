from shadow.verdict.alpha import AlphaBook
from shadow.verdict.cost import CostTest
from shadow.verdict.decide import decide
from shadow.verdict.differences import Differences, FailureShares, Watch, rounded_down, rounded_up
from shadow.verdict.eprocess import confidence_sequence, e_value, log_e_value
from shadow.verdict.evidence import (
    Calls,
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
from shadow.verdict.headline import Headline, Sums, headline, projected_saving_usd_per_month
from shadow.verdict.latency import SLO_MARGIN, Percentile, faster, percentile, slo_difference

__all__ = [
    "SLO_MARGIN",
    "AlphaBook",
    "Calls",
    "CostTest",
    "Differences",
    "Estimate",
    "Evidence",
    "FailureShares",
    "Guard",
    "Headline",
    "Latch",
    "MoreNeeded",
    "Pace",
    "Percentile",
    "Proof",
    "Rules",
    "State",
    "Sums",
    "Verdict",
    "Watch",
    "confidence_sequence",
    "decide",
    "e_value",
    "faster",
    "headline",
    "log_e_value",
    "percentile",
    "projected_saving_usd_per_month",
    "rounded_down",
    "rounded_up",
    "slo_difference",
]
