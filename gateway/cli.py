"""The commands. Libraries are loaded inside each, so that `--help` is quick; stdout is the result, stderr the rest."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gateway.config import Config

OK, FAILED, REFUSED = 0, 1, 2
"""Exit codes: fine, our error or a finding, usage or configuration."""

_PLAIN_WIDTH = 200
"""Columns where standard output is no terminal: wide enough that no row is cut."""

app = typer.Typer(
    name="shadow-gateway",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigOption = Annotated[
    str | None,
    typer.Option("-c", "--config", metavar="FILE", help="Configuration file. Default: config.yaml here, if any."),
]
RoleOption = Annotated[
    Literal["all", "gateway", "shadow"],
    typer.Option(help="Both sides, or one alone (containers, several machines)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _print_version(asked: bool) -> None:  # noqa: FBT001  (typer calls it with the flag alone)
    from importlib import metadata  # noqa: PLC0415

    if asked:
        _say(metadata.version("shadow-gateway"))
        raise typer.Exit


@app.callback()
def _root(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an unexpected fault.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Know, from your own traffic, which model to run."""


@app.command()
def demo(
    *, once: Annotated[bool, typer.Option("--once", help="Send the traffic, print the table, exit.")] = False
) -> None:
    """Run the whole product on this machine: no key, no network."""
    import asyncio  # noqa: PLC0415  (lazily, see the first line)

    from gateway.demo import run_demo  # noqa: PLC0415

    raise typer.Exit(asyncio.run(run_demo(once=once)))


