"""`config.yaml` and the environment -> frozen values; the only reader of files and environment."""

from __future__ import annotations

import difflib
import os
import re
import secrets as random_secrets
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from gateway.addresses import ListenAddress, is_loopback, origin_parts, same_origin
from gateway.configmodel import CandidateSection, ConfigFile, EvaluatorSection, UpstreamSection, section_at
from gateway.control import Tls
from gateway.settings import LiveSettings, MeasuringSettings, RecordingSettings, RedactionRule, Upstream
from gateway.yamltree import FromEnvironment, Path, Problem, Tree, read_tree
from shadow.records import Candidate, Dialect, EvaluatorSpec, Price, Task, TaskMatch

DEFAULT_FILE = "config.yaml"
EZAI_ORIGIN = "https://ezaiapi.com"

START_VARIABLES: Mapping[str, Path] = {
    "SHADOW_LISTEN": ("listen",),
    "SHADOW_ADMIN_LISTEN": ("admin", "listen"),
    "SHADOW_STORE": ("store",),
    "SHADOW_CANDIDATES": ("shadow", "candidates"),
}
"""Variables that stand in for a file when there is none; with a file they are not read."""

_NOT_BUILT: Mapping[Path, str] = {
    ("verdict",): "verdicts are not built yet; remove this key (/stats shows every number, and verdicts as null)",
    ("benchmark",): "scheduled benchmarks are not built yet; remove this key (nothing is re-run on a schedule)",
    ("alerts",): "alerts are not built yet; remove this key (nothing is sent; read /stats)",
    ("shadow", "noise_floor_rate"): (
        "the noise floor is not built yet; remove this key (the primary is not asked a second time)"
    ),
}
_EVALUATORS_NOT_BUILT = frozenset(
    {
        "agreement", "all-of", "cost", "icontains-all", "icontains-any", "is-refusal", "json-diff", "latency",
        "levenshtein", "llm-pairwise", "llm-rubric", "numeric-diff", "starts-with", "word-count",
    }
)  # fmt: skip
"""Names that are promised; each leaves this refusal by entering the registry of `shadow.evaluators`."""


class ConfigErrors(Exception):  # noqa: N818  (it carries them all)
    """The configuration cannot be used; `lines` holds one finished sentence for each fault, in the file's order."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


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
    notes: tuple[str, ...] = ()
    """What the user should know though nothing is wrong."""

    @property
    def shadow_off_reason(self) -> str | None:
        """Why nothing is shadowed; None when shadowing is on."""
        return self.measuring.shadow_off_reason

    def needs_restart(self, new: Config) -> tuple[str, ...]:
        """The keys in which `new` differs and that no running process can take over."""
        pairs = {
            "listen": (self.listen, new.listen),
            "admin.listen": (self.admin_listen, new.admin_listen),
            "tls": (self.tls, new.tls),
            "workers": (self.workers, new.workers),
            "store": (self.measuring.store, new.measuring.store),
        }
        return tuple(key for key, (old, fresh) in pairs.items() if old != fresh)


def find_file(named: str | None, environ: Mapping[str, str]) -> tuple[str | None, tuple[str, ...]]:
    """Which file to load: the named one, else `config.yaml` here unless SHADOW_* variables describe the start; and notes."""
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
    path: str | os.PathLike[str] | None, environ: Mapping[str, str], *, deployment_id: str | None = None
) -> Config:
    """Read the file (None: the environment alone), check everything and resolve it.

    `deployment_id` keeps its value over a reload; None draws a new one. Raises ConfigErrors with every fault found.
    """
    source = _from_environment(environ) if path is None else _from_file(os.fspath(path), environ)
    _add_defaults(source, environ)
    model = _validated(source)
    return _resolved(model, source, environ, deployment_id=deployment_id or random_secrets.token_hex(8))


# --- where values came from -------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Source:
    """Plain values, and how to name the place of each in a message."""

    file: str | None
    folder: FilePath
    tree: Tree
    variables: dict[Path, str] = field(default_factory=dict)
    """Paths that were filled from a variable."""

    def line(self, problem: Problem) -> str:
        """One finished line: where, which key, what is wrong."""
        variable = next((self.variables[start] for start in _starts(problem.path) if start in self.variables), None)
        if variable is not None:
            return f"environment: {variable}: {problem.sentence}"
        if self.file is None:
            return f"environment: {dotted(problem.path)}: {problem.sentence}"
        place = problem.place or self._nearest(problem.path)
        where = self.file if place is None else f"{self.file}:{place.line}:{place.column}"
        return (
            f"{where}: {dotted(problem.path)}: {problem.sentence}" if problem.path else f"{where}: {problem.sentence}"
        )

    def order(self, problem: Problem) -> tuple[int, int]:
        """Sort key: the file's order."""
        place = problem.place or self._nearest(problem.path)
        return (0, 0) if place is None else (place.line, place.column)

    def _nearest(self, path: Path) -> Any:
        return next((self.tree.places[start] for start in _starts(path) if start in self.tree.places), None)


