"""What keys demand of one another, of the machine and of the files they name."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import unquote

from gateway.addresses import ListenAddress, base_url_of, same_origin
from gateway.configshape import shown
from gateway.configsource import dotted
from gateway.yamltree import Path
from shadow.records import EvaluatorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path as FilePath

    from gateway.configmodel import ConfigFile, EvaluatorSection
    from gateway.configsource import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A fault that shows only when keys are seen together; not reported when a key of `about` is broken itself."""

    path: Path
    sentence: str
    about: tuple[Path, ...] = ()


def faults(model: ConfigFile, source: Source) -> Iterator[Finding]:
    """Find everything that is wrong with a configuration whose single values are fine."""
    yield from _listen_findings(model)
    yield from _auth_findings(model)
    yield from _loop_findings(model)
    yield from _candidate_findings(model)
    yield from _task_findings(model)
    for path, entries in _evaluator_lists(model):
        yield from _evaluator_findings(path, entries, source)
    yield from _alert_findings(model)
    yield from _verdict_findings(model)
    yield from _file_findings(model, source)
    yield from _golden_findings(model, source)
    yield from _store_findings(model)


def _listen_findings(model: ConfigFile) -> Iterator[Finding]:
    listen, admin = ListenAddress.parse(model.listen), ListenAddress.parse(model.admin.listen)
    here: Path = ("admin", "listen")
    if listen == admin and (listen.path is not None or listen.port != 0):
        yield Finding(path=here, sentence=f"must differ from listen ({listen})", about=(("listen",),))
    if not admin.is_local and model.admin.token is None:
        sentence = f"{admin} can be reached from other machines, so admin.token is required (or listen on 127.0.0.1)"
        yield Finding(path=here, sentence=sentence, about=(("admin", "token"),))


def _auth_findings(model: ConfigFile) -> Iterator[Finding]:
    upstream, auth = model.upstream, ("upstream", "auth")
    if upstream.auth == "passthrough":
        if model.clients:
            sentence = "clients are checked only with upstream.auth: gateway; set that, or remove clients"
            yield Finding(path=("clients",), sentence=sentence, about=(auth,))
        if upstream.allow_paths:
            sentence = "allow_paths widens upstream.auth: gateway; with passthrough every path passes, remove it"
            yield Finding(path=("upstream", "allow_paths"), sentence=sentence, about=(auth,))
        return
    if not model.clients:
        sentence = "gateway needs clients, the keys apps must present; else anyone could spend upstream.api_key"
        yield Finding(path=auth, sentence=sentence, about=(("clients",),))
    if upstream.api_key is None:
        sentence = "gateway needs upstream.api_key, the key that replaces the app's"
        yield Finding(path=auth, sentence=sentence, about=(("upstream", "api_key"),))
    for prefix, route in upstream.routes.items():
        if route.api_key is None and not same_origin(route.base_url, upstream.base_url):
            sentence = "needs an api_key of its own: a key goes only to the origin it was configured for"
            about = (auth, ("upstream", "base_url"))
            yield Finding(path=("upstream", "routes", prefix), sentence=sentence, about=about)


def _loop_findings(model: ConfigFile) -> Iterator[Finding]:
    """Whatever we send to may not be ourselves."""
    targets: list[tuple[Path, str | None]] = [(("upstream", "base_url"), model.upstream.base_url)]
    targets += [(("upstream", "routes", prefix, "base_url"), r.base_url) for prefix, r in model.upstream.routes.items()]
    targets += [
        (("shadow", "candidates", index, "base_url"), candidate.base_url)
        for index, candidate in enumerate(model.shadow.candidates)
    ]
    targets += [
        ((*path, index, "base_url"), url)
        for path, entries in _evaluator_lists(model)
        for index, entry in enumerate(entries)
        if entry.type.startswith("llm-") and (url := _http_url(entry.options.get("base_url"))) is not None
    ]
    for key, listen in ((("listen",), model.listen), (("admin", "listen"), model.admin.listen)):
        address = ListenAddress.parse(listen)
        for path, url in targets:
            if url is not None and address.answers(url):
                sentence = f"{url} is this gateway itself ({dotted(key)}: {address}); requests would go in a circle"
                yield Finding(path=path, sentence=sentence, about=(key,))


