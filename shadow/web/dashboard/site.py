"""The dashboard under `/ui/`: its routes, its files, its forms, and how one signs in."""

from __future__ import annotations

import secrets
import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.responses import RedirectResponse
from starlette.routing import Route

from shadow.store.base import StoreError
from shadow.web.answers import COMMON_HEADERS
from shadow.web.cookies import cookie_value, form_word_holds, set_cookie
from shadow.web.dashboard import pages, review
from shadow.web.dashboard.api import ApiError
from shadow.web.dashboard.page import PREFIX, Page
from shadow.web.dashboard.rendering import static_answer
from shadow.web.guard import is_token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from shadow.web.admin import AdminSettings

    Shown = Callable[[Page], Awaitable[Response]]
    Taken = Callable[[Page, Mapping[str, str]], Awaitable[Response]]
    Endpoint = Callable[[Request], Awaitable[Response]]

MAX_FORM_BYTES = 16 << 10
MAX_FIELDS = 20


class Dashboard:
    """The pages. Nothing is kept between requests but the secret that marks this process's own forms."""

    def __init__(self, *, settings: Callable[[], AdminSettings], now_s: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now_s = now_s
        self._secret = secrets.token_bytes(32)

    def routes(self) -> list[Route]:
        """Every route under the prefix."""
        return [
            self._route("", pages.start, at=PREFIX.rstrip("/")),
            self._route("", pages.start),
            Route(f"{PREFIX}static/{{digest}}/{{name}}", self.static, methods=["GET"]),
            self._route("login", self._login_form, self._login),
            self._route("logout", pages.nowhere, self._logout),
            self._route("pairs", pages.pairs),
            self._route("pairs.csv", pages.pairs_csv),
            self._route("pairs/{pair_id:path}", pages.one_pair),
            self._route("review", review.show, review.take),
            self._route("latency", pages.durations),
            self._route("cost", pages.cost),
            self._route("runs", pages.all_runs, self._ask_run),
            self._route("runs/compare", pages.two_runs),
            self._route("runs/{run_id}", pages.one_run),
            self._route("health", pages.health),
            self._route("report", pages.whole_report),
            self._route("report.html", pages.report_file),
            self._route("{rest:path}", pages.nowhere),
        ]

    def _route(self, path: str, show: Shown, take: Taken | None = None, *, at: str | None = None) -> Route:
        """Make a route of what shows a page and what takes its form; what goes wrong on the way is a page, too."""

        async def answered(request: Request) -> Response:
            page = Page(request=request, settings=self._settings(), secret=self._secret)
            try:
                if take is None or request.method != "POST":
                    return await show(page)
                form = await _form(request, self._secret)
                return _stale_form(page) if form is None else await take(page, form)
            except ApiError as error:
                return _problem(page, error)
            except StoreError as error:
                return _problem(page, ApiError(status=503, kind="store", message=str(error)))

        methods = ["GET"] if take is None else ["GET", "POST"]
        return Route(PREFIX + path if at is None else at, answered, methods=methods)

    async def static(self, request: Request) -> Response:
        """Give one of our own files."""
        parameters, accepts = request.path_params, request.headers.get("accept-encoding", "")
        answer = static_answer(parameters["name"], parameters["digest"], accepts=accepts)
        if answer is not None:
            return answer
        page = Page(request=request, settings=self._settings(), secret=self._secret)
        return _problem(page, ApiError(status=404, kind="not_found", message="There is no such file."))

    async def _login_form(self, page: Page) -> Response:
        """Ask for the token."""
        return _login_page(page, next_path=page.query.get("next"), wrong=False)

    async def _login(self, page: Page, form: Mapping[str, str]) -> Response:
        """Exchange the token for a cookie."""
        token = page.settings.token
        if token and not is_token(form.get("token", ""), token):
            return _login_page(page, next_path=form.get("next"), wrong=True)
        answer = _go_to(_own_path(form.get("next")))
        if token:
            secure = page.request.url.scheme == "https"
            answer.headers["set-cookie"] = set_cookie(cookie_value(token, now_s=self._now_s()), secure=secure)
        return answer

    async def _logout(self, page: Page, _form: Mapping[str, str]) -> Response:
        """Take the cookie back."""
        answer = _go_to(f"{PREFIX}login")
        answer.headers["set-cookie"] = set_cookie("", secure=page.request.url.scheme == "https", lifetime_s=0)
        return answer

    async def _ask_run(self, page: Page, _form: Mapping[str, str]) -> Response:
        """Have a weekly run begin now."""
        await page.api.post("/runs", {})
        return _go_to(f"{PREFIX}runs?asked=1")


def _go_to(path: str) -> Response:
    return RedirectResponse(path, status_code=HTTPStatus.SEE_OTHER, headers=dict(COMMON_HEADERS))


def _login_page(page: Page, *, next_path: str | None, wrong: bool) -> Response:
    status = HTTPStatus.UNAUTHORIZED if wrong else HTTPStatus.OK
    return page.answer("login.html", title="Sign in", status=status, wrong=wrong, next=_own_path(next_path))


def _problem(page: Page, error: ApiError) -> Response:
    """Say what went wrong and what to do next."""
    command = None
    if error.not_built:
        title, tone, next_step = "Not here yet", "calm", None
    elif error.kind == "store":
        title, tone = "The store cannot be read", "bad"
        next_step = "Live traffic goes on; this page works again when the store does. What is wrong with it, says"
        command = "shadow-gateway doctor"
    elif error.status == HTTPStatus.BAD_REQUEST:
        title, tone, next_step = "This address cannot be read", "warn", "Begin again from the overview."
    elif error.status == HTTPStatus.NOT_FOUND:
        title, tone, next_step = "Not found", "calm", None
    else:
        title, tone, next_step = "This did not work", "bad", "The log of the measuring process may say more."
    return page.answer(
        "problem.html",
        title=title,
        status=error.status,
        tone=tone,
        message=error.message,
        next=next_step,
        command=command,
    )


def _stale_form(page: Page) -> Response:
    return page.answer(
        "problem.html",
        title="This form is out of date",
        status=HTTPStatus.FORBIDDEN,
        tone="warn",
        message="It was not made by this process, or it was sent from another site. Nothing was done.",
        next="Open the page again and send it from there.",
        command=None,
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
