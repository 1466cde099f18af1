"""The dashboard over a real socket: pages that say what the API says, whatever a model said, to whoever may see it."""

from __future__ import annotations

import asyncio
import base64
import csv
import hashlib
import io
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from shadow.records import StoredContent
from shadow.stats.quality import PAIRWISE
from shadow.store import open_store
from shadow.web.answers import ErrorAnswer
from shadow.web.cookies import COOKIE, LIFETIME_S, cookie_holds, cookie_value
from shadow.web.dashboard.formats import FORMATS
from shadow.web.dashboard.report import report_html, run_html
from tests.support import dashboard
from tests.support.admin import CANDIDATE, NOW, add_pair, admin_port, exchange, settings, url_of
from tests.support.dashboard import BAD, GOOD, HOSTILE, OPEN, PRIMARY, FakeApi, chosen_settings, filled_api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "right-of-the-dashboard"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
PAGES = (
    "", "pairs", f"pairs/x1:{OPEN}", "review", "latency", "cost", "runs", "runs/r1", "runs/compare?a=r1&b=r2", "health",
    "report",
)  # fmt: skip
PAGE_BYTES = 150_000
OUR_ELEMENTS = frozenset({
    "html", "head", "meta", "title", "link", "script", "body", "a", "div", "header", "nav", "main", "footer",
    "section", "form", "input", "button", "label", "select", "option", "h1", "h2", "h3", "h4", "p", "span",
    "strong", "b", "bdi", "code", "kbd", "sup", "ul", "ol", "li", "dl", "dt", "dd", "table", "caption", "thead",
    "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption", "svg", "desc", "g", "path", "text",
    "data", "time", "del", "ins",
})  # fmt: skip
"""Every element of our templates and charts; none that loads, plays or sets the page apart."""


class Read(HTMLParser):
    """A page as its reader gets it: elements with attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.facts: list[tuple[dict[str, str], str]] = []
        self.pieces: list[str] = []
        self._fact: dict[str, str] | None = None
        self.feed(html)
        self.text = " ".join(" ".join(self.pieces).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.elements.append((tag, given))
        if tag == "data":
            self._fact = given

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)
        if self._fact is not None:
            self.facts.append((self._fact, data))
            self._fact = None

    def of(self, tag: str) -> list[dict[str, str]]:
        return [given for name, given in self.elements if name == tag]


def at(document: Any, path: str) -> Any:
    """What stands at a dotted path of an answer."""
    for part in path.split("."):
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


@pytest.fixture
def api() -> FakeApi:
    return filled_api()


@pytest.fixture
def client(api: FakeApi) -> Iterator[httpx2.Client]:
    with serving(api) as opened:
        yield opened


def serving(api: FakeApi, **given: Any) -> Any:
    return _Serving(api, given)


class _Serving:
    def __init__(self, api: FakeApi, given: dict[str, Any]) -> None:
        chosen = chosen_settings(**given)
        self._server = dashboard.served(dashboard.dashboard_app(api, lambda: chosen))

    def __enter__(self) -> httpx2.Client:
        self._client = httpx2.Client(base_url=self._server.__enter__(), trust_env=False, verify=False, timeout=30)
        return self._client

    def __exit__(self, *error: object) -> None:
        self._client.close()
        self._server.__exit__(None, None, None)


def read(client: httpx2.Client, path: str, *, status: int = 200) -> Read:
    answer = client.get(f"/ui/{path}")
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["cache-control"] == "no-store"
    assert len(answer.content) <= PAGE_BYTES
    return Read(answer.text)


# ---- what the pages say


@pytest.mark.parametrize("path", ["", "health", "latency", "cost", "report", "review"])
def test_every_number_with_a_place_is_the_one_the_api_gave(client: httpx2.Client, path: str) -> None:
    stats = client.get("/stats").json()
    page = read(client, path)
    placed = [(given, text) for given, text in page.facts if "data-path" in given]
    assert len(placed) > {"": 50, "health": -1, "cost": 5, "review": 10}.get(path, 30)
    bounds = [given["data-path"] for given in page.of("span") if given.get("class") == "ci" and "data-path" in given]
    assert len(bounds) > {"health": -1, "cost": 1, "review": 2, "latency": 15}.get(path, 5)
    assert all(isinstance(at(stats, bound), list) for bound in bounds)
    for given, text in placed:
        value = at(stats, given["data-path"])
        assert float(given["value"]) == value
        assert text == FORMATS[given["data-form"]](value)


@pytest.mark.parametrize(
    ("path", "value", "form"),
    [
        ("", "quality.mean", "quality"),
        ("report", "quality.mean", "quality"),
        ("report", "cost_per_quality_point_usd.value", "usd_per_1k"),
        ("runs", "quality.mean", "quality"),
        ("cost", "cost_per_quality_point_usd.value", "usd_per_1k"),
        ("latency", "latency_ms.p95", "ms"),
        ("latency?weekly=p50", "latency_ms.p50", "ms"),
    ],
)
def test_weekly_figures_are_those_of_the_trends(client: httpx2.Client, path: str, value: str, form: str) -> None:
    points = client.get("/trends").json()["points"]
    listed = rows_of(client.get(f"/ui/{path}").text)
    for point in points:
        told = FORMATS[form](at(point, value))
        source = {"live": "live", "run": "run"}[point["source"]]
        assert [point["at"][:10], point["model"], source, told] in [row[:4] for row in listed]
    assert len(points) == 48
    links = [given["href"] for given in Read(client.get(f"/ui/{path}").text).of("a")]
    assert "/ui/runs/run-11" in links  # the latest run, behind the line of the runs


def rows_of(html: str) -> list[list[str]]:
    """Every row of every table as the texts of its cells."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)] for row in rows]


def test_a_percentile_that_is_not_there_every_week_is_drawn_by_none(client: httpx2.Client) -> None:
    assert "No week has a value yet" in read(client, "latency?weekly=ttft-p95").text
    assert "Whole answer, p95 week by week" in read(client, "latency?weekly=nonsense").text


