"""The ledger over HTTP: the verdict on each candidate, and the word that begins a new epoch."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from shadow.ledger.figures import current_views, verdict_figures
from shadow.web import parameters
from shadow.web.answers import ErrorAnswer, JsonAnswer
from shadow.web.parameters import MAX_TEXT_CHARACTERS, ParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

MAX_BODY_BYTES = 64 << 10
_DEFAULT_REASON = "begun by POST /epochs"


class Views(Protocol):
    """The part of `shadow.store.base.Ledger` that is shown."""

    async def views(self, *, task: str | None = None) -> list[dict[str, Any]]:
        """Every candidate of every epoch."""
        ...


class Epochs(Protocol):
    """Who can begin an epoch."""

    async def open_epochs(self, *, because: str, task: str | None = None) -> Sequence[Mapping[str, Any]]:
        """Begin one in every lane that has one (of one task)."""
        ...


class NewEpochs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `POST /epochs` may say."""

    task: str | None = None
    because: str = ""


class VerdictApi:
    """`GET /verdicts` and `POST /epochs`; without a ledger there is nothing to show."""

    def __init__(self, ledger: Views | None = None, epochs: Epochs | None = None) -> None:
        self._ledger = ledger
        self._epochs = epochs

    async def current(self, *, task: str | None = None) -> list[dict[str, Any]]:
        """What is known in the present epochs. Raises StoreError."""
        views = [] if self._ledger is None else await self._ledger.views(task=task)
        return [verdict_figures(view) for view in current_views(views)]

    async def verdicts(self, request: Request) -> Response:
        """Tell the verdict of each task, primary and candidate: of the present epochs, of one by number, or of all."""
        given = parameters.single_values(
            request.query_params.multi_items(), known=("task", "primary", "candidate", "epoch")
        )
        task, primary, candidate = (parameters.text(given, name) for name in ("task", "primary", "candidate"))
        views: Sequence[Mapping[str, Any]] = [] if self._ledger is None else await self._ledger.views(task=task)
        shown = _of_epoch(views, given.get("epoch"))
        verdicts = [
            verdict_figures(view)
            for view in shown
            if primary in {None, view["primary"]} and candidate in {None, view["candidate"]}
        ]
        return JsonAnswer({"verdicts": verdicts})

    async def epochs(self, request: Request) -> Response:
        """Begin a new epoch, for changes that nothing here can see, such as another prompt."""
        wrong = not_json(request)
        if wrong is not None:
            return wrong
        if self._epochs is None:
            message = "there is no ledger in this process"
            return ErrorAnswer(status=HTTPStatus.SERVICE_UNAVAILABLE, kind="no_ledger", message=message)
        asked = _read(await _body(request))
        opened = await self._epochs.open_epochs(because=asked.because or _DEFAULT_REASON, task=asked.task)
        names = ("task", "primary", "version", "number", "started_at", "because")
        shown = [{name.removesuffix("_at"): epoch[name] for name in names} for epoch in opened]
        return JsonAnswer({"epochs": shown}, status=HTTPStatus.CREATED if shown else HTTPStatus.OK)


def not_json(request: Request) -> ErrorAnswer | None:
    """Refuse a POST that a page of another origin could send without asking."""
    content_type = request.headers.get("content-type")
    if content_type is not None and content_type.partition(";")[0].strip().lower() == "application/json":
        return None
    message = "POST needs the header `content-type: application/json`"
    return ErrorAnswer(status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE, kind="content_type", message=message)


def _of_epoch(views: Sequence[Mapping[str, Any]], epoch: str | None) -> Sequence[Mapping[str, Any]]:
    if epoch is None:
        return current_views(views)
    if epoch == "all":
        return views
    if not (epoch.isascii() and epoch.isdecimal() and len(epoch) <= 9):  # noqa: PLR2004  (more are never reached)
        raise ParameterError(f"epoch must be a number, or all, not {epoch[:80]!r}")
    return [view for view in views if view["number"] == int(epoch)]


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise ParameterError(f"the body may hold at most {MAX_BODY_BYTES} bytes")
    return body


def _read(body: bytes) -> NewEpochs:
    try:
        asked = msgspec.json.decode(body or b"{}", type=NewEpochs)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ParameterError(f'the body must be {{"task": …, "because": …}}, both optional: {error}') from None
    for text in (asked.task or "", asked.because):
        if len(text) > MAX_TEXT_CHARACTERS:
            raise ParameterError(f"task and because may hold at most {MAX_TEXT_CHARACTERS} characters")
    return asked
