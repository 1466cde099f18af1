"""`/stats`, whole: the store's rows of one window in, plain JSON values out. No I/O, no clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shadow.budget import budget_day
from shadow.judge.figures import MAX_MISSING, JudgeBook
from shadow.records import Outcome
from shadow.stats.besides import Besides, said_in_rows, said_in_sums
from shadow.stats.brief import brief, fitting
from shadow.stats.comparisons import Conversations, comparison, no_epoch
from shadow.stats.coverage import compared, coverage_figures, coverage_of
from shadow.stats.figures import finite
from shadow.stats.insights import changed_evaluators, crowded_key, insights
from shadow.stats.models import model_row
from shadow.stats.quality import ScoreBook, quality_figures
from shadow.stats.rolled import Rolled
from shadow.stats.rolled_besides import judging_rows, label_rows
from shadow.stats.rows import FAILURES, RolledRows, read_answers, read_exchanges, read_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
    from typing import TypeVar

    from shadow.stats.conversations import ConversationRules
    from shadow.stats.coverage import ComparisonKey
    from shadow.stats.models import Graded
    from shadow.stats.rows import Answer, Exchange, StatsRows

    T = TypeVar("T")
    K = TypeVar("K", bound=Hashable)

DEFAULT_TASK = "default"

_COSTS_WITHOUT_ANSWER = FAILURES | {Outcome.INCOMPATIBLE}


def build_stats(
    rows: StatsRows | RolledRows,
    *,
    since: datetime,
    until: datetime,
    now: datetime,
    rules: ConversationRules,
    missing_line: Callable[[str], str | None],
    budget_usd_per_day: float,
    task: str | None = None,
    model: str | None = None,
    tasks: Sequence[str] = (),
    candidates: Sequence[str] = (),
    verdicts: Iterable[Mapping[str, Any]] = (),
    shadow_off_reason: str | None = None,
    noise_floor_off_reason: str | None = None,
    judges_unusable: Mapping[str, str] | None = None,
    max_missing: float = MAX_MISSING,
    room: int | None = None,
) -> dict[str, Any]:
    """Build the answer of `/stats`.

    All times are aware UTC; `now` decides which conversations are still open. `task` is what `rows` were read with,
    `model` keeps only this model's rows and comparisons. `tasks` and `candidates` are the configured names, shown even
    without a single exchange. `verdicts` is what the ledger shows of the present epochs (`shadow.ledger.figures`).
    `judges_unusable` says by task why its judge cannot be asked, `max_missing` how many rulings a judge may leave out.
    `missing_line` gives the line of `prices:` to add, None for a model whose price is known. `room` is how many models
    are told of in full (`shadow.stats.brief.fitting`); the tasks beyond are `more_tasks`.
    """
    epochs = {(each["task"], each["primary"], each["candidate"]): each for each in verdicts}
    as_of = min(now, until)
    totals = rows.totals if isinstance(rows, RolledRows) else {}
    if isinstance(rows, RolledRows):
        judging, labels, said = judging_rows(totals, rows.newest_judges), label_rows(totals), said_in_sums(totals)
    else:
        judging, labels, said = list(rows.judging), list(rows.labels), said_in_rows(rows)
    judges = JudgeBook(judging, labels, max_missing=max_missing, unusable=judges_unusable)
    besides = Besides(said, judges=judges, noise_floor_off_reason=noise_floor_off_reason)
    if isinstance(rows, RolledRows):
        window: Rolled | _Window = Rolled(
            rows,
            totals,
            as_of=as_of,
            candidates=candidates,
            missing_line=missing_line,
            epochs=epochs,
            besides=besides,
        )
    else:
        window = _Window(
            rows,
            rules=rules,
            as_of=as_of,
            candidates=candidates,
            missing_line=missing_line,
            epochs=epochs,
            besides=besides,
        )
    names = [task] if task is not None else _shown_tasks(tasks, window.tasks())
    shown, others = fitting(names, window.size, room=room)
    return {
        "since": since,
        "until": until,
        "read": _read(rows, since=since, until=until),
        "shadowing": {"on": shadow_off_reason is None, "reason": shadow_off_reason},
        "tasks": [_only(model, window.task(name)) for name in shown],
        "more_tasks": [_only(model, window.brief(name)) for name in others],
        "dropped": dict(sorted(rows.dropped.items())),
        "budget": _budget(rows, cap_usd=budget_usd_per_day, now=now),
    }


class _Window:
    """The rows of one window, read and grouped once."""

    def __init__(
        self,
        rows: StatsRows,
        *,
        rules: ConversationRules,
        as_of: datetime,
        candidates: Sequence[str],
        missing_line: Callable[[str], str | None],
        epochs: Mapping[ComparisonKey, Mapping[str, Any]],
        besides: Besides,
    ) -> None:
        self._epochs = epochs
        self._besides = besides
        self._rules, self._as_of, self._candidates, self._missing_line = rules, as_of, candidates, missing_line
        exchanges = read_exchanges(rows.exchanges)
        answers = read_answers(rows.answers, exchanges)
        self._scores = ScoreBook(read_scores(rows.scores))
        self._exchanges = _grouped(exchanges.values(), lambda exchange: exchange.task)
        self._answers = _grouped(answers, lambda answer: answer.exchange.task)
        self._counted = {answer.exchange.id for answer in answers if answer.counted}
        self._eligible, self._coverage = coverage_figures(rows.coverage)

    def tasks(self) -> set[str]:
        decided = (name for name, _, _ in self._epochs)
        return {
            *decided,
            *self._exchanges,
            *(name for name, _ in self._eligible),
            *(name for name, _, _ in self._coverage),
        }

    def size(self, task: str) -> int:
        """Count the models of a task."""
        return len({one.call.model for one in self._exchanges.get(task, [])}) + len(
            {answer.candidate for answer in self._answers.get(task, [])}
        )

    def brief(self, name: str) -> dict[str, Any]:
        return brief(self.task(name))

    def task(self, name: str) -> dict[str, Any]:
        by_primary = _grouped(self._exchanges.get(name, []), lambda exchange: exchange.call.model)
        answers = self._answers.get(name, [])
        by_candidate = _grouped(answers, lambda answer: answer.candidate)
        judged = self._compared_by_pair(answers)
        models = [
            *(
                self._primary(name, model, by_primary[model], is_compared=model in judged)
                for model in _most_first(by_primary)
            ),
            *(self._candidate(model, by_candidate[model]) for model in sorted(by_candidate)),
        ]
        comparisons = self._comparisons(name, by_primary, answers, pairwise=bool(judged))
        return {
            "task": name,
            "models": models,
            "comparisons": comparisons,
            "insights": [*self._crowded_key(name), *changed_evaluators(models), *insights(models)],
        }

    def _compared_by_pair(self, answers: Iterable[Answer]) -> set[str | None]:
        """Name the primaries whose answers are what a pairwise evaluator compared others with."""
        decided = ((answer, self._scores.candidate_quality(answer)) for answer in answers)
        return {answer.exchange.call.model for answer, score in decided if score is not None and score.role == "pair"}

    def _crowded_key(self, name: str) -> list[dict[str, Any]]:
        return crowded_key([exchange.conversation for exchange in self._exchanges.get(name, [])])

    def _primary(
        self, task: str, model: str | None, exchanges: Sequence[Exchange], *, is_compared: bool
    ) -> dict[str, Any]:
        ended_well = [exchange for exchange in exchanges if exchange.call.ended_well]
        counted = [exchange for exchange in ended_well if exchange.id in self._counted]
        scored = [exchange for exchange in counted if self._scores.of_primary(exchange.id)]
        not_counted = sum(
            bool(self._scores.of_primary(exchange.id)) for exchange in ended_well if exchange.id not in self._counted
        )
        quality = quality_figures(
            [self._scores.of_primary(exchange.id) for exchange in scored],
            conversations=[exchange.conversation for exchange in scored],
            ended_well=len(ended_well),
            not_counted=not_counted,
            whose="no answer of this model is scored yet: answers are scored together with a candidate's",
            is_compared=is_compared,
        )
        self._besides.add_feedback(quality, task, model)
        return model_row(
            model=model,
            role="primary",
            calls=[exchange.call for exchange in exchanges],
            quality=quality,
            graded=self._graded_primary(scored),
            missing_line=self._missing_line,
            overheads=[each.overhead_ms for each in exchanges if each.overhead_ms is not None],
        )

    def _graded_primary(self, exchanges: Iterable[Exchange]) -> list[Graded]:
        qualities = ((exchange, self._scores.primary_quality(exchange.id)) for exchange in exchanges)
        return [
            (exchange.call, score.value, exchange.conversation)
            for exchange, score in qualities
            if score is not None and score.value is not None
        ]

    def _candidate(self, model: str, answers: Sequence[Answer]) -> dict[str, Any]:
        ended_well = [answer for answer in answers if answer.call.ended_well]
        counted = [answer for answer in ended_well if answer.counted]
        quality = quality_figures(
            [self._scores.of_candidate(answer) for answer in counted],
            conversations=[answer.exchange.conversation for answer in counted],
            ended_well=len(ended_well),
            not_counted=len(ended_well) - len(counted),
            whose="all answers are to opted-in exchanges or to redacted copies, which are never counted",
        )
        return model_row(
            model=model,
            role="candidate",
            calls=[answer.call for answer in answers],
            quality=quality,
            graded=self._graded_candidate(answers),
            missing_line=self._missing_line,
        )

    def _graded_candidate(self, answers: Iterable[Answer]) -> list[Graded]:
        graded: list[Graded] = []
        for answer in answers:
            quality = self._quality_of(answer) if answer.counted else None
            if quality is not None:
                graded.append((answer.call, quality, answer.exchange.conversation))
        return graded

    def _quality_of(self, answer: Answer) -> float | None:
        """Absolute quality of a counted answer; 0 for a failure, unless the evaluator would not have applied anyway."""
        if answer.call.outcome in _COSTS_WITHOUT_ANSWER:
            primary = self._scores.primary_quality(answer.exchange.id)
            return 0.0 if primary is None or primary.status == "scored" else None
        score = self._scores.candidate_quality(answer)
        return score.value if score is not None and score.role != "pair" else None

    def _comparisons(
        self,
        task: str,
        by_primary: Mapping[str | None, Sequence[Exchange]],
        answers: Sequence[Answer],
        *,
        pairwise: bool,
    ) -> list[dict[str, Any]]:
        by_pair = _grouped(answers, lambda answer: (answer.exchange.call.model, answer.candidate))
        conversations = {
            primary: Conversations(exchanges, self._rules, as_of=self._as_of)
            for primary, exchanges in by_primary.items()
        }
        return [
            comparison(
                primary=primary,
                candidate=candidate,
                answers=by_pair.get((primary, candidate), []),
                exchanges=by_primary.get(primary, []),
                scores=self._scores,
                conversations=conversations.get(primary) or Conversations([], self._rules, as_of=self._as_of),
                pairwise=pairwise,
                coverage=self._coverage_of(task, primary, candidate),
                epoch=self._epochs.get((task, primary, candidate)) or no_epoch(),
                as_of=self._as_of,
                price_line=self._missing_line(candidate),
                noise_floor=self._besides.noise_floor(task, primary),
                judge=self._besides.judge(task, primary, candidate),
            )
            for primary, candidate in compared(
                task,
                by_pair,
                eligible=self._eligible,
                candidates=self._candidates,
                jobs=self._coverage,
                epochs=self._epochs,
            )
        ]

    def _coverage_of(self, task: str, primary: str | None, candidate: str) -> dict[str, Any]:
        key: ComparisonKey = (task, primary, candidate)
        return self._coverage.get(key) or coverage_of([], eligible=self._eligible.get((task, primary), 0))


def _shown_tasks(configured: Sequence[str], found: set[str]) -> list[str]:
    """Give configured tasks in their order, then others; the default task when there is nothing else."""
    others = sorted(found.difference(configured))
    return [*dict.fromkeys(configured), *others] or [DEFAULT_TASK]


def _only(model: str | None, task: dict[str, Any]) -> dict[str, Any]:
    """Keep one model's row and its comparisons; everything when `model` is None."""
    if model is None:
        return task
    return {
        **task,
        "models": [row for row in task["models"] if row["model"] == model],
        "comparisons": [row for row in task["comparisons"] if model in {row["primary"], row["candidate"]}],
    }


