"""What all pages share: the window and filters that every link carries, the frame around the content, the notes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.requests import Request

from shadow.web.admin import AdminSettings
from shadow.web.cookies import form_word
from shadow.web.dashboard.api import Api
from shadow.web.dashboard.nodes import Notes
from shadow.web.dashboard.rendering import PageAnswer, render, static_address
from shadow.web.guard import holds_token
from shadow.web.moment import Moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PREFIX = "/ui/"
PAGES: Sequence[tuple[str, str]] = (
    ("Overview", ""),
    ("Pairs", "pairs"),
    ("Review", "review"),
    ("Latency", "latency"),
    ("Cost", "cost"),
    ("Benchmarks", "runs"),
    ("Health", "health"),
    ("Report", "report"),
)
WINDOWS: Sequence[tuple[str, str]] = (("24 h", "24h"), ("7 d", "7d"), ("30 d", "30d"), ("12 weeks", "12w"))
DEFAULT_SINCE = "7d"
BY_TASK = frozenset({"Overview", "Review", "Latency", "Cost", "Health"})
"""Pages that show one task or all, by links; the list of pairs has a filter of its own."""
MOST_TASK_LINKS = 12
CARRIED = ("since", "until", "task")
"""What every link between pages keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page under way: whose question it answers, under which settings, and the notes it has gathered."""

    request: Request
    settings: AdminSettings
    secret: bytes
    notes: Notes = field(default_factory=Notes)
    moment: Moment = field(default_factory=Moment)

    @property
    def api(self) -> Api:
        """The API, asked on behalf of this page."""
        return Api(self.request, self.moment)

    @property
    def query(self) -> Mapping[str, str]:
        """The query's parameters that are not empty; of a repeated one the last."""
        return {name: value for name, value in self.request.query_params.items() if value}

    @property
    def window(self) -> dict[str, str]:
        """The part of the query that says which time this page is about, as `/stats` takes it."""
        return {name: self.query[name] for name in ("since", "until") if name in self.query}

    def link(self, path: str, **more: str | None) -> str:
        """Give the address of another page, with the window and the filters kept."""
        kept = {name: self.query[name] for name in CARRIED if name in self.query}
        return address(PREFIX + path, {**kept, **more})

    def again(self, **changed: str | None) -> str:
        """Give the address of this page with some parameters changed, or (None) left out."""
        return address(self.request.url.path, {**self.query, **changed})

    def answer(
        self, template: str, *, title: str, page: str | None = None, status: int = 200, **context: Any
    ) -> PageAnswer:
        """Fill in a template and answer with it."""
        return PageAnswer(render(template, self.frame(title=title, page=page, **context)), status=status)

    def frame(self, *, title: str, page: str | None, **context: Any) -> dict[str, Any]:
        """Give what every template needs, and `context` on top. Whoever has not signed in is told nothing else."""
        known = holds_token(self.request.scope["headers"], self.settings.token)
        return {
            "title": title,
            "page": page,
            "pages": PAGES if known else (),
            "windows": self._windows(),
            "task_links": self._task_links() if known and page in BY_TASK else (),
            "prefix": PREFIX,
            "link": self.link,
            "static": lambda name: static_address(PREFIX, name),
            "version": self.settings.version if known else "",
            "demo": known and self.settings.demo,
            "shadow_off": self.settings.shadow_off_reason if known else None,
            "notes": self.notes,
            "since": None,
            "until": None,
            "json_address": None,
            "partial_updates": False,
            "form_token": form_word(self.secret),
            "signed_in": known and bool(self.settings.token) and "cookie" in self.request.headers,
            **context,
        }

    def _windows(self) -> Sequence[tuple[str, str, bool]]:
        since = self.query.get("since", DEFAULT_SINCE)
        chosen = "until" not in self.query
        return [
            (words, self.again(since=value, until=None, cursor=None), chosen and value == since)
            for words, value in WINDOWS
        ]

    def _task_links(self) -> Sequence[tuple[str, str, bool]]:
        """Every task, and all of them together; nothing where there is only one."""
        chosen = self.query.get("task")
        names = dict.fromkeys([*self.settings.tasks[:MOST_TASK_LINKS], *([chosen] if chosen else [])])
        if len(names) < 2:  # noqa: PLR2004  (nothing to choose from)
            return ()
        rest = {"cursor": None, "skip": None, "pair": None, "saved": None, "last": None}
        links = [(name, self.again(task=name, **rest), name == chosen) for name in names]
        return [("all", self.again(task=None, **rest), chosen is None), *links]


def address(path: str, query: Mapping[str, str | None]) -> str:
    """Put path and parameters together; parameters that are None are left out."""
    told = urlencode({name: value for name, value in query.items() if value is not None})
    return f"{path}?{told}" if told else path
