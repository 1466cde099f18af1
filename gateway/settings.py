"""The configuration as the processes see it: frozen values, built by `gateway.config`, sent to the children as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from shadow.notices import AlertTarget
from shadow.records import Candidate, EvaluatorSpec, Price, Task
from shadow.redaction import BUILT_IN_REDACTIONS

ApiKeyHeader = Literal["x-api-key", "bearer", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One place live traffic may go to."""

    base_url: str
    """scheme://host[:port][/prefix], no trailing slash, no query."""
    api_key: str | None = None
    api_key_header: ApiKeyHeader = "x-api-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSettings:
    """All a live process needs. Durations are seconds, sizes are bytes."""

    deployment_id: str
    """Random, the same for every process of one `serve`; travels as `x-shadow-hop`."""
    upstream: Upstream
    routes: Mapping[str, Upstream] = field(default_factory=dict)
    """Path prefix -> upstream; the prefix is kept, the longest wins."""
    auth: Literal["passthrough", "gateway"] = "passthrough"
    clients: tuple[str, ...] = ()
    allow_paths: tuple[str, ...] = ()
    proxy: str | None = None
    no_proxy: tuple[str, ...] = ()
    ca_file: str | None = None
    connect_timeout_s: float = 10
    first_byte_timeout_s: float = 600
    idle_timeout_s: float = 600
    write_stall_timeout_s: float = 60
    keep_alive_s: float = 120
    max_connections: int = 10_000
    drain_timeout_s: float = 30
    primary_model: str | None = None

    recording: RecordingSettings = field(default_factory=lambda: RecordingSettings())  # noqa: PLW0108 (defined below)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactionRule:
    """One thing to take out of copies: a built-in (`email`, `phone`, `card`, `key`) or a name with its RE2 pattern."""

    name: str
    pattern: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingSettings:
    """What the recorder of a live process needs: the store's address, sampling and the bounds of the copies."""

    store: str = "sqlite:///shadow.db"
    """`sqlite:////absolute.db`; made absolute by the config."""
    shadow_enabled: bool = False
    """False also when no key or no candidate makes shadowing possible."""
    sample_rate: float = 0.0
    seed: str = ""
    conversation_key: Literal["auto", "header", "request"] = "auto"
    candidates: tuple[Candidate, ...] = ()
    """Without their keys: `api_key` is None in a live process."""
    tasks: tuple[Task, ...] = ()
    max_body_bytes: int = 4 << 20
    tee_memory_bytes: int = 256 << 20
    allow_opt_in: bool = False
    secrets: tuple[str, ...] = ()
    """Configured keys, for the scrubber; client keys are added per exchange."""
    max_job_age_s: float = 600
    noise_floor: bool = False
    """Whether the primary is asked again, too."""
    content: Literal["none", "redacted", "full"] = "redacted"
    """What may be kept of what people and models said."""
    redact: tuple[RedactionRule, ...] = tuple(RedactionRule(name=name) for name in BUILT_IN_REDACTIONS)
    """What is taken out of the provider's words where `content` is `redacted`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkSettings:
    """The scheduled run: when, how many prompts, for how much."""

    schedule: str | None = "0 3 * * sun"
    timezone: str = "UTC"
    sample: int = 100
    budget_usd: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictSettings:
    """When a candidate is recommended, and when it is given up; `shadow.verdict.Rules` says what each means."""

    alpha: float = 0.05
    margin: float = 0.05
    min_saving: float = 0.05
    min_conversations: int = 50
    max_conversations: int = 3000
    max_missing: float = 0.05
    failure_margin: float = 0.02
    slo_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuringSettings:
    """All the measuring process needs."""

    store: str
    deployment_id: str
    admin_token: str | None = None
    admin_hosts: tuple[str, ...] = ()
    """Host header values (without port) that the admin port answers besides loopback names."""
    shadow_enabled: bool = False
    shadow_off_reason: str | None = None
    sample_rate: float = 0.0
    candidates: tuple[Candidate, ...] = ()
    tasks: tuple[Task, ...] = ()
    evaluators: tuple[EvaluatorSpec, ...] | None = None
    """None: `auto`."""
    verdict: VerdictSettings = VerdictSettings()
    upstream: Upstream = Upstream(base_url="https://ezaiapi.com")
    """Where judges are asked that name no other place."""
    primary_model: str | None = None
    """The model that answers apps, where the configuration fixes it."""
    config_dir: str = "."
    """Folder of the config file: where `python` evaluators are found first."""
    prices: Mapping[str, Price] = field(default_factory=dict)
    budget_usd_per_day: float = 5.0
    max_concurrency: int = 16
    queue_size: int = 10_000
    max_body_bytes: int = 4 << 20
    max_job_age_s: float = 600
    noise_floor: Candidate | None = None
    """Where the primary is asked again, with which key; its model is each exchange's."""
    noise_floor_rate: float = 0.0
    noise_floor_off_reason: str | None = None
    golden: str | None = None
    """Absolute path of the golden cases."""
    content: Literal["none", "redacted", "full"] = "redacted"
    redact: tuple[RedactionRule, ...] = ()
    retention_days: float = 30
    conversation_idle_s: float = 1800
    conversation_max_turns: int = 20
    conversation_max_age_s: float = 86_400
    proxy: str | None = None
    no_proxy: tuple[str, ...] = ()
    ca_file: str | None = None
    connect_timeout_s: float = 10
    first_byte_timeout_s: float = 600
    idle_timeout_s: float = 600
    benchmark: BenchmarkSettings = BenchmarkSettings()
    alerts: tuple[AlertTarget, ...] = ()
    alerts_off: tuple[str, ...] = ()
    """Entries of `alerts` without an address, in words."""
    config_file: str | None = None
    """As it was named; None when the environment alone was read."""
    config_version: str | None = None
    """How the file's SHA-256 begins."""
    secrets: tuple[str, ...] = ()
    demo: bool = False
    """Models, prices and traffic are made up; every page of the dashboard says so."""