def test_what_a_switch_would_have_cost_is_worked_out_of_the_answer(client: httpx2.Client) -> None:
    (task,) = client.get("/stats").json()["tasks"]
    paid = task["models"][0]["cost_usd"]["total"]
    listed = rows_of(client.get("/ui/cost").text)
    for one in task["comparisons"]:
        ratio, (low, high) = one["cost_ratio"]["value"], one["cost_ratio"]["ci"]
        usd = FORMATS["usd"]
        would = f"{usd(paid * ratio)} [{usd(paid * low)}, {usd(paid * high)}]"
        (row,) = [row for row in listed if row and row[0].startswith(f"{one['candidate']}for ")]
        assert row[1:4] == [usd(paid), would, usd(paid * (1 - ratio))]
    spent = sum(row["cost_usd"]["total"] for row in task["models"][1:])
    assert ["shadow (candidates)", FORMATS["usd"](spent)] in listed
    assert ["judge", FORMATS["usd"](3 * 0.35)] in listed


def test_prices_stand_with_their_source(client: httpx2.Client) -> None:
    listed = rows_of(client.get("/ui/cost").text)
    assert [PRIMARY, "$100", "n/a", "$100", "config"] in listed
    assert any(row[0] == BAD and "unknown: add" in row[1] for row in listed if row)


def test_what_the_gateway_adds_is_shown_where_it_is_told(api: FakeApi) -> None:
    with serving(api) as client:
        assert "What the gateway adds is not in these figures" in read(client, "latency").text
    own = {"p50": 0.1843, "p95": 0.92, "p99": None, "n": 16_400, "reason": "too few for a p99"}
    stats = api.answers["/stats"]
    stats["tasks"][0]["models"][0]["overhead_ms"] = own
    stats["tasks"][0]["overhead_ms"] = {**own, "n": 16_401}
    with serving(api) as client:
        page = read(client, "latency")
    assert "its own time, which is not in the figures above" in page.text
    placed = {given["data-path"]: text for given, text in page.facts if "overhead_ms" in given.get("data-path", "")}
    assert placed == {
        "tasks.0.overhead_ms.n": "16,401",
        "tasks.0.overhead_ms.p50": "0.184\u202fms",
        "tasks.0.overhead_ms.p95": "0.920\u202fms",
        "tasks.0.models.0.overhead_ms.n": "16,400",
        "tasks.0.models.0.overhead_ms.p50": "0.184\u202fms",
        "tasks.0.models.0.overhead_ms.p95": "0.920\u202fms",
    }
    assert "too few for a p99" in page.text


def test_the_first_thing_on_the_overview_is_one_sentence_per_candidate(client: httpx2.Client) -> None:
    page = read(client, "")
    said = page.text[page.text.index("Overview Task") :]
    order = [said.index(words) for words in ("is proved to be at most 0.05", "is not yet proved", "by more than 0.05")]
    assert order == sorted(order)
    assert order[-1] < said.index("Quality against cost")
    assert "At this traffic it saves $132 a month" in said
    assert "About 120 to 400 more conversations are needed" in said
    assert "How to switch primary: model: gemini-2.5-pro in /etc/shadow/config.yaml set primary.model" in said
    assert said.count("How to switch") == 1
    for badge in ("Promote", "Undecided", "Reject"):
        assert badge in said


def test_a_comparison_that_ended_asks_for_nothing(api: FakeApi) -> None:
    one = api.answers["/stats"]["tasks"][0]["comparisons"][0]
    one |= {"verdict": "promote", "ended": f"{one['candidate']} is not among shadow.candidates any more"}
    with serving(api) as client:
        page = read(client, "")
    assert "Promote, ended" in page.text
    assert "Set primary.model" not in page.text


def test_every_value_that_is_null_is_shown_by_its_reason(api: FakeApi) -> None:
    stats = dashboard.filled_stats()
    stats["tasks"][0]["models"] = [
        dashboard.null_model(PRIMARY, "primary", "not yet"),
        dashboard.null_model(GOOD, "candidate", "not yet"),
    ]
    stats["tasks"][0]["comparisons"] = [dashboard.null_comparison(GOOD, "not yet")]
    api.answers["/stats"] = stats
    with serving(api) as client:
        page = read(client, "")
    for reason in (
        "why",
        "quality",
        "cost",
        "saving",
        "quality of primary",
        "quality of candidate",
        "latency",
        "point",
    ):
        assert f"not yet: {reason}" in page.text.replace("Not yet", "not yet"), reason
    assert "None" not in page.text
    assert "null" not in page.text
    numbers = {given["href"] for given in page.of("a") if given.get("href", "").startswith("#note-")}
    assert numbers == {f"#{given['id']}" for given in page.of("li") if given.get("id", "").startswith("note-")}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"tasks": [{"task": "default", "models": [], "comparisons": [], "insights": []}]},
            ["No traffic", "demo", "doctor"],
        ),
        (
            {
                "tasks": [
                    {"task": "default", "models": [dashboard.model("m", "primary")], "comparisons": [], "insights": []}
                ]
            },
            ["One model only", "shadow.candidates"],
        ),
    ],
)
def test_an_empty_state_says_what_it_means_and_what_to_do(
    api: FakeApi, change: dict[str, Any], words: list[str]
) -> None:
    api.answers["/stats"] = {**dashboard.filled_stats(), **change}
    with serving(api) as client:
        text = read(client, "").text
        for part in words:
            assert part in text
        read(client, "health")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"judge": {"trusted": False, "reason": "it fails its controls"}}, ["it fails its controls", "Review"]),
        ({"verdict": "withheld", "why": "missing scores"}, ["Withheld", "missing scores", "measurement itself"]),
        ({"add_to_config": "prices: {m: {input: 1}}"}, ["price is unknown", "prices: {m: {input: 1}}"]),
        ({"verdict": "withdrawn", "why": "it lost"}, ["Withdrawn", "back to the former primary"]),
        ({"verdict": "of-tomorrow", "why": "unheard of"}, ["of-tomorrow", "Unheard of"]),
    ],
)
def test_an_odd_state_is_told(api: FakeApi, given: dict[str, Any], words: list[str]) -> None:
    api.answers["/stats"]["tasks"][0]["comparisons"] = [dashboard.comparison(OPEN, **given)]
    with serving(api) as client:
        text = read(client, "").text
    for part in words:
        assert part in text


