"""The simulator as an ASGI application: the APIs below any prefix, and its own pages below /_sim."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from shadow.simulator.log import RequestLog
from shadow.simulator.plan import State, plan
from shadow.simulator.player import Player
from shadow.simulator.script import Script

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send


def build_app(script: Script | None = None) -> Starlette:
    """Make the application; its memory is `app.state.simulator` (a `State`)."""
    chosen = script or Script()
    state = State(script=chosen, log=RequestLog(limit=chosen.log_limit))
    app = Starlette(
        routes=[
            Route("/_sim/log", _log_page, methods=["GET", "DELETE"]),
            Route("/_sim/script", _script_page, methods=["GET"]),
            Route("/_sim/script", _script_switch, methods=["PATCH"]),
            Route("/{path:path}", _Api(state)),
        ]
    )
    app.state.simulator = state
    return app


async def _log_page(request: Request) -> JSONResponse:
    """Show the log from the entry after number `after` on, or empty it."""
    log: RequestLog = request.app.state.simulator.log
    if request.method == "DELETE":
        log.clear()
    after = int(request.query_params.get("after", -1))
    return JSONResponse({"requests": [entry.plain() for entry in log if entry.number > after]})


async def _script_page(request: Request) -> JSONResponse:
    """Show the models that are played, with their made-up prices in USD per 1M tokens."""
    script: Script = request.app.state.simulator.script
    return JSONResponse({"models": [asdict(each) for each in script.models]})


async def _script_switch(request: Request) -> JSONResponse:
    """Change how models answer from now on: `{"models": [{"name": "gpt-4o", "quality": {"fenced": 1.0}}]}`.

    What a share does not name stays; a name that is not played by itself yet is from here on. So a provider's silent
    change of a model can be seen.
    """
    state: State = request.app.state.simulator
    try:
        wanted = _SWITCH.decode(await request.body())
        state.script = state.script.switched({each.name: each.quality for each in wanted.models})
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    return JSONResponse({"models": [asdict(each) for each in state.script.models]})


class ModelSwitch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model and the shares of its failings that change."""

    name: str
    quality: dict[str, float]


class Switch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `PATCH /_sim/script` takes."""

    models: list[ModelSwitch]


_SWITCH = msgspec.json.Decoder(Switch)


class _Api:
    """Everything below the APIs' paths, as one ASGI endpoint."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        entry = self._state.log.open(
            arrived_at=time.monotonic(),
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
        )
        player = Player(scope, receive, send, entry, self._state.closing)
        if await player.read_body():
            await player.play(plan(self._state, entry))
