"""Which judges a configuration names, and what speaks against each: told before anything is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shadow.candidates import CallLimits
from shadow.judge.client import Network
from shadow.judge.families import self_preference_warning
from shadow.judge.hire import Agency, Home, NoJudgeError
from shadow.judge.options import JudgeOptions, read_options
from shadow.pricing import PriceBook
from shadow.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.config import Config
    from shadow.records import EvaluatorSpec

_KINDS = frozenset({"llm-pairwise", "llm-rubric"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedJudge:
    """One judge of the configuration."""

    model: str
    tasks: tuple[str, ...]
    unusable: str | None
    """Why it cannot be asked: no key for its origin, or its price is unknown."""
    warning: str | None
    """That it comes from the house of a model it compares."""


def named_judges(config: Config) -> list[NamedJudge]:
    """List the judges by model, each with the tasks it judges; `auto` has the default one."""
    tasks: dict[JudgeOptions, list[str]] = {}
    for task, specs in _lists(config):
        for options in _options(specs):
            tasks.setdefault(options, []).append(task)
    agency = _agency(config)
    fixed = config.measuring.primary_model
    compared = [*([] if fixed is None else [fixed]), *(candidate.model for candidate in config.measuring.candidates)]
    return [
        NamedJudge(
            model=options.model,
            tasks=tuple(dict.fromkeys(named)),
            unusable=_unusable(agency, options),
            warning=self_preference_warning(options.model, compared),
        )
        for options, named in tasks.items()
    ]


def _lists(config: Config) -> Iterator[tuple[str, Sequence[EvaluatorSpec] | None]]:
    measuring = config.measuring
    yield "default", measuring.evaluators
    for task in measuring.tasks:
        yield task.name, measuring.evaluators if task.evaluators is None else task.evaluators


def _options(specs: Sequence[EvaluatorSpec] | None) -> Iterator[JudgeOptions]:
    if specs is None:
        yield JudgeOptions()
        return
    for spec in specs:
        if spec.type in _KINDS:
            yield read_options(spec.options)


def _unusable(agency: Agency, options: JudgeOptions) -> str | None:
    try:
        agency.hire(options.terms, options.place, system="")
    except NoJudgeError as error:
        return str(error)
    return None


def _agency(config: Config) -> Agency:
    """Make one that asks nobody: it only knows keys and prices."""
    upstream = config.measuring.upstream
    return Agency(
        home=Home(base_url=upstream.base_url, api_key=upstream.api_key, api_key_header=upstream.api_key_header),
        prices=PriceBook(config.measuring.prices),
        redactor=Redactor(()),
        network=Network(limits=CallLimits()),
    )