def _http_url(value: object) -> str | None:
    """Give an evaluator's base URL where it is one; what it is else, its own check tells."""
    try:
        return base_url_of(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _candidate_findings(model: ConfigFile) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, candidate in enumerate(model.shadow.candidates):
        if candidate.model in seen:
            first = dotted(("shadow", "candidates", seen[candidate.model]))
            sentence = f"'{candidate.model}' is {first} already; each candidate is listed once"
            yield Finding(path=("shadow", "candidates", index, "model"), sentence=sentence)
        seen.setdefault(candidate.model, index)


def _task_findings(model: ConfigFile) -> Iterator[Finding]:
    names: set[str] = set()
    for index, task in enumerate(model.tasks):
        here: Path = ("tasks", index)
        if task.name == "default":
            sentence = (
                "'default' is the task of all that matches no other (see the top-level evaluators); choose another name"
            )
            yield Finding(path=(*here, "name"), sentence=sentence)
        elif task.name in names:
            yield Finding(path=(*here, "name"), sentence=f"a task named '{task.name}' exists already")
        names.add(task.name)
        if not (task.match.header or task.match.path or task.match.model or task.match.system_contains):
            sentence = "must hold at least one of header, path, model, system_contains; else it would match everything"
            yield Finding(path=(*here, "match"), sentence=sentence)


def _evaluator_lists(model: ConfigFile) -> Iterator[tuple[Path, list[EvaluatorSection]]]:
    if model.evaluators is not None:
        yield ("evaluators",), model.evaluators
    for index, task in enumerate(model.tasks):
        if task.evaluators is not None:
            yield ("tasks", index, "evaluators"), task.evaluators


def _evaluator_findings(path: Path, entries: list[EvaluatorSection], source: Source) -> Iterator[Finding]:
    deciding = [index for index, entry in enumerate(entries) if entry.quality]
    if not entries:
        yield Finding(path=path, sentence="must not be empty; write 'auto', or name an evaluator")
    elif len(deciding) > 1:
        sentence = f"quality: true is set already at {dotted((*path, deciding[0]))}; exactly one evaluator decides"
        yield Finding(path=(*path, deciding[1], "quality"), sentence=sentence)
    elif not deciding and (len(entries) > 1 or entries[0].quality is False):
        yield Finding(path=path, sentence="exactly one evaluator decides; mark it with quality: true")
    names: set[str] = set()
    for index, entry in enumerate(entries):
        name = entry.name or entry.type
        if name in names:
            sentence = f"an evaluator is called '{name}' already; give this one a name of its own"
            yield Finding(path=(*path, index), sentence=sentence)
        names.add(name)
        decides = bool(entry.quality) or (len(entries) == 1 and entry.quality is not False)
        yield from _role_findings((*path, index), entry, decides=decides)
        yield from _one_evaluator_findings((*path, index), entry, source, decides=decides or len(entries) == 1)


def _role_findings(path: Path, entry: EvaluatorSection, *, decides: bool) -> Iterator[Finding]:
    """One evaluator decides; the others may be guards."""
    if entry.guard is not None and decides:
        sentence = "the deciding evaluator is judged by verdict.margin; a guard is one of the others, remove this key"
        yield Finding(path=(*path, "guard"), sentence=sentence, about=((*path, "quality"),))
    if entry.decides and not decides:
        sentence = "is said of the deciding evaluator alone; remove this key, or mark this one with quality: true"
        yield Finding(path=(*path, "decides"), sentence=sentence, about=((*path, "quality"),))


def _one_evaluator_findings(path: Path, entry: EvaluatorSection, source: Source, *, decides: bool) -> Iterator[Finding]:
    if (fault := _evaluator_type_fault(entry.type)) is not None:
        yield Finding(path=(*path, "type"), sentence=fault)
    elif (fault := _evaluator_options_fault(entry, source, decides=decides)) is not None:
        yield Finding(path=path, sentence=fault)


def _evaluator_type_fault(name: str) -> str | None:
    from shadow.evaluators import closest_type, known_types  # noqa: PLC0415  (loads the evaluators' libraries, when asked)

    known = known_types()
    base = name.removeprefix("not-")
    if name in known or base in known:
        return None
    return f"'{name}' is no evaluator; {closest_type(name)}"


def _evaluator_options_fault(entry: EvaluatorSection, source: Source, *, decides: bool) -> str | None:
    from shadow.evaluators import EvaluatorConfigError, check_spec, loads_code  # noqa: PLC0415
    from shadow.evaluators.probe import loading_fault  # noqa: PLC0415
    from shadow.evaluators.python import target_of  # noqa: PLC0415

    spec, config_dir = spec_of(entry, quality=decides), str(source.folder)
    try:
        if not loads_code(spec):
            check_spec(spec, config_dir=config_dir)
            return None
        if entry.type.removeprefix("not-") == "python":
            target_of(spec.options)
        return loading_fault(spec, config_dir=config_dir) if source.load_python else None
    except EvaluatorConfigError as error:
        return str(error)


def _verdict_findings(model: ConfigFile) -> Iterator[Finding]:
    least, most = model.verdict.min_conversations, model.verdict.max_conversations
    if most < least:
        sentence = f"must not be below min_conversations ({least}): every candidate would be given up undecided"
        about = (("verdict", "min_conversations"),)
        yield Finding(path=("verdict", "max_conversations"), sentence=sentence, about=about)


def _file_findings(model: ConfigFile, source: Source) -> Iterator[Finding]:
    if model.tls is not None:
        cert, key = source.folder / model.tls.cert, source.folder / model.tls.key
        unreadable = [
            Finding(path=("tls", name), sentence=fault)
            for name, file in (("cert", cert), ("key", key))
            if (fault := _unreadable(file)) is not None
        ]
        yield from unreadable
        if not unreadable:
            try:
                ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, password="")
            except (ssl.SSLError, ValueError) as error:
                yield Finding(path=("tls",), sentence=f"cert and key cannot be used together: {_ssl_reason(error)}")
    if model.upstream.ca_file is not None:
        ca_file, here = source.folder / model.upstream.ca_file, ("upstream", "ca_file")
        fault = _unreadable(ca_file)
        if fault is None:
            try:
                ssl.create_default_context(cafile=str(ca_file))
            except ssl.SSLError as error:
                fault = f"{ca_file} holds no usable PEM certificates: {_ssl_reason(error)}"
        if fault is not None:
            yield Finding(path=here, sentence=fault)


