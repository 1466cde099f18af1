#!/bin/sh
# Slow clients (slowhttptest: heads, bodies, reads; 300 connections each) beside 50 good streams; prints a table.
set -eu
cd "$(dirname "$0")/.."
command -v slowhttptest >/dev/null || { echo "slowhttp: slowhttptest is missing (apt-get install slowhttptest)" >&2; exit 2; }
exec .venv/bin/python scripts/slowhttp.py "$@"
