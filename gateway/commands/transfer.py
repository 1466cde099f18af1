"""`export` and `import`: pairs, exchanges and runs as files; test cases of other tools as ours."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.terminal import (
    ConfigOption,
    JsonOption,
    chosen_file,
    for_us_alone,
    loaded_config,
    note,
    recorded,
    refuse,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from typing import TextIO

    from gateway.config import Config
    from shadow.redaction import Redactor
    from shadow.web.parameters import Window

_DATE_CHARACTERS = len("2026-11-01")

OutputOption = Annotated[
    str | None, typer.Option("-o", "--output", metavar="FILE", help="Default: standard output. Made for you alone.")
]


def export(
    kind: Annotated[Literal["pairs", "exchanges", "runs"], typer.Argument(help="What to export.")],
    *,
    form: Annotated[Literal["jsonl", "csv"] | None, typer.Option("--format", help="Default: the suffix of -o.")] = None,
    output: OutputOption = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="From then on: 7d, 12h, 2026-11-01.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before then. Default: now.")] = None,
    task: Annotated[str | None, typer.Option(help="Of this task only.")] = None,
    candidate: Annotated[str | None, typer.Option(help="Of this candidate (or model of a run) only.")] = None,
    content: Annotated[bool, typer.Option("--content/--no-content", help="With prompts and answers, as kept.")] = True,
    unredacted: Annotated[bool, typer.Option("--unredacted", help="Leave in what shadow.redact takes out.")] = False,
    config: ConfigOption = None,
) -> None:
    """Write pairs, exchanges or answers of runs as JSON Lines or CSV; redacted, and in constant memory."""
    import asyncio  # noqa: PLC0415

    from shadow.exporting import Lines  # noqa: PLC0415
    from shadow.store import open_store  # noqa: PLC0415
    from shadow.worker import utc_now  # noqa: PLC0415

    window = _window(since, until, utc_now())
    chosen = form or ("csv" if (output or "").endswith(".csv") else "jsonl")

    async def write() -> int:
        loaded = loaded_config(chosen_file(config, quiet=output is None), load_python=False)
        lines = Lines(kind, chosen, redactor=None if unredacted else _redactor(loaded), with_content=content)
        count = 0
        async with await open_store(recorded(loaded)) as store:
            with _whole_file(output) as file:
                file.write(lines.head())
                found = store.export.rows(kind, since=window.since, until=window.until, task=task, candidate=candidate)
                async for row in found:
                    file.write(lines.line(row))
                    count += 1
        return count

    with told():
        count = asyncio.run(write())
    note(f"{count} {kind}" + ("; NOT redacted: it may hold personal data" if unredacted else ""))


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON Lines, promptfoo YAML or JSON, OpenAI Evals.")],
    *,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="Made new.")] = "cases.jsonl",
    source: Annotated[
        Literal["auto", "plain", "promptfoo", "openai-evals"], typer.Option("--from", help="Of which tool it is.")
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace the case file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a case file (for `bench`) from another tool's; a file with faults gives none, each told by its line."""
    from pathlib import Path  # noqa: PLC0415

    import msgspec  # noqa: PLC0415

    from gateway.terminal import print_json, say  # noqa: PLC0415
    from shadow.importing import ImportFaults, import_cases, source_of  # noqa: PLC0415

    if Path(output).exists() and not force:
        refuse([f"{output} exists already; nothing was written. Pass --force to replace it."])
    with told():
        try:
            text = Path(file).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            refuse([f"{file}: is not UTF-8 text"])
        kind = source_of(text, name=file) if source == "auto" else source
        folder = Path(file).resolve().parent
        try:
            found = import_cases(text, source=kind, name=file, read=lambda name: _beside(folder, name))
        except ImportFaults as faults:
            refuse(faults.lines)
        with _whole_file(output) as target:
            for case in found.cases:
                target.write(msgspec.json.encode(case).decode() + "\n")
    for line in found.notes:
        note(line)
    if as_json:
        print_json({"cases": len(found.cases), "file": output, "from": kind, "notes": list(found.notes)})
    else:
        say(f"wrote {len(found.cases)} cases ({kind}) to {output}")


def _beside(folder: object, name: str) -> str:
    """Read a file that lies beside the configuration, or below it."""
    from pathlib import Path  # noqa: PLC0415

    base = Path(str(folder))
    path = (base / name).resolve()
    if not path.is_relative_to(base):
        raise PermissionError(1, "lies outside of the folder of this file")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise OSError(1, "is not UTF-8 text") from None


@contextmanager
def _whole_file(output: str | None) -> Iterator[TextIO]:
    """Write to standard output, or to a file that appears under its name only when it is whole."""
    import os  # noqa: PLC0415
    import signal  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    path = Path(output)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    before = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        with open(partial, "w", encoding="utf-8", newline="", opener=for_us_alone) as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
        signal.signal(signal.SIGTERM, before)


def _redactor(loaded: Config) -> Redactor:
    """Take out what the configuration names, and every key it holds."""
    from shadow.redaction import Redactor  # noqa: PLC0415

    measuring = loaded.measuring
    keys = {*measuring.secrets, *(each.api_key for each in measuring.candidates if each.api_key)}
    return Redactor(measuring.redact, secrets=keys)


def _window(since: str | None, until: str | None, now: datetime) -> Window:
    """Read both times as the admin port does; a bare date is its first moment in UTC."""
    from shadow.web.parameters import ParameterError, window  # noqa: PLC0415

    given = {"since": since or "36500d", **({} if until is None else {"until": until})}
    bare = {name: f"{value}T00:00:00Z" if len(value) == _DATE_CHARACTERS else value for name, value in given.items()}
    try:
        return window(bare, now=now)
    except ParameterError as error:
        refuse([f"--{error}"])
        raise