def _budget(rows: StatsRows | RolledRows, *, cap_usd: float, now: datetime) -> dict[str, Any]:
    spent, reserved = finite(rows.budget["spent_usd"]) or 0.0, finite(rows.budget["reserved_usd"]) or 0.0
    return {
        "day": rows.budget_day,
        "cap_usd": cap_usd,
        "paced_usd": budget_day(now, cap_usd=cap_usd).paced_usd,
        "spent_usd": spent,
        "judge_usd": finite(rows.judge_spent_usd) or 0.0,
        "reserved_usd": reserved,
        "left_usd": max(0.0, cap_usd - spent - reserved),
        "closed": bool(rows.budget["closed"]),
    }


def _read(rows: StatsRows | RolledRows, *, since: datetime, until: datetime) -> dict[str, Any]:
    """Say which stretch the numbers are really about: sums are kept by the minute, older ones by the hour or day."""
    if not isinstance(rows, RolledRows):
        return {"since": since, "until": until, "reason": None}
    edges = (datetime.fromtimestamp(edge, UTC) for edge in (rows.window.since, rows.window.until))
    first, last = edges
    due = rows.due_before
    reason = None
    if due is not None and due > first:
        reason = f"sums of before {due.isoformat()} are still being made, for an older version kept none"
    return {"since": first, "until": last, "reason": reason}


def _most_first(by_model: Mapping[str | None, Sequence[object]]) -> list[str | None]:
    return sorted(by_model, key=lambda model: (-len(by_model[model]), model is None, model or ""))


def _grouped(things: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = {}
    for thing in things:
        groups.setdefault(key(thing), []).append(thing)
    return groups