@app.command()
def init(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to write it.")] = "config.yaml",
    *,
    candidates: Annotated[str, typer.Option(metavar="A,B", help="Models to compare with.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented configuration, and its schema beside it for editors."""
    from pathlib import Path  # noqa: PLC0415

    from gateway import starterfile  # noqa: PLC0415

    path = Path(file)
    names = [name.strip() for name in candidates.split(",") if name.strip()] or starterfile.EXAMPLE_CANDIDATES
    with _told():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(path, "w" if force else "x", encoding="utf-8", opener=_for_us_alone) as stream:
                stream.write(starterfile.config_text(names))
        except FileExistsError:
            _progress(f"{path} exists already; nothing was written. Pass --force to replace it.")
            raise typer.Exit(REFUSED) from None
        path.with_name("config.schema.json").write_text(starterfile.schema_text(), encoding="utf-8")
    _say(f"wrote {path} and {path.with_name('config.schema.json')}")
    _progress(f"next: shadow-gateway check -c {path}, then shadow-gateway serve -c {path}")


@app.command()
def serve(config: ConfigOption = None, role: RoleOption = "all") -> None:
    """Start the gateway and the measuring side; Ctrl-C or SIGTERM ends them, SIGHUP reloads the configuration."""
    from gateway import serve as supervisor  # noqa: PLC0415

    with _told():
        code = supervisor.serve(_file(config), dict(os.environ), role=role, say=_say)
    raise typer.Exit(code)


@app.command()
def check(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Say what is wrong with a configuration; else show what is in force, prices, and what shadowing costs a day."""
    import asyncio  # noqa: PLC0415

    from gateway.announce import model_prices, shadow_lines  # noqa: PLC0415
    from gateway.config import ConfigErrors  # noqa: PLC0415
    from gateway.estimate import estimate  # noqa: PLC0415
    from gateway.serve import refuse_open_store  # noqa: PLC0415

    file = _file(config)
    try:
        loaded = _load(file)
        refuse_open_store(loaded)
    except ConfigErrors as errors:
        if not as_json:
            _refuse(errors.lines)
        _print_json({"ok": False, "errors": errors.lines})
        raise typer.Exit(REFUSED) from None
    with _told():
        cost = asyncio.run(estimate(loaded))
    if as_json:
        prices = [vars_of(price) for price in model_prices(loaded)]
        report = {"file": file, "effective": loaded.effective, "shadow_off_reason": loaded.shadow_off_reason}
        _print_json({"ok": True, **report, "prices": prices, "estimate": vars_of(cost)})
        return
    import yaml  # noqa: PLC0415

    _say(yaml.safe_dump(dict(loaded.effective), sort_keys=False, allow_unicode=True).rstrip())
    _say("")
    for line in shadow_lines(loaded):
        _say(line)
    if loaded.shadow_off_reason is None:
        _say(cost.sentence(loaded.measuring.budget_usd_per_day))
    _say(f"{file or 'the environment'}: ok")


@app.command()
def doctor(
    config: ConfigOption = None,
    role: RoleOption = "all",
    *,
    ready: Annotated[
        bool, typer.Option("--ready", help="Only ask what runs here whether it is healthy; quiet.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Look at everything a start needs: configuration, store, ports, upstreams, keys, prices, limits."""
    import asyncio  # noqa: PLC0415

    from gateway import doctor as examination  # noqa: PLC0415

    with _told():
        loaded = _load(_file(config, quiet=ready), load_python=not ready)
    if ready:
        raise typer.Exit(OK if examination.is_ready(loaded, role=role) else FAILED)
    findings = [examination.Finding(grade="ok", about="configuration", sentence=loaded.file or "from the environment")]

    async def examine() -> None:
        if not as_json:
            _say(str(findings[0]))
        async for finding in examination.examine(loaded):
            findings.append(finding)
            if not as_json:
                _say(str(finding))

    with _told():
        asyncio.run(examine())
    if as_json:
        _print_json([vars_of(finding) for finding in findings])
    raise typer.Exit(FAILED if any(finding.grade == "fail" for finding in findings) else OK)


@app.command()
def pairs(
    config: ConfigOption = None,
    *,
    worst: Annotated[int | None, typer.Option(min=1, max=1000, help="So many, largest quality loss first.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many of the newest.")] = 20,
    task: Annotated[str | None, typer.Option(help="Of this task only.")] = None,
    candidate: Annotated[str | None, typer.Option(help="Of this candidate only.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show pairs of answers, the newest or the worst; from the running server, else from the store."""
    import asyncio  # noqa: PLC0415

    from gateway import pairsview  # noqa: PLC0415

    sort: Literal["newest", "worst"] = "newest" if worst is None else "worst"
    with _told():
        loaded = _load(_file(config), load_python=False)
        found = asyncio.run(
            pairsview.fetch_pairs(loaded, sort=sort, limit=worst or limit, task=task, candidate=candidate)
        )
    if as_json:
        _print_json(found)
    elif found:
        from rich.console import Console  # noqa: PLC0415

        console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
        console.print(pairsview.pairs_view(found, width=console.width))
        _progress("both answers of one: GET /pairs/<pair> on the admin port")
    else:
        _progress("no pairs yet: a sampled conversation must have ended well, and a candidate must have answered")


@app.command()
def simulator(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: a free one.")] = 9090, host: str = "127.0.0.1"
) -> None:
    """Run the stand-in for EzAI alone."""
    from shadow.simulator import run  # noqa: PLC0415

    with _told():
        try:
            run(host=host, port=port, announce=_say)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _progress(f"{host}:{port} is in use by another process; stop that one, or choose another --port")
            raise typer.Exit(FAILED) from None


@app.command()
def version(*, as_json: JsonOption = False) -> None:
    """Print the version; with --json also Python's and the libraries'."""
    import platform  # noqa: PLC0415
    from importlib import metadata  # noqa: PLC0415

    own = metadata.version("shadow-gateway")
    if not as_json:
        _say(own)
        return
    required = [name.split(";")[0] for name in metadata.requires("shadow-gateway") or [] if "extra ==" not in name]
    names = ["".join(char if char.isalnum() or char in "-_." else " " for char in name).split()[0] for name in required]
    libraries = {name: metadata.version(name) for name in sorted(names)}
    _print_json({"shadow-gateway": own, "python": platform.python_version(), "libraries": libraries})


def main(run: Callable[[], object] = app) -> None:
    """Run the console script; an unexpected fault is one sentence and exit 1, with --debug its traceback."""
    try:
        run()
    except BrokenPipeError:  # whoever read our output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit fails again
        sys.exit(FAILED)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        _progress(f"unexpected fault: {type(error).__name__}: {error} (shadow-gateway --debug … shows where)")
        sys.exit(FAILED)


@contextmanager
def _told() -> Iterator[None]:
    """Turn the faults a user can do something about into their sentence and exit code."""
    from gateway.config import ConfigErrors  # noqa: PLC0415
    from gateway.pairsview import PairsError  # noqa: PLC0415
    from gateway.serve import StartError  # noqa: PLC0415
    from gateway.sockets import ListenError  # noqa: PLC0415
    from shadow.store.base import StoreError  # noqa: PLC0415

    try:
        yield
    except ConfigErrors as errors:
        _refuse(errors.lines)
    except (ListenError, PairsError, StartError, StoreError) as error:
        _progress(str(error))
        raise typer.Exit(FAILED) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        _progress(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        raise typer.Exit(FAILED) from None


def _file(named: str | None, *, quiet: bool = False) -> str | None:
    """Choose the configuration file and say why it is not the expected one."""
    from gateway.config import find_file  # noqa: PLC0415

    file, notes = find_file(named, os.environ)
    for note in () if quiet else notes:
        _progress(note)
    return file


def _for_us_alone(path: str, flags: int) -> int:
    """Open a file that only its owner may read when it is new: people write keys into it."""
    return os.open(path, flags, 0o600)


def _load(file: str | None, *, load_python: bool = True) -> Config:
    from gateway.config import load  # noqa: PLC0415

    return load(file, os.environ, load_python=load_python)


def vars_of(thing: Any) -> Mapping[str, Any]:
    """Give a frozen dataclass as a mapping."""
    from dataclasses import asdict  # noqa: PLC0415

    return asdict(thing)


def _say(line: str) -> None:
    """Write a line of the result, at once: whoever reads it through a pipe waits for it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _progress(line: str) -> None:
    """Write what is no result: to standard error."""
    sys.stderr.write(line + "\n")


def _print_json(value: Any) -> None:
    import msgspec  # noqa: PLC0415

    _say(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _refuse(lines: Iterable[str]) -> None:
    for line in lines:
        _progress(line)
    raise typer.Exit(REFUSED)
