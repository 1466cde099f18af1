#!/bin/sh
# Writes requirements.lock (what the product needs) and requirements-dev.lock (that, plus what tests and checks need).
set -eu
command -v uv >/dev/null || { echo "lock: uv is missing (pip install uv)" >&2; exit 2; }
compile() {
    uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
        --quiet "$@"
}
compile -o requirements.lock
compile --extra demo --group dev -o requirements-dev.lock
if grep -nE '://' requirements.lock requirements-dev.lock; then
    echo "a lock names a host; it must not" >&2
    exit 1
fi
