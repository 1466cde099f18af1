"""`config.yaml` and the environment -> frozen values; the only reader of files and environment."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from gateway.addresses import ListenAddress, same_origin
from gateway.configfaults import database_name, faults, spec_of
from gateway.configmodel import CandidateSection, ConfigFile, EvaluatorSection, TaskSection, UpstreamSection
from gateway.configshape import check_shape, model_without
from gateway.configsource import (
    START_VARIABLES,
    ConfigErrors,
    Source,
    add_defaults,
    may_take_ezai_key,
    misspelt,
    read_environment,
    read_file,
)
from gateway.control import Tls
from gateway.settings import (
    BenchmarkSettings,
    LiveSettings,
    MeasuringSettings,
    RecordingSettings,
    RedactionRule,
    Upstream,
    VerdictSettings,
)
from gateway.yamltree import Path, Problem
from shadow.notices import AlertTarget, TargetKind
from shadow.records import NOISE_FLOOR, Candidate, Dialect, EvaluatorSpec, Price, Task, TaskMatch
from shadow.redaction import names_credential

__all__ = ["Config", "ConfigErrors", "find_file", "load"]

DEFAULT_FILE = "config.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything `serve` needs, resolved and checked."""

    file: str | None
    """The file as it was named; None when the environment alone was read."""
    listen: ListenAddress
    admin_listen: ListenAddress
    workers: int
    tls: Tls | None
    live: LiveSettings
    measuring: MeasuringSettings
    effective: Mapping[str, Any]
    """Every key with its value in force, secrets masked."""

    @property
    def shadow_off_reason(self) -> str | None:
        """Why nothing is shadowed; None when shadowing is on."""
        return self.measuring.shadow_off_reason

    @property
    def store_path(self) -> FilePath:
        """The database file."""
        return FilePath(unquote(self.measuring.store.removeprefix("sqlite:///")))

    def needs_restart(self, new: Config) -> tuple[str, ...]:
        """Name the keys in which `new` differs and that no running process can take over."""
        pairs = {
            "listen": (self.listen, new.listen),
            "admin.listen": (self.admin_listen, new.admin_listen),
            "tls": (self.tls, new.tls),
            "workers": (self.workers, new.workers),
            "store": (self.measuring.store, new.measuring.store),
        }
        return tuple(key for key, (old, fresh) in pairs.items() if old != fresh)


def find_file(named: str | None, environ: Mapping[str, str]) -> tuple[str | None, tuple[str, ...]]:
    """Choose the file: the named one, else `config.yaml` here unless variables describe the start; with notes."""
    if named is not None:
        return named, _ignored_variables(named, environ)
    if not FilePath(DEFAULT_FILE).exists():
        return None, ()
    given = [name for name in START_VARIABLES if environ.get(name)]
    if given:
        return None, (f"{DEFAULT_FILE} is not read because {given[0]} is set; to read it, pass -c {DEFAULT_FILE}",)
    return DEFAULT_FILE, ()


def _ignored_variables(file: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{name} is set but not read, because {file} describes the start"
        for name in START_VARIABLES
        if environ.get(name)
    )


def load(
    path: str | os.PathLike[str] | None,
    environ: Mapping[str, str],
    *,
    deployment_id: str | None = None,
    load_python: bool = False,
) -> Config:
    """Read the file (None: the environment alone), check everything and resolve it.

    `deployment_id` keeps its value over a reload; None draws a new one. `load_python` also loads `python` evaluators,
    each in a process of its own, for that runs the user's code. Raises ConfigErrors with every fault found.
    """
    source = read_environment(environ) if path is None else read_file(os.fspath(path), environ)
    source.load_python = load_python
    add_defaults(source, environ)
    model = _validated(source, misspelt(source, environ))
    return _resolved(model, source, environ, deployment_id=deployment_id or secrets.token_hex(8))


def _validated(source: Source, lines: Sequence[str]) -> ConfigFile:
    """Check shape and ranges, then what keys demand of one another; all faults are reported together, after `lines`."""
    problems = list(source.tree.problems)
    known = {problem.path for problem in problems}
    model, shape_problems = check_shape(source.tree.values)
    problems += [problem for problem in shape_problems if problem.path not in known]
    if model is None:
        model = model_without(source.tree.values, [problem.path for problem in problems])
    if model is not None:
        broken = [problem.path for problem in problems]
        problems += [
            Problem(path=finding.path, sentence=finding.sentence)
            for finding in faults(model, source)
            if not any(_touches(about, path) for about in (finding.path, *finding.about) for path in broken)
        ]
    if problems or lines:
        raise ConfigErrors([*lines, *(source.line(problem) for problem in sorted(problems, key=source.order))])
    if model is None:
        raise AssertionError("a configuration without a fault has a model")
    return model


