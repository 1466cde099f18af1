"""Where a benchmark of the command line is put together: the configuration and the options in, a finished run out."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import ipaddress
import random
import signal
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec

from gateway.addresses import same_origin
from shadow.benchmark import Asker, Engine, Estimate, Scorer, estimate, new_run_id
from shadow.benchmark.scoring import request_of
from shadow.candidates import CallLimits, CandidateClient
from shadow.evaluators import EvaluatorConfigError, build_evaluators
from shadow.evaluators.llm_judges import LlmJudges
from shadow.evaluators.services import Services
from shadow.golden import GoldenError, load_golden
from shadow.judge.client import Network
from shadow.judge.hire import Agency, Home
from shadow.pricing import PriceBook
from shadow.records import Candidate, EvaluatorSpec
from shadow.redaction import Redactor, Scrubber
from shadow.runs import Case, Run, RunPlan
from shadow.store import open_store, recorded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from gateway.config import Config
    from shadow.benchmark import Progress
    from shadow.evaluators import EvaluatorSet
    from shadow.runs import RunKind, RunResult, StoredPrompt
    from shadow.store import Store

_NO_KEY_NEEDED = "none"
"""Sent to an endpoint on this machine where no key is configured: servers for local models ask for none."""


class BenchError(Exception):
    """The benchmark cannot be begun or gone on with; the message says why and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says of a run."""

    models: tuple[str, ...]
    base_url: str | None = None
    api_key: str | None = None
    evaluators: tuple[EvaluatorSpec, ...] = ()
    """Empty: those of the configuration, else the ones the cases call for."""
    primary: str | None = None
    repeats: int = 1
    seed: str = ""
    concurrency: int = 8
    retries: int = 2
    timeout_s: float = 600
    max_cost_usd: float | None = None
    resume: bool = False
    retry_errors: bool = False
    store: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A run that may begin, with what it may cost."""

    plan: RunPlan
    cost: Estimate
    resumed: Run | None
    """The run that is gone on with."""
    scorer: Scorer
    evaluators_note: str | None


