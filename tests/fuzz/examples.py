"""How hypothesis draws here: the same few examples on every run, so that a build fails for a change and not by chance.

Searching is `make fuzz`; what it finds becomes an input in `test_targets.py` and a plain test beside the code.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

FIXED = settings(
    derandomize=True, max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
FEW = settings(FIXED, max_examples=60)
