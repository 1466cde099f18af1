"""What the admin port answers, written down as OpenAPI 3.1: every path, its parameters and its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.judge.blind import CHOICES, DEFAULT_SEED
from shadow.web.parameters import DEFAULT_LIMIT, DEFAULT_TREND, DEFAULT_WINDOW, MAX_LIMIT, MAX_ROOM, SHOWS
from shadow.web.schemas import schemas
from shadow.web.shapes import ref

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

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
                [*_window(), _task(), _text("model", "Only this model's row and its comparisons."), _room()],
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
        "/latency": {
            "get": _operation(
                "latency",
                "How each model's durations are spread, per task.",
                {"200": _json("Latency"), **_errors("400", "503")},
                [*_window(), _tasks()],
            )
        },
        "/epochs": {"post": _epochs()},
        "/pairs": {
            "get": _operation(
                "pairs",
                "Pairs of answers, without content, one page at a time.",
                {"200": _json("PairPage"), **_errors("400", "503")},
                [_task(), _text("candidate", "Only this candidate's pairs."), *_bounds(), *_page()],
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
        "/trends": {
            "get": _operation(
                "trends",
                "Quality, cost per quality point and latency over weekly runs and shadow weeks; leads; drift.",
                {"200": _json("Trends"), **_errors("400", "503")},
                [*_window(DEFAULT_TREND), _tasks(), _text("model", "Only this model.")],
            )
        },
        "/alerts": {
            "get": _operation(
                "alerts",
                "The newest alerts, how each travelled, and what is muted.",
                {"200": _json("Alerts"), **_errors("400", "503")},
                [_limit("Alerts in the answer.")],
            )
        },
        "/runs": {
            "get": _operation(
                "runs",
                "Benchmark runs, newest first, one page at a time.",
                {"200": _json("RunPage"), **_errors("400", "503")},
                [_run_kind(), *_run_page()],
            ),
            "post": _ask_run(),
        },
        "/runs/{id}": {
            "get": _operation(
                "run",
                "One benchmark run in figures, without prompts and answers.",
                {"200": _json("RunSummary"), **_errors("400", "404", "503")},
                [_in_path("id", "The run's id.")],
            )
        },
        "/openapi.json": {
            "get": _operation("openapi", "This document.", {"200": _answer("OpenAPI 3.1.", {"type": "object"})})
        },
        "/labels": {
            "get": _operation(
                "labels",
                "What people said about pairs, oldest first.",
                {"200": _json("Labels"), **_errors("400", "503")},
                [_task(), _text("candidate", "Only this candidate's pairs."), _limit("Labels in the answer.")],
            )
        },
        "/labels/next": {
            "get": _operation(
                "pairsToLabel",
                "Random pairs that a person has not labelled, with content; 20 at most.",
                {"200": _json("PairsToLabel"), **_errors("400", "503")},
                [
                    _text("labeller", "Who labels; default anonymous."),
                    _task(),
                    _text("candidate", "Only this candidate's pairs."),
                    _limit("Pairs in the answer."),
                ],
            )
        },
        "/feedback": {"post": _feedback()},
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


def _ask_run() -> Json:
    responses = {"202": _json("RunAsked"), **_errors("403", "409", "415", "503")}
    body = {"required": False, "content": {"application/json": {"schema": {"type": "object"}}}}
    return _operation("ask_run", "Have a weekly run begin now.", responses) | {"requestBody": body}


def _epochs() -> Json:
    responses = {
        "201": _json("NewEpochs"),
        "200": _json("NewEpochs", "There was none to follow on."),
        **_errors("400", "403", "415", "503"),
    }
    told = {"type": "object", "properties": {"task": {"type": "string"}, "because": {"type": "string"}}}
    body = {"required": False, "content": {"application/json": {"schema": told}}}
    return _operation("epochs", "Begin a new epoch.", responses) | {"requestBody": body}


def _feedback() -> Json:
    said = _strict(
        {
            "request_id": {"type": "string", "description": "x-shadow-request-id of the live answer."},
            "score": {"type": "number", "minimum": 0, "maximum": 1, "description": "How good that answer was."},
            "expected": {"type": "string", "description": "What would have been right."},
        },
        required=["request_id"],
    )
    label = _strict(
        {
            "pair": {"type": "string", "description": "`<exchange id>:<candidate>`."},
            "choice": {"enum": [*CHOICES, None], "description": "null takes the label back."},
            "labeller": {"type": "string", "description": "Who says it; default anonymous."},
            "seed": {"type": "string", "description": f"What A and B were shuffled by; default {DEFAULT_SEED}."},
        },
        required=["pair", "choice"],
    )
    removed = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("pair", "labeller")} | {"removed": {"type": "boolean"}},
    }
    responses = {
        "200": _answer(
            "What was said is kept, or a label was taken back, if there was one.",
            {"anyOf": [ref("FeedbackKept"), removed]},
        ),
        "201": _json("LabelKept", "The label is kept."),
        **_errors("400", "403", "404", "409", "413", "415", "503"),
    }
    body = {"required": True, "content": {"application/json": {"schema": {"oneOf": [said, label]}}}}
    return _operation(
        "feedback",
        "Say how good a live answer was, what would have been right, or which answer of a pair is better.",
        responses,
    ) | {"requestBody": body}


def _strict(properties: Json, *, required: list[str]) -> Json:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


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
    "409": "It cannot be done now, as the message says: a run is under way, or no text may be kept.",
    "413": "The body is larger than 256 KiB.",
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


def _tasks() -> Json:
    return _parameter(
        "task", "Only this task; may be given several times.", {"type": "array", "items": {"type": "string"}}
    )


def _room() -> Json:
    told = "For how many models there is room: tasks beyond are told of briefly, in `more_tasks`. Default: for all."
    return _parameter("room", told, {"type": "integer", "minimum": 1, "maximum": MAX_ROOM})


def _window(default: timedelta = DEFAULT_WINDOW) -> list[Json]:
    return [
        _text("since", f"Start of the window, included. {_MOMENT} Default: {default.days} days before `until`."),
        _text("until", f"End of the window, excluded. {_MOMENT} Default: now."),
    ]


def _bounds() -> list[Json]:
    kinds = {"type": "string", "enum": list(SHOWS), "default": "all"}
    return [
        _parameter(
            "show", "`differs`: of unequal quality, `regressed`: a loss, `errors`: an end without answer.", kinds
        ),
        _text("since", f"Only exchanges from then on. {_MOMENT}"),
        _text("until", f"Only exchanges before then. {_MOMENT}"),
    ]


def _page() -> list[Json]:
    limits = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    order = {"type": "string", "enum": ["worst", "newest"], "default": "newest"}
    return [
        _parameter("sort", "`worst`: pairs without an answer first, then the largest loss of the candidate.", order),
        _parameter("limit", "Pairs on a page.", limits),
        _text("cursor", "`next_cursor` of the page before; same filters and order."),
    ]


def _run_kind() -> Json:
    kinds = {"type": "string", "enum": ["bench", "replay", "weekly"]}
    return _parameter("kind", "Only runs of a case file, of replayed prompts, or of the schedule.", kinds)


def _run_page() -> list[Json]:
    return [
        _limit("Runs on a page."),
        _text("cursor", "`next_cursor` of the page before; same kind."),
    ]


def _limit(description: str) -> Json:
    limits = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    return _parameter("limit", description, limits)


def _in_path(name: str, description: str) -> Json:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": {"type": "string"}}
