"""`report`: the models, the verdicts and what they rest on, as a table or for another program."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from gateway.terminal import PLAIN_WIDTH, ConfigOption, chosen_file, loaded_config, print_json, told

Form = Literal["table", "json", "csv", "md", "html"]
TextForm = Literal["table", "json", "csv", "md"]


def report(
    config: ConfigOption = None,
    *,
    since: Annotated[
        str | None, typer.Option(help="A time with a zone, or back from now: 24h, 7d. Default: 7d.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="The same. Default: now.")] = None,
    task: Annotated[str | None, typer.Option(help="Of this task only.")] = None,
    form: Annotated[
        Form, typer.Option("--format", help="table, json (as /stats), csv, md or html (one file).")
    ] = "table",
    trends: Annotated[
        bool, typer.Option("--trends", help="Weekly runs and shadow weeks on one axis, leads and drift; default: 12w.")
    ] = False,
) -> None:
    """Show how the models did and what the verdicts are; from the running server, else from the store."""
    import asyncio  # noqa: PLC0415  (libraries are loaded inside each command)

    from gateway import reportview  # noqa: PLC0415

    if trends and form != "html":  # the page has the trends anyway
        _trends(config, since=since, until=until, task=task, form=form)
        return
    with told():
        loaded = loaded_config(chosen_file(config), load_python=False)
        if form == "html":
            sys.stdout.write(asyncio.run(reportview.fetch_page(loaded, since=since, until=until, task=task)))
            return
        stats = asyncio.run(reportview.fetch_stats(loaded, since=since, until=until, task=task))
    if form == "json":
        print_json(stats)
        return
    width = _width() if sys.stdout.isatty() else PLAIN_WIDTH
    sys.stdout.write(reportview.report_text(stats, form=form, width=width))
    sys.stdout.flush()


def _trends(config: str | None, *, since: str | None, until: str | None, task: str | None, form: TextForm) -> None:
    import asyncio  # noqa: PLC0415

    from gateway import reportview, trendsview  # noqa: PLC0415

    with told():
        loaded = loaded_config(chosen_file(config), load_python=False)
        found = asyncio.run(reportview.fetch_trends(loaded, since=since, until=until, task=task))
    if form == "json":
        print_json(found)
        return
    sys.stdout.write(trendsview.trends_text(found, form=form))
    sys.stdout.flush()


def _width() -> int:
    from rich.console import Console  # noqa: PLC0415

    return Console().width