def test_an_unknown_price_is_told_with_the_line_to_add(api: FakeApi) -> None:
    api.answers["/stats"]["tasks"][0]["models"][1]["cost_usd"] |= {
        "add_to_config": "prices: {x: {}}",
        "per_request": None,
    }
    with serving(api) as client:
        assert "prices: {x: {}}" in read(client, "").text


@pytest.mark.parametrize("path", ["", "pairs", "health", f"pairs/x1:{OPEN}"])
def test_a_store_that_cannot_be_read_is_a_page_with_the_next_step(api: FakeApi, path: str) -> None:
    for address in list(api.answers):
        api.answers[address] = ErrorAnswer(status=503, kind="store", message="the disk is full: /data/shadow.db")
    with serving(api) as client:
        page = read(client, path, status=503)
    assert "the disk is full: /data/shadow.db" in page.text
    assert "shadow-gateway doctor" in page.text


def test_faults_of_an_address_are_pages_too(api: FakeApi) -> None:
    api.answers["/pairs"] = ErrorAnswer(status=400, kind="bad_parameter", message="cursor must be one of ours")
    api.answers["/stats"] = ErrorAnswer(status=500, kind="internal", message="this answer could not be made")
    api.answers["/pairs/none"] = ErrorAnswer(status=404, kind="not_found", message="no pair has this id")
    with serving(api) as client:
        assert "cursor must be one of ours" in read(client, "pairs?cursor=x", status=400).text
        assert "could not be made" in read(client, "", status=500).text
        assert "no pair has this id" in read(client, "pairs/none", status=404).text
        assert "no page at this address" in read(client, "nowhere", status=404).text
        assert "not built yet" in read(client, "pairs/other", status=404).text


def test_shadowing_that_is_off_and_made_up_data_are_marked_on_every_page(api: FakeApi) -> None:
    with serving(api, shadow_off_reason="no api key", demo=True) as client:
        for path in PAGES:
            text = read(client, path).text
            assert "Shadowing is off: no api key" in text or path == "report"
            assert "DEMO: made-up" in text


# ---- pairs


def test_filters_stay_in_the_address_and_reach_the_api(api: FakeApi) -> None:
    asked: list[dict[str, str]] = []

    def pairs(query: dict[str, str]) -> Any:
        asked.append(query)
        return {"pairs": [dashboard.pair_row(1)], "next_cursor": "n"}

    api.answers["/pairs"] = pairs
    with serving(api) as client:
        page = read(client, f"pairs?task=support&candidate={OPEN}&show=regressed&since=24h")
    assert asked[0] == {
        "task": "support", "candidate": OPEN, "show": "regressed", "since": "24h", "sort": "worst", "limit": "50",
    }  # fmt: skip
    hrefs = [given["href"] for given in page.of("a")]
    (older,) = [href for href in hrefs if "cursor=n" in href]
    assert "show=regressed" in older
    assert [given["value"] for given in page.of("option") if "selected" in given] == [
        "support",
        OPEN,
        "regressed",
        "worst",
    ]
    assert any(href.startswith("/ui/health?since=24h") for href in hrefs)


def test_a_pair_leads_to_its_neighbours_in_the_list_it_was_opened_from(client: httpx2.Client) -> None:
    page = read(client, f"pairs/x2:{OPEN}?in=sort%3Dworst")
    links = {given["rel"]: given["href"] for given in page.of("a") if given.get("rel") in {"prev", "next"}}
    assert links == {
        "prev": f"/ui/pairs/x1%3A{OPEN}?in=sort%3Dworst",
        "next": f"/ui/pairs/x3%3A{OPEN}?in=sort%3Dworst",
    }
    assert "next" not in {given.get("rel") for given in read(client, f"pairs/x2:{OPEN}").of("a")}


def test_a_pair_shows_both_answers_their_scores_and_the_judges_reason(client: httpx2.Client) -> None:
    page = read(client, f"pairs/x1:{OPEN}")
    for words in (
        "Can I send it back?",
        "You are the shop's support",
        "A names the right period",
        "make_label",
        "differs",
    ):
        assert words in page.text, words
    assert {"del", "ins"} <= {tag for tag, _ in page.elements}
    assert {"del", "ins"}.isdisjoint({tag for tag, _ in read(client, f"pairs/x1:{OPEN}?view=plain").elements})


def test_json_answers_are_compared_place_by_place(api: FakeApi) -> None:
    pair = dashboard.whole_pair()
    pair["content"] |= {"primary_output": '{"a": 1, "b": 2}', "candidate_output": '{"a": 1, "b": 3}'}
    api.answers[f"/pairs/x1:{OPEN}"] = pair
    with serving(api) as client:
        assert "1 of 2 places differ" in read(client, f"pairs/x1:{OPEN}").text
        assert "is marked" in read(client, f"pairs/x1:{OPEN}?view=words").text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"content": None}, "Nothing is kept of prompt and answers"),
        ({"scores": [], "outcome": "timeout"}, "ended as timeout"),
        ({"scores": [], "primary_outcome": "error_http"}, "the primary's answer ended as error_http"),
        ({"scores": []}, "no evaluator is configured"),
        ({"redaction_changed": True}, "not compared"),
        ({"error": "429 too many"}, "429 too many"),
        ({"first_turn": False}, "a later turn"),
        ({"ttft_ms": None, "primary_ttft_ms": None}, "n/a"),
    ],
)
def test_what_a_pair_lacks_is_said(api: FakeApi, given: dict[str, Any], words: str) -> None:
    api.answers[f"/pairs/x1:{OPEN}"] = dashboard.whole_pair(**given)
    with serving(api) as client:
        assert words in read(client, f"pairs/x1:{OPEN}").text


def test_the_table_for_other_programs_holds_no_formula(api: FakeApi) -> None:
    api.answers["/pairs"] = {"pairs": [dashboard.pair_row(1, task="=cmd|' /C calc'!A0")], "next_cursor": None}
    with serving(api) as client:
        answer = client.get("/ui/pairs.csv")
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert row["task"] == "'=cmd|' /C calc'!A0"
    assert (row["id"], row["quality_diff"]) == (f"x1:{OPEN}", "-0.5")
    assert answer.headers["content-disposition"] == 'attachment; filename="pairs.csv"'


