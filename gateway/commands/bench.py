"""`bench`, `replay` and `compare`: models on a fixed set of prompts, with intervals and gates."""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gateway.terminal import (
    FAILED,
    OK,
    PLAIN_WIDTH,
    REFUSED,
    ConfigOption,
    JsonOption,
    chosen_file,
    loaded_config,
    note,
    print_json,
    refuse,
    say,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import timedelta

    from gateway.benchrun import Bench, Options, Ready
    from gateway.config import Config
    from shadow.benchmark import Progress
    from shadow.benchmark.gates import Decision, Gate
    from shadow.runs import RunResult

GATE_FAILED, INCONCLUSIVE = 100, 101
"""Exit codes: a gate failed; none did, but some could not be decided."""

ModelsOption = Annotated[str, typer.Option("--models", metavar="A,B", help="Models to ask.")]
EvaluatorOption = Annotated[
    list[str] | None,
    typer.Option("--evaluator", metavar="TYPE[:JSON]", help="Scores the answers; the first one decides. Repeatable."),
]
PrimaryOption = Annotated[
    str | None, typer.Option(help="The model the others are compared with. Default: the first of --models.")
]
GateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--gate", metavar="COND", help="A condition such as quality>=0.9 or gpt-4o:cost_ratio<=0.8. Repeatable."
    ),
]
BaselineOption = Annotated[
    str | None, typer.Option(metavar="RUN", help="The earlier run that gates compare with; without it, the primary.")
]
MaxCostOption = Annotated[
    float | None, typer.Option("--max-cost", min=0, metavar="USD", help="Never spend more than this, retries included.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the newest run of the same questions.")]
