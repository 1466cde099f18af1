"""What `config.yaml` may hold: its keys with their types, ranges and defaults, as pydantic models and JSON Schema."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin
from urllib.parse import urlsplit

import re2
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator

from gateway.addresses import ListenAddress, base_url_of, proxy_url_of
from gateway.yamltree import FromEnvironment, plain_value
from shadow.notices import AlertKind
from shadow.redaction import BUILT_IN_REDACTIONS, RedactionRuleError, Redactor
from shadow.schedule import schedule_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema
    from pydantic_core.core_schema import ValidationInfo


def takes_text(annotation: Any) -> bool:
    """Tell whether text fits: then a replaced variable stays text, else it is read as YAML would read it."""
    if annotation is str:
        return True
    return any(isinstance(arg, str) or takes_text(arg) for arg in _choices(annotation))


def may_be_null(annotation: Any) -> bool:
    """Tell whether it is `X | None`."""
    return type(None) in _choices(annotation)


def _choices(annotation: Any) -> tuple[Any, ...]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return (get_args(annotation)[0],)
    return get_args(annotation) if origin in (Union, types.UnionType, Literal) else ()


class Section(BaseModel):
    """One mapping of the file: nothing unknown, nothing converted behind the user's back, nothing changed later."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _from_the_file(cls, value: Any, info: ValidationInfo) -> Any:
        """Read a replaced variable as what the key wants; an empty section or list is its default."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, FromEnvironment) and not takes_text(field.annotation):
            value = plain_value(value)
        if value == "" and may_be_null(field.annotation):
            return None
        if value is None and not field.is_required() and not may_be_null(field.annotation):
            default = field.get_default(call_default_factory=True)
            return default if isinstance(default, (Section, list, dict)) else value
        return value


def _between(low: float, high: float) -> Callable[[float], float]:
    def check(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f"must lie between {low:g} and {high:g}")
        return value

    return check


def _header_value(value: str) -> str:
    """Accept what can travel in a header: one token of printable ASCII."""
    if not value:
        raise ValueError("must not be empty")
    if not all("!" <= char <= "~" for char in value):
        raise ValueError("must be printable ASCII without spaces, it travels in a header")
    return value


def _not_empty(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def _listen(value: str) -> str:
    return str(ListenAddress.parse(value))


def _prefix(value: str) -> str:
    if not value.startswith("/") or any(segment in (".", "..") for segment in value.split("/")) or "?" in value:
        raise ValueError("a route is a path prefix: it starts with '/' and holds no '.', '..' or '?'")
    return value


def _pattern(value: str) -> str:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(value, options=options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"not a pattern in RE2 syntax: {reason}") from None
    return value


def _cron(value: str) -> str:
    schedule_of(value)
    return value


def _timezone(value: str) -> str:
    schedule_of("0 0 * * *", value)
    return value


def _post_url(value: str) -> str:
    """Check an address that alerts are posted to; the sentences never quote it, for it is a secret."""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("needs an address that starts with https:// or http://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("may not hold a user or password; a receiver is known by its address and, if set, the secret")
    return value


Rate = Annotated[float, AfterValidator(_between(0, 1)), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})]
Between01 = Annotated[float, Field(gt=0, lt=1)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Dollars = Annotated[float, Field(ge=0)]
Text = Annotated[str, AfterValidator(_not_empty)]
Key = Annotated[str, AfterValidator(_header_value)]
Listen = Annotated[str, AfterValidator(_listen)]
BaseUrl = Annotated[str, AfterValidator(base_url_of)]
ProxyUrl = Annotated[str, AfterValidator(proxy_url_of)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Cron = Annotated[str, AfterValidator(_cron)]
TimeZone = Annotated[str, AfterValidator(_timezone)]
PostUrl = Annotated[str, AfterValidator(_post_url)]
ApiKeyHeader = Literal["x-api-key", "bearer", "both"]
DialectName = Literal["anthropic-messages", "openai-chat", "openai-responses"]


class TlsSection(Section):
    """The certificate apps see; files are found from the config file's folder."""

    cert: Text
    key: Text