# ---- hostile text


@pytest.mark.parametrize("said", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_a_model_says_arrives_as_text(api: FakeApi, said: str) -> None:
    sayable = said.encode("utf-8", "replace").decode()
    pair = dashboard.whole_pair(
        error=sayable,
        task=sayable[:300],
        price_source=sayable,
        stop_reason=sayable,
        outcome="ok",
        model_answered=sayable,
    )
    pair["content"] = {
        "prompt": said_as_json(sayable),
        "primary_output": sayable,
        "candidate_output": f"{sayable} {sayable[:100]}",
        "primary_tool_calls": None,
        "candidate_tool_calls": None,
    }
    pair["scores"] = [dashboard.score(sayable[:200], "pair", -0.5, sayable, version=sayable[:50])]
    api.answers[f"/pairs/x1:{OPEN}"] = pair
    api.answers["/pairs"] = {
        "pairs": [dashboard.pair_row(1, task=sayable, candidate=sayable, primary=sayable)],
        "next_cursor": None,
    }
    stats = dashboard.filled_stats()
    for row in stats["tasks"][0]["models"]:
        row["model"] = f"{sayable[:500]}{row['model']}"
        row["outcomes"] = {sayable[:100]: 1}
        row["latency_ms"] |= {"p99_ci": None, "ci_reason": sayable}
        row["overhead_ms"] = {"p50": None, "p95": None, "p99": None, "n": 0, "reason": sayable}
    for one in stats["tasks"][0]["comparisons"]:
        one |= {"candidate": f"{sayable[:500]}{one['candidate']}", "why": sayable, "primary": sayable[:400]}
        one["coverage"]["skipped"] = {sayable[:100]: 3}
        one["left_out"] = {sayable[:100]: 2}
        one["switch"] = {"yaml": sayable, "steps": [sayable]}
        one["judge"] |= {"trusted": False, "reason": sayable}
        one["add_to_config"] = sayable
    stats["tasks"][0]["task"] = sayable[:200]
    stats["tasks"][0]["insights"] = [{"reading": "x", "models": [], "text": sayable}]
    stats["dropped"] = {sayable[:100]: 1}
    api.answers["/stats"] = stats
    api.answers["/labels/next"]["pairs"] = [
        {**dashboard.to_label(1), **pair["content"], "primary": sayable[:300], "task": sayable[:99]}
    ]
    api.answers["/runs"]["runs"] = [
        dashboard.run_header("r1", name=sayable, reason=sayable, models=[sayable[:200]], period=sayable[:99])
    ]
    for run in ("r1", "r2"):
        summary = dashboard.run_summary(
            run, name=sayable, note=sayable, models=[f"{sayable[:200]}{run}"], reason=sayable
        )
        summary["tasks"] = stats["tasks"]
        api.answers[f"/runs/{run}"] = summary
    told = dashboard.trends()
    for each in (*told["points"], *told["drift"], *told["leads"]):
        each |= {"task": sayable[:200], "model": sayable[:200], "why": sayable, "candidate": sayable[:300]}
    told["drift"][0]["changes"][0]["examples"][0] |= {
        "case": sayable, "reason": sayable, "now": {"run": sayable, "repeat": 0, "quality": 0.0, "output": sayable},
    }  # fmt: skip
    told["next_run"]["reason"] = sayable
    api.answers["/trends"] = told
    api.answers["/alerts"]["alerts"] = [{"created_at": sayable, "title": sayable, "kind": "x", "sentence": sayable}]
    with serving(api, shadow_off_reason=sayable[:5000]) as client:
        pages = {path: read(client, path) for path in (*PAGES, "?clock=ttft", "latency?weekly=p50", "runs?task=x")}
    for path, page in pages.items():
        assert elements(page) <= OUR_ELEMENTS, path
        for tag, given in page.elements:
            assert not [name for name in given if name.startswith("on") or name == "style"], (tag, given)
            for name in ("href", "src", "action", "hx-get", "hx-post"):
                ours = given.get(name, "/").startswith(("/", "#", "data:image/svg+xml,", "data:,"))
                assert ours, (path, tag, given)
                assert not given.get(name, "").startswith("//")
        for script in page.of("script"):
            assert script["src"].startswith("/ui/static/"), path
        assert "49" not in [text for text in page.pieces if "7*7" in text]
        steering = set(page.text) & set("\x00\x1b\x07\u202e\u2066\u200f\u2028")
        assert not steering, path


def elements(page: Read) -> set[str]:
    return {tag for tag, _ in page.elements}


def said_as_json(said: str) -> str:
    import json  # noqa: PLC0415  (msgspec refuses what json writes)

    return json.dumps(
        {"system": said, "messages": [{"role": said[:40], "content": said}], "tools": [{"name": said[:90]}]}
    )


# ---- reviews, runs and the report


def fields_of(page: Read) -> dict[str, str]:
    return {given["name"]: given.get("value", "") for given in page.of("input")}


def test_a_review_hides_names_shuffles_sides_and_keeps_what_is_said(api: FakeApi) -> None:
    with serving(api) as client:
        page = read(client, "review")
        shown = page.text[: page.text.index("Can the judge be trusted")]
        assert OPEN not in shown.partition("Prompt")[2]
        assert PRIMARY not in shown.partition("Prompt")[2]
        assert [given["value"] for given in page.of("button") if given.get("name") == "choice"] == [
            "A",
            "tie",
            "B",
            "skip",
        ]
        form = fields_of(page)
        answer = client.post("/ui/review", data={**form, "choice": "B"})
        assert answer.status_code == 303
        assert api.posted == [
            ("/feedback", {"pair": f"x1:{OPEN}", "choice": "B", "labeller": "dashboard", "seed": "blind-1"})
        ]
        after = read(client, answer.headers["location"].removeprefix("/ui/"))
        assert "Saved" in after.text
        undone = client.post("/ui/review", data={**fields_of(after), "choice": "undo"})
        assert undone.headers["location"] == f"/ui/review?pair=x1%3A{OPEN.replace('/', '%2F')}"
        assert fields_of(read(client, undone.headers["location"].removeprefix("/ui/")))["pair"] == f"x1:{OPEN}"
        assert fields_of(read(client, "review?pair=gone:m"))["pair"] == f"x1:{OPEN}"
        assert api.posted[1] == ("/feedback", {"pair": f"x1:{OPEN}", "choice": None, "labeller": "dashboard"})
        skipped = client.post("/ui/review", data={**form, "choice": "skip", "task": "support"})
        assert skipped.headers["location"] == "/ui/review?task=support&skip=1"
        assert fields_of(read(client, "review?skip=1"))["pair"] == f"x2:{OPEN}"
        assert client.post("/ui/review", data={**form, "choice": "nonsense"}).headers["location"] == "/ui/review"
        assert client.post("/ui/review", data={"choice": "A", "pair": "x"}).status_code == 403
        assert len(api.posted) == 2


def test_without_pairs_to_label_a_review_says_what_is_needed(api: FakeApi) -> None:
    api.answers["/labels/next"] = {"pairs": [], "seed": "blind-1"}
    with serving(api) as client:
        page = read(client, "review?skip=99x&last=x1:m")
    assert "Nothing is left to label" in page.text
    assert [given["value"] for given in page.of("button") if given.get("name") == "choice"] == ["undo"]


def test_a_refusal_of_the_api_is_told_where_the_form_was_sent(api: FakeApi) -> None:
    api.answers["/feedback"] = ErrorAnswer(status=400, kind="bad_label", message="pair must be of ours")
    api.answers["/runs"] = ErrorAnswer(status=409, kind="run_under_way", message="a run is under way or asked for")
    with serving(api) as client:
        form = fields_of(read(client, "review"))
        assert "pair must be of ours" in client.post("/ui/review", data={**form, "choice": "A"}).text
        answer = client.post("/ui/runs", data=form)
        assert (answer.status_code, "under way" in answer.text) == (409, True)


def test_runs_are_listed_begun_read_and_compared(api: FakeApi) -> None:
    with serving(api) as client:
        page = read(client, "runs")
        assert "40 of 100" in page.text
        assert "The primary claude-sonnet-4-5 drifted: \u22125.0 pts" in page.text
        for words in ("Answers that changed, 2 of them", "```json", "no part of what was asked", "Nothing is kept of"):
            assert words in page.text
        assert f"{GOOD}, weekly runs (promote, 120 conversations): {GOOD} leads by 2 points." in page.text
        assert f"{GOOD}: The verdict on live traffic is another: undecided over 92 conversations." in page.text
        answer = client.post("/ui/runs", data=fields_of(page))
        assert (answer.headers["location"], api.posted) == ("/ui/runs?asked=1", [("/runs", {})])
        assert "begins within seconds" in read(client, "runs?asked=1").text
        summary = client.get("/runs/r1").json()
        one = read(client, "runs/r1")
        for given, text in one.facts:
            if "data-path" in given:
                assert text == FORMATS[given["data-form"]](at(summary, given["data-path"]))
        both = read(client, "runs/compare?a=r1&b=r2")
        assert "cases 50 60" in both.text
        assert "two runs are needed" in read(client, "runs/compare?a=r1", status=400).text
    api.answers["/runs"] = {"runs": [], "next_cursor": None}
    del api.answers["/trends"]
    with serving(api) as client:
        assert "No run yet" in read(client, "runs").text


def test_a_task_that_no_weekly_run_asked_is_said_to_be_so_and_one_it_asked_how_leads_stand(api: FakeApi) -> None:
    told = api.answers["/trends"]
    live = [dict(point, task="tutor") for point in told["points"] if point["source"] == "live"]
    told["leads"][0] |= {"state": "undecided", "n": 30}
    api.answers["/trends"] = told | {"drift": [], "points": [*told["points"], *live]}
    with serving(api) as client:
        text = read(client, "runs").text
    assert f"No drift is proved, and no lead: {GOOD} undecided, 30 conversations." in text
    assert "No weekly run has asked a prompt of this task yet: there is neither drift nor a lead to tell." in text
    assert text.count("No drift is proved") == 1


def test_the_report_is_one_file_that_needs_nothing_else(api: FakeApi) -> None:
    with serving(api) as client:
        answer = client.get("/ui/report.html?since=30d")
        stats = client.get("/stats").json()
    assert answer.headers["content-disposition"] == 'attachment; filename="shadow-gateway-report.html"'
    page = Read(answer.text)
    assert {"link", "script", "img", "iframe", "form"}.isdisjoint(elements(page))
    assert [given for _, given in page.elements if "src" in given] == []
    assert {given["href"][:6] for given in page.of("a")} <= {"#note-"}
    policy = next(given["content"] for given in page.of("meta") if given.get("http-equiv"))
    style = answer.text.partition("<style>")[2].partition("</style>")[0]
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
    for given, text in page.facts:
        if "data-path" in given:
            assert text == FORMATS[given["data-form"]](at(stats, given["data-path"]))
    assert len(answer.content) < PAGE_BYTES


def test_a_run_is_written_as_one_file_by_the_same_functions() -> None:
    html = run_html(dashboard.run_summary("r1"), version="1.2.3", written=NOW)
    page = Read(html)
    assert "Benchmark cases.jsonl" in page.text
    assert "Written 2026-11-20 12:00 UTC by Shadow Gateway 1.2.3" in page.text
    assert {"link", "script", "form"}.isdisjoint(elements(page))
    assert page.facts
    empty = report_html({"tasks": [], "since": None, "until": None}, version="1", written=NOW, demo=True)
    assert "No traffic" in Read(empty).text
    assert "DEMO" in Read(empty).text


def test_candidates_and_the_schedule_are_on_the_health_page(api: FakeApi) -> None:
    api.answers["/readyz"] = ErrorAnswer(status=503, kind="not_ready", message="the store is being opened")
    api.answers["/alerts"]["alerts"] = [{"created_at": dashboard.UNTIL, "title": "gemini leads"}]
    with serving(api, breakers={GOOD: True, BAD: False}, loaded_at=NOW, config_version="1f2e3d4c5b6a") as client:
        text = read(client, "health").text
    for words in (
        f"{GOOD} : is asked",
        f"{BAD} : keeps failing",
        f"{OPEN} : is asked by no worker",
        "2026-11-22 03:00 UTC",
        "read 2026-11-20 12:00 UTC ; version 1f2e3d4c5b6a",
    ):
        assert words in text
    assert "the store is being opened" in text
    assert "gemini leads" in text


# ---- files


def test_files_are_ours_kept_for_ever_and_seen_anew_after_an_upgrade(client: httpx2.Client) -> None:
    page = read(client, "pairs?sort=newest&live=1")
    addresses = [given["src"] for given in page.of("script")] + [
        given["href"] for given in page.of("link") if given["rel"] == "stylesheet"
    ]
    assert len(addresses) == 3
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        plain = client.get(address, headers={"accept-encoding": "identity"})
        assert plain.content == answer.content
        assert "content-encoding" not in plain.headers
        older = client.get(re.sub(r"/static/\w+/", "/static/older/", address))
        assert (older.status_code, older.headers["cache-control"]) == (200, "no-store")
    assert client.get("/ui/static/0/nothing.js").status_code == 404
    assert client.get("/ui/static/0/..%2Fapp.css").status_code == 404


# ---- signing in


def test_without_token_a_browser_is_sent_to_the_form_and_a_program_is_told(api: FakeApi) -> None:
    with serving(api, token=TOKEN) as client:
        page = client.get("/ui/pairs?show=errors", headers={"accept": "text/html,*/*"})
        assert page.status_code == 303
        assert page.headers["location"] == "/ui/login?next=%2Fui%2Fpairs%3Fshow%3Derrors"
        assert client.get("/ui/pairs").status_code == 401
        assert client.get("/stats", headers={"accept": "text/html"}).status_code == 401
        login = read(client, "login?next=/ui/pairs%3Fshow%3Derrors")
        assert "Pairs" not in login.text
        for path in PAGES:
            answer = client.get(f"/ui/{path}", headers={"accept": "text/html", "cookie": f"{COOKIE}=1.2"})
            assert answer.status_code == 303


def sign_in(client: httpx2.Client, token: str, **given: str) -> httpx2.Response:
    form = {field["name"]: field.get("value", "") for field in read(client, "login").of("input")}
    return client.post("/ui/login", data={**form, "token": token, **given})


def test_the_right_token_gives_a_cookie_that_opens_pages_and_answers(api: FakeApi) -> None:
    with serving(api, token=TOKEN) as client:
        answer = sign_in(client, TOKEN, next="/ui/health")
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/health")
        cookie = answer.headers["set-cookie"]
        assert re.fullmatch(rf"{COOKIE}=\d+\.[0-9a-f]{{64}}; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict", cookie)
        assert TOKEN not in cookie
        page = read(client, "health")
        assert "Sign out" in page.text
        assert client.get("/stats").status_code == 200
        form = {field["name"]: field["value"] for field in page.of("input") if field["name"] == "form"}
        assert client.post("/ui/logout", data=form).status_code == 303
        assert client.get("/stats").status_code == 401


def test_a_wrong_token_gives_nothing(api: FakeApi) -> None:
    with serving(api, token=TOKEN) as client:
        for wrong in ("", TOKEN[:-1], TOKEN + "x", "\ud800".encode("utf-8", "replace").decode()):
            answer = sign_in(client, wrong)
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers
            assert "not the token" in answer.text


@pytest.mark.parametrize(
    "path", ["https://evil.example", "//evil.example", "/\\evil.example", "/ui/\r\nx: y", "/stats", "", "/ui/\u00e9"]
)
def test_signing_in_leads_to_pages_of_ours_only(api: FakeApi, path: str) -> None:
    with serving(api, token=TOKEN) as client:
        assert sign_in(client, TOKEN, next=path).headers["location"] == "/ui/"


def test_a_form_without_our_word_from_elsewhere_or_too_large_does_nothing(api: FakeApi) -> None:
    with serving(api, token=TOKEN) as client:
        assert client.post("/ui/login", data={"token": TOKEN}).status_code == 403
        assert client.post("/ui/login", content=b"\xff\xfe").status_code == 403
        assert client.post("/ui/login", content=b"a=1&" * 50).status_code == 403
        word = next(f["value"] for f in read(client, "login").of("input") if f["name"] == "form")
        assert client.post("/ui/login", data={"token": TOKEN, "form": word, "x": "y" * 20_000}).status_code == 403
        for headers in (
            {"origin": "https://evil.example"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ):
            answer = client.post("/ui/login", data={"token": TOKEN, "form": word}, headers=headers)
            assert (answer.status_code, answer.headers.get("set-cookie")) == (403, None)
    with serving(api) as client:  # where no token is needed the form leads on
        assert sign_in(client, "whatever").status_code == 303


def test_a_cookie_ends_and_belongs_to_one_token() -> None:
    made = cookie_value(TOKEN, now_s=1000)
    assert cookie_holds(made, TOKEN, now_s=1000)
    assert cookie_holds(made, TOKEN, now_s=1000 + LIFETIME_S - 1)
    assert not cookie_holds(made, TOKEN, now_s=1000 + LIFETIME_S)
    assert not cookie_holds(made, TOKEN, now_s=-1)  # made in the future: not by us
    assert not cookie_holds(made, TOKEN + "x", now_s=1000)
    later = f"9{made}"
    for forged in (later, made[:-1], made.partition(".")[0], "", ".", "x.y", "1" * 400 + ".y", "\u0661.x"):
        assert not cookie_holds(forged, TOKEN, now_s=1000), forged


# ---- what figures are of


def test_a_quality_is_the_mean_its_interval_is_of(api: FakeApi) -> None:
    api.answers["/stats"]["tasks"][0]["models"][1]["quality"] |= {"conversation_avg": None, "ci": None}
    with serving(api) as client:
        for path in ("", "report"):
            page = read(client, path)
            shown = {
                given["data-path"]: text for given, text in page.facts if ".quality." in given.get("data-path", "")
            }
            assert shown["tasks.0.models.0.quality.conversation_avg"] == "0.908"
            assert shown["tasks.0.models.1.quality.avg"] == "0.921"  # sums alone do not tell conversations
            assert "every conversation weighing the same" in page.text
            assert "Costs of requests are billed ones, those of quality points uncached." in page.text


def test_with_several_primaries_everything_says_which_one_it_is_about(api: FakeApi) -> None:
    (task,) = api.answers["/stats"]["tasks"]
    task["models"].insert(1, dashboard.model("claude-B", "primary"))
    task["comparisons"] = [dashboard.comparison(OPEN), dashboard.comparison(OPEN, primary="claude-B", verdict="reject")]
    api.answers["/stats"]["more_tasks"] = [{"task": "x", "models": [], "comparisons": task["comparisons"]}]
    both = [f"{OPEN} for {PRIMARY}", f"{OPEN} for claude-B"]
    with serving(api) as client:
        page, whole = read(client, ""), client.get("/ui/").text
        health = read(client, "health").text
    listed = rows_of(whole)
    for name in both:
        assert len([row for row in listed if row[0] == name]) == 2, name  # of both charts
        assert f"{name}: cost 0.52x" in whole  # a point
        assert f"{name}: \u22122.1\u202fpts [" in whole  # a range
        assert f"Coverage of {name}" in health
    glance = page.text.partition("Task support")[0]
    assert glance.count(f"{both[0]} ? Undecided") == glance.count(f"{both[1]} \u00d7 Reject") == 2
    (row,) = [row for row in listed if row[0] == f"{OPEN}candidate"]
    assert row[4].startswith("n/a")  # wins against neither alone
    assert "pts" not in row[2]
    assert f"{OPEN} is compared with 2 primaries ({PRIMARY}, claude-B): see each card" in page.text


def test_charts_of_many_primaries_are_few_and_say_so(api: FakeApi) -> None:
    (task,) = api.answers["/stats"]["tasks"]
    task["comparisons"] = [dashboard.comparison(OPEN, primary=f"claude-{number}") for number in range(6)]
    with serving(api) as client:
        text = read(client, "").text
    assert [f"Quality against cost, for claude-{number}" in text for number in range(6)] == [True] * 4 + [False] * 2
    assert [f"Quality difference to claude-{number}" in text for number in range(6)] == [True] * 4 + [False] * 2
    assert "2 more primaries of this task have no chart of their own; see their cards." in text


def test_a_candidates_row_is_about_the_one_primary_it_was_asked_beside(api: FakeApi) -> None:
    (task,) = api.answers["/stats"]["tasks"]
    unasked = dashboard.comparison(OPEN, primary="claude-B", pairs=0)
    task["comparisons"] = [unasked | {"left_out": {}}, dashboard.comparison(OPEN)]
    with serving(api) as client:
        (row,) = [row for row in rows_of(client.get("/ui/").text) if row[0] == f"{OPEN}candidate"]
    assert row[4] == "8.0\u202f% / 81\u202f% / 11\u202f%"
    assert "\u22122.1\u202fpts" in row[2]


def test_a_difference_says_what_it_is_the_mean_of(api: FakeApi) -> None:
    (task,) = api.answers["/stats"]["tasks"]
    of_sums = {"window": {"conversations": None}, "scope": {"epoch": []}}
    task["comparisons"] = [dashboard.comparison(GOOD), dashboard.comparison(OPEN, **of_sums)]
    (run,) = api.answers["/runs/r1"]["tasks"]
    run["comparisons"][0]["quality_diff"] |= {"n": 46, "units": 23}
    with serving(api) as client:
        live, of_run = (rows_of(client.get(f"/ui/{path}").text) for path in ("", "runs/r1"))
    assert {row[3] for row in live if len(row) == 4 and row[0] in {GOOD, OPEN}} == {"405 conversations", "405 pairs"}
    assert [row[3] for row in of_run if len(row) == 4 and row[0] == GOOD] == ["23 cases"]


def test_where_an_evaluator_only_compares_pairs_are_counted_and_weeks_say_why_they_have_no_value(api: FakeApi) -> None:
    (task,) = api.answers["/stats"]["tasks"]
    for row in task["models"]:
        none = {"avg": None, "ci": None, "conversation_avg": None, "conversations": 0, "n": 0, "reason": PAIRWISE}
        row["quality"] |= none
    for point in api.answers["/trends"]["points"]:
        point["quality"] = {"mean": None, "ci": None, "n": 0, "reason": "no answer has a quality of its own"}
    with serving(api) as client:
        page, listed = read(client, ""), rows_of(client.get("/ui/").text)
    scored = {row[0]: row[3] for row in listed if len(row) == 11}
    assert scored[f"{GOOD}candidate"] == "800"
    assert scored[f"{PRIMARY}primary"].startswith("n/a")
    assert "answers have no quality of their own, and scored are pairs" in page.text
    assert "weighing the same" not in page.text
    assert "No week has a value: no answer has a quality of its own." in page.text


def test_the_spend_counts_the_primarys_second_answers_once_and_of_every_task(api: FakeApi) -> None:
    (task,) = api.answers["/stats"]["tasks"]
    other = {"primary": "claude-B", "verdict": None, "coverage": {}, "judge": {"cost_usd": 0.0}}
    floors = [{"candidate": name, "noise_floor": {"cost_usd": 0.5}, **other} for name in (GOOD, BAD)]
    api.answers["/stats"]["more_tasks"] = [{"task": "x", "models": [], "comparisons": floors}]
    with serving(api) as client:
        listed = rows_of(client.get("/ui/cost").text)
    assert len(task["comparisons"]) == 3  # beside one primary
    assert ["primary asked again", "$0.55"] in listed


@pytest.mark.parametrize(
    ("why", "told"),
    [
        ("rival is worse than base; it costs 5 % less.", "rival is worse than base."),
        ("base could not be asked", "base could not be asked."),
        ("nothing is known", "Nothing is known."),
    ],
)
def test_a_models_name_stays_as_it_is_written(api: FakeApi, why: str, told: str) -> None:
    api.answers["/stats"]["tasks"][0]["comparisons"] = [dashboard.comparison("rival", primary="base", why=why)]
    with serving(api) as client:
        assert told in read(client, "").text


def test_words_claim_no_more_than_is_proved(client: httpx2.Client) -> None:
    first, listed = read(client, "").text, read(client, "pairs").text
    assert "proof of no loss beyond the margin." in first
    assert "Neither side is proved" not in first
    assert "fixed prompts" not in first
    assert "those without an answer first, then the largest loss" in listed


# ---- many tasks, many models


def test_a_page_of_many_tasks_and_models_stays_small_and_leads_to_the_rest(api: FakeApi) -> None:
    stats = dashboard.many_stats(tasks=10, models=10)
    api.answers |= {
        "/stats": stats,
        "/latency": dashboard.many_curves(stats),
        "/trends": dashboard.many_trends({"tasks": stats["tasks"][:2]}),
        **{f"/runs/{run}": {**dashboard.run_summary(run), "tasks": stats["tasks"]} for run in ("r1", "r2")},
    }
    with serving(api, tasks=tuple(task["task"] for task in stats["tasks"])) as client:
        for path in (*PAGES, "?task=task-9", "latency?task=task-9", "runs/r1?task=task-9"):
            page = read(client, path)  # which is no longer than a page may be
            if path in {"latency", "health", "report", "runs/r1", "runs/compare?a=r1&b=r2"}:
                hrefs = [given["href"] for given in page.of("a") if "task=task-9" in given.get("href", "")]
                assert hrefs, path
        first = read(client, "")
        for number in range(10):
            assert f"task-{number} " in first.text.partition("Task task-0")[0]
        whole = client.get("/ui/report.html")  # a file may be as long as what it tells
        assert whole.text.count("Quality difference to the primary") > 9
    stats["tasks"] = dashboard.many_stats(tasks=1, models=60)["tasks"]
    api.answers["/latency"] = dashboard.many_curves(stats)
    with serving(api) as client:
        for path in ("", "latency", "cost", "health", "report", "review"):
            assert "more candidates of this task are not on this page" in read(client, path).text or path == "review"


# ---- over the real API and a real store


async def test_every_page_opens_over_an_empty_store_with_no_other_part_built(tmp_path: Path) -> None:
    async with (
        await open_store(url_of(tmp_path)) as store,
        admin_port(store.reader, lambda: settings(tasks=("default", "support"))) as client,
    ):
        for path, words in (
            ("", "No traffic in this window"),
            ("pairs", "No pair matches"),
            ("review", "Nothing is left to label"),
            ("latency", "No task has any traffic"),
            ("cost", "No model has answered"),
            ("runs", "No run yet"),
            ("runs/r1", "Not found"),
            ("runs/compare?a=r1&b=r2", "Not found"),
            ("health", "Nothing was lost"),
            ("report", "No traffic in this window"),
            ("report.html", "No traffic in this window"),
        ):
            answer = await client.get(f"/ui/{path}")
            assert answer.status_code == (404 if words == "Not found" else 200), path
            assert words in Read(answer.text).text, path


async def test_pages_over_a_real_store_show_what_its_api_says(tmp_path: Path) -> None:
    async with await open_store(url_of(tmp_path)) as store:
        content = StoredContent(prompt='{"messages": []}', primary_output="yes", candidate_output=HOSTILE[0])
        await add_pair(store, exchange(1), q_prim=1.0, q_cand=0.5, content=content)
        await add_pair(store, exchange(2), q_prim=0.5, q_cand=1.0)
        await add_pair(store, exchange(3), q_prim=1.0, q_cand=1.0)
        async with admin_port(store.reader, lambda: settings(tasks=("default",))) as client:
            stats = (await client.get("/stats")).json()
            for path in (
                "",
                "?clock=ttft",
                "pairs",
                "pairs?sort=newest",
                "pairs?show=errors",
                "health",
                "pairs/x1:openai/gpt-4o",
            ):
                answer = await client.get(f"/ui/{path}")
                assert answer.status_code == 200, answer.text
                assert "<script>alert" not in answer.text
            page = Read((await client.get("/ui/")).text)
            placed = [(given, text) for given, text in page.facts if "data-path" in given]
            assert len(placed) > 15
            for given, text in placed:
                assert text == FORMATS[given["data-form"]](at(stats, given["data-path"]))
            listed = Read((await client.get("/ui/pairs?show=regressed")).text)
            assert len([g for g in listed.of("a") if g["href"].startswith("/ui/pairs/x1")]) == 1
            assert not [g for g in listed.of("a") if g["href"].startswith(("/ui/pairs/x2", "/ui/pairs/x3"))]
            rows = (await client.get("/pairs?show=differs&sort=newest")).json()["pairs"]
            assert [row["exchange_id"] for row in rows] == ["x1", "x2"]
            rows = (await client.get("/pairs?since=90s")).json()["pairs"]
            assert [row["exchange_id"] for row in rows] == ["x1"]
            assert (await client.get("/pairs?show=errors")).json()["pairs"] == []
            label = {"pair": f"x1:{CANDIDATE}", "choice": "tie"}
            assert (await client.post("/feedback", json=label)).status_code == 201
            rows = (await client.get("/pairs?show=unreviewed&sort=newest")).json()["pairs"]
            assert [row["exchange_id"] for row in rows] == ["x2", "x3"]
            curves = (await client.get("/latency")).json()["tasks"][0]["models"]
            assert [(row["role"], row["latency_ms"]["n"]) for row in curves] == [("primary", 3), ("candidate", 3)]
            assert curves[0]["latency_ms"]["points"][-1] == [1003.0, 1.0]
        await asyncio.sleep(0)


def test_pages_carry_no_more_than_the_screen_needs(client: httpx2.Client) -> None:
    assert BAD in read(client, "").text
    for path in PAGES:
        answer = client.get(f"/ui/{path}")
        files = [given for tag, given in Read(answer.text).elements if tag == "script"]
        sent = len(answer.content) + sum(int(client.get(f["src"]).headers["content-length"]) for f in files)
        assert sent < PAGE_BYTES
