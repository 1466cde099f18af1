"""The dashboard under `/ui/`: pages for people, drawn on the server from the JSON API of the same port."""

from __future__ import annotations

import asyncio
import csv
import functools
import io
import secrets
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from markupsafe import Markup
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from shadow.store.base import StoreError
from shadow.web.answers import COMMON_HEADERS
from shadow.web.cookies import cookie_value, form_word_holds, set_cookie
from shadow.web.dashboard import overview, pair
from shadow.web.dashboard.api import Api, ApiError
from shadow.web.dashboard.health import health_view
from shadow.web.dashboard.nodes import Node
from shadow.web.dashboard.page import PREFIX, Page, address
from shadow.web.dashboard.rendering import static_answer
from shadow.web.guard import is_token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request

    from shadow.web.admin import AdminSettings

    Handler = Callable[["Dashboard", Request, Page], Awaitable[Response]]
    Endpoint = Callable[["Dashboard", Request], Awaitable[Response]]

MAX_FORM_BYTES = 16 << 10
MAX_FIELDS = 20
LIST_LENGTH = 50
POLL_S = 5

_SHOWS = (
    ("all", "all pairs"),
    ("differs", "that differ"),
    ("regressed", "that regressed"),
    ("errors", "with errors"),
)
_SORTS = {"worst": "worst first", "newest": "newest first"}
_LIST_FILTERS = ("since", "until", "task", "candidate", "show", "sort", "cursor")
_CSV_COLUMNS = (
    "id", "started_at", "task", "primary", "candidate", "primary_outcome", "outcome", "quality_primary",
    "quality_candidate", "quality_diff", "primary_latency_ms", "latency_ms", "primary_ttft_ms", "ttft_ms",
    "primary_cost_billed_usd", "cost_billed_usd",
)  # fmt: skip


def _page(handler: Handler) -> Endpoint:
    """Make a page of a handler: what goes wrong on the way is a page too, with what to do next."""

    @functools.wraps(handler)
    async def answered(self: Dashboard, request: Request) -> Response:
        page = self.page(request)
        try:
            return await handler(self, request, page)
        except ApiError as error:
            return _problem(page, error)
        except StoreError as error:
            return _problem(page, ApiError(status=503, kind="store", message=str(error)))

    return answered


