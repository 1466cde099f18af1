"""`alert test`, `list`, `mute` and `unmute`: whether alerts arrive, what was told, and what is to be quiet."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.terminal import (
    FAILED,
    REFUSED,
    ConfigOption,
    JsonOption,
    chosen_file,
    loaded_config,
    note,
    print_json,
    recorded,
    say,
    told,
)

if TYPE_CHECKING:
    from datetime import timedelta

    from gateway.config import Config

alert_app = typer.Typer(no_args_is_help=True, help="Say whether alerts arrive, what was told, and what is to be quiet.")

ScopeArgument = Annotated[str, typer.Argument(metavar="SCOPE", help="all, kind:<kind>, task:<name> or model:<name>.")]
_SPAN = re.compile(r"([1-9][0-9]{0,4})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@alert_app.command("test")
def send_test(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Send one test alert to every configured target, and say what each of them answered."""
    import asyncio  # noqa: PLC0415  (lazily, as all commands)

    with told():
        loaded = loaded_config(chosen_file(config), load_python=False)
        for line in loaded.measuring.alerts_off:
            note(line)
        if not loaded.measuring.alerts:
            note('no alerts are configured: add alerts: [{slack: "${SLACK_WEBHOOK_URL}"}] to the configuration')
            raise typer.Exit(REFUSED)
        results = asyncio.run(_post_test(loaded))
    if as_json:
        print_json(results)
    else:
        for each in results:
            say(f"{each['name']}: {'delivered' if each['ok'] else each['why']}")
    if not all(each["ok"] for each in results):
        raise typer.Exit(FAILED)


async def _post_test(loaded: Config) -> list[dict[str, Any]]:
    from datetime import UTC, datetime  # noqa: PLC0415
    from secrets import token_hex  # noqa: PLC0415

    from gateway.weekly import poster_of  # noqa: PLC0415
    from shadow.notices import Alert  # noqa: PLC0415

    now = datetime.now(UTC)
    alert = Alert(
        id=f"test-{now:%Y%m%dT%H%M%S}-{token_hex(3)}",
        kind="test",
        subject="test",
        state="test",
        previous=None,
        created_at=now,
        title="Shadow Gateway: a test alert",
        sentence="Somebody ran `shadow-gateway alert test`. Nothing has changed; alerts reach this place.",
    )
    poster = poster_of(loaded.measuring)
    results = []
    for target in loaded.measuring.alerts:
        posted = await poster.post(target, alert)
        results.append({"target": target.key, "name": target.name, "ok": posted.ok, "why": posted.why})
    return results


@alert_app.command("list")
def list_alerts(
    config: ConfigOption = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the newest alerts, how each travelled, and what is muted."""
    import asyncio  # noqa: PLC0415

    with told():
        loaded = loaded_config(chosen_file(config), load_python=False)
        found = asyncio.run(_list(loaded, limit=limit))
    if as_json:
        print_json(found)
        return
    for alert in found["alerts"]:
        travelled = ", ".join(f"{each['name']} {each['state']}" for each in alert["deliveries"])
        say(f"{alert['created_at']:%Y-%m-%d %H:%M} {alert['kind']}: {_printable(alert['title'])}")
        say(f"    {_printable(alert['sentence'])}")
        say(f"    {'muted' if alert['muted'] else travelled or 'no target'}")
    if not found["alerts"]:
        note("no alerts yet: nothing has changed that is told (docs/alerts.md lists what is)")
    for mute in found["mutes"]:
        note(f"muted: {mute['scope']} until {mute['until']:%Y-%m-%d %H:%M} UTC")


@alert_app.command("mute")
def mute_alerts(
    scope: ScopeArgument = "all",
    *,
    span: Annotated[str, typer.Option("--for", metavar="SPAN", help="Such as 30m, 24h, 7d or 2w.")] = "7d",
    config: ConfigOption = None,
) -> None:
    """Record alerts and do not send them, for a while; a change in that time counts as told."""
    import asyncio  # noqa: PLC0415

    with told():
        _check_scope(scope)
        until = asyncio.run(_mute(loaded_config(chosen_file(config), load_python=False), scope, _span(span)))
    say(f"muted: {scope} until {until}")


@alert_app.command("unmute")
def unmute_alerts(scope: ScopeArgument = "all", *, config: ConfigOption = None) -> None:
    """End a mute."""
    import asyncio  # noqa: PLC0415

    with told():
        ended = asyncio.run(_unmute(loaded_config(chosen_file(config), load_python=False), scope))
    if not ended:
        note(f"{scope} was not muted")
        raise typer.Exit(FAILED)
    say(f"no longer muted: {scope}")


async def _list(loaded: Config, *, limit: int) -> dict[str, Any]:
    from datetime import UTC, datetime  # noqa: PLC0415

    from shadow.store import open_store  # noqa: PLC0415

    async with await open_store(recorded(loaded)) as store:
        mutes = await store.watching.mutes(now=datetime.now(UTC))
        alerts = await store.watching.alerts(limit=limit)
    names = {target.key: target.name for target in loaded.measuring.alerts}
    for alert in alerts:
        alert["deliveries"] = [
            {**each, "name": names.get(each["target"], each["target"])} for each in alert["deliveries"]
        ]
    return {"alerts": alerts, "mutes": [{"scope": mute.scope, "until": mute.until} for mute in mutes]}


async def _mute(loaded: Config, scope: str, span: timedelta) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415

    from shadow.store import open_store  # noqa: PLC0415

    until = datetime.now(UTC) + span
    async with await open_store(loaded.measuring.store) as store:
        await store.watching.mute(scope, until=until)
    return f"{until:%Y-%m-%d %H:%M} UTC"


async def _unmute(loaded: Config, scope: str) -> bool:
    from shadow.store import open_store  # noqa: PLC0415

    async with await open_store(recorded(loaded)) as store:
        return await store.watching.unmute(scope)


def _check_scope(scope: str) -> None:
    from shadow.notices import ALERT_KINDS  # noqa: PLC0415

    name, _, value = scope.partition(":")
    if scope == "all" or (name in {"task", "model"} and value) or (name == "kind" and value in ALERT_KINDS):
        return
    kinds = ", ".join(ALERT_KINDS)
    note(f"SCOPE is all, kind:<one of {kinds}>, task:<name> or model:<name>, not '{scope}'")
    raise typer.Exit(REFUSED)


def _span(text: str) -> timedelta:
    from datetime import timedelta  # noqa: PLC0415

    found = _SPAN.fullmatch(text)
    if found is None:
        note(f"--for takes a span such as 30m, 24h, 7d or 2w, not '{text}'")
        raise typer.Exit(REFUSED)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