def dotted(path: Path) -> str:
    """`shadow.candidates[0].model`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _starts(path: Path) -> Iterator[Path]:
    """The path itself, its parent, … and the root."""
    return (path[:length] for length in range(len(path), -1, -1))


def _from_file(file: str, environ: Mapping[str, str]) -> _Source:
    try:
        text = FilePath(file).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigErrors([f"{file}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigErrors([f"{file}: must be UTF-8 text; byte {error.start} is not"]) from None
    tree = read_tree(text, environ)
    source = _Source(file=file, folder=FilePath(file).absolute().parent, tree=tree)
    if any(not problem.path for problem in tree.problems):
        raise ConfigErrors([source.line(problem) for problem in tree.problems])
    if tree.values is not None and not isinstance(tree.values, dict):
        raise ConfigErrors([source.line(Problem(path=(), sentence="must hold keys and values, such as 'listen: …'"))])
    tree.values = tree.values or {}
    return source


def _from_environment(environ: Mapping[str, str]) -> _Source:
    tree = Tree(values={})
    source = _Source(file=None, folder=FilePath.cwd(), tree=tree)
    for name, path in START_VARIABLES.items():
        text = environ.get(name)
        if text:
            value: Any = _candidate_list(text) if name == "SHADOW_CANDIDATES" else text
            _fill(source, path, value, name)
    return source


def _candidate_list(text: str) -> list[dict[str, str]]:
    return [{"model": name.strip()} for name in text.split(",") if name.strip()]


def _add_defaults(source: _Source, environ: Mapping[str, str]) -> None:
    """The defaults that are variables: `${SHADOW_ADMIN_TOKEN:-}`, `${EZAI_API_KEY:-}` and `${HTTPS_PROXY:-}`."""
    upstream = source.tree.values.get("upstream")
    base_url = upstream.get("base_url") if isinstance(upstream, dict) else None
    _fill(source, ("admin", "token"), environ.get("SHADOW_ADMIN_TOKEN"), "SHADOW_ADMIN_TOKEN")
    if _may_take_ezai_key(base_url):
        _fill(source, ("upstream", "api_key"), environ.get("EZAI_API_KEY"), "EZAI_API_KEY")
    proxy_variable = "HTTPS_PROXY" if environ.get("HTTPS_PROXY") else "https_proxy"
    _fill(source, ("upstream", "proxy"), environ.get(proxy_variable), proxy_variable)


def _may_take_ezai_key(base_url: Any) -> bool:
    """A key goes only to its own origin: EzAI's is taken unasked for EzAI and for this machine, elsewhere it must be written."""
    if not isinstance(base_url, str):
        return True
    try:
        scheme, host, port = origin_parts(base_url)
    except ValueError:
        return False
    return is_loopback(host) or (scheme, host, port) == origin_parts(EZAI_ORIGIN)


