"""The commands; libraries are loaded inside each, so that `--help` is quick."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Literal, Optional

import typer

app = typer.Typer(
    name="shadow-gateway",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Know, from your own traffic, which model to run.",
)

ConfigOption = Annotated[
    Optional[str],  # noqa: UP045  (typer reads the annotation at run time)
    typer.Option("-c", "--config", metavar="FILE", help="Configuration file; config.yaml here when there is one."),
]
Role = Literal["all", "gateway", "shadow"]


@app.callback()
def _root() -> None:
    """Know, from your own traffic, which model to run."""


@app.command()
def serve(
    config: ConfigOption = None,
    role: Annotated[Role, typer.Option(help="Start both sides, or one alone (containers, several machines).")] = "all",
) -> None:
    """Start the gateway and the measuring side."""
    from gateway import config as configuration  # noqa: PLC0415  (lazily, see the first line)
    from gateway import serve as supervisor  # noqa: PLC0415

    file, notes = configuration.find_file(config, os.environ)
    for note in notes:
        _progress(note)
    try:
        code = supervisor.serve(file, dict(os.environ), role=role)
    except configuration.ConfigErrors as errors:
        _refuse(errors.lines)
    raise typer.Exit(code)


def main() -> None:
    """Run the console script; an unexpected fault is one sentence and exit 1."""
    app()


def _progress(line: str) -> None:
    """Write what is no result: to standard error."""
    sys.stderr.write(line + "\n")


def _refuse(lines: tuple[str, ...]) -> None:
    for line in lines:
        _progress(line)
    raise typer.Exit(2)