RetryOption = Annotated[bool, typer.Option("--retry-errors", help="The same, and ask again what ended in an error.")]
OutputOption = Annotated[
    list[str] | None,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Write it: .json, .jsonl, .csv, .md, .html or .junit.xml. Repeatable."
    ),
]
RepeatsOption = Annotated[int, typer.Option(min=1, max=1000, help="Ask each question so often.")]
SeedOption = Annotated[str, typer.Option(help="Orders the questions, and draws the sample of `replay`.")]
ConcurrencyOption = Annotated[int, typer.Option(min=1, max=1000, help="Questions to one model at once.")]
RetriesOption = Annotated[int, typer.Option(min=0, max=20, help="Ask again after a failure, at most so often.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=1, metavar="S", help="Longest wait for one answer.")]
BaseUrlOption = Annotated[str | None, typer.Option(metavar="URL", help="Where every model is asked.")]
KeyOption = Annotated[str | None, typer.Option(metavar="NAME", help="The variable that holds the key.")]
StoreOption = Annotated[
    str | None, typer.Option(metavar="FILE", help="Where runs are kept. Default: the configured store.")
]
TaskOption = Annotated[str | None, typer.Option(help="Prompts of this task only.")]

_SPAN = re.compile(r"([0-9]{1,5})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def bench(
    cases: Annotated[str, typer.Argument(metavar="CASES.jsonl", help="One case a line; - reads standard input.")] = "",
    *,
    models: ModelsOption = "",
    scheduled: Annotated[
        bool, typer.Option("--scheduled", help="Make the weekly run now, for a cron of your own; takes no cases.")
    ] = False,
    config: ConfigOption = None,
    evaluator: EvaluatorOption = None,
    primary: PrimaryOption = None,
    gate: GateOption = None,
    baseline: BaselineOption = None,
    max_cost: MaxCostOption = None,
    resume: ResumeOption = False,
    retry_errors: RetryOption = False,
    output: OutputOption = None,
    api: Annotated[
        Literal["anthropic", "openai"], typer.Option(help="The API that is spoken; EzAI serves all models on both.")
    ] = "anthropic",
    repeats: RepeatsOption = 1,
    seed: SeedOption = "",
    concurrency: ConcurrencyOption = 8,
    retries: RetriesOption = 2,
    timeout: TimeoutOption = 600,
    base_url: BaseUrlOption = None,
    api_key_env: KeyOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask models a file of questions and compare their answers; exit 100 when a gate fails, 101 when undecided."""
    from shadow.benchmark.cases import CaseErrors, read_cases  # noqa: PLC0415  (lazily, as all commands)

    if scheduled:
        from gateway.commands.scheduled import run_scheduled  # noqa: PLC0415

        with _told():
            run_scheduled(loaded_config(chosen_file(config)), as_json=as_json)
    missing = [name for name, given in (("CASES.jsonl", cases), ("--models", models)) if not given]
    if missing:
        refuse([f"bench needs {' and '.join(missing)} (or --scheduled, for the weekly run)"])
    with _told():
        name = "standard input" if cases == "-" else cases
        try:
            found = read_cases(_text_of(cases), api=api, name=name)
        except CaseErrors as errors:
            refuse(errors.lines)
        loaded = loaded_config(chosen_file(config))
        options = _options(
            models=models, evaluator=evaluator, primary=primary, max_cost=max_cost, resume=resume,
            retry_errors=retry_errors, repeats=repeats, seed=seed, concurrency=concurrency, retries=retries,
            timeout=timeout, base_url=base_url, api_key_env=api_key_env, store=store,
        )  # fmt: skip

        async def ready(at: Bench) -> Ready:
            return await at.ready(found, kind="bench", name=Path(name).name)

        code = _run(loaded, options, ready, gate=gate, baseline=baseline, output=output, as_json=as_json)
    raise typer.Exit(code)


def replay(
    *,
    models: ModelsOption,
    since: Annotated[str, typer.Option(metavar="SPAN", help="How far back: 30m, 24h, 7d, 2w.")] = "7d",
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="So many prompts.")] = 100,
    task: TaskOption = None,
    config: ConfigOption = None,
    evaluator: EvaluatorOption = None,
    primary: PrimaryOption = None,
    gate: GateOption = None,
    baseline: BaselineOption = None,
    max_cost: MaxCostOption = None,
    resume: ResumeOption = False,
    retry_errors: RetryOption = False,
    output: OutputOption = None,
    repeats: RepeatsOption = 1,
    seed: SeedOption = "",
    concurrency: ConcurrencyOption = 8,
    retries: RetriesOption = 2,
    timeout: TimeoutOption = 600,
    base_url: BaseUrlOption = None,
    api_key_env: KeyOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do the same with stored production prompts: whole conversations, drawn at random over the window."""
    import asyncio  # noqa: PLC0415
    from datetime import UTC, datetime  # noqa: PLC0415

    from gateway.benchrun import kept_store_url, sample_prompts, with_golden  # noqa: PLC0415

    with _told():
        span = _span(since)
        loaded = loaded_config(chosen_file(config))
        kept_store_url(loaded, store)
        options = _options(
            models=models, evaluator=evaluator, primary=primary, max_cost=max_cost, resume=resume,
            retry_errors=retry_errors, repeats=repeats, seed=seed, concurrency=concurrency, retries=retries,
            timeout=timeout, base_url=base_url, api_key_env=api_key_env, store=store,
        )  # fmt: skip

        async def ready(at: Bench) -> Ready:
            kept = await at.kept_cases("replay") if resume or retry_errors else ()
            if kept:
                return await at.ready(kept, kind="replay", name=f"replay {since}")
            sampled = await sample_prompts(at.store, since=span, count=n, seed=seed, task=task, now=datetime.now(UTC))
            note(sampled.note)
            expecting = await asyncio.to_thread(with_golden, sampled.cases, loaded.measuring.golden)
            known = sum(case.expected is not None for case in expecting)
            if loaded.measuring.golden is not None:
                note(f"golden cases say what is right for {known} of them")
            return await at.ready(expecting, kind="replay", name=f"replay {since}", note=sampled.note)

        code = _run(loaded, options, ready, gate=gate, baseline=baseline, output=output, as_json=as_json)
    raise typer.Exit(code)


def compare(
    first: Annotated[str, typer.Argument(metavar="RUN_A", help="Id, beginning of an id, or name.")],
    second: Annotated[str, typer.Argument(metavar="RUN_B", help="The later run; differences are B minus A.")],
    *,
    models: Annotated[
        list[str] | None, typer.Option("--models", metavar="OLD:NEW", help="Compare these two. Repeatable.")
    ] = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show paired differences of two runs of the same questions, with intervals, per model and evaluator."""
    import asyncio  # noqa: PLC0415

    from gateway import benchview  # noqa: PLC0415
    from gateway.benchrun import BenchError, two_runs  # noqa: PLC0415
    from shadow.benchmark.between import NothingSharedError, compare_runs  # noqa: PLC0415

    with _told():
        loaded = loaded_config(chosen_file(config), load_python=False)
        pairs = []
        for pair in models or []:
            old, colon, new = pair.rpartition(":")
            if not colon or not old or not new:
                raise BenchError(f"--models {pair!r}: write OLD:NEW, a model of the first run and one of the second")
            pairs.append((old, new))
        one, other = asyncio.run(two_runs(loaded, store, first, second))
        try:
            compared = compare_runs(one, other, models=pairs)
        except NothingSharedError as error:
            raise BenchError(str(error)) from None
    if as_json:
        print_json(compared)
    else:
        _print(lambda width: benchview.compared(compared, width=width))


def _run(
    config: Config,
    options: Options,
    ready: Callable[[Bench], Any],
    *,
    gate: Sequence[str] | None,
    baseline: str | None,
    output: Sequence[str] | None,
    as_json: bool,
) -> int:
    """Run it, print it, write it, and say how it ended as an exit code."""
    import asyncio  # noqa: PLC0415

    from gateway import benchview  # noqa: PLC0415
    from gateway.benchrun import BenchError, found_run, missing_line, opened  # noqa: PLC0415
    from shadow.benchmark import gates  # noqa: PLC0415
    from shadow.benchmark.summary import summarize  # noqa: PLC0415

    try:
        wanted = [gates.read_gate(text) for text in gate or []]
    except gates.GateError as error:
        raise BenchError(str(error)) from None
    _refuse_gates(wanted, baseline=baseline, models=options.models, primary=options.primary or options.models[0])
    writers = [(file, _writer(file)) for file in output or []]

    async def work() -> tuple[RunResult, dict[str, Any], list[Decision]]:
        async with opened(config, options) as at:
            before = None if baseline is None else await found_run(at.store, baseline)
            made = await ready(at)
            _refuse_unscored(wanted, scores={each.name for listed in made.plan.evaluators.values() for each in listed})
            for line in benchview.beginning(made, max_cost_usd=options.max_cost_usd):
                note(line)
            with _progress() as progress:
                result = await at.run(made, progress)
            summary = summarize(result, missing_line=missing_line(at.prices))
            return result, summary, gates.decide(wanted, summary, result=result, baseline=before)

    result, summary, decisions = asyncio.run(work())
    for file, write in writers:
        _write(file, write(result, summary, decisions))
    if as_json:
        from shadow.benchmark.exports import gate_row  # noqa: PLC0415

        print_json({**summary, "gates": [gate_row(each) for each in decisions]})
    else:
        _print(lambda width: benchview.summary(summary, width=width))
        for decision in decisions:
            say(decision.sentence)
    return _code(result, decisions)


def _code(result: RunResult, decisions: Sequence[Decision]) -> int:
    from shadow.benchmark.gates import overall  # noqa: PLC0415

    unfinished = result.run.cells - result.run.answered
    if unfinished:
        note(
            f"stopped with {unfinished} of {result.run.cells} answers missing: {result.run.reason}; "
            "go on with the same command and --resume"
        )
    answering = {each.cell.model for each in result.answers if each.ended_well}
    silent = [model for model in result.run.models if model not in answering] if result.answers else []
    if silent:
        note(f"no answer of {', '.join(silent)} ended well")
    state = overall(decisions)
    if state == "fail":
        return GATE_FAILED
    if state == "inconclusive":
        return INCONCLUSIVE
    return FAILED if unfinished or silent else OK


def _refuse_gates(gates: Sequence[Gate], *, baseline: str | None, models: Sequence[str], primary: str) -> None:
    for gate in gates:
        if gate.compares and baseline is None and len(models) == 1:
            refuse([f"gate {gate.text!r} compares: name another run with --baseline RUN, or more than one model"])
        if gate.model is not None and gate.model not in models:
            refuse([f"gate {gate.text!r}: {gate.model} is none of the models ({', '.join(models)})"])
        if gate.compares and baseline is None and gate.model == primary:
            refuse([f"gate {gate.text!r} would compare {primary} with itself: name another model, or --baseline RUN"])


def _refuse_unscored(gates: Sequence[Gate], *, scores: Collection[str]) -> None:
    """A gate on an evaluator that does not score here could never be decided."""
    for gate in gates:
        kind, _, name = gate.metric.partition(".")
        if kind == "score" and name not in scores:
            refuse(
                [f"gate {gate.text!r}: no evaluator {name!r} scores this run; these do: {', '.join(sorted(scores))}"]
            )


def _writer(file: str) -> Callable[[RunResult, dict[str, Any], Sequence[Decision]], str]:
    """Choose the format by the file's ending, before anything is spent."""
    from shadow.benchmark.exports import FORMATS  # noqa: PLC0415

    folder = Path(file).parent
    if Path(file).is_dir():
        refuse([f"-o {file}: is a folder, not a file"])
    if not os.access(folder, os.W_OK | os.X_OK):
        refuse([f"-o {file}: there is no folder {folder} that can be written to"])
    for ending, write in FORMATS.items():
        if file.endswith(ending):
            return write
    if file.endswith(".html"):
        return _page_writer()
    refuse([f"-o {file}: the ending chooses the format: {', '.join(FORMATS)}, .html"])
    raise AssertionError("refuse ends the command")


def _page_writer() -> Callable[[RunResult, dict[str, Any], Sequence[Decision]], str]:
    """Give the dashboard's page of a run, as one file that stands alone."""
    import importlib  # noqa: PLC0415
    from importlib import metadata  # noqa: PLC0415

    try:
        page: Any = importlib.import_module("shadow.web.dashboard.report")
    except ModuleNotFoundError:
        refuse(["-o: .html comes with the dashboard, which is not in this version; .md and .json are"])

    def write(_result: RunResult, summary: dict[str, Any], _decisions: Sequence[Decision]) -> str:
        html: str = page.run_html(summary, version=metadata.version("shadow-gateway"))
        return html

    return write


def _write(file: str, text: str) -> None:
    from gateway.terminal import for_us_alone  # noqa: PLC0415

    with open(file, "w", encoding="utf-8", newline="", opener=for_us_alone) as stream:
        stream.write(text)
    note(f"wrote {file}")


def _text_of(file: str) -> str:
    try:
        if file == "-":
            return sys.stdin.buffer.read().decode("utf-8-sig")
        return Path(file).read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        refuse([f"{file}: is not UTF-8 (byte {error.start})"])
        raise AssertionError("refuse ends the command") from error


def _span(text: str) -> timedelta:
    from datetime import timedelta  # noqa: PLC0415

    found = _SPAN.fullmatch(text)
    if found is None or not int(found[1]):
        refuse([f"--since {text!r}: write a span such as 30m, 24h, 7d or 2w"])
        raise AssertionError("refuse ends the command")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _options(*, models: str, evaluator: Sequence[str] | None, api_key_env: str | None, **given: Any) -> Options:
    from gateway.benchrun import BenchError, Options, key_from, models_of, read_evaluator  # noqa: PLC0415

    named, primary, base_url = models_of(models), given["primary"], given["base_url"]
    if primary is not None and primary not in named:
        raise BenchError(f"--primary {primary}: is none of the models ({', '.join(named)})")
    if base_url is not None and not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*)?", base_url):
        raise BenchError(f"--base-url {base_url}: write where the API is, such as http://127.0.0.1:9090")
    return Options(
        models=named,
        evaluators=tuple(read_evaluator(text) for text in evaluator or []),
        api_key=key_from(os.environ, api_key_env),
        max_cost_usd=given.pop("max_cost"),
        timeout_s=given.pop("timeout"),
        **given,
    )


@contextmanager
def _told() -> Iterator[None]:
    """Turn a benchmark's own faults into their sentence, beside those every command has."""
    from gateway.benchrun import BenchError  # noqa: PLC0415
    from shadow.benchmark import RunLostError  # noqa: PLC0415

    try:
        with told():
            yield
    except BenchError as error:
        note(str(error))
        raise typer.Exit(REFUSED) from None
    except RunLostError as error:
        note(str(error))
        raise typer.Exit(FAILED) from None


def _print(drawn: Callable[[int], Any]) -> None:
    from rich.console import Console  # noqa: PLC0415

    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    console.print(drawn(console.width))


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """Show progress with the cost so far: a bar on a terminal, a line now and then elsewhere."""
    from gateway import benchview  # noqa: PLC0415

    if sys.stderr.isatty():
        with benchview.bar() as advance:
            yield advance
    else:
        yield benchview.Lines(note)
