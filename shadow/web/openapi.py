"""What the admin port answers, written down as OpenAPI 3.1: every path, its parameters and its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.web.parameters import DEFAULT_LIMIT, DEFAULT_WINDOW, MAX_LIMIT
from shadow.web.schemas import ref, schemas

if TYPE_CHECKING:
    from collections.abc import Sequence

Json = dict[str, Any]

_DESCRIPTION = (
    "Latency, cost and quality of the models behind an app, measured on its own traffic. With an admin token set, "
    "every path but /healthz and /readyz needs `Authorization: Bearer <token>`. The Host must be a loopback name, the "
    "address connected to, or a configured host. Fields are added over time and never renamed or removed."
)

_MOMENT = "ISO 8601 with a zone (2026-11-01T00:00:00Z) or a stretch back from now (30m, 24h, 7d, 2w)."


def openapi(*, version: str) -> Json:
    """Give the document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Shadow Gateway, admin port", "version": version, "description": _DESCRIPTION},
        "paths": _paths(),
        "components": {
            "schemas": schemas(),
            "securitySchemes": {"adminToken": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"adminToken": []}],
    }


def _paths() -> Json:
    return {
        "/": {"get": _operation("home", "A page for people: what this port is.", {"200": _html()})},
        "/healthz": {
            "get": _operation("healthz", "Whether this process answers.", {"200": _json("Health")}, guarded=False)
        },
        "/readyz": {
            "get": _operation(
                "readyz",
                "Whether the store can be read.",
                {"200": _json("Ready"), "503": _json("NotReady", "The store cannot be read.")},
                guarded=False,
            )
        },
        "/stats": {
            "get": _operation(
                "stats",
                "Every model's latency, cost and quality, and how candidates compare, per task.",
                {"200": _json("Stats"), **_errors("400", "503")},
                [*_window(), _task(), _text("model", "Only this model's row and its comparisons.")],
            )
        },
        "/metrics": {
            "get": _operation("metrics", "Today's figures for Prometheus.", {"200": _text_format(), **_errors("503")})
        },
        "/verdicts": {
            "get": _operation(
                "verdicts",
                "The verdict of each task, primary and candidate, over the whole present epoch.",
                {"200": _json("Verdicts"), **_errors("400", "503")},
                [
                    _task(),
                    _text("primary", "Only this primary's candidates."),
                    _text("candidate", "Only this candidate."),
                    _text("epoch", "A number, or `all`. Default: the present one."),
                ],
            )
        },
        "/epochs": {"post": _epochs()},
        "/pairs": {
            "get": _operation(
                "pairs",
                "Pairs of answers, without content, one page at a time.",
                {"200": _json("PairPage"), **_errors("400", "503")},
                [_task(), _text("candidate", "Only this candidate's pairs."), *_page()],
            )
        },
        "/pairs/{id}": {
            "get": _operation(
                "pair",
                "One pair with what is kept of prompt and answers, and its scores.",
                {"200": _json("Pair"), **_errors("400", "404", "503")},
                [_in_path("id", "`<exchange id>:<candidate>`; the candidate may hold slashes.")],
            )
        },
        "/exchanges/{id}": {
            "get": _operation(
                "exchange",
                "One exchange with its shadow jobs, answers and scores.",
                {"200": _json("Exchange"), **_errors("400", "404", "503")},
                [_in_path("id", "The x-shadow-request-id of the live answer.")],
            )
        },
        "/openapi.json": {
            "get": _operation("openapi", "This document.", {"200": _answer("OpenAPI 3.1.", {"type": "object"})})
        },
        "/reload": {"post": _reload()},
    }


def _operation(
    name: str, summary: str, responses: Json, parameters: Sequence[Json] = (), *, guarded: bool = True
) -> Json:
    refused = _errors("400", "401", "421") if guarded else {}
    operation = {
        "operationId": name,
        "summary": summary,
        "parameters": list(parameters),
        "responses": responses | refused,
    }
    return operation if guarded else operation | {"security": []}


def _reload() -> Json:
    responses = {"202": _json("ReloadAsked"), **_errors("403", "415", "503")}
    body = {"required": False, "content": {"application/json": {"schema": {"type": "object"}}}}
    return _operation("reload", "Have the configuration read again.", responses) | {"requestBody": body}


def _epochs() -> Json:
    responses = {
        "201": _json("NewEpochs"),
        "200": _json("NewEpochs", "There was none to follow on."),
        **_errors("400", "403", "415", "503"),
    }
    told = {"type": "object", "properties": {"task": {"type": "string"}, "because": {"type": "string"}}}
    body = {"required": False, "content": {"application/json": {"schema": told}}}
    return _operation("epochs", "Begin a new epoch.", responses) | {"requestBody": body}


def _answer(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _json(name: str, description: str = "The answer.") -> Json:
    return _answer(description, ref(name))


def _html() -> Json:
    return {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}}


def _text_format() -> Json:
    return {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}


_ERRORS = {
    "400": "A parameter or the Host header cannot be used; the message names it.",
    "401": "The token is missing or wrong.",
    "403": "The request comes from a page of another origin.",
    "404": "Nothing has this id.",
    "415": "The content type is not application/json.",
    "421": "The Host is not one of this port's.",
    "503": "The store, or the supervisor for a reload, is not there; the message says why.",
}


def _errors(*statuses: str) -> Json:
    return {status: _json("Error", _ERRORS[status]) for status in statuses}


def _parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _text(name: str, description: str) -> Json:
    return _parameter(name, description, {"type": "string"})


def _task() -> Json:
    return _text("task", "Only this task.")


def _window() -> list[Json]:
    return [
        _text("since", f"Start of the window, included. {_MOMENT} Default: {DEFAULT_WINDOW.days} days before `until`."),
        _text("until", f"End of the window, excluded. {_MOMENT} Default: now."),
    ]


def _page() -> list[Json]:
    limits = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    order = {"type": "string", "enum": ["worst", "newest"], "default": "newest"}
    return [
        _parameter("sort", "`worst`: largest loss of the candidate first.", order),
        _parameter("limit", "Pairs on a page.", limits),
        _text("cursor", "`next_cursor` of the page before; same filters and order."),
    ]


def _in_path(name: str, description: str) -> Json:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": {"type": "string"}}