class AdminSection(Section):
    """The port of stats, dashboard and metrics."""

    listen: Listen = "127.0.0.1:8081"
    token: Key | None = None
    """Bearer token; required when `listen` is not on loopback."""
    hosts: list[Text] = Field(default_factory=list)
    """Names in a request's Host that are answered besides loopback and the address itself, such as a container's."""


class RouteSection(Section):
    """Another upstream for one path prefix."""

    base_url: BaseUrl
    api_key: Key | None = None
    api_key_header: ApiKeyHeader | None = None


class UpstreamSection(Section):
    """Where live traffic goes."""

    base_url: BaseUrl = "https://ezaiapi.com"
    """Its path prefix, then the request's path and query unchanged."""
    routes: dict[Annotated[str, AfterValidator(_prefix)], RouteSection] = Field(default_factory=dict)
    """Path prefix -> another upstream; the prefix is kept, the longest wins."""
    auth: Literal["passthrough", "gateway"] = "passthrough"
    """passthrough: the app's own key travels on. gateway: it is replaced by `api_key`."""
    api_key: Key | None = None
    """A key goes only to the origin it was configured for."""
    api_key_header: ApiKeyHeader = "x-api-key"
    allow_paths: list[Text] = Field(default_factory=list)
    """With `auth: gateway`: paths that pass besides the recognised ones."""
    proxy: ProxyUrl | None = None
    """An HTTP proxy that is asked to CONNECT; the variable NO_PROXY is honoured."""
    ca_file: Text | None = None
    """PEM file of the authorities to trust, in place of the system's."""
    connect_timeout_s: Seconds = 10
    first_byte_timeout_s: Seconds = 600
    idle_timeout_s: Seconds = 600
    write_stall_timeout_s: Seconds = 60
    keep_alive_s: Seconds = 120
    max_connections: Count = 10_000


class PrimarySection(Section):
    """Which model answers the app."""

    model: Text | None = None
    """null: the one the app asks for; a name replaces the request's top-level `model`."""


class ConversationSection(Section):
    """What counts as one conversation."""

    key: Literal["auto", "header", "request"] = "auto"
    idle_s: Seconds = 1800
    max_turns: Count = 20
    max_age_s: Seconds = 86_400


class CandidateSection(Section):
    """A model under test."""

    model: Text
    sample_rate: Rate | None = None
    base_url: BaseUrl | None = None
    api_key: Key | None = None
    api_key_header: ApiKeyHeader | None = None
    dialects: list[DialectName] | None = None
    drop_params: list[Text] = Field(default_factory=list)