def _touches(one: Path, other: Path) -> bool:
    """Tell whether one path lies within the other."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _resolved(model: ConfigFile, source: Source, environ: Mapping[str, str], *, deployment_id: str) -> Config:
    tls = model.tls
    return Config(
        file=source.file,
        listen=ListenAddress.parse(model.listen),
        admin_listen=ListenAddress.parse(model.admin.listen),
        workers=model.workers,
        tls=None if tls is None else Tls(cert=str(source.folder / tls.cert), key=str(source.folder / tls.key)),
        live=_live(model, source, environ, deployment_id),
        measuring=_measuring(model, source, environ, deployment_id),
        effective=_masked(model.model_dump(mode="json")),
    )


def _live(model: ConfigFile, source: Source, environ: Mapping[str, str], deployment_id: str) -> LiveSettings:
    upstream = model.upstream
    return LiveSettings(
        deployment_id=deployment_id,
        upstream=Upstream(base_url=upstream.base_url, api_key=upstream.api_key, api_key_header=upstream.api_key_header),
        routes=_routes(upstream),
        auth=upstream.auth,
        clients=tuple(model.clients),
        allow_paths=tuple(upstream.allow_paths),
        proxy=upstream.proxy,
        no_proxy=_no_proxy(environ),
        ca_file=_absolute(upstream.ca_file, source),
        connect_timeout_s=upstream.connect_timeout_s,
        first_byte_timeout_s=upstream.first_byte_timeout_s,
        idle_timeout_s=upstream.idle_timeout_s,
        write_stall_timeout_s=upstream.write_stall_timeout_s,
        keep_alive_s=upstream.keep_alive_s,
        max_connections=upstream.max_connections,
        drain_timeout_s=model.drain_timeout_s,
        primary_model=model.primary.model,
        recording=_recording(model, source),
    )


def _recording(model: ConfigFile, source: Source) -> RecordingSettings:
    """Build what a live process records by; it never learns the key of a candidate or judge, or the admin token."""
    shadow = model.shadow
    candidates = _candidates(model)
    return RecordingSettings(
        store=_store_url(model, source),
        shadow_enabled=_shadow_off_reason(model, source) is None,
        sample_rate=shadow.sample_rate,
        seed=shadow.seed,
        conversation_key=shadow.conversation.key,
        candidates=tuple(replace(candidate, api_key=None) for candidate in candidates),
        tasks=tuple(replace(task, evaluators=None) for task in _tasks(model)),
        max_body_bytes=shadow.max_body_bytes,
        tee_memory_bytes=shadow.tee_memory_mb << 20,
        allow_opt_in=shadow.allow_opt_in,
        secrets=_ordered(_live_secrets(model)),
        max_job_age_s=shadow.max_job_age_s,
        noise_floor=_noise_floor_off_reason(model) is None,
        content=shadow.content,
        redact=_redaction_rules(model),
    )


def _measuring(model: ConfigFile, source: Source, environ: Mapping[str, str], deployment_id: str) -> MeasuringSettings:
    shadow, upstream = model.shadow, model.upstream
    reason = _shadow_off_reason(model, source)
    candidate_keys = {entry.api_key for entry in shadow.candidates}
    return MeasuringSettings(
        store=_store_url(model, source),
        deployment_id=deployment_id,
        admin_token=model.admin.token,
        admin_hosts=_admin_hosts(model),
        shadow_enabled=reason is None,
        shadow_off_reason=reason,
        sample_rate=shadow.sample_rate,
        candidates=_candidates(model),
        tasks=_tasks(model),
        evaluators=_specs(model.evaluators),
        verdict=VerdictSettings(**model.verdict.model_dump()),
        upstream=Upstream(base_url=upstream.base_url, api_key=upstream.api_key, api_key_header=upstream.api_key_header),
        primary_model=model.primary.model,
        config_dir=str(source.folder),
        prices={name: Price(**price.model_dump()) for name, price in model.prices.items()},
        budget_usd_per_day=shadow.budget_usd_per_day,
        max_concurrency=shadow.max_concurrency,
        queue_size=shadow.queue_size,
        max_body_bytes=shadow.max_body_bytes,
        max_job_age_s=shadow.max_job_age_s,
        noise_floor=None if _noise_floor_off_reason(model) is not None else _primary_again(upstream),
        noise_floor_rate=shadow.noise_floor_rate,
        noise_floor_off_reason=_noise_floor_off_reason(model),
        golden=_absolute(model.golden, source),
        content=shadow.content,
        redact=_redaction_rules(model),
        retention_days=shadow.retention_days,
        conversation_idle_s=shadow.conversation.idle_s,
        conversation_max_turns=shadow.conversation.max_turns,
        conversation_max_age_s=shadow.conversation.max_age_s,
        proxy=upstream.proxy,
        no_proxy=_no_proxy(environ),
        ca_file=_absolute(upstream.ca_file, source),
        connect_timeout_s=upstream.connect_timeout_s,
        first_byte_timeout_s=upstream.first_byte_timeout_s,
        idle_timeout_s=upstream.idle_timeout_s,
        benchmark=BenchmarkSettings(**model.benchmark.model_dump()),
        alerts=_alert_targets(model),
        alerts_off=_alerts_off(model),
        config_file=source.file,
        config_version=source.version,
        secrets=_ordered(
            {
                *_live_secrets(model),
                *candidate_keys,
                *_evaluator_keys(model),
                *_alert_secrets(model),
                model.admin.token,
            }
        ),
    )


_TARGET_KINDS: tuple[TargetKind, ...] = ("slack", "webhook", "apprise")


def _alert_targets(model: ConfigFile) -> tuple[AlertTarget, ...]:
    return tuple(
        AlertTarget(
            kind=kind,
            url=url,
            secret=entry.secret,
            kinds=None if entry.kinds is None else tuple(entry.kinds),
            entry=index,
        )
        for index, entry in enumerate(model.alerts)
        for kind in _TARGET_KINDS
        if (url := getattr(entry, kind)) is not None
    )


def _alerts_off(model: ConfigFile) -> tuple[str, ...]:
    """Name the entries whose address is empty, as that of an unset variable is."""
    return tuple(
        f"alerts[{index}].{kind} is empty: nothing is sent there"
        for index, entry in enumerate(model.alerts)
        for kind in _TARGET_KINDS
        if kind in entry.model_fields_set and getattr(entry, kind) is None
    )


def _alert_secrets(model: ConfigFile) -> set[str | None]:
    """Everything by which somebody could write to a target: whole addresses, what follows their host, and secrets."""
    targets = _alert_targets(model)
    urls = {target.url for target in targets}
    tails = {url.partition("://")[2].partition("/")[2] for url in urls}
    return {*urls, *(tail for tail in tails if len(tail) >= _TELLING_TAIL), *(target.secret for target in targets)}


_TELLING_TAIL = 8
"""The part of an address after the host is a key of its own when it is at least so long."""


def _store_url(model: ConfigFile, source: Source) -> str:
    return "sqlite:///" + quote(str((source.folder / database_name(model.store)).absolute()))


def _candidates(model: ConfigFile) -> tuple[Candidate, ...]:
    return tuple(_candidate(entry, model.upstream) for entry in model.shadow.candidates)


def _tasks(model: ConfigFile) -> tuple[Task, ...]:
    return tuple(Task(name=task.name, match=_match(task), evaluators=_specs(task.evaluators)) for task in model.tasks)


def _redaction_rules(model: ConfigFile) -> tuple[RedactionRule, ...]:
    return tuple(RedactionRule(name=rule.name, pattern=rule.pattern) for rule in model.shadow.redact)


def _routes(section: UpstreamSection) -> dict[str, Upstream]:
    """Resolve routes: one without a key of its own uses the upstream's only at the upstream's origin."""
    return {
        prefix: Upstream(
            base_url=route.base_url,
            api_key=route.api_key or (section.api_key if same_origin(route.base_url, section.base_url) else None),
            api_key_header=route.api_key_header or section.api_key_header,
        )
        for prefix, route in section.routes.items()
    }


def _candidate(entry: CandidateSection, upstream: UpstreamSection) -> Candidate:
    base_url = entry.base_url or upstream.base_url
    at_home = same_origin(base_url, upstream.base_url)
    return Candidate(
        model=entry.model,
        base_url=base_url,
        api_key=entry.api_key or (upstream.api_key if at_home else None),
        api_key_header=entry.api_key_header or upstream.api_key_header,
        bearer_for_openai=entry.api_key_header is None,
        same_origin=at_home,
        own_base_url=entry.base_url is not None,
        sample_rate=entry.sample_rate,
        dialects=None if entry.dialects is None else tuple(Dialect(name) for name in entry.dialects),
        drop_params=tuple(entry.drop_params),
    )


def _primary_again(upstream: UpstreamSection) -> Candidate:
    """Say where the primary is asked again: where it was asked, with the key that is configured for that."""
    return Candidate(
        model=NOISE_FLOOR,
        base_url=upstream.base_url,
        api_key=upstream.api_key,
        api_key_header=upstream.api_key_header,
        bearer_for_openai=True,
    )


def _noise_floor_off_reason(model: ConfigFile) -> str | None:
    """Say why the primary is not asked again; None when it is."""
    if model.shadow.noise_floor_rate == 0:
        return "shadow.noise_floor_rate is 0"
    return None if model.upstream.api_key is not None else "there is no upstream.api_key to ask the primary again with"


def _shadow_off_reason(model: ConfigFile, source: Source) -> str | None:
    if not model.shadow.enabled:
        return "shadow.enabled is false"
    if not model.shadow.candidates:
        where = "set SHADOW_CANDIDATES=model,model" if source.file is None else "list them under shadow.candidates"
        return f"no candidates; {where}"
    if all(candidate.api_key is None for candidate in _candidates(model)):
        return "no API key for any candidate; " + _key_advice(model)
    return None


def _key_advice(model: ConfigFile) -> str:
    if may_take_ezai_key(model.upstream.base_url):
        return "set EZAI_API_KEY (upstream.api_key), or give the candidates an api_key"
    return (
        f"write upstream.api_key for {model.upstream.base_url}, or give the candidates an api_key "
        "(EZAI_API_KEY goes to EzAI only, unless the file says so)"
    )


def _match(task: TaskSection) -> TaskMatch:
    return TaskMatch(
        header={name.lower(): value for name, value in task.match.header.items()},
        path=task.match.path,
        model=task.match.model,
        system_contains=task.match.system_contains,
    )


def _specs(entries: Sequence[EvaluatorSection] | None) -> tuple[EvaluatorSpec, ...] | None:
    """Let a single evaluator decide without being told to."""
    if entries is None:
        return None
    return tuple(spec_of(entry, quality=bool(entry.quality) or len(entries) == 1) for entry in entries)


def _evaluator_keys(model: ConfigFile) -> set[str]:
    """Every key among the options of evaluators: a judge's, or one that a `python` evaluator takes."""
    lists = [model.evaluators, *(task.evaluators for task in model.tasks)]
    options = [each.options for entries in lists for each in entries or ()]
    return {
        value
        for found in options
        for name, value in found.items()
        if isinstance(value, str) and value and names_credential(name)
    }


