"""`db`: what may be done to the store by hand: bring its schema up to date, delete what is old, make rollups anew."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.terminal import (
    ConfigOption,
    JsonOption,
    chosen_file,
    loaded_config,
    note,
    print_json,
    recorded,
    refuse,
    say,
    told,
)

db = typer.Typer(
    name="db",
    help="The store: migrate, prune, rebuild-rollups.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SinceOption = Annotated[str | None, typer.Option(metavar="DATE", help="From this UTC date on (2026-11-01).")]
UntilOption = Annotated[str | None, typer.Option(metavar="DATE", help="Before this UTC date.")]


@db.command()
def migrate(*, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Bring the store's schema up to date (a start does the same); says which it was and which it is."""
    import asyncio  # noqa: PLC0415

    from shadow.store import open_store, schema_of  # noqa: PLC0415

    async def migrated() -> tuple[int, int]:
        url = loaded_config(chosen_file(config, quiet=as_json), load_python=False).measuring.store
        before = schema_of(url)
        async with await open_store(url):
            return before, schema_of(url)

    with told():
        before, after = asyncio.run(migrated())
    if as_json:
        print_json({"before": before, "after": after})
    elif before == after:
        say(f"schema {after}: up to date")
    else:
        say(f"schema {before} -> {after}" if before else f"made the store, schema {after}")


@db.command()
def prune(
    *,
    older_than_days: Annotated[
        float | None, typer.Option("--older-than-days", min=0, help="Default: shadow.retention_days.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete exchanges older than the retention now, with all that is theirs, and give their space back to the disk.

    A server may run meanwhile. Rollups stay: what the numbers were is known beyond the rows.
    """
    import asyncio  # noqa: PLC0415
    from datetime import timedelta  # noqa: PLC0415

    from shadow.repeat import paced  # noqa: PLC0415
    from shadow.store import open_store  # noqa: PLC0415
    from shadow.worker import utc_now  # noqa: PLC0415

    async def pruned() -> tuple[int, int]:
        loaded = loaded_config(chosen_file(config, quiet=as_json), load_python=False)
        days = loaded.measuring.retention_days if older_than_days is None else older_than_days
        before = utc_now() - timedelta(days=days)
        async with await open_store(recorded(loaded)) as store:
            size = store.room.size_bytes()
            gone = await paced(lambda limit: store.reader.prune(before=before, limit=limit))
            left = 1
            while left:
                left = await store.room.shrink()
                await asyncio.sleep(0.01)  # others write meanwhile
            return gone, size - store.room.size_bytes()

    with told():
        gone, freed = asyncio.run(pruned())
    if as_json:
        print_json({"exchanges": gone, "freed_bytes": freed})
    else:
        say(f"deleted {gone} exchanges, the store is {freed / 1e6:.1f} MB smaller")


@db.command("rebuild-rollups")
def rebuild_rollups(
    *,
    since: SinceOption = None,
    until: UntilOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the rollups anew from the raw rows, for the days of which these are still whole.

    A server may run meanwhile: it does not fold until this is done, and what it writes is kept.
    """
    import asyncio  # noqa: PLC0415
    import secrets  # noqa: PLC0415
    from datetime import UTC, datetime  # noqa: PLC0415

    from shadow.store import open_store  # noqa: PLC0415
    from shadow.storekeeper import rebuild  # noqa: PLC0415

    def date(name: str, given: str | None) -> datetime | None:
        try:
            return None if given is None else datetime.strptime(given, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            refuse([f"--{name} must be a date such as 2026-11-01, not {given!r}"])
            raise

    days: dict[str, int] = {}

    def day_done(day: int, read: int) -> None:
        name = datetime.fromtimestamp(day, UTC).date().isoformat()
        days[name] = read
        if not as_json:
            note(f"{name}: {read} exchanges")

    async def rebuilt() -> int:
        url = recorded(loaded_config(chosen_file(config, quiet=as_json), load_python=False))
        async with await open_store(url) as store:
            return await rebuild(
                store.rollups,
                holder=f"db rebuild-rollups {secrets.token_hex(4)}",
                since=date("since", since),
                until=date("until", until),
                told=day_done,
            )

    with told():
        total = asyncio.run(rebuilt())
    if as_json:
        print_json({"exchanges": total, "days": days})
    else:
        say(f"made the rollups of {len(days)} days anew, from {total} exchanges")
