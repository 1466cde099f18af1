"""Store files as older versions left them: made from the migrations themselves, with rows of that time in them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from shadow.store.sqlite.file import APPLICATION_ID
from shadow.store.sqlite.queries import load_migrations
from shadow.store.sqlite.rows import exchange_row, job_row, micros
from tests.support.stored import NOW, exchange, job

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = [number for number, _ in load_migrations()]

INSERT_EXCHANGE = """
INSERT INTO exchange (
    id, started_at, method, path, status, outcome, latency_ms, dialect, task, conversation, model, model_answered,
    streamed, stop_reason, ttft_ms, first_text_ms,
    input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens,
    price_source, request_bytes, response_bytes, first_turn, has_tools, client_retry, version, eligible,
    error, gateway_error
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_COLUMNS = INSERT_EXCHANGE.count("?")
"""What later versions keep besides stands at the end of a row."""
INSERT_JOB = """
INSERT INTO shadow_job (exchange_id, candidate, conversation, task, "primary", created_at, state, reason, counted)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
INSERT_ANSWER = """
INSERT INTO shadow_answer (
    exchange_id, candidate, exchange_started_at, task, started_at, outcome, latency_ms, streamed,
    cost_billed_usd, cost_uncached_usd, price_source, redaction_changed,
    quality_primary, quality_candidate, quality_diff
) VALUES (?, 'rival', ?, 'default', ?, 'ok', 80.0, 0, 0.01, 0.01, 'config', 0, 1.0, 0.5, -0.5)
"""
INSERT_SCORE = """
INSERT INTO score (exchange_id, candidate, evaluator, version, quality, role, status, value, reason, cost_usd)
VALUES (?, ?, 'is-json', '1', 1, ?, 'scored', ?, '', 0)
"""


def older_store(path: Path, version: int, *, exchanges: int = 30) -> None:
    """Make the file of that version, with exchanges of the last 29 hours, each third with an answered job."""
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        for number, script in load_migrations():
            if number <= version:
                connection.executescript(script)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("INSERT INTO counter VALUES ('tee_full', 2)")
        for number in range(exchanges):
            _add(connection, number)
        connection.commit()


def _add(connection: sqlite3.Connection, number: int) -> None:
    record = exchange(number, started_at=NOW.replace(hour=12 - number % 12, day=23 - number % 2))
    connection.execute(INSERT_EXCHANGE, exchange_row(record)[:_COLUMNS])
    if number % 3 == 0:
        done: dict[str, Any] = {"state": "done"}
        connection.execute(INSERT_JOB, job_row(job(record, **done)))
        began = micros(record.started_at)
        connection.execute(INSERT_ANSWER, (record.id, began, began))
        connection.execute(INSERT_SCORE, (record.id, "", "primary", 1.0))
        connection.execute(INSERT_SCORE, (record.id, "rival", "candidate", 0.5))