def _fill(source: _Source, path: Path, value: Any, variable: str) -> None:
    """Set an absent value from a variable, unless the file holds something else in the way."""
    if not value:
        return
    mapping = source.tree.values
    for part in path[:-1]:
        if mapping.get(part) is None:
            mapping[part] = {}
        mapping = mapping[part]
        if not isinstance(mapping, dict):
            return
    if path[-1] not in mapping:
        mapping[path[-1]] = value
        source.variables[path] = variable


# --- shape and ranges -------------------------------------------------------------------------------------------------


def _validated(source: _Source) -> ConfigFile:
    """Check shape and ranges, then what keys demand of one another; all faults are reported together."""
    problems = list(source.tree.problems)
    known = {problem.path for problem in problems}
    model, shape_problems = _shape(source.tree.values)
    problems += [problem for problem in shape_problems if problem.path not in known]
    if model is None:
        model = _without(source.tree.values, [problem.path for problem in problems])
    if model is not None:
        broken = [problem.path for problem in problems]
        problems += [
            Problem(path=finding.path, sentence=finding.sentence)
            for finding in _findings(model, source)
            if not any(_touches(about, path) for about in (finding.path, *finding.about) for path in broken)
        ]
    if problems:
        raise ConfigErrors([source.line(problem) for problem in sorted(problems, key=source.order)])
    if model is None:
        raise AssertionError("a configuration without a fault has a model")
    return model


def _shape(values: Any) -> tuple[ConfigFile | None, list[Problem]]:
    try:
        return ConfigFile.checked(values), []
    except ValidationError as error:
        return None, list(_sentences(error))


def _without(values: Any, broken: Iterable[Path]) -> ConfigFile | None:
    """The model of what is left when the broken parts are taken out, so that the rest can be checked too."""
    pruned = values
    for path in broken:
        pruned = _pruned(pruned, path)
    while True:
        model, problems = _shape(pruned)
        if model is not None or any(not problem.path for problem in problems):
            return model
        for problem in problems:
            pruned = _pruned(pruned, problem.path[:-1])


def _pruned(values: Any, path: Path) -> Any:
    """A copy without the value at `path`; a list goes as a whole, so that no index shifts."""
    if not path:
        return {}
    if not isinstance(values, dict) or path[0] not in values:
        return values
    rest = {key: value for key, value in values.items() if key != path[0]}
    inner = values[path[0]]
    if len(path) == 1 or not isinstance(inner, dict):
        return rest
    return {**rest, path[0]: _pruned(inner, path[1:])}


