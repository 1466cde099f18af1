"""Two runs of the same questions, side by side: paired differences per model and evaluator. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shadow.benchmark.paired import Unit, cost_comparison, quality_comparison
from shadow.benchmark.summary import ALPHA, FAILED, compare_answers, quality_of, run_header, unit_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shadow.runs import Case, RunAnswer, RunResult

Row = dict[str, Any]

Pair = tuple["Case", "RunAnswer", "RunAnswer"]
"""A case with the first run's answer and the second's."""


class NothingSharedError(Exception):
    """The two runs have no question, or no model, in common; the message says which."""


def compare_runs(
    first: RunResult, second: RunResult, *, models: Sequence[tuple[str, str]] = (), alpha: float = ALPHA
) -> Row:
    """Compare each model of the second run with itself in the first, question by question (by prompt hash).

    `models` names other pairs: (of the first, of the second). Two runs of one model each are compared whatever the
    names are. Differences are second minus first. Raises NothingSharedError.
    """
    chosen = list(models) or _models(first, second)
    shared = {case.prompt_hash for case in first.cases} & {case.prompt_hash for case in second.cases}
    if not shared:
        raise NothingSharedError(
            f"the runs {first.run.id} and {second.run.id} have no question in common (of {len(first.cases)} and "
            f"{len(second.cases)}): they differ in prompt, parameters or API"
        )
    return {
        "first": run_header(first.run),
        "second": run_header(second.run),
        "level": 1 - alpha,
        "shared_cases": len(shared),
        "only_first": len(first.cases) - sum(case.prompt_hash in shared for case in first.cases),
        "only_second": len(second.cases) - sum(case.prompt_hash in shared for case in second.cases),
        "models": [_model(one, other, pairs_of(first, second, one, other), alpha) for one, other in chosen],
    }


def pairs_of(first: RunResult, second: RunResult, one: str, other: str) -> list[Pair]:
    """Pair answers of two models in two runs by prompt and repeat; a prompt asked twice in a run counts once."""
    before = _by_prompt(first, one)
    after = _by_prompt(second, other)
    return [(case, before[key][1], answer) for key, (case, answer) in after.items() if key in before]


def compare_pairs(pairs: Sequence[Pair], alpha: float = ALPHA) -> Row:
    """Compare pairs of two runs as `summary.compare_answers` does within one."""
    # The same question may have had another id in the first run.
    before = [replace(one, answer=replace(one.answer, exchange_id=case.id)) for case, one, _ in pairs]
    cases = {case.id: case for case, _, _ in pairs}
    return compare_answers(before, [after for _, _, after in pairs], cases, alpha=alpha)


def _models(first: RunResult, second: RunResult) -> list[tuple[str, str]]:
    both = [model for model in second.run.models if model in first.run.models]
    if both:
        return [(model, model) for model in both]
    if len(first.run.models) == len(second.run.models) == 1:
        return [(first.run.models[0], second.run.models[0])]
    raise NothingSharedError(
        f"no model is in both runs ({', '.join(first.run.models)}; {', '.join(second.run.models)}); "
        "name a pair with --models OLD:NEW"
    )


def _by_prompt(result: RunResult, model: str) -> dict[tuple[str, int], tuple[Case, RunAnswer]]:
    cases = {case.id: case for case in result.cases}
    found: dict[tuple[str, int], tuple[Case, RunAnswer]] = {}
    for answer in result.answers:
        case = cases.get(answer.cell.case_id)
        if case is not None and answer.cell.model == model:
            found.setdefault((case.prompt_hash, answer.repeat), (case, answer))
    return found


def _model(one: str, other: str, pairs: Sequence[Pair], alpha: float) -> Row:
    points = [
        Unit(name=unit_of(case), primary=quality_of(before), candidate=quality_of(after))
        for case, before, after in pairs
    ]
    return {
        "model": other if one == other else f"{one} -> {other}",
        "first": one,
        "second": other,
        **compare_pairs(pairs, alpha),
        "error_rate": {
            "first": _failed([before for _, before, _ in pairs]),
            "second": _failed([after for _, _, after in pairs]),
        },
        "quality_with_failures_diff": quality_comparison(points, alpha),
        "by_evaluator": _by_evaluator(pairs, alpha),
        "models_answered": {
            "first": _answered([before for _, before, _ in pairs]),
            "second": _answered([after for _, _, after in pairs]),
        },
        "scoring_cost_usd": _scoring(pairs, alpha),
    }


def _failed(answers: Sequence[RunAnswer]) -> float | None:
    ended = [each for each in answers if each.ended_well or each.answer.outcome in FAILED]
    return sum(each.answer.outcome in FAILED for each in ended) / len(ended) if ended else None


def _answered(answers: Sequence[RunAnswer]) -> list[str]:
    return sorted({each.answer.model_answered for each in answers if each.answer.model_answered})


def _by_evaluator(pairs: Sequence[Pair], alpha: float) -> Row:
    """Differences of each evaluator's scores. Another version of an evaluator may be another measure: said beside."""
    names = sorted({stored.evaluator for _, *both in pairs for each in both for stored in each.scores})
    return {name: _one_evaluator(name, pairs, alpha) for name in names}


def _one_evaluator(name: str, pairs: Sequence[Pair], alpha: float) -> Row:
    units = []
    versions: tuple[set[str], set[str]] = (set(), set())
    for case, *both in pairs:
        values = []
        for side, answer in enumerate(both):
            stored = next((each for each in answer.scores if each.evaluator == name and each.role != "pair"), None)
            if stored is not None:
                versions[side].add(stored.version)
            values.append(None if stored is None else stored.score.value)
        units.append(Unit(name=unit_of(case), primary=values[0], candidate=values[1]))
    same = versions[0] == versions[1]
    return {
        **quality_comparison(units, alpha),
        "versions": {"first": sorted(versions[0]), "second": sorted(versions[1])},
        "warning": None
        if same
        else "scored by different versions of the evaluator; resume the older run to rescore it",
    }


def _scoring(pairs: Sequence[Pair], alpha: float) -> Row:
    return cost_comparison(
        [
            Unit(
                name=unit_of(case),
                primary=sum(stored.score.cost_usd for stored in before.scores),
                candidate=sum(stored.score.cost_usd for stored in after.scores),
            )
            for case, before, after in pairs
        ],
        alpha,
    )
