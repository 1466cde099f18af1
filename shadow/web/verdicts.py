"""The ledger over HTTP: the verdict on each candidate, and the word that begins a new epoch."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from shadow.ledger.figures import current_views, verdict_figures
from shadow.web import parameters
from shadow.web.answers import ErrorAnswer, JsonAnswer
from shadow.web.bodies import json_body
from shadow.web.parameters import MAX_TEXT_CHARACTERS, ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

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
    """`GET /verdicts` and `POST /epochs`; without a ledger there is nothing to show.

    `switch` says what to change for a verdict, None where there is nothing to change. `tasks` names those configured.
    """

    def __init__(
        self,
        ledger: Views | None = None,
        epochs: Epochs | None = None,
        switch: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] = lambda _: None,
        tasks: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._ledger = ledger
        self._epochs = epochs
        self._switch = switch
        self._tasks = tasks

    async def current(self, *, task: str | None = None) -> list[dict[str, Any]]:
        """What is known in the present epochs. Raises StoreError."""
        views = [] if self._ledger is None else await self._ledger.views(task=task)
        return [self._figures(view) for view in current_views(views)]

    def _figures(self, view: Mapping[str, Any]) -> dict[str, Any]:
        """Show a verdict, and with `promote` what to change."""
        figures = verdict_figures(view)
        return {**figures, "switch": self._switch(figures)}

    async def verdicts(self, request: Request) -> Response:
        """Tell the verdict of each task, primary and candidate: of the present epochs, of one by number, or of all."""
        given = parameters.single_values(
            request.query_params.multi_items(), known=("task", "primary", "candidate", "epoch")
        )
        task, primary, candidate = (parameters.text(given, name) for name in ("task", "primary", "candidate"))
        views: Sequence[Mapping[str, Any]] = [] if self._ledger is None else await self._ledger.views(task=task)
        shown = _of_epoch(views, given.get("epoch"))
        verdicts = [
            self._figures(view)
            for view in shown
            if primary in {None, view["primary"]} and candidate in {None, view["candidate"]}
        ]
        return JsonAnswer({"verdicts": verdicts})

    async def epochs(self, request: Request) -> Response:
        """Begin a new epoch, for changes that nothing here can see, such as another prompt."""
        body = await json_body(request, optional=True)
        if isinstance(body, ErrorAnswer):
            return body
        if self._epochs is None:
            message = "there is no ledger in this process"
            return ErrorAnswer(status=HTTPStatus.SERVICE_UNAVAILABLE, kind="no_ledger", message=message)
        asked = _read(body)
        opened = await self._epochs.open_epochs(because=asked.because or _DEFAULT_REASON, task=asked.task)
        if not opened and asked.task is not None:
            await self._refuse_unknown(asked.task)
        names = ("task", "primary", "version", "number", "started_at", "because")
        shown = [{name.removesuffix("_at"): epoch[name] for name in names} for epoch in opened]
        return JsonAnswer({"epochs": shown}, status=HTTPStatus.CREATED if shown else HTTPStatus.OK)

    async def _refuse_unknown(self, task: str) -> None:
        """Raise ParameterError when neither the configuration nor the ledger has this task."""
        views = [] if self._ledger is None else await self._ledger.views()
        known = {*self._tasks(), *(view["task"] for view in views)}
        if task not in known:
            raise ParameterError(f"there is no task {task[:80]!r}; known: {', '.join(sorted(known)) or 'none yet'}")


def _of_epoch(views: Sequence[Mapping[str, Any]], epoch: str | None) -> Sequence[Mapping[str, Any]]:
    if epoch is None:
        return current_views(views)
    if epoch == "all":
        return views
    if not (epoch.isascii() and epoch.isdecimal() and len(epoch) <= 9):  # noqa: PLR2004  (more are never reached)
        raise ParameterError(f"epoch must be a number, or all, not {epoch[:80]!r}")
    return [view for view in views if view["number"] == int(epoch)]


def _read(body: Mapping[str, Any]) -> NewEpochs:
    try:
        asked = msgspec.convert(body, NewEpochs)
    except msgspec.ValidationError as error:
        raise ParameterError(f'the body must be {{"task": …, "because": …}}, both optional: {error}') from None
    for text in (asked.task or "", asked.because):
        if len(text) > MAX_TEXT_CHARACTERS:
            raise ParameterError(f"task and because may hold at most {MAX_TEXT_CHARACTERS} characters")
    return asked