def _touches(one: Path, other: Path) -> bool:
    """True when one path lies within the other."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _sentences(error: ValidationError) -> Iterator[Problem]:
    details = error.errors(include_url=False)
    unknown = [tuple(detail["loc"]) for detail in details if detail["type"] == "extra_forbidden"]
    meant = {(*path[:-1], _suggestion(path)) for path in unknown}
    for detail in details:
        path: Path = tuple(detail["loc"])
        if detail["type"] != "missing":
            yield Problem(path=path, sentence=_sentence(path, detail))
        elif path not in meant:
            yield Problem(path=path[:-1], sentence=f"needs the key '{path[-1]}'")


def _suggestion(path: Path) -> str | None:
    section = section_at(path[:-1])
    names = [] if section is None else list(section.model_fields)
    return next(iter(difflib.get_close_matches(str(path[-1]), names, n=1)), None)


_TYPE_SENTENCES = {
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "list_type": "must be a list",
    "dict_type": "must hold keys and values",
    "model_type": "must hold keys and values",
}


def _sentence(path: Path, detail: Mapping[str, Any]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    shown = _shown(path, detail["input"])
    match kind:
        case "extra_forbidden":
            return _unknown_key(path)
        case "value_error":
            sentence = str(context["error"])
            takes_value = sentence.startswith("must ") and not sentence.startswith("must not ")
            return f"{sentence}{shown}" if takes_value else sentence
        case "literal_error":
            hint = _close(str(detail["input"]), re.findall(r"'([^']*)'", context["expected"])) if shown else ""
            return f"must be {context['expected']}{shown}{hint}"
        case "greater_than":
            return f"must be greater than {context['gt']:g}{shown}"
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}{shown}"
        case "less_than_equal":
            return f"must be at most {context['le']:g}{shown}"
        case _:
            return f"{_TYPE_SENTENCES[kind]}{shown}" if kind in _TYPE_SENTENCES else str(detail["msg"])


def _unknown_key(path: Path) -> str:
    sentence = _NOT_BUILT.get(path)
    if sentence is not None:
        return sentence
    suggestion = _suggestion(path)
    return "unknown key" if suggestion is None else f"unknown key; did you mean '{suggestion}'?"


def _close(word: str, names: Iterable[str]) -> str:
    best = difflib.get_close_matches(word, list(names), n=1)
    return f"; did you mean '{best[0]}'?" if best else ""


_MAX_SHOWN = 60


def _shown(path: Path, value: Any) -> str:
    """`, not 5`; empty for what may be secret."""
    if isinstance(value, FromEnvironment) or any(part in ConfigFile.SECRETS for part in path):
        return ""
    match value:
        case None:
            return ", not null"
        case bool():
            return f", not {str(value).lower()}"
        case int() | float():
            return f", not {value:g}" if isinstance(value, float) else f", not {value}"
        case str():
            return f", not '{value if len(value) <= _MAX_SHOWN else value[:_MAX_SHOWN] + '…'}'"
        case list():
            return ", not a list"
        case _:
            return ", not keys and values"


# --- what keys demand of one another ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    """A fault that shows only when keys are seen together; not reported when a key of `about` is broken itself."""

    path: Path
    sentence: str
    about: tuple[Path, ...] = ()


def _findings(model: ConfigFile, source: _Source) -> Iterator[_Finding]:
    yield from _listen_findings(model)
    yield from _auth_findings(model)
    yield from _loop_findings(model)
    yield from _candidate_findings(model)
    yield from _task_findings(model)
    for path, entries in _evaluator_lists(model):
        yield from _evaluator_findings(path, entries, source)
    yield from _file_findings(model, source)
    yield from _store_findings(model, source)


def _listen_findings(model: ConfigFile) -> Iterator[_Finding]:
    listen, admin = ListenAddress.parse(model.listen), ListenAddress.parse(model.admin.listen)
    here: Path = ("admin", "listen")
    if listen == admin and (listen.path is not None or listen.port != 0):
        yield _Finding(path=here, sentence=f"must differ from listen ({listen})", about=(("listen",),))
    if not admin.is_local and model.admin.token is None:
        sentence = f"{admin} can be reached from other machines, so admin.token is required (or listen on 127.0.0.1)"
        yield _Finding(path=here, sentence=sentence, about=(("admin", "token"),))


def _auth_findings(model: ConfigFile) -> Iterator[_Finding]:
    upstream, auth = model.upstream, ("upstream", "auth")
    if upstream.auth == "passthrough":
        if model.clients:
            sentence = "clients are checked only with upstream.auth: gateway; set that, or remove clients"
            yield _Finding(path=("clients",), sentence=sentence, about=(auth,))
        if upstream.allow_paths:
            sentence = "allow_paths widens upstream.auth: gateway; with passthrough every path passes, remove it"
            yield _Finding(path=("upstream", "allow_paths"), sentence=sentence, about=(auth,))
        return
    if not model.clients:
        sentence = "gateway needs clients, the keys apps must present; else anyone could spend upstream.api_key"
        yield _Finding(path=auth, sentence=sentence, about=(("clients",),))
    if upstream.api_key is None:
        sentence = "gateway needs upstream.api_key, the key that replaces the app's"
        yield _Finding(path=auth, sentence=sentence, about=(("upstream", "api_key"),))
    for prefix, route in upstream.routes.items():
        if route.api_key is None and not same_origin(route.base_url, upstream.base_url):
            sentence = (
                "needs an api_key of its own: with auth: gateway a key goes only to the origin it was configured for"
            )
            about = (auth, ("upstream", "base_url"))
            yield _Finding(path=("upstream", "routes", prefix), sentence=sentence, about=about)


def _loop_findings(model: ConfigFile) -> Iterator[_Finding]:
    """Whatever we send to may not be ourselves."""
    targets: list[tuple[Path, str | None]] = [(("upstream", "base_url"), model.upstream.base_url)]
    targets += [(("upstream", "routes", prefix, "base_url"), r.base_url) for prefix, r in model.upstream.routes.items()]
    targets += [
        (("shadow", "candidates", index, "base_url"), candidate.base_url)
        for index, candidate in enumerate(model.shadow.candidates)
    ]
    for key, listen in ((("listen",), model.listen), (("admin", "listen"), model.admin.listen)):
        address = ListenAddress.parse(listen)
        for path, url in targets:
            if url is not None and address.answers(url):
                sentence = f"{url} is this gateway itself ({dotted(key)}: {address}); requests would go in a circle"
                yield _Finding(path=path, sentence=sentence, about=(key,))


def _candidate_findings(model: ConfigFile) -> Iterator[_Finding]:
    seen: dict[str, int] = {}
    for index, candidate in enumerate(model.shadow.candidates):
        if candidate.model in seen:
            first = dotted(("shadow", "candidates", seen[candidate.model]))
            sentence = f"'{candidate.model}' is {first} already; each candidate is listed once"
            yield _Finding(path=("shadow", "candidates", index, "model"), sentence=sentence)
        seen.setdefault(candidate.model, index)


def _task_findings(model: ConfigFile) -> Iterator[_Finding]:
    names: set[str] = set()
    for index, task in enumerate(model.tasks):
        here: Path = ("tasks", index)
        if task.name == "default":
            sentence = "'default' is the task of what matches no other; choose another name (its evaluators: the top-level key)"
            yield _Finding(path=(*here, "name"), sentence=sentence)
        elif task.name in names:
            yield _Finding(path=(*here, "name"), sentence=f"a task named '{task.name}' exists already")
        names.add(task.name)
        if not (task.match.header or task.match.path or task.match.model or task.match.system_contains):
            sentence = "must hold at least one of header, path, model, system_contains; else it would match everything"
            yield _Finding(path=(*here, "match"), sentence=sentence)


def _evaluator_lists(model: ConfigFile) -> Iterator[tuple[Path, list[EvaluatorSection]]]:
    if model.evaluators is not None:
        yield ("evaluators",), model.evaluators
    for index, task in enumerate(model.tasks):
        if task.evaluators is not None:
            yield ("tasks", index, "evaluators"), task.evaluators


def _evaluator_findings(path: Path, entries: list[EvaluatorSection], source: _Source) -> Iterator[_Finding]:
    deciding = [index for index, entry in enumerate(entries) if entry.quality]
    if not entries:
        yield _Finding(path=path, sentence="must not be empty; write 'auto', or name an evaluator")
    elif len(deciding) > 1:
        sentence = f"quality: true is set already at {dotted((*path, deciding[0]))}; exactly one evaluator decides"
        yield _Finding(path=(*path, deciding[1], "quality"), sentence=sentence)
    elif not deciding and (len(entries) > 1 or entries[0].quality is False):
        yield _Finding(path=path, sentence="exactly one evaluator decides; mark it with quality: true")
    names: set[str] = set()
    for index, entry in enumerate(entries):
        name = entry.name or entry.type
        if name in names:
            sentence = f"an evaluator is called '{name}' already; give this one a name of its own"
            yield _Finding(path=(*path, index), sentence=sentence)
        names.add(name)
        yield from _one_evaluator_findings((*path, index), entry, source)


def _one_evaluator_findings(path: Path, entry: EvaluatorSection, source: _Source) -> Iterator[_Finding]:
    if "guard" in entry.options:
        sentence = (
            "guards are not built yet; remove this key (the evaluator is scored and shown, but holds nothing back)"
        )
        yield _Finding(path=(*path, "guard"), sentence=sentence)
        return
    sentence = _evaluator_type_fault(entry.type) or _evaluator_options_fault(entry, source)
    if sentence is not None:
        yield _Finding(path=(*path, "type") if "'" in sentence[:1] else path, sentence=sentence)


def _evaluator_type_fault(name: str) -> str | None:
    from shadow.evaluators import EVALUATOR_TYPES  # noqa: PLC0415  (loads the evaluators' libraries, only when asked)

    base = name.removeprefix("not-")
    if name in EVALUATOR_TYPES:
        return None
    if base in _EVALUATORS_NOT_BUILT or base in EVALUATOR_TYPES:
        known = ", ".join(sorted(EVALUATOR_TYPES))
        return f"'{name}' is not built yet; remove it, or use one of: {known}"
    return (
        f"'{name}' is no evaluator{_close(name, EVALUATOR_TYPES) or '; known: ' + ', '.join(sorted(EVALUATOR_TYPES))}"
    )


def _evaluator_options_fault(entry: EvaluatorSection, source: _Source) -> str | None:
    from shadow.evaluators import EvaluatorConfigError, build_evaluators  # noqa: PLC0415

    if entry.type.removeprefix("not-") == "python":
        return None  # loads the user's code: done by `check` and at start, not by every reading
    try:
        build_evaluators((_spec(entry, quality=True),), config_dir=str(source.folder))
    except EvaluatorConfigError as error:
        return str(error)
    return None


def _file_findings(model: ConfigFile, source: _Source) -> Iterator[_Finding]:
    if model.tls is not None:
        cert, key = source.folder / model.tls.cert, source.folder / model.tls.key
        unreadable = [
            _Finding(path=("tls", name), sentence=fault)
            for name, file in (("cert", cert), ("key", key))
            if (fault := _unreadable(file)) is not None
        ]
        yield from unreadable
        if not unreadable:
            try:
                ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, password="")
            except (ssl.SSLError, ValueError) as error:
                yield _Finding(path=("tls",), sentence=f"cert and key cannot be used together: {_ssl_reason(error)}")
    if model.upstream.ca_file is not None:
        ca_file, here = source.folder / model.upstream.ca_file, ("upstream", "ca_file")
        fault = _unreadable(ca_file)
        if fault is None:
            try:
                ssl.create_default_context(cafile=str(ca_file))
            except ssl.SSLError as error:
                fault = f"{ca_file} holds no usable PEM certificates: {_ssl_reason(error)}"
        if fault is not None:
            yield _Finding(path=here, sentence=fault)


def _unreadable(file: FilePath) -> str | None:
    try:
        with file.open("rb") as stream:
            stream.read(1)
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    return None


def _ssl_reason(error: ssl.SSLError | ValueError) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error).replace("_", " ").lower()


def _store_findings(model: ConfigFile, source: _Source) -> Iterator[_Finding]:
    here: Path = ("store",)
    scheme = model.store.partition(":")[0]
    if scheme in ("postgresql", "postgres"):
        sentence = "PostgreSQL is not built yet; use sqlite:///shadow.db (one machine, any number of processes)"
        yield _Finding(path=here, sentence=sentence)
    elif not model.store.startswith("sqlite:///") or "?" in model.store or "#" in model.store:
        sentence = "must be sqlite:///file.db (from the config's folder) or sqlite:////absolute/file.db"
        yield _Finding(path=here, sentence=f"{sentence}{_shown(here, model.store)}")
    elif not _database_name(model.store) or _database_name(model.store).endswith("/"):
        yield _Finding(path=here, sentence="needs the name of a file, such as sqlite:///shadow.db")
    elif ":memory:" in model.store:
        yield _Finding(path=here, sentence="must be a file: a memory database cannot be shared by the processes")
    else:
        folder = (source.folder / _database_name(model.store)).parent
        if not folder.is_dir():
            yield _Finding(path=here, sentence=f"the folder {folder} does not exist; create it, or name another")


def _database_name(store: str) -> str:
    return store.removeprefix("sqlite:///")


# --- resolution -------------------------------------------------------------------------------------------------------


def _resolved(model: ConfigFile, source: _Source, environ: Mapping[str, str], *, deployment_id: str) -> Config:
    listen, admin_listen = ListenAddress.parse(model.listen), ListenAddress.parse(model.admin.listen)
    candidates = tuple(_candidate(entry, model.upstream) for entry in model.shadow.candidates)
    reason = _shadow_off_reason(model, candidates, source)
    tasks = tuple(Task(name=task.name, match=_match(task), evaluators=_specs(task.evaluators)) for task in model.tasks)
    store = "sqlite:///" + str((source.folder / _database_name(model.store)).absolute())
    secrets = _secrets(model)
    shared = {
        "store": store, "sample_rate": model.shadow.sample_rate, "max_body_bytes": model.shadow.max_body_bytes,
        "max_job_age_s": model.shadow.max_job_age_s, "shadow_enabled": reason is None, "tasks": tasks,
        "secrets": secrets,
    }  # fmt: skip
    upstream_limits = {
        "proxy": model.upstream.proxy, "no_proxy": _no_proxy(environ), "ca_file": _absolute(model.upstream.ca_file, source),
        "connect_timeout_s": model.upstream.connect_timeout_s,
        "first_byte_timeout_s": model.upstream.first_byte_timeout_s, "idle_timeout_s": model.upstream.idle_timeout_s,
    }  # fmt: skip
    recording = RecordingSettings(
        **shared,
        seed=model.shadow.seed,
        conversation_key=model.shadow.conversation.key,
        candidates=tuple(replace(candidate, api_key=None) for candidate in candidates),
        tee_memory_bytes=model.shadow.tee_memory_mb << 20,
        allow_opt_in=model.shadow.allow_opt_in,
    )
    live = LiveSettings(
        **upstream_limits,
        deployment_id=deployment_id,
        upstream=_upstream(model.upstream),
        routes=_routes(model.upstream),
        auth=model.upstream.auth,
        clients=tuple(model.clients),
        allow_paths=tuple(model.upstream.allow_paths),
        write_stall_timeout_s=model.upstream.write_stall_timeout_s,
        keep_alive_s=model.upstream.keep_alive_s,
        max_connections=model.upstream.max_connections,
        drain_timeout_s=model.drain_timeout_s,
        primary_model=model.primary.model,
        recording=recording,
    )
    measuring = MeasuringSettings(
        **shared,
        **upstream_limits,
        deployment_id=deployment_id,
        admin_token=model.admin.token,
        admin_hosts=_admin_hosts(admin_listen),
        shadow_off_reason=reason,
        candidates=candidates,
        evaluators=_specs(model.evaluators),
        config_dir=str(source.folder),
        prices={name: Price(**price.model_dump()) for name, price in model.prices.items()},
        budget_usd_per_day=model.shadow.budget_usd_per_day,
        max_concurrency=model.shadow.max_concurrency,
        queue_size=model.shadow.queue_size,
        content=model.shadow.content,
        redact=tuple(RedactionRule(name=rule.name, pattern=rule.pattern) for rule in model.shadow.redact),
        retention_days=model.shadow.retention_days,
        conversation_idle_s=model.shadow.conversation.idle_s,
        conversation_max_turns=model.shadow.conversation.max_turns,
        conversation_max_age_s=model.shadow.conversation.max_age_s,
    )
    return Config(
        file=source.file,
        listen=listen,
        admin_listen=admin_listen,
        workers=model.workers,
        tls=_tls(model, source),
        live=live,
        measuring=measuring,
        effective=_masked(model.model_dump(mode="json")),
    )


def _upstream(section: UpstreamSection) -> Upstream:
    return Upstream(base_url=section.base_url, api_key=section.api_key, api_key_header=section.api_key_header)


def _routes(section: UpstreamSection) -> dict[str, Upstream]:
    """A route without a key of its own uses the upstream's only at the upstream's origin."""
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
        same_origin=at_home,
        sample_rate=entry.sample_rate,
        dialects=None if entry.dialects is None else tuple(Dialect(name) for name in entry.dialects),
        drop_params=tuple(entry.drop_params),
    )


def _shadow_off_reason(model: ConfigFile, candidates: Sequence[Candidate], source: _Source) -> str | None:
    if not model.shadow.enabled:
        return "shadow.enabled is false"
    if not candidates:
        where = "set SHADOW_CANDIDATES=model,model" if source.file is None else "list them under shadow.candidates"
        return f"no candidates; {where}"
    if all(candidate.api_key is None for candidate in candidates):
        return "no API key for any candidate; " + _key_advice(model)
    return None


def _key_advice(model: ConfigFile) -> str:
    if _may_take_ezai_key(model.upstream.base_url):
        return "set EZAI_API_KEY (upstream.api_key), or give the candidates an api_key"
    return (
        f"write upstream.api_key for {model.upstream.base_url}, or give the candidates an api_key "
        "(EZAI_API_KEY goes to EzAI only, unless the file says so)"
    )


def _match(task: Any) -> TaskMatch:
    return TaskMatch(
        header={name.lower(): value for name, value in task.match.header.items()},
        path=task.match.path,
        model=task.match.model,
        system_contains=task.match.system_contains,
    )


def _specs(entries: Sequence[EvaluatorSection] | None) -> tuple[EvaluatorSpec, ...] | None:
    """A single evaluator decides without being told to."""
    if entries is None:
        return None
    return tuple(_spec(entry, quality=bool(entry.quality) or len(entries) == 1) for entry in entries)


def _spec(entry: EvaluatorSection, *, quality: bool) -> EvaluatorSpec:
    return EvaluatorSpec(type=entry.type, options=dict(entry.options), quality=quality, name=entry.name)


def _secrets(model: ConfigFile) -> tuple[str, ...]:
    """Everything configured that may never be stored, logged or shown; longest first, so that no part of one survives."""
    keys = [model.admin.token, model.upstream.api_key, *model.clients]
    keys += [route.api_key for route in model.upstream.routes.values()]
    keys += [candidate.api_key for candidate in model.shadow.candidates]
    if model.upstream.proxy is not None:
        keys.append(urlsplit(model.upstream.proxy).password)
    return tuple(sorted({key for key in keys if key}, key=lambda key: (-len(key), key)))


def _admin_hosts(listen: ListenAddress) -> tuple[str, ...]:
    """Names the admin port answers to. A wildcard listen has any name (`*`): it always has a token, so no page can rebind it."""
    if listen.path is not None or is_loopback(listen.host):
        return ()
    return ("*",) if listen.is_wildcard else (listen.host,)


def _no_proxy(environ: Mapping[str, str]) -> tuple[str, ...]:
    text = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _tls(model: ConfigFile, source: _Source) -> Tls | None:
    if model.tls is None:
        return None
    return Tls(cert=str(source.folder / model.tls.cert), key=str(source.folder / model.tls.key))


def _absolute(file: str | None, source: _Source) -> str | None:
    return None if file is None else str(source.folder / file)


def _masked(values: Any, *, key: str = "") -> Any:
    """Plain values with every secret shown as `***`."""
    if isinstance(values, dict):
        return {name: _masked(value, key=str(name)) for name, value in values.items()}
    if isinstance(values, list):
        return [_masked(value, key=key) for value in values]
    if key in ConfigFile.SECRETS and values is not None:
        return "***"
    return values
