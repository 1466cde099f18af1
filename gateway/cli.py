"""The commands. Libraries are loaded inside each, so that `--help` is quick; stdout is the result, stderr the rest."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.commands import bench as benchmarks
from gateway.commands.alert import alert_app
from gateway.commands.db import db
from gateway.commands.label import label
from gateway.commands.report import report
from gateway.commands.top import top
from gateway.commands.transfer import export, import_
from gateway.terminal import (
    FAILED,
    OK,
    PLAIN_WIDTH,
    REFUSED,
    ConfigOption,
    JsonOption,
    chosen_file,
    for_us_alone,
    loaded_config,
    note,
    print_json,
    refuse,
    say,
    tell,
    told,
    vars_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

app = typer.Typer(
    name="shadow-gateway",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(db)
app.command()(export)
app.command("import")(import_)
app.command()(top)

RoleOption = Annotated[
    Literal["all", "gateway", "shadow"],
    typer.Option(help="Both sides, or one alone (containers, several machines)."),
]


def _print_version(asked: bool) -> None:  # noqa: FBT001  (typer calls it with the flag alone)
    from importlib import metadata  # noqa: PLC0415

    if asked:
        say(metadata.version("shadow-gateway"))
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
    with told():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(path, "w" if force else "x", encoding="utf-8", opener=for_us_alone) as stream:
                stream.write(starterfile.config_text(names))
        except FileExistsError:
            note(f"{path} exists already; nothing was written. Pass --force to replace it.")
            raise typer.Exit(REFUSED) from None
        path.with_name("config.schema.json").write_text(starterfile.schema_text(), encoding="utf-8")
    say(f"wrote {path} and {path.with_name('config.schema.json')}")
    note(f"next: shadow-gateway check -c {path}, then shadow-gateway serve -c {path}")


@app.command()
def serve(config: ConfigOption = None, role: RoleOption = "all") -> None:
    """Start the gateway and the measuring side; Ctrl-C or SIGTERM ends them, SIGHUP reloads the configuration."""
    from gateway import serve as supervisor  # noqa: PLC0415

    with told():
        code = supervisor.serve(chosen_file(config), dict(os.environ), role=role, say=tell)
    raise typer.Exit(code)


@app.command()
def check(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Say what is wrong with a configuration; else show what is in force, prices, and what shadowing costs a day."""
    import asyncio  # noqa: PLC0415
    from datetime import UTC, datetime  # noqa: PLC0415

    from gateway.announce import (  # noqa: PLC0415
        doubled_paths,
        model_prices,
        next_weekly_run,
        shadow_lines,
        weekly_lines,
    )
    from gateway.config import ConfigErrors  # noqa: PLC0415
    from gateway.estimate import estimate  # noqa: PLC0415
    from gateway.serve import refuse_open_store  # noqa: PLC0415

    file = chosen_file(config)
    try:
        loaded = loaded_config(file)
        refuse_open_store(loaded)
    except ConfigErrors as errors:
        if not as_json:
            refuse(errors.lines)
        print_json({"ok": False, "errors": errors.lines})
        raise typer.Exit(REFUSED) from None
    with told():
        cost = asyncio.run(estimate(loaded))
    now = datetime.now(UTC)
    if as_json:
        prices = [vars_of(price) for price in model_prices(loaded)]
        report = {"file": file, "effective": loaded.effective, "shadow_off_reason": loaded.shadow_off_reason}
        weekly = {"next_weekly_run": next_weekly_run(loaded, now=now), "alerts_off": loaded.measuring.alerts_off}
        print_json({"ok": True, **report, "prices": prices, "estimate": vars_of(cost), **weekly})
        return
    import yaml  # noqa: PLC0415

    say(yaml.safe_dump(dict(loaded.effective), sort_keys=False, allow_unicode=True).rstrip())
    say("")
    for line in (*doubled_paths(loaded), *shadow_lines(loaded)):
        say(line)
    if loaded.shadow_off_reason is None:
        say(cost.sentence(loaded.measuring.budget_usd_per_day))
    for line in weekly_lines(loaded, now=now):
        say(line)
    say(f"{file or 'the environment'}: ok")


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

    with told():
        loaded = loaded_config(chosen_file(config, quiet=ready), load_python=not ready)
    if ready:
        raise typer.Exit(OK if examination.is_ready(loaded, role=role) else FAILED)
    findings = [examination.Finding(grade="ok", about="configuration", sentence=loaded.file or "from the environment")]

    async def examine() -> None:
        if not as_json:
            say(str(findings[0]))
        async for finding in examination.examine(loaded):
            findings.append(finding)
            if not as_json:
                say(str(finding))

    with told():
        asyncio.run(examine())
    if as_json:
        print_json([vars_of(finding) for finding in findings])
    raise typer.Exit(FAILED if any(finding.grade == "fail" for finding in findings) else OK)


@app.command()
def pairs(
    config: ConfigOption = None,
    *,
    worst: Annotated[int | None, typer.Option(min=1, max=1000, help="So many, those without an answer first.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many of the newest.")] = 20,
    task: Annotated[str | None, typer.Option(help="Of this task only.")] = None,
    candidate: Annotated[str | None, typer.Option(help="Of this candidate only.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show pairs of answers, the newest or the worst; from the running server, else from the store."""
    import asyncio  # noqa: PLC0415

    from gateway import pairsview  # noqa: PLC0415

    sort: Literal["newest", "worst"] = "newest" if worst is None else "worst"
    with told():
        loaded = loaded_config(chosen_file(config), load_python=False)
        found = asyncio.run(
            pairsview.fetch_pairs(loaded, sort=sort, limit=worst or limit, task=task, candidate=candidate)
        )
    if as_json:
        print_json(found)
    elif found:
        from rich.console import Console  # noqa: PLC0415

        console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
        console.print(pairsview.pairs_view(found, width=console.width))
        note("both answers of one: GET /pairs/<pair> on the admin port")
    else:
        note("no pairs yet: a sampled conversation must have ended well, and a candidate must have answered")


app.command()(label)
app.command()(report)


@app.command()
def simulator(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: a free one.")] = 9090, host: str = "127.0.0.1"
) -> None:
    """Run the stand-in for EzAI alone."""
    from shadow.simulator import run  # noqa: PLC0415

    with told():
        try:
            run(host=host, port=port, announce=say)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            note(f"{host}:{port} is in use by another process; stop that one, or choose another --port")
            raise typer.Exit(FAILED) from None


@app.command()
def version(*, as_json: JsonOption = False) -> None:
    """Print the version; with --json also Python's and the libraries'."""
    import platform  # noqa: PLC0415
    from importlib import metadata  # noqa: PLC0415

    own = metadata.version("shadow-gateway")
    if not as_json:
        say(own)
        return
    required = [name.split(";")[0] for name in metadata.requires("shadow-gateway") or [] if "extra ==" not in name]
    names = ["".join(char if char.isalnum() or char in "-_." else " " for char in name).split()[0] for name in required]
    libraries = {name: metadata.version(name) for name in sorted(names)}
    print_json({"shadow-gateway": own, "python": platform.python_version(), "libraries": libraries})


app.add_typer(alert_app, name="alert")
app.command()(benchmarks.bench)
app.command()(benchmarks.replay)
app.command()(benchmarks.compare)


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
        note(f"unexpected fault: {type(error).__name__}: {error} (shadow-gateway --debug … shows where)")
        sys.exit(FAILED)
