"""What every command shares: its options, exit codes, words for faults, and where output goes."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.config import Config

OK, FAILED, REFUSED = 0, 1, 2
"""Exit codes: fine, our error or a finding, usage or configuration."""

PLAIN_WIDTH = 200
"""Columns where standard output is no terminal: wide enough that no row is cut."""

ConfigOption = Annotated[
    str | None,
    typer.Option("-c", "--config", metavar="FILE", help="Configuration file. Default: config.yaml here, if any."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def told() -> Iterator[None]:
    """Turn the faults a user can do something about into their sentence and exit code."""
    from gateway.ask import AskError, WrongQuestionError  # noqa: PLC0415
    from gateway.config import ConfigErrors  # noqa: PLC0415
    from gateway.pairsview import PairsError  # noqa: PLC0415
    from gateway.serve import StartError  # noqa: PLC0415
    from gateway.sockets import ListenError  # noqa: PLC0415
    from shadow.store.base import StoreError  # noqa: PLC0415

    try:
        yield
    except ConfigErrors as errors:
        refuse(errors.lines)
    except WrongQuestionError as error:
        refuse([str(error)])
    except (AskError, ListenError, PairsError, StartError, StoreError) as error:
        note(str(error))
        raise typer.Exit(FAILED) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        note(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        raise typer.Exit(FAILED) from None


def recorded(config: Config) -> str:
    """Give the address of a store that is there: a command that only reads or tidies makes none. Raises StoreError."""
    from shadow import store  # noqa: PLC0415

    return store.recorded(config.measuring.store)


def chosen_file(named: str | None, *, quiet: bool = False) -> str | None:
    """Choose the configuration file and say why it is not the expected one."""
    from gateway.config import find_file  # noqa: PLC0415

    file, notes = find_file(named, os.environ)
    for line in () if quiet else notes:
        note(line)
    return file


def for_us_alone(path: str, flags: int) -> int:
    """Open a file that only its owner may read when it is new: people write keys into it."""
    return os.open(path, flags, 0o600)


def loaded_config(file: str | None, *, load_python: bool = True) -> Config:
    """Read and check the configuration. Raises ConfigErrors, which `told` turns into words."""
    from gateway.config import load  # noqa: PLC0415

    return load(file, os.environ, load_python=load_python)


def vars_of(thing: Any) -> Mapping[str, Any]:
    """Give a frozen dataclass as a mapping."""
    from dataclasses import asdict  # noqa: PLC0415

    return asdict(thing)


def say(line: str) -> None:
    """Write a line of the result, at once: whoever reads it through a pipe waits for it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def tell(line: str) -> None:
    """Write a line of a server's: whoever read them, such as `head`, may have enough, and the server goes on."""
    try:
        say(line)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit fails again


def note(line: str) -> None:
    """Write what is no result: to standard error."""
    sys.stderr.write(line + "\n")


def print_json(value: Any) -> None:
    """Write a value of the result as JSON, indented."""
    import msgspec  # noqa: PLC0415

    say(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def refuse(lines: Iterable[str]) -> NoReturn:
    """Write why this cannot be done, a line each, and end with the code of a usage error."""
    for line in lines:
        note(line)
    raise typer.Exit(REFUSED)
