"""Benchmarks: a fixed set of prompts asked of several models, within a bound of money, resumable, with intervals.

`engine` asks and keeps, `lookback` compares a run with those before it, `cases` reads case files, `summary` and
`paired` turn a stored run into figures, `gates` decide on them, `exports` write them down; `article` has the classes of
the article this product began with.
"""

from shadow.benchmark.asking import Asker
from shadow.benchmark.engine import Engine, Estimate, Progress, RunLostError, estimate, new_run_id
from shadow.benchmark.lookback import Lookback
from shadow.benchmark.scoring import Scorer

__all__ = ["Asker", "Engine", "Estimate", "Lookback", "Progress", "RunLostError", "Scorer", "estimate", "new_run_id"]