class Dashboard:
    """The pages. Nothing is kept between requests but the secret that marks this process's own forms."""

    def __init__(self, *, settings: Callable[[], AdminSettings], now_s: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now_s = now_s
        self._secret = secrets.token_bytes(32)

    def routes(self) -> list[Route]:
        """Every route under the prefix."""
        return [
            Route(PREFIX.rstrip("/"), self.overview, methods=["GET"]),
            Route(PREFIX, self.overview, methods=["GET"]),
            Route(f"{PREFIX}static/{{digest}}/{{name}}", self.static, methods=["GET"]),
            Route(f"{PREFIX}login", self.login, methods=["GET", "POST"]),
            Route(f"{PREFIX}logout", self.logout, methods=["POST"]),
            Route(f"{PREFIX}pairs", self.pairs, methods=["GET"]),
            Route(f"{PREFIX}pairs.csv", self.pairs_csv, methods=["GET"]),
            Route(f"{PREFIX}pairs/{{pair_id:path}}", self.pair, methods=["GET"]),
            Route(f"{PREFIX}health", self.health, methods=["GET"]),
            Route(f"{PREFIX}{{rest:path}}", self.nowhere, methods=["GET"]),
        ]

    def page(self, request: Request) -> Page:
        """Begin a page."""
        return Page(request=request, settings=self._settings(), secret=self._secret)

    # ---- pages

    @_page
    async def overview(self, request: Request, page: Page) -> Response:
        """Show whether to switch."""
        api = Api(request)
        asked = {**page.window, "task": page.query.get("task")}
        stats = Node(await api.get("/stats", asked))
        kind = "ttft_ms" if page.query.get("clock") == "ttft" else "latency_ms"
        curves = await _curves(api, asked)
        tasks = []
        for task in stats.nodes("tasks"):
            view = overview.task_view(task, link=PREFIX, curves=curves.get(task["task"], ()), kind=kind)
            tasks.append({**view, "latency_switch": _switch(page, kind), "trend": None})
        return page.answer(
            "overview.html",
            title="Overview",
            page="Overview",
            tasks=tasks,
            no_traffic=not any(task["models"] for task in tasks),
            since=stats["since"],
            until=stats["until"],
            json_address=address("/stats", asked),
        )

    @_page
    async def pairs(self, request: Request, page: Page) -> Response:
        """Show where a candidate loses."""
        api = Api(request)
        asked = _list_query(page.query)
        found = await api.get("/pairs", {**asked, "limit": str(LIST_LENGTH)})
        names = await _names(api, page)
        inside = urlencode(asked)
        live = page.query.get("live") == "1"
        may_watch = asked["sort"] == "newest" and "cursor" not in page.query
        return page.answer(
            "pairs.html",
            title="Pairs",
            page="Pairs",
            rows=[_list_row(row, inside) for row in found["pairs"]],
            chosen={name: asked.get(name, "") for name in ("task", "candidate", "show", "sort")},
            task_names=_with_chosen(names["tasks"], asked.get("task")),
            candidate_names=_with_chosen(names["candidates"], asked.get("candidate")),
            shows=_SHOWS,
            sorts=tuple(_SORTS.items()),
            kept=[(name, page.query[name]) for name in ("since", "until") if name in page.query],
            filtered=any(page.query.get(name) for name in ("task", "candidate", "show", "since", "until", "cursor")),
            caption=f"Up to {LIST_LENGTH} pairs, {_SORTS.get(asked['sort'], '')}.",
            older=page.again(cursor=found["next_cursor"], live=None) if found["next_cursor"] else None,
            live=live and may_watch,
            live_href=page.again(live=None if live else "1") if may_watch else None,
            poll=_poll(page.again()),
            partial_updates=live and may_watch,
            csv=address(f"{PREFIX}pairs.csv", asked),
            json_address=address("/pairs", asked),
        )

    @_page
    async def pairs_csv(self, request: Request, page: Page) -> Response:
        """Give the same list as a table for other programs, up to 200 rows a page."""
        found = await Api(request).get("/pairs", {**_list_query(page.query), "limit": "200"})
        lines = io.StringIO()
        writer = csv.writer(lines)
        writer.writerow(_CSV_COLUMNS)
        for row in found["pairs"]:
            writer.writerow([_cell(row.get(name)) for name in _CSV_COLUMNS])
        headers = {**COMMON_HEADERS, "content-disposition": 'attachment; filename="pairs.csv"'}
        return Response(lines.getvalue().encode("utf-8", "replace"), media_type="text/csv", headers=headers)

    @_page
    async def pair(self, request: Request, page: Page) -> Response:
        """Show why, in one pair."""
        api, pair_id = Api(request), request.path_params["pair_id"]
        found = await api.get(f"/pairs/{pair_id}")
        found["exchange"] = await _exchange(api, found["exchange_id"])
        view = page.query.get("view", "")
        shown = await asyncio.to_thread(pair.pair_view, found, view=view)
        chosen = view or ("json" if shown["json"] else "words")
        views = [(page.again(view=name), words, name == chosen) for name, words in _VIEWS]
        whole = f"/pairs/{quote(pair_id.encode('utf-8', 'replace'))}"
        return page.answer(
            "pair.html",
            title="Pair",
            page="Pairs",
            views=views,
            whole=whole,
            json_address=whole,
            **shown,
            **(await _neighbours(api, pair_id, page.query.get("in", ""))),
        )

    @_page
    async def health(self, request: Request, page: Page) -> Response:
        """Show whether the data is complete."""
        api = Api(request)
        try:
            ready = await api.get("/readyz")
        except KeyError:  # its 503 is no error of the API's usual shape
            ready = {"ready": False, "reason": "the store cannot be read"}
        asked = {**page.window, "task": page.query.get("task")}
        stats = Node(await api.get("/stats", asked))
        return page.answer(
            "health.html",
            title="Health",
            page="Health",
            ready=ready,
            since=stats["since"],
            until=stats["until"],
            json_address=address("/stats", asked),
            **health_view(stats),
        )

    @_page
    async def nowhere(self, _request: Request, page: Page) -> Response:
        """Answer for an address that is none."""
        return page.answer(
            "problem.html",
            title="No such page",
            status=HTTPStatus.NOT_FOUND,
            tone="calm",
            message="There is no page at this address.",
            next=None,
        )

    # ---- files and signing in

    async def static(self, request: Request) -> Response:
        """Give one of our own files."""
        parameters, accepts = request.path_params, request.headers.get("accept-encoding", "")
        answer = static_answer(parameters["name"], parameters["digest"], accepts=accepts)
        return answer or await self.nowhere(request)

    @_page
    async def login(self, request: Request, page: Page) -> Response:
        """Ask for the token, and exchange it for a cookie."""
        if request.method != "POST":
            return self._login_page(request, next_path=page.query.get("next"), wrong=False)
        form = await _form(request, self._secret)
        if form is None:
            return _stale_form(page)
        token = self._settings().token
        if token and not is_token(form.get("token", ""), token):
            return self._login_page(request, next_path=form.get("next"), wrong=True)
        answer = RedirectResponse(
            _own_path(form.get("next")), status_code=HTTPStatus.SEE_OTHER, headers=dict(COMMON_HEADERS)
        )
        if token:
            secure = request.url.scheme == "https"
            answer.headers["set-cookie"] = set_cookie(cookie_value(token, now_s=self._now_s()), secure=secure)
        return answer

    @_page
    async def logout(self, request: Request, page: Page) -> Response:
        """Take the cookie back."""
        if await _form(request, self._secret) is None:
            return _stale_form(page)
        answer = RedirectResponse(f"{PREFIX}login", status_code=HTTPStatus.SEE_OTHER, headers=dict(COMMON_HEADERS))
        answer.headers["set-cookie"] = set_cookie("", secure=request.url.scheme == "https", lifetime_s=0)
        return answer

    def _login_page(self, request: Request, *, next_path: str | None, wrong: bool) -> Response:
        status = HTTPStatus.UNAUTHORIZED if wrong else HTTPStatus.OK
        page = self.page(request)
        return page.answer(
            "login.html",
            title="Sign in",
            status=status,
            wrong=wrong,
            next=_own_path(next_path),
        )


_VIEWS = (("json", "by places in JSON"), ("words", "by words"), ("plain", "plain"))


def _problem(page: Page, error: ApiError) -> Response:
    """Say what went wrong and what to do next."""
    if error.not_built:
        title, tone, next_step = "Not here yet", "calm", None
    elif error.kind == "store":
        title, tone = "The store cannot be read", "bad"
        next_step = "Live traffic goes on. Run `shadow-gateway doctor`; this page works again when the store does."
    elif error.status == HTTPStatus.BAD_REQUEST:
        title, tone, next_step = "This address cannot be read", "warn", "Begin again from the overview."
    elif error.status == HTTPStatus.NOT_FOUND:
        title, tone, next_step = "Not found", "calm", None
    else:
        title, tone, next_step = "This did not work", "bad", "Look at the log of the measuring process."
    return page.answer(
        "problem.html", title=title, status=error.status, tone=tone, message=error.message, next=next_step
    )


def _stale_form(page: Page) -> Response:
    return page.answer(
        "problem.html",
        title="This form is out of date",
        status=HTTPStatus.FORBIDDEN,
        tone="warn",
        message="It was not made by this process, or it was sent from another site. Nothing was done.",
        next="Open the page again and send it from there.",
    )


async def _form(request: Request, secret: bytes) -> Mapping[str, str] | None:
    """Read a form of ours; None when it is too large, malformed, or does not carry this process's word."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            return None
    try:
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        return None
    return fields if form_word_holds(fields.get("form", ""), secret) else None


def _own_path(path: str | None) -> str:
    """Allow a page of ours to go on to, and nothing else: no other host, no line breaks."""
    if path and path.startswith(PREFIX) and "\\" not in path and path.isprintable() and path.isascii():
        return path
    return PREFIX


async def _curves(api: Api, asked: Mapping[str, str | None]) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Latency curves by task; none where this version has none."""
    try:
        found = await api.get("/latency", asked)
    except ApiError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return {}
        raise
    return {task["task"]: task["models"] for task in found["tasks"]}


def _switch(page: Page, kind: str) -> Markup:
    """Two links: which of the two clocks the latency chart shows."""
    pieces = [
        Markup("<strong>{}</strong>").format(words)
        if kind == name
        else Markup('<a href="{}">{}</a>').format(page.again(clock=value), words)
        for name, value, words in (("latency_ms", None, "whole answer"), ("ttft_ms", "ttft", "first token"))
    ]
    return Markup(" · ").join(pieces)


def _list_query(query: Mapping[str, str]) -> dict[str, str]:
    """The filters of a list of pairs, worst first unless told otherwise."""
    return {"sort": "worst", **{name: query[name] for name in _LIST_FILTERS if query.get(name)}}


def _list_row(row: Mapping[str, Any], inside: str) -> dict[str, Any]:
    difference = row["quality_diff"]
    tone = "" if difference is None or round(difference, 2) == 0 else ("worse" if difference < 0 else "better")
    ours, theirs = row["primary_cost_billed_usd"], row["cost_billed_usd"]
    return {
        "value": row,
        "href": address(f"{PREFIX}pairs/{quote(row['id'].encode('utf-8', 'replace'))}", {"in": inside or None}),
        "tone": tone,
        "latency": row["latency_ms"] - row["primary_latency_ms"],
        "cost": None if ours is None or theirs is None else theirs - ours,
    }


async def _names(api: Api, page: Page) -> Mapping[str, Sequence[str]]:
    """Names of tasks and candidates for the filters; the configured ones, without reading any data."""
    del api
    return {"tasks": page.settings.tasks, "candidates": page.settings.candidates}


def _with_chosen(names: Sequence[str], chosen: str | None) -> Sequence[str]:
    return names if chosen is None or chosen in names else [*names, chosen]


def _poll(href: str) -> Markup:
    """Have htmx fetch this part of the page anew every few seconds."""
    return Markup(
        'hx-get="{}" hx-trigger="every {}s" hx-select="#pairs" hx-target="#pairs" hx-swap="outerHTML"'
    ).format(href, POLL_S)


async def _exchange(api: Api, exchange_id: str) -> Any:
    try:
        return await api.get(f"/exchanges/{exchange_id}")
    except ApiError:
        return None


async def _neighbours(api: Api, pair_id: str, inside: str) -> dict[str, Any]:
    """Find the pairs before and after this one in the list it was opened from, read again."""
    nowhere = {"before": None, "after": None, "list_href": None}
    listed = dict(parse_qsl(inside[:4096])) if inside else None
    if listed is None:
        return nowhere
    asked = _list_query(listed)
    try:
        found = await api.get("/pairs", {**asked, "limit": str(LIST_LENGTH)})
    except ApiError:
        return nowhere
    ids = [row["id"] for row in found["pairs"]]
    at = ids.index(pair_id) if pair_id in ids else None
    hrefs = [_list_row(row, inside)["href"] for row in found["pairs"]]
    return {
        "before": hrefs[at - 1] if at else None,
        "after": hrefs[at + 1] if at is not None and at + 1 < len(ids) else None,
        "list_href": address(f"{PREFIX}pairs", asked),
    }


def _cell(value: Any) -> str:
    """One CSV field; what a spreadsheet would take for a formula is marked as text."""
    text = "" if value is None else str(value)
    return (
        f"'{text}" if not isinstance(value, int | float) and text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
    )
