"""Runs one of our commands and prints the most memory it had, in KiB: `python -m tests.support.peak export pairs …`."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path

from gateway.cli import app

if __name__ == "__main__":
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
        app(sys.argv[1:], standalone_mode=False)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # noqa: T201