def _live_secrets(model: ConfigFile) -> set[str | None]:
    """Every configured key that a live process handles."""
    password = None if model.upstream.proxy is None else urlsplit(model.upstream.proxy).password
    route_keys = {route.api_key for route in model.upstream.routes.values()}
    # The password as it stands in the URL and as the proxy is told it.
    return {
        model.upstream.api_key,
        *route_keys,
        *model.clients,
        password,
        None if password is None else unquote(password),
    }


def _ordered(keys: Iterable[str | None]) -> tuple[str, ...]:
    """Longest first, so that replacing one leaves no part of another."""
    return tuple(sorted((key for key in keys if key), key=lambda key: (-len(key), key)))


def _admin_hosts(model: ConfigFile) -> tuple[str, ...]:
    """Names the admin port answers to: the configured ones, the one it listens on, and this machine's."""
    listen = ListenAddress.parse(model.admin.listen)
    own = () if listen.is_local else (socket.gethostname().lower(),) if listen.is_wildcard else (listen.host,)
    return (*model.admin.hosts, *own)


def _no_proxy(environ: Mapping[str, str]) -> tuple[str, ...]:
    text = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _absolute(file: str | None, source: Source) -> str | None:
    return None if file is None else str(source.folder / file)


_FREE = frozenset({"header", "evaluators"})
"""Where the names are the user's or another's: only a name tells whether a value is a secret."""


def _masked(values: Any, *, key: str = "", free: bool = False) -> Any:
    """Give plain values with every secret as `***`, and `auto` where no evaluators are listed."""
    free = free or key in _FREE
    if isinstance(values, dict):
        return {name: _masked(value, key=str(name), free=free) for name, value in values.items()}
    if isinstance(values, list):
        return [_masked(value, key=key, free=free) for value in values]
    if values is not None and (key in ConfigFile.SECRETS or (free and names_credential(key))):
        return "***"
    if free and isinstance(values, str) and "://" in values:
        scheme, _, rest = values.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2].partition('/')[0]}/***"  # a webhook's path is its key
    return "auto" if key == "evaluators" and values is None else values
