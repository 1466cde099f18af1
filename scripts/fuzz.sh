#!/bin/sh
# Coverage-guided fuzzing: each target (all, or those named) for FUZZ_SECONDS (60) seconds, one after the other.
# Atheris lives in a virtual environment of its own, .fuzz/venv; the corpus stays in .fuzz and grows with each run.
set -eu
python=${PYTHON:-python3}
if [ ! -e .fuzz/venv/.installed ] || [ requirements-fuzz.lock -nt .fuzz/venv/.installed ] ||
    [ requirements.lock -nt .fuzz/venv/.installed ]; then
    echo "Making .fuzz/venv from requirements.lock and requirements-fuzz.lock (about a minute, once)..."
    rm -rf .fuzz/venv
    "$python" -m venv .fuzz/venv
    .fuzz/venv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes --no-deps \
        -r requirements.lock -r requirements-fuzz.lock
    touch .fuzz/venv/.installed
fi
exec nice -n 10 .fuzz/venv/bin/python -m tests.fuzz.hunt "$@"
