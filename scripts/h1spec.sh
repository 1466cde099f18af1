#!/bin/sh
# Runs h1spec's 33 demands against a live port in front of an upstream that echoes bodies.
#
# h1spec is not ours and not kept here. It needs two things, named by variables when they are not found:
#   H1SPEC  its file http_test.ts (git clone https://github.com/uNetworking/h1spec .h1spec)
#   DENO    the deno program (npm install --prefix .h1spec deno)
# The same 33 demands are a table in tests/faults/test_hostile_http.py, which needs neither.
set -eu
cd "$(dirname "$0")/.."
H1SPEC=${H1SPEC:-.h1spec/http_test.ts}
DENO=${DENO:-$(command -v deno || echo .h1spec/node_modules/.bin/deno)}
for needed in "$H1SPEC" "$DENO"; do
    [ -e "$needed" ] || { echo "h1spec: $needed is missing; the head of scripts/h1spec.sh says how to get it" >&2; exit 2; }
done
export H1SPEC DENO
exec .venv/bin/python - <<'PYTHON'
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, ".")
from tests.support.live import running, settings_for
from tests.support.upstream import Answer, Upstream


def echo(request):
    body = bytes(request.body)
    return Answer(parts=(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body),))


with tempfile.TemporaryDirectory() as folder, Upstream() as upstream:
    upstream.answer(echo, by_body=True)
    with running(settings_for(upstream.base_url, Path(folder) / "shadow.db"), Path(folder)) as live:
        command = [os.environ["DENO"], "run", "--no-check", "--allow-net", os.environ["H1SPEC"]]
        ended = subprocess.run([*command, live.address[0], str(live.address[1])], timeout=120)
    upstream.start_over()
sys.exit(ended.returncode)
PYTHON
