"""`label`: which answer is better, said by people, blind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.terminal import ConfigOption, JsonOption, chosen_file, loaded_config, note, print_json, refuse, say, told

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.labelling import Wanted

MAX_NAME_CHARS = 100

NameOption = Annotated[str, typer.Option(help="Who labels; the last word of each person counts.")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="So many labels at most.")]


def label(
    config: ConfigOption = None,
    *,
    limit: LimitOption = 20,
    labeller: NameOption = "anonymous",
    task: Annotated[str | None, typer.Option(help="Of this task only.")] = None,
    candidate: Annotated[str | None, typer.Option(help="Of this candidate only.")] = None,
    seed: Annotated[str, typer.Option(help="What the sides are shuffled by; kept with each label.")] = "blind-1",
    as_json: JsonOption = False,
) -> None:
    """Label pairs blind (A, tie or B), so that the judge can be checked; with --json print the labels there are."""
    import asyncio  # noqa: PLC0415  (lazily, as in every command)

    from gateway.labelling import Wanted  # noqa: PLC0415

    for option, value in (("--labeller", labeller), ("--seed", seed)):
        if not 0 < len(value) <= MAX_NAME_CHARS or not value.isprintable():
            refuse([f"{option} must be a printable text of 1 to {MAX_NAME_CHARS} characters"])
    with told():
        loaded = loaded_config(chosen_file(config), load_python=False)
        wanted = Wanted(labeller=labeller, task=task, candidate=candidate)
        asyncio.run(_export(loaded, wanted) if as_json else _session(loaded, wanted, limit=limit, seed=seed))


async def _export(config: Config, wanted: Wanted) -> None:
    from gateway.labelling import open_desk  # noqa: PLC0415

    async with open_desk(config, wanted) as desk:
        print_json(await desk.labels())


async def _session(config: Config, wanted: Wanted, *, limit: int, seed: str) -> None:
    from gateway.labelling import Session, key_reader, open_desk  # noqa: PLC0415

    async with open_desk(config, wanted) as desk:
        kept = await Session(desk=desk, seed=seed, limit=limit, read_key=key_reader(), say=say).run()
    if kept:
        note(
            f"{kept} label{'' if kept == 1 else 's'} kept as {wanted.labeller}; `judge.labels` in /stats compares them"
        )
    else:
        note(
            "no label was kept; pairs to label need answers that differ and whose content is kept "
            "(shadow.content: redacted or full)"
        )
