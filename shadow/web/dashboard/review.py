"""Blind review: one pair at a time, sides shuffled, names hidden; what a person says goes to `POST /feedback`."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.responses import RedirectResponse

from shadow.judge.blind import side_a
from shadow.web.answers import COMMON_HEADERS
from shadow.web.dashboard.api import ApiError
from shadow.web.dashboard.nodes import Node
from shadow.web.dashboard.pair import ANSWER_BYTES, prompt_view
from shadow.web.dashboard.texts import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.responses import Response

    from shadow.web.dashboard.page import Page

LABELLER = "dashboard"
MOST_SKIPPED = 19
"""How many pairs can be put aside: the API gives twenty at once."""

_MOST_JUDGED = 20
_ROOM = 25
"""For how many models' figures; each comparison is one of them, each primary another."""

_KEPT = ("task", "candidate", "labeller")


async def show(page: Page) -> Response:
    """Show a pair that this person has not labelled, and how far judge and people agree."""
    query = page.query
    skip = _number(query.get("skip"))
    asked = {name: query.get(name) for name in ("task", "candidate")}
    found = await page.api.get("/labels/next", {**asked, "labeller": _labeller(query), "limit": str(skip + 1)})
    pairs, seed = found["pairs"], found["seed"]
    pair = await _again(page, query.get("pair")) or (pairs[skip % len(pairs)] if pairs else None)
    asked = {**page.window, "task": query.get("task"), "room": str(_ROOM)}
    stats = Node(await page.api.get("/stats", asked))
    return page.answer(
        "review.html",
        title="Review",
        page="Review",
        pair=pair["pair"] if pair else None,
        prompt=prompt_view((pair or {}).get("prompt") or ""),
        sides=_sides(pair, seed) if pair else (),
        seed=seed,
        skip=str(skip),
        last=query.get("last", ""),
        saved=query.get("saved") == "1",
        kept=[(name, query[name]) for name in _KEPT if name in query],
        **_judges(stats),
        swap=Markup('hx-post="{}review" hx-target="#review" hx-select="#review" hx-swap="outerHTML"').format("/ui/"),
        partial_updates=True,
    )


async def take(page: Page, form: Mapping[str, str]) -> Response:
    """Take what a person said and go on to the next pair."""
    choice, last = form.get("choice", ""), form.get("last", "")
    on: dict[str, str] = {name: form[name] for name in _KEPT if form.get(name)}
    labeller = _labeller(on)
    skip = _number(form.get("skip"))
    if choice == "undo" and last:
        await page.api.post("/feedback", {"pair": last, "choice": None, "labeller": labeller})
        on["pair"] = last
    elif choice == "skip":
        on |= {"skip": str(min(skip + 1, MOST_SKIPPED)), **({"last": last} if last else {})}
    elif choice in {"A", "B", "tie"} and form.get("pair"):
        label = {"pair": form["pair"], "choice": choice, "labeller": labeller, "seed": form.get("seed", "")}
        await page.api.post("/feedback", label)
        on |= {"last": form["pair"], "saved": "1", **({"skip": str(skip)} if skip else {})}
    told = urlencode(on)
    target = f"/ui/review?{told}" if told else "/ui/review"
    return RedirectResponse(target, status_code=HTTPStatus.SEE_OTHER, headers=dict(COMMON_HEADERS))


def _judges(stats: Node) -> dict[str, Any]:
    """Comparisons in which a judge or a person has a say, and the tasks in which neither has."""
    found = [(task["task"], one) for task in stats.nodes("tasks") for one in task.nodes("comparisons")]
    judged = [(task, one) for task, one in found if one["judge.trusted"] is not None or one["judge.labels.n"]]
    without = dict.fromkeys(task for task, _ in found)
    for task, _ in judged:
        without.pop(task, None)
    return {
        "judges": judged[:_MOST_JUDGED],
        "judges_left": max(0, len(judged) - _MOST_JUDGED),
        "unjudged": [*without][:_MOST_JUDGED],
        "no_comparison": not found,
    }


async def _again(page: Page, pair_id: str | None) -> Mapping[str, Any] | None:
    """Give one pair once more, after its label was taken back; None when it is not there any more."""
    if pair_id is None:
        return None
    try:
        found = await page.api.get(f"/pairs/{pair_id}")
    except ApiError:
        return None
    return {**(found["content"] or {}), "pair": found["id"]} if found["content"] else None


def _sides(pair: Mapping[str, Any], seed: str) -> Sequence[Mapping[str, Any]]:
    first = side_a(pair["pair"], seed)
    second = "candidate" if first == "primary" else "primary"
    return [
        {
            "name": name,
            "shown": shown(pair.get(f"{side}_output") or "", limit_bytes=ANSWER_BYTES),
            "calls": shown(_calls(pair.get(f"{side}_tool_calls")), limit_bytes=ANSWER_BYTES // 2),
        }
        for name, side in (("A", first), ("B", second))
    ]


def _calls(text: str | None) -> str:
    return "" if text in {None, "[]"} else str(text)


def _labeller(query: Mapping[str, str]) -> str:
    return query.get("labeller", LABELLER)[:100]


def _number(text: str | None) -> int:
    plain = text is not None and text.isascii() and text.isdecimal() and len(text) <= 2  # noqa: PLR2004  (below 100)
    return min(int(text), MOST_SKIPPED) if plain and text is not None else 0