class RedactionSection(Section):
    """One thing to take out of copies: a built-in name, or a name with a pattern of its own."""

    name: Text
    pattern: Pattern | None = None

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say that a built-in name alone will do."""
        return {"anyOf": [{"type": "string", "enum": list(BUILT_IN_REDACTIONS)}, handler(schema)]}


def _redaction(value: Any) -> Any:
    """`email` is short for `{name: email}`."""
    return {"name": value} if isinstance(value, str) else value


def _usable_redaction(value: RedactionSection) -> RedactionSection:
    """Build it as the measuring side will, so that it cannot fail there."""
    if value.pattern is None and value.name not in BUILT_IN_REDACTIONS:
        raise ValueError(
            f"'{value.name}' is no built-in name ({', '.join(BUILT_IN_REDACTIONS)}); "
            "give it a pattern: {name: …, pattern: …}"
        )
    try:
        Redactor([value])
    except RedactionRuleError as error:
        raise ValueError(str(error)) from None
    return value


Redaction = Annotated[RedactionSection, BeforeValidator(_redaction), AfterValidator(_usable_redaction)]


class ShadowSection(Section):
    """Which conversations are asked of which candidates, and within which limits."""

    enabled: bool = True
    sample_rate: Rate = 0.05
    """Share of conversations that are shadowed."""
    seed: str = ""
    """Of the sampling hash; the same on every replica."""
    conversation: ConversationSection = ConversationSection()
    candidates: list[CandidateSection] = Field(default_factory=list)
    budget_usd_per_day: Dollars = 5.0
    max_concurrency: Count = 16
    queue_size: Count = 10_000
    max_body_bytes: Count = 4_194_304
    tee_memory_mb: Count = 256
    """All copies of one live process together."""
    max_job_age_s: Seconds = 600
    allow_opt_in: bool = False
    """Honour `x-shadow: on`."""
    noise_floor_rate: Rate = 0.2
    """Share of the shadowed conversations about which the primary is asked again; the first 30 come on top."""
    content: Literal["none", "redacted", "full"] = "redacted"
    """What is kept of prompts and answers after scoring."""
    redact: list[Redaction] = Field(
        default_factory=lambda: [RedactionSection(name=name) for name in BUILT_IN_REDACTIONS]
    )
    retention_days: Annotated[float, Field(gt=0)] = 30


class GuardSection(Section):
    """Makes an evaluator a guard: no verdict recommends a candidate unless it is proved not to fall below this."""

    margin: Between01 = 0.05
    """By how much its scores may fall, from 0 to 1."""


class EvaluatorSection(Section):
    """One evaluator; every key but these is an option of its type."""

    model_config = ConfigDict(extra="allow")

    type: Text
    quality: bool | None = None
    """True for the one that decides."""
    name: Text | None = None
    """Shown in place of the type."""
    guard: GuardSection | None = None
    """What may not fall, besides the quality."""
    decides: bool = False
    """On the deciding one: that answers have the right shape is all that matters, so a verdict may rest on it."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the type, as written."""
        return self.model_extra or {}


class MatchSection(Section):
    """Which exchanges belong to a task; all that is given must hold."""

    header: dict[Text, Text] = Field(default_factory=dict)
    path: Text | None = None
    model: Text | None = None
    system_contains: Text | None = None


def _auto(value: Any) -> Any:
    """`auto` is the absence of a list."""
    return None if value == "auto" else value


Evaluators = Annotated[
    list[EvaluatorSection] | None,
    BeforeValidator(_auto),
    BeforeValidator(lambda value: value, json_schema_input_type=Literal["auto"] | list[EvaluatorSection] | None),
]


class TaskSection(Section):
    """A named slice of traffic with its own evaluators."""

    name: Text
    match: MatchSection
    evaluators: Evaluators = None


class BenchmarkSection(Section):
    """The run that asks the team's own prompts again, by default every week."""

    schedule: Cron | None = "0 3 * * sun"
    """Five fields of cron; null: no run by itself."""
    timezone: TimeZone = "UTC"
    """The schedule's, such as Europe/Berlin."""
    sample: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Production prompts that are asked from run to run."""
    budget_usd: Dollars = 5.0
    """What one run may cost at most, reserved before sending; apart from budget_usd_per_day."""


class AlertSection(Section):
    """One place alerts go to; exactly one of slack, webhook and apprise. An empty one is off."""

    slack: PostUrl | None = None
    """Address of an incoming webhook of Slack."""
    webhook: PostUrl | None = None
    """Any address that takes JSON by POST."""
    apprise: Text | None = None
    """An address of apprise, such as mailto://…; needs the extra [alerts]."""
    secret: Key | None = None
    """Signs what goes to `webhook`."""
    kinds: list[AlertKind] | None = None
    """Only these kinds of alert; null: all."""


class VerdictSection(Section):
    """When a candidate is recommended, and when it is given up."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """The most a false verdict may happen with, over all candidates of a task and primary together."""
    margin: Between01 = 0.05
    """How much worse, in quality from 0 to 1, a cheaper model may be."""
    min_saving: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the primary's cost that a candidate must save to be `promote`."""
    min_conversations: Count = 50
    max_conversations: Count = 3000
    """After so many a candidate is given up as `equivalent`: more would be spent for ever."""
    max_missing: Rate = 0.05
    """Share of conversations whose score may be missing before `promote` is withheld."""
    failure_margin: Between01 = 0.02
    """By how much the candidate's share of failed answers may exceed the primary's."""
    slo_ms: Annotated[float, Field(gt=0)] | None = None
    """An answer should come within this time; then the candidate may not miss it more often than the primary."""