def read_evaluator(text: str) -> EvaluatorSpec:
    """Read `TYPE` or `TYPE:{"option": …}`. Raises BenchError."""
    kind, colon, options = text.partition(":")
    if not colon:
        return EvaluatorSpec(type=kind)
    try:
        given = msgspec.json.decode(options.encode(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        example = 'regex:{"pattern": "^[0-9]+$"}'
        raise BenchError(
            f"--evaluator {text}: after the colon stand options as JSON, as in {example} ({error})"
        ) from None
    name = given.pop("name", None)
    return EvaluatorSpec(type=kind, options=given, name=name, quality=bool(given.pop("quality", False)))


def store_url(config: Config, named: str | None) -> str:
    """Give the run store: the configuration's, or the file or URL that was named."""
    if named is None:
        return config.measuring.store
    return named if "://" in named else "sqlite:///" + quote(str(Path(named).absolute()))


def kept_store_url(config: Config, named: str | None) -> str:
    """Give the same of a store that is there, for who asks what was kept. Raises StoreError."""
    return recorded(store_url(config, named))


def contestants(config: Config, options: Options) -> list[Candidate]:
    """Say where each model is asked and with which key. Raises BenchError where a key is missing."""
    upstream = config.live.upstream
    configured = {candidate.model: candidate for candidate in config.measuring.candidates}
    made = []
    for model in options.models:
        candidate = configured.get(model)
        if options.base_url is None and candidate is not None:
            made.append(_with_key(replace(candidate, same_origin=True), options))
            continue
        base_url = _without_version(options.base_url or upstream.base_url)
        key = upstream.api_key if same_origin(base_url, upstream.base_url) else None
        made.append(
            _with_key(
                Candidate(
                    model=model,
                    base_url=base_url,
                    api_key=key,
                    api_key_header=upstream.api_key_header,
                    bearer_for_openai=True,
                ),
                options,
            )
        )
    return made


def _with_key(candidate: Candidate, options: Options) -> Candidate:
    key = options.api_key or candidate.api_key
    if key is None and _is_loopback(candidate.base_url):
        key = _NO_KEY_NEEDED
    if key is None:
        raise BenchError(
            f"no API key for {candidate.model} at {candidate.base_url}: set EZAI_API_KEY, write upstream.api_key or "
            "the candidate's api_key, or name a variable that holds the key with --api-key-env"
        )
    return replace(candidate, api_key=key)


def _without_version(base_url: str) -> str:
    """Take off the `/v1` that the openai SDK wants in a base URL: our paths begin with it."""
    return base_url.rstrip("/").removesuffix("/v1")


def _is_loopback(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def scorer_for(
    config: Config, options: Options, cases: Sequence[Case], services: Services
) -> tuple[Scorer, str | None]:
    """Build the evaluators: the named ones for every task, else the configuration's. Raises EvaluatorConfigError.

    With neither, cases that tell what is expected are scored by `icontains`, as the article's example does.
    """
    folder, settings = config.measuring.config_dir, config.measuring
    if options.evaluators:
        decides = any(spec.quality for spec in options.evaluators)
        specs = tuple(
            replace(spec, quality=spec.quality or (not decides and at == 0))
            for at, spec in enumerate(options.evaluators)
        )
        return Scorer(sets={"default": build_evaluators(specs, config_dir=folder, services=services)}), None
    sets: dict[str, EvaluatorSet] = {
        task.name: build_evaluators(task.evaluators, config_dir=folder, services=services)
        for task in settings.tasks
        if task.evaluators is not None
    }
    if settings.evaluators is None and any(case.expected is not None for case in cases):
        chosen = (EvaluatorSpec(type="icontains", quality=True),)
        note = "scored by icontains, because cases say what is expected; choose others with --evaluator"
        return Scorer(sets={**sets, "default": build_evaluators(chosen, config_dir=folder, services=services)}), note
    told = None if settings.evaluators is not None else "scored by the checks that the requests themselves ask for"
    return Scorer(
        sets={**sets, "default": build_evaluators(settings.evaluators, config_dir=folder, services=services)}
    ), told


class Bench:
    """One benchmark of the command line, from its options to its result. Made by `opened`."""

    def __init__(
        self,
        *,
        config: Config,
        options: Options,
        store: Store,
        client: CandidateClient,
        prices: PriceBook,
        services: Services,
    ) -> None:
        settings = config.measuring
        keys = {*settings.secrets, *([options.api_key] if options.api_key else [])}
        self.prices = prices
        self.store = store
        self._options = options
        self._config = config
        self._services = services
        self._redactor = Redactor(settings.redact, secrets=keys)
        self._scrubber = Scrubber(keys)
        self._contestants = contestants(config, options)
        self._asker = Asker(
            client=client,
            prices=prices,
            redactor=self._redactor,
            deployment_id=settings.deployment_id,
            retries=options.retries,
        )

    async def ready(self, cases: Sequence[Case], *, kind: RunKind, name: str, note: str = "") -> Ready:
        """Make the plan, look for the run to go on with, and say what it may cost. Raises BenchError."""
        options = self._options
        scorer, told = scorer_for(self._config, options, cases, self._services)
        primary = options.primary or options.models[0]
        compares = any(scorer.compares(case.task) for case in cases)
        plan = RunPlan(
            id=new_run_id(datetime.now(UTC)),
            kind=kind,
            name=name,
            models=options.models,
            primary=primary if compares or options.primary is not None else None,
            cases=tuple(cases),
            evaluators=scorer.listed([case.task for case in cases]),
            repeats=options.repeats,
            seed=options.seed,
            max_cost_usd=options.max_cost_usd,
            base_urls={each.model: each.base_url for each in self._contestants},
            note=note,
        )
        resumed = await self._resumed(plan) if options.resume or options.retry_errors else None
        earlier = await self.store.runs.costs_so_far([case.prompt_hash for case in cases])
        cost = await asyncio.to_thread(
            estimate,
            plan,
            asker=self._asker,
            contestants={each.model: each for each in self._contestants},
            costs_so_far=earlier,
        )
        self._refuse_what_cannot_fit(cost)
        plan = replace(plan, estimate_usd=cost.worst_usd)
        return Ready(plan=plan, cost=cost, resumed=resumed, scorer=scorer, evaluators_note=told)

    async def kept_cases(self, kind: RunKind) -> tuple[Case, ...]:
        """Give the cases of the newest run of this kind and these models, to go on with; a new sample would differ."""
        page, _ = await self.store.runs.page(limit=20, kind=kind)
        found = next((run for run in page if set(run.models) == set(self._options.models)), None)
        result = None if found is None else await self.store.runs.result(found.id)
        return () if result is None else tuple(case for case in result.cases if case.request)

    async def run(self, ready: Ready, progress: Callable[[Progress], None]) -> RunResult:
        """Run it; SIGINT and SIGTERM end it early, keeping what is there. Raises BenchError, RunLostError."""
        engine = Engine(
            runs=self.store.runs,
            asker=self._asker,
            contestants=self._contestants,
            scorer=ready.scorer,
            keep=self._keep(ready.plan.kind),
            concurrency=self._options.concurrency,
            progress=progress,
        )
        if any(evaluators.costs_money for evaluators in ready.scorer.sets.values()):
            # Half a second that would otherwise be counted in the latency of the answers under way.
            await asyncio.to_thread(importlib.import_module, "anthropic")
        with _stopping(lambda: engine.stop("interrupted")):
            if ready.resumed is None:
                result = await engine.run(ready.plan)
            else:
                result = await engine.resume(ready.plan, ready.resumed, retry_errors=self._options.retry_errors)
        if result is None:
            raise BenchError(
                "another process works on this run, or was killed less than a minute ago: try again then, or start a "
                "new run without --resume"
            )
        return result

    def _keep(self, kind: RunKind) -> Callable[[str], str] | None:
        """A case file is the user's own; what production said is kept as the configuration allows."""
        mode = self._config.measuring.content
        if mode == "none":
            return None
        if kind == "bench" or mode == "full":
            return self._scrubber.scrub
        return lambda text: self._scrubber.scrub(self._redactor.redact_text(text)[0])

    async def _resumed(self, plan: RunPlan) -> Run | None:
        page, _ = await self.store.runs.page(limit=1, fingerprint=plan.fingerprint)
        return page[0] if page else None

    def _refuse_what_cannot_fit(self, cost: Estimate) -> None:
        bound = self._options.max_cost_usd
        if bound is None:
            return
        if cost.unpriced:
            lines = [
                f"the price of {model} is unknown; add {self.prices.missing_line(model)}"
                if why == "price_unknown"
                else f"what {model} may cost cannot be bounded ({why})"
                for model, why in cost.unpriced.items()
            ]
            raise BenchError("--max-cost cannot be kept: " + "; ".join(lines))
        if cost.dearest_usd > bound:
            raise BenchError(
                f"one answer may cost up to ${cost.dearest_usd:.4f}, more than --max-cost ${bound:g}; raise it, or "
                "lower max_tokens in the cases"
            )


@contextlib.asynccontextmanager
async def opened(config: Config, options: Options) -> AsyncIterator[Bench]:
    """Open the store and the connections of one benchmark."""
    settings = config.measuring
    prices = PriceBook(settings.prices)
    keys = {*settings.secrets, *([options.api_key] if options.api_key else [])}
    limits = CallLimits(
        connect_timeout_s=settings.connect_timeout_s,
        first_byte_timeout_s=options.timeout_s,
        idle_timeout_s=options.timeout_s,
        total_s=options.timeout_s,
        max_body_bytes=settings.max_body_bytes,
    )
    client = CandidateClient(
        prices=prices,
        scrubber=Scrubber(keys),
        limits=limits,
        proxy=settings.proxy,
        no_proxy=settings.no_proxy,
        ca_file=settings.ca_file,
    )
    judges = _judges(config, options, prices=prices, limits=limits, keys=keys)
    services = Services(judges=LlmJudges(judges))
    try:
        async with await open_store(store_url(config, options.store)) as store:
            try:
                yield Bench(
                    config=config, options=options, store=store, client=client, prices=prices, services=services
                )
            except EvaluatorConfigError as error:
                raise BenchError(str(error)) from error
    finally:
        await client.aclose()
        await judges.aclose()
        await asyncio.to_thread(services.close)


def _judges(config: Config, options: Options, *, prices: PriceBook, limits: CallLimits, keys: Iterable[str]) -> Agency:
    """Judges are asked where the run's models are, unless their options name another place."""
    settings = config.measuring
    base_url = _without_version(options.base_url or settings.upstream.base_url)
    key = options.api_key or (settings.upstream.api_key if same_origin(base_url, settings.upstream.base_url) else None)
    if key is None and _is_loopback(base_url):
        key = _NO_KEY_NEEDED
    return Agency(
        home=Home(base_url=base_url, api_key=key, api_key_header=settings.upstream.api_key_header),
        prices=prices,
        redactor=Redactor(settings.redact, secrets=keys),
        network=Network(
            limits=limits,
            proxy=settings.proxy,
            no_proxy=settings.no_proxy,
            ca_file=settings.ca_file,
            deployment_id=settings.deployment_id,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """Production prompts chosen to be asked again, and a sentence about how."""

    cases: tuple[Case, ...]
    note: str


def with_golden(cases: Sequence[Case], file: str | None) -> tuple[Case, ...]:
    """Give cases what a golden case of the same prompt says is right. Raises BenchError. Reads a file."""
    if file is None:
        return tuple(cases)
    try:
        golden = load_golden(file)
    except GoldenError as error:
        raise BenchError(str(error)) from error
    return tuple(
        case if case.expected is not None else replace(case, expected=golden.expected(request_of(case), task=case.task))
        for case in cases
    )


async def sample_prompts(
    store: Store, *, since: timedelta, count: int, seed: str, task: str | None, now: datetime
) -> Sampled:
    """Draw conversations at random over the window until `count` prompts are there; duplicates once.

    Whole conversations, because their turns are one unit of statistics. Raises BenchError when there are none.
    """
    prompts = await store.runs.prompts(since=now - since, until=now, task=task)
    if not prompts:
        raise BenchError(
            "no production prompt is stored in this window: only sampled conversations are kept, after a candidate "
            "answered, and none with `shadow.content: none`; use a case file with `bench` instead"
        )
    conversations: dict[str, list[StoredPrompt]] = {}
    for prompt in prompts:
        conversations.setdefault(prompt.conversation or prompt.exchange_id, []).append(prompt)
    order = sorted(conversations)
    random.Random(seed).shuffle(order)  # noqa: S311  (a sample, not a secret)
    chosen: list[Case] = []
    hashes: set[str] = set()
    for name in order:
        if len(chosen) >= count:
            break
        for case in await store.runs.prompt_cases(conversations[name]):
            if case.prompt_hash not in hashes:
                hashes.add(case.prompt_hash)
                chosen.append(case)
    note = (
        f"{len(chosen)} of {len(prompts)} stored prompts ({len(conversations)} conversations) since "
        f"{(now - since):%Y-%m-%d %H:%M} UTC, whole conversations drawn at random with seed {seed!r}"
    )
    return Sampled(cases=tuple(chosen), note=note)


@contextlib.contextmanager
def _stopping(stop: Callable[[], None]) -> Any:
    """Call `stop` at the first SIGINT or SIGTERM; a second one ends the process as usual."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def once() -> None:
        for number in signals:
            loop.remove_signal_handler(number)
        stop()

    for number in signals:
        loop.add_signal_handler(number, once)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def two_runs(config: Config, named: str | None, first: str, second: str) -> tuple[RunResult, RunResult]:
    """Read two runs by id, beginning of an id, or name. Raises BenchError or StoreError."""
    async with await open_store(kept_store_url(config, named)) as store:
        one, other = await found_run(store, first), await found_run(store, second)
    if one.run.id == other.run.id:
        raise BenchError(f"{first!r} and {second!r} are the same run, {one.run.id}; name two (a name means the newest)")
    return one, other


async def found_run(store: Store, text: str) -> RunResult:
    """Read one run by id, beginning of an id, or name. Raises BenchError."""
    run = await store.runs.find(text)
    result = None if run is None else await store.runs.result(run.id)
    if result is None:
        page, _ = await store.runs.page(limit=5)
        known = ", ".join(f"{each.id} ({each.name})" for each in page) or "none yet"
        raise BenchError(f"there is no run {text!r}, or several begin so; the newest are: {known}")
    return result


def missing_line(prices: PriceBook) -> Callable[[str], str | None]:
    """Give what `summarize` asks of a price book."""
    return lambda model: None if prices.price_of(model) is not None else prices.missing_line(model)


def models_of(text: str) -> tuple[str, ...]:
    """Read `a,b`; each once, in their order. Raises BenchError."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise BenchError("--models names no model; write --models gpt-4o,claude-sonnet-4-5")
    return names


def key_from(environ: Mapping[str, str], variable: str | None) -> str | None:
    """Read a key from the variable that was named. Raises BenchError when it is not set."""
    if variable is None:
        return None
    key = environ.get(variable)
    if not key:
        raise BenchError(f"--api-key-env {variable}: this variable is not set")
    return key
