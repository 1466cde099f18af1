"""Fills a store as weeks of traffic would have left it, for benchmarks that read.

5 primaries x 8 tasks over 30 days, one conversation in a hundred asked of two candidates; other numbers of both by
BENCH_PRIMARIES and BENCH_CANDIDATES. Half of the tasks are scored by one answer's own check, half by a judge that is
asked in both orders, with controls; a fifth of the sampled exchanges is asked of the primary again; people label and
users judge some. Rows are written by SQL of the store itself, rollups by the code that writes them otherwise.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from shadow.histogram import decode
from shadow.pricing import PriceBook
from shadow.records import ENDED_WELL, NOISE_FLOOR, Dialect, ExchangeRecord, Outcome, Price, Usage
from shadow.rollups import (
    DAY,
    GRAINS,
    HOUR,
    Deltas,
    Key,
    Sums,
    Totals,
    by_grain,
    decode_histograms,
    decode_numbers,
    encode_histograms,
    encode_numbers,
)
from shadow.store.contributions import Bundle, add_bundle, add_exchange, add_price
from shadow.store.judged import add_second_answers
from shadow.store.sqlite.file import prepare
from shadow.store.sqlite.queries import load_queries
from shadow.store.sqlite.rows import exchange_row, micros

if TYPE_CHECKING:
    from pathlib import Path

DAYS = 30
TASKS = [f"task-{number}" for number in range(8)]
JUDGED = frozenset(TASKS[::2])
PRIMARIES = [f"primary-{number}" for number in range(int(os.environ.get("BENCH_PRIMARIES", "5")))]
CANDIDATES = tuple(f"candidate-{letter}" for letter in "abcdefgh"[: int(os.environ.get("BENCH_CANDIDATES", "2"))])
PRICES = PriceBook({name: Price(input=3, output=15) for name in (*PRIMARIES, *CANDIDATES)})
DISTINCT = 250_000
"""So many exchanges are made; a larger store holds each of them several times, microseconds apart."""
SAMPLED = 100
"""One exchange in so many is asked of the candidates."""

LATE_INDEXES = {"exchange_by_start", "exchange_unpriced", "shadow_answer_by_start", "shadow_answer_by_loss"}
_OUTCOMES = [Outcome.OK] * 97 + [Outcome.TRUNCATED, Outcome.ERROR_HTTP, Outcome.REFUSAL]


OWN = {
    "exchange": "id", "shadow_job": "exchange_id", "shadow_answer": "exchange_id", "score": "exchange_id",
    "judgement": "exchange_id", "label": "exchange_id", "feedback": "exchange_id", "noise_floor": "exchange_id",
    "content": "exchange_id",
}  # fmt: skip
"""Every table that holds rows of exchanges, and their column that names it."""
TIMES = {"started_at", "exchange_started_at", "created_at"}
_TEXT = "Tell me in three sentences what the customer wants, and answer in the tone of the first message. " * 4


class ByTheHour(Deltas):
    """Deltas of days whose minutes are not kept any more."""

    def at(self, key: Key) -> Sums:
        return super().at(Key(key.bucket - key.bucket % HOUR, *key[1:]))


class Loader:
    """Writes a store as weeks of traffic would have left it."""

    def __init__(self, path: Path, *, records: int, end: datetime) -> None:
        self.path, self.records, self.end = path, records, end
        self.random = random.Random(20261127)
        self.waiting: dict[tuple[int, Key], Totals] = {}
        self.rows: dict[str, list[tuple[Any, ...]]] = {}
        self.sql = {**load_queries("intake.sql"), **load_queries("jobs.sql"), **load_queries("rollups.sql")}

    def load(self) -> None:
        prepare(self.path)
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA cache_size = -400000")
            indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'").fetchall()
            late = {name: sql for name, sql in indexes if name in LATE_INDEXES}
            # Indexes of random keys are made afterwards, as any bulk load does it; triggers would fill the inbox.
            for name in late:
                connection.execute(f"DROP INDEX {name}")
            for day in range(DAYS):
                self._day(connection, day)
                print(f"  day {day + 1} of {DAYS}", end="\r", file=sys.stderr, flush=True)
            for sql in late.values():
                connection.execute(sql)
            self._fold(connection, before=float("inf"))
            connection.execute("DELETE FROM ledger_inbox")
            minutes = int((self.end - timedelta(days=2)).timestamp()) // 3600 * 3600 + 3600
            connection.execute("INSERT INTO meta VALUES ('minutes_kept_from', ?)", (str(minutes),))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        print(file=sys.stderr)

    def _day(self, connection: sqlite3.Connection, day: int) -> None:
        count = self.records // DAYS
        began = self.end - timedelta(days=DAYS - day)
        step = timedelta(days=1) / count
        has_minutes = (began + timedelta(days=1)) > self.end - timedelta(days=3)
        deltas = Deltas() if has_minutes else ByTheHour()
        connection.execute("BEGIN")
        exchanges: list[tuple[Any, ...]] = []
        prices: list[tuple[Any, ...]] = []
        for number in range(count):
            record = self.exchange(began + number * step)
            exchanges.append(exchange_row(record))
            cost = PRICES.cost(record.usage, answered=record.model, asked=record.model)
            priced = (cost.billed_usd, cost.uncached_usd, cost.source)
            prices.append((*priced, record.id))
            row = plain_row(record, priced)
            if number % SAMPLED:
                add_exchange(deltas, record, model=record.model)
                add_price(deltas, row, billed_usd=cost.billed_usd, uncached_usd=cost.uncached_usd)
            else:
                self._sample(deltas, row)
            if len(exchanges) >= 20_000:
                self._flush(connection, exchanges, prices)
        self._flush(connection, exchanges, prices)
        rows = [
            {**key._asdict(), "numbers": encode_numbers(sums.numbers), "histograms": encode_histograms(sums.histograms)}
            for key, sums in deltas.items()
        ]
        for place, sums in by_grain(rows, GRAINS if has_minutes else (HOUR, DAY)).items():
            self.waiting.setdefault(place, Totals()).absorb(sums)
        self._fold(connection, before=(began + timedelta(days=1)).timestamp())
        connection.execute("COMMIT")

    def multiply(self, times: int) -> None:
        """Make every exchange with all that is its own `times` as many, microseconds apart; sums grow in proportion.

        Histograms are drawn anew out of the month's, so that they are as full as distinct values would make them.
        """
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA cache_size = -2000000")
            indexes = dict(
                connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
            )
            late = {name: sql for name, sql in indexes.items() if name.split("_by_")[0] in OWN or name in LATE_INDEXES}
            triggers = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
            for name in late:
                connection.execute(f"DROP INDEX {name}")
            for name in triggers:
                connection.execute(f"DROP TRIGGER {name}")
            for table, key in OWN.items():
                self._copy(connection, table, key, times)
            for sql in (*late.values(), *triggers.values()):
                connection.execute(sql)
            print("  indexes", file=sys.stderr, flush=True)
            connection.execute("BEGIN")
            self._multiply_sums(connection, times)
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")

    @staticmethod
    def _copy(connection: sqlite3.Connection, table: str, key: str, times: int) -> None:
        def value(column: str) -> str:
            if column in {key, "conversation"}:
                return f"substr({column}, 1, 29) || printf('-%02x', n)"
            return f'"{column}" + n' if column in TIMES else f'"{column}"'

        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        connection.execute(
            f"INSERT INTO {table} WITH RECURSIVE times(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM times "
            f"WHERE n < {times - 1}) SELECT {', '.join(map(value, columns))} FROM {table} CROSS JOIN times "
            f"ORDER BY {'rowid' if table in {'exchange', 'content'} else key}"
        )
        print(f"  {table} {times} times", file=sys.stderr, flush=True)

    def _multiply_sums(self, connection: sqlite3.Connection, times: int) -> None:
        chance = np.random.default_rng(1)
        rows = connection.execute(
            'SELECT rowid, grain, task, "primary", candidate, detail, numbers, histograms FROM rollup'
        ).fetchall()
        month: dict[tuple[Any, ...], dict[int, int]] = {}
        for _, grain, *series, packed in rows:
            if grain == DAY:
                for name, packing in decode_histograms(packed).items():
                    counts = month.setdefault((*series[:4], name), {})
                    for bucket, count in decode(packing).items():
                        counts[bucket] = counts.get(bucket, 0) + count
        drawn = {
            key: (list(counts), np.array(list(counts.values())) / sum(counts.values())) for key, counts in month.items()
        }
        changed = []
        for rowid, _, *series, numbers, packed in rows:
            more = {name: value * times for name, value in decode_numbers(numbers).items()}
            spread = {}
            for name, packing in decode_histograms(packed).items():
                buckets, shares = drawn[*series, name]
                found = chance.multinomial(sum(decode(packing).values()) * times, shares)
                spread[name] = {buckets[at]: int(found[at]) for at in found.nonzero()[0]}
            changed.append((encode_numbers(more), encode_histograms(spread), rowid))
        connection.executemany("UPDATE rollup SET numbers = ?, histograms = ? WHERE rowid = ?", changed)

    def _fold(self, connection: sqlite3.Connection, *, before: float) -> None:
        """Write the buckets that are over; minutes only of the last two days, as they are kept."""
        over = [place for place in self.waiting if place[0] + place[1].bucket <= before]
        kept_from = (self.end - timedelta(days=2)).timestamp()
        rows = [
            (grain, *key, *self.waiting.pop((grain, key)).encoded())
            for grain, key in over
            if grain > 60 or key.bucket >= kept_from
        ]
        connection.executemany(self.sql["insert_folded"], rows)
        for place in over:
            self.waiting.pop(place, None)

    def _flush(self, connection: sqlite3.Connection, exchanges: list[Any], prices: list[Any]) -> None:
        connection.executemany(self.sql["insert_exchange"], exchanges)
        connection.executemany(
            "UPDATE exchange SET cost_billed_usd = ?, cost_uncached_usd = ?, price_source = ? WHERE id = ?", prices
        )
        exchanges.clear()
        prices.clear()
        for sql, rows in self.rows.items():
            connection.executemany(sql, rows)
        self.rows.clear()

    def exchange(self, when: datetime) -> ExchangeRecord:
        chance = self.random
        return ExchangeRecord(
            id=f"{chance.getrandbits(128):032x}",
            started_at=when,
            method="POST",
            path="/v1/messages",
            status=200,
            outcome=chance.choice(_OUTCOMES),
            latency_ms=chance.lognormvariate(7, 0.7),
            dialect=Dialect.ANTHROPIC_MESSAGES,
            task=chance.choice(TASKS),
            conversation=f"{chance.getrandbits(128):032x}",
            model=chance.choice(PRIMARIES),
            model_answered="model",
            streamed=True,
            stop_reason="end_turn",
            ttft_ms=chance.lognormvariate(5.5, 0.5),
            usage=Usage(input=chance.randint(50, 4000), output=chance.randint(10, 900)),
            request_bytes=4000,
            response_bytes=2000,
            overhead_us=round(chance.lognormvariate(5.5, 0.4)),
            eligible=True,
        )

    def _sample(self, deltas: Deltas, row: dict[str, Any]) -> None:
        """One exchange with all that is its own: jobs, answers, scores, rulings, labels, a second answer, feedback."""
        chance, sql, began = self.random, self.sql, micros(row["started_at"])
        id_, judged = row["id"], row["task"] in JUDGED
        answers, scores, judgements, labels, feedback = [], [], [], [], []
        again = [NOISE_FLOOR] if chance.random() < 0.2 else []
        jobs = [
            {
                "exchange_id": id_, "candidate": candidate, "state": "done", "reason": None,
                "counted": int(candidate != NOISE_FLOOR),
            }
            for candidate in (*CANDIDATES, *again)
        ]  # fmt: skip
        for job in jobs:
            of_job = (
                id_,
                job["candidate"],
                row["conversation"],
                row["task"],
                row["model"],
                began,
                "done",
                None,
                job["counted"],
            )
            self._add(sql["insert_job"], of_job)
            if judged:
                judgements += self._rulings(id_, job["candidate"], began)
        primary = None if judged else chance.choice([0.0, 1.0, 1.0, 1.0])
        if primary is not None:
            scores.append(score_row(id_, "", "primary", primary))
        for candidate in CANDIDATES:
            usage = Usage(input=row["input_tokens"], output=chance.randint(10, 900))
            cost = PRICES.cost(usage, answered=candidate, asked=candidate).billed_usd
            answer = {
                "exchange_id": id_, "candidate": candidate, "outcome": "ok", "redaction_changed": 0,
                "latency_ms": chance.lognormvariate(6.8, 0.7), "ttft_ms": chance.lognormvariate(5.3, 0.5),
                "streamed": 1, "input_tokens": usage.input, "cache_read_tokens": 0, "cache_write_5m_tokens": 0,
                "cache_write_1h_tokens": 0, "output_tokens": usage.output, "cost_billed_usd": cost,
                "cost_uncached_usd": cost,
            }  # fmt: skip
            answers.append(answer)
            quality = None if primary is None else chance.choice([0.0, 1.0, 1.0])
            difference = (
                chance.choice([-1.0, 0.0, 0.0, 1.0]) if quality is None or primary is None else quality - primary
            )
            score = (difference, "pair") if quality is None else (quality, "candidate")
            scores.append(score_row(id_, candidate, score[1], score[0]))
            self._add(
                sql["insert_answer"],
                (
                    id_, candidate, began, row["task"], began, "ok", 200, answer["latency_ms"],
                    answer["ttft_ms"], None, "end_turn", candidate, 1, usage.input, 0, 0, 0, usage.output, cost, cost,
                    "bench", None, 0, primary, quality, difference, row["outcome"] not in ENDED_WELL,
                ),
            )  # fmt: skip
            self._add(sql["insert_content"], (id_, candidate, _TEXT, _TEXT, None, _TEXT[5:], None))
            if chance.random() < 0.01:
                winner = chance.choice(["primary", "candidate", "tie"])
                labels.append({"exchange_id": id_, "candidate": candidate, "winner": winner})
                label = (id_, candidate, "me", winner, "A", "primary", "s", "label", began)
                self._add("INSERT INTO label VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", label)
        for score_ in scores:
            self._add(sql["insert_score"], tuple(score_[name] for name in _SCORE))
        if chance.random() < 0.05:
            feedback.append({"exchange_id": id_, "score": chance.choice([0.0, 1.0])})
            said = (id_, began, feedback[0]["score"], None, 0, None)
            self._add("INSERT INTO feedback VALUES (?, ?, ?, ?, ?, ?)", said)
        if again:
            self._ask_again(deltas, row, began)
        add_bundle(
            deltas,
            Bundle(
                exchange=row, jobs=jobs, answers=answers, scores=scores, judgements=judgements, labels=labels,
                feedback=feedback,
            ),
        )  # fmt: skip

    def _rulings(self, exchange_id: str, candidate: str, began: int) -> list[dict[str, Any]]:
        """Both orders, and one time in twenty a control."""
        chance = self.random
        found = []
        for control in (None, *(("half",) if chance.random() < 0.05 and candidate != NOISE_FLOOR else ())):
            winner = "primary" if control else chance.choice(["primary", "candidate", "tie", "tie"])
            for order in ("primary_first", "candidate_first"):
                status = "ruled" if chance.random() < 0.98 else "unreadable"
                found.append(
                    {
                        "exchange_id": exchange_id, "candidate": candidate, "evaluator": JUDGE, "version": "1:judge:0a",
                        "role": "pair", "number": len(found), "quality": 1, "model": "judge", "started_at": began + 900,
                        "judge_order": order, "status": status, "control": control,
                        "winner": winner if status == "ruled" else None, "grade": None, "reason": "It is.",
                        "attempt": 1, "input_tokens": 900, "cache_read_tokens": 0, "cache_write_5m_tokens": 0,
                        "cache_write_1h_tokens": 0, "output_tokens": 60, "cost_usd": 0.0012, "latency_ms": 800.0,
                        "primary_chars": 400, "candidate_chars": 380,
                    }
                )  # fmt: skip
        for each in found:
            self._add(self.sql["insert_judgement"], tuple(each.values()))
        return found

    def _ask_again(self, deltas: Deltas, row: dict[str, Any], began: int) -> None:
        judged = row["task"] in JUDGED
        second = {
            "exchange_id": row["id"], "exchange_started_at": began, "task": row["task"], "primary": row["model"],
            "conversation": row["conversation"], "outcome": "ok", "identical": self.random.random() < 0.3,
            "difference": self.random.choice([0.0, 0.0, 0.0, 1.0, -1.0]),
            "evaluator": JUDGE if judged else "is-json", "version": "1:judge:0a" if judged else "1",
            "cost_billed_usd": 0.003, "scoring_usd": 0.0024 if judged else 0.0,
        }  # fmt: skip
        self._add(self.sql["insert_noise"], tuple(second.values()))
        add_second_answers(deltas, [{**second, "exchange_started_at": row["started_at"]}])

    def _add(self, sql: str, row: tuple[Any, ...]) -> None:
        self.rows.setdefault(sql, []).append(row)


JUDGE = "llm-pairwise"
_SCORE = (
    "exchange_id", "candidate", "evaluator", "version", "quality", "role", "status", "value", "reason", "cost_usd",
    "measures", "absolute",
)  # fmt: skip


def score_row(exchange_id: str, candidate: str, role: str, value: float) -> dict[str, Any]:
    judged = role == "pair"
    return {
        "exchange_id": exchange_id, "candidate": candidate, "evaluator": JUDGE if judged else "is-json",
        "version": "1:judge:0a" if judged else "1", "quality": 1, "role": role, "status": "scored", "value": value,
        "reason": "", "cost_usd": 0.0024 if judged else 0.0, "measures": "content", "absolute": int(not judged),
    }  # fmt: skip


def plain_row(record: ExchangeRecord, priced: tuple[Any, ...]) -> dict[str, Any]:
    """An exchange as a row of its table, as far as rollups look at it."""
    usage = record.usage or Usage()
    return {
        "id": record.id, "started_at": record.started_at, "task": record.task, "model": record.model,
        "conversation": record.conversation, "dialect": record.dialect, "eligible": record.eligible,
        "outcome": str(record.outcome), "latency_ms": record.latency_ms, "ttft_ms": record.ttft_ms, "streamed": 1,
        "client_retry": 0, "first_turn": 1, "has_tools": 0, "gateway_error": None, "input_tokens": usage.input,
        "cache_read_tokens": 0, "cache_write_5m_tokens": 0, "cache_write_1h_tokens": 0, "output_tokens": usage.output,
        "cost_billed_usd": priced[0], "cost_uncached_usd": priced[1],
        "overhead_us": record.overhead_us,
    }  # fmt: skip