def _golden_findings(model: ConfigFile, source: Source) -> Iterator[Finding]:
    if model.golden is None:
        return
    from shadow.golden import GoldenError, load_golden  # noqa: PLC0415  (only when asked)

    try:
        load_golden(str(source.folder / model.golden))
    except GoldenError as error:
        for fault in error.faults:
            yield Finding(path=("golden",), sentence=fault)


def _unreadable(file: FilePath) -> str | None:
    try:
        with file.open("rb") as stream:
            stream.read(1)
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    return None


def _ssl_reason(error: ssl.SSLError | ValueError) -> str:
    """Say it without OpenSSL's function names and line numbers."""
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else "no PEM data, or a key that needs a password"


_TARGETS = ("slack", "webhook", "apprise")


def _alert_findings(model: ConfigFile) -> Iterator[Finding]:
    for index, entry in enumerate(model.alerts):
        here: Path = ("alerts", index)
        named = [kind for kind in _TARGETS if kind in entry.model_fields_set]
        if len(named) != 1:
            found = "none" if not named else " and ".join(named)
            yield Finding(path=here, sentence=f"needs exactly one of slack, webhook and apprise, not {found}")
        elif entry.secret is not None and named != ["webhook"]:
            yield Finding(path=(*here, "secret"), sentence="signs a webhook; slack and apprise take none, remove it")
        elif entry.apprise is not None and find_spec("apprise") is None:
            sentence = "needs the library apprise: pip install 'shadow-gateway[alerts]'"
            yield Finding(path=(*here, "apprise"), sentence=sentence)
        if entry.kinds == []:
            sentence = "an empty list sends nothing; name kinds, or leave the key out for all"
            yield Finding(path=(*here, "kinds"), sentence=sentence)


def _store_findings(model: ConfigFile) -> Iterator[Finding]:
    here: Path = ("store",)
    scheme = model.store.partition(":")[0]
    if scheme in ("postgresql", "postgres"):
        sentence = "PostgreSQL is not built yet; use sqlite:///shadow.db (one machine, any number of processes)"
        yield Finding(path=here, sentence=sentence)
    elif not model.store.startswith("sqlite:///") or "?" in model.store or "#" in model.store:
        sentence = "must be sqlite:///file.db (from the config's folder) or sqlite:////absolute/file.db"
        yield Finding(path=here, sentence=f"{sentence}{shown(here, model.store)}")
    elif not database_name(model.store) or database_name(model.store).endswith("/"):
        yield Finding(path=here, sentence="needs the name of a file, such as sqlite:///shadow.db")
    elif ":memory:" in model.store:
        yield Finding(path=here, sentence="must be a file: a memory database cannot be shared by the processes")


def database_name(store: str) -> str:
    """Return the file that a `sqlite:///` address names."""
    return unquote(store.removeprefix("sqlite:///"))


def spec_of(entry: EvaluatorSection, *, quality: bool) -> EvaluatorSpec:
    """One evaluator as the measuring side takes it."""
    return EvaluatorSpec(
        type=entry.type,
        options=dict(entry.options),
        quality=quality,
        name=entry.name,
        guard_margin=None if entry.guard is None else entry.guard.margin,
        decides=entry.decides,
    )
