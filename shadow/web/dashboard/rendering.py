"""Templates and static files: everything escaped, each static file known by its content."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import js_lib_htmx
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import Response

from shadow.web.answers import COMMON_HEADERS
from shadow.web.dashboard import formats
from shadow.web.dashboard.texts import one_line, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
_HERE = Path(__file__).parent
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFile:
    """One file as it is served; its digest is part of its address, so that an upgrade is seen at once."""

    content: bytes
    packed: bytes
    media_type: str
    digest: str


class PageAnswer(Response):
    """One page of the dashboard, under the policy that allows our own files and nothing else."""

    media_type = "text/html"

    def __init__(self, html: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        # under `no-referrer` a browser would send our own forms with `Origin: null`, as if they came from elsewhere
        own = {"referrer-policy": "same-origin", "content-security-policy": POLICY, "vary": "HX-Request"}
        own = {**COMMON_HEADERS, **own, **(headers or {})}
        super().__init__(html, status_code=status, headers=own)


@cache
def static_files() -> Mapping[str, StaticFile]:
    """Read every static file by name: two of our own, and htmx out of the wheel that carries it."""
    htmx = files(js_lib_htmx).joinpath("static/htmx/htmx.min.js").read_bytes()
    return {
        "app.css": _static((_HERE / "static/app.css").read_bytes(), "text/css"),
        "app.js": _static((_HERE / "static/app.js").read_bytes(), "text/javascript"),
        "htmx.min.js": _static(htmx, "text/javascript"),
    }


def static_address(prefix: str, name: str) -> str:
    """The address of a static file, with its digest."""
    return f"{prefix}static/{static_files()[name].digest}/{name}"


def static_answer(name: str, digest: str, *, accepts: str) -> Response | None:
    """Answer with a static file; None for an unknown one. Another digest is another version: sent, but not kept."""
    file = static_files().get(name)
    if file is None:
        return None
    headers = {**COMMON_HEADERS, "vary": "accept-encoding", "content-security-policy": "default-src 'none'"}
    if digest == file.digest:
        headers["cache-control"] = _FOR_EVER
    packed = "gzip" in accepts
    if packed:
        headers["content-encoding"] = "gzip"
    return Response(file.packed if packed else file.content, media_type=file.media_type, headers=headers)


def style_sheet() -> str:
    """The style sheet as text, for a page that has to stand alone."""
    return static_files()["app.css"].content.decode()


def render(template: str, context: Mapping[str, Any]) -> str:
    """Fill in a template; lone halves of characters, which no encoding can carry, become question marks."""
    html = _environment().get_template(template).render(**context)
    return html.encode("utf-8", "replace").decode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        cell=_cell,
        line=_line,
        line_by_line=_line_by_line,
        when=_when,
        given=_given,
        count=formats.count,
        path=_path,
        drawing=Markup,
    )  # only what shadow.web.svg drew goes through `drawing`: it escapes its own words
    return environment


def _line(value: object, limit: int = 200) -> str:
    return one_line(str(value), limit=limit)


def _cell(text: str) -> Markup:
    """A text of a table's cell; one that might run from right to left is kept from turning its neighbours around."""
    return Markup.escape(text) if text.isascii() else Markup("<bdi>{}</bdi>").format(text)


def _line_by_line(value: object) -> str:
    return shown(str(value), limit_bytes=2000).text


def _when(value: Any) -> Markup:
    moment = formats.moment(value)
    if moment is None:
        return Markup.escape(_line(value))
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat().replace("+00:00", "Z"), f"{moment:%Y-%m-%d %H:%M} UTC"
    )


def _given(value: float | None, form: str) -> Markup:
    """A number without a place of its own in `/stats`; n/a when there is none."""
    if value is None:
        return Markup('<span class="na">n/a</span>')
    return Markup('<data value="{}">{}</data>').format(repr(value), formats.FORMATS[form](value))


def _path(value: object) -> str:
    return quote(str(value).encode("utf-8", "replace"), safe="")


def _static(content: bytes, media_type: str) -> StaticFile:
    digest = hashlib.sha256(content).hexdigest()[:16]
    return StaticFile(content=content, packed=gzip.compress(content, mtime=0), media_type=media_type, digest=digest)