class PriceSection(Section):
    """USD per one million tokens."""

    input: Dollars
    output: Dollars
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None
    cache_write_1h: Dollars | None = None


class ConfigFile(Section):
    """The whole file. Every key has a default; an empty file is a valid one."""

    model_config = ConfigDict(title="Shadow Gateway configuration")

    listen: Listen = "127.0.0.1:8080"
    """Where apps connect: host:port, "[::]:8080" or unix:/path."""
    tls: TlsSection | None = None
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Live processes on this machine."""
    drain_timeout_s: Annotated[float, Field(ge=0)] = 30
    """How long exchanges under way may take to end after SIGTERM."""
    clients: list[Key] = Field(default_factory=list)
    """Keys apps must present; only with, and required by, `upstream.auth: gateway`."""
    admin: AdminSection = AdminSection()
    upstream: UpstreamSection = UpstreamSection()
    primary: PrimarySection = PrimarySection()
    shadow: ShadowSection = ShadowSection()
    tasks: list[TaskSection] = Field(default_factory=list)
    evaluators: Evaluators = None
    verdict: VerdictSection = VerdictSection()
    golden: Text | None = None
    """A file of cases (JSON lines) that says what is right for a prompt; found again in live traffic."""
    benchmark: BenchmarkSection = BenchmarkSection()
    alerts: list[AlertSection] = Field(default_factory=list)
    """Where changes are told: a verdict, a lead, drift, lost trust, money used up, losses."""
    prices: dict[Text, PriceSection] = Field(default_factory=dict)
    """Model -> prices that win over the price list."""
    store: Text = "sqlite:///shadow.db"

    SECRETS: ClassVar[frozenset[str]] = frozenset(
        {"api_key", "token", "clients", "proxy", "slack", "webhook", "apprise", "secret"}
    )
    """Keys whose values are never shown."""

    @classmethod
    def checked(cls, values: Any) -> Self:
        """Validate plain values. Raises pydantic.ValidationError with every fault."""
        return cls.model_validate({} if values is None else values)


def section_at(path: tuple[str | int, ...]) -> type[Section] | None:
    """Find the model of the mapping at `path`; None when it is none of ours (an option, a plain value)."""
    current: Any = ConfigFile
    for part in path:
        current = _step(current, part)
    return current if isinstance(current, type) and issubclass(current, Section) else None


def _step(annotation: Any, part: str | int) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        field = annotation.model_fields.get(str(part))
        return None if field is None else _bare(field.annotation)
    if get_origin(annotation) is list:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) is dict:
        return _bare(get_args(annotation)[1])
    return None


def _bare(annotation: Any) -> Any:
    """Without `Annotated` and without `| None`."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    others = [choice for choice in _choices(annotation) if choice is not type(None)]
    return _bare(others[0]) if len(others) == 1 and get_origin(annotation) is not Literal else annotation


def json_schema() -> dict[str, Any]:
    """Build the JSON Schema of the file, for editors; where a number or a switch may stand, `${VARIABLE}` may too."""
    schema = ConfigFile.model_json_schema(mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    allowed: dict[str, Any] = _with_variables(schema)
    return allowed


def _with_variables(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_variables(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: value if key in _LITERAL else _with_variables(value) for key, value in schema.items()}
    if changed.get("type") in ("number", "integer", "boolean") or (
        changed.get("type") == "string" and "enum" in changed
    ):
        outer = {key: changed.pop(key) for key in ("title", "description", "default") if key in changed}
        return {**outer, "anyOf": [changed, {"type": "string", "pattern": r"\$\{"}]}
    return changed


_LITERAL = frozenset({"default", "enum", "const", "required", "pattern"})
"""Schema keywords whose values are no schemas."""
