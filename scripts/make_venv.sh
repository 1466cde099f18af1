#!/bin/sh
# Makes .venv from the hash-pinned lock, and says what it does.
set -eu
python=${PYTHON:-python3}
"$python" - <<'PY' || { echo "Shadow Gateway needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
PY
echo "Making .venv with $("$python" --version) from requirements-dev.lock (about a minute, once)..."
rm -rf .venv
"$python" -m venv .venv
# The lock is complete, so nothing is resolved: pip 23 takes the newest release for a pinned package that another one asks an extra of.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
touch .venv/.installed
echo "Done: .venv is ready."
