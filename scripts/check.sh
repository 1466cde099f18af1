#!/bin/sh
# Format, lint, types and layers; stops at the first that fails.
set -eu
bin=.venv/bin
"$bin/ruff" format --check --quiet .
"$bin/ruff" check --quiet .
"$bin/mypy"
"$bin/lint-imports" --no-cache 2>/dev/null | tail -n 4
"$bin/lint-imports" --no-cache >/dev/null
