"""Fail unless every pure module is covered to 100 % in lines and branches by the tests that have just run."""

from __future__ import annotations

import subprocess
import sys

PURE = (
    "gateway/heads.py",
    "gateway/handover.py",
    "gateway/policy.py",
    "gateway/recording.py",
    "gateway/refusal.py",
    "gateway/settings.py",
    "gateway/splice.py",
    "shadow/breaker.py",
    "shadow/retry_after.py",
    "shadow/records.py",
    "shadow/dialects/*",
    "shadow/decoding.py",
    "shadow/sampling.py",
    "shadow/pricing.py",
    "shadow/budget.py",
    "shadow/redaction.py",
    "shadow/stats/*",
)


def main() -> int:
    """Print the report of the pure modules; the exit code is coverage's own."""
    report = [sys.executable, "-m", "coverage", "report", "--fail-under=100", "--skip-covered"]
    return subprocess.run([*report, f"--include={','.join(PURE)}"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
