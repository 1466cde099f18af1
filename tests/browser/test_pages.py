"""Every page in a real browser: policy, network, accessibility, layout, with and without scripts, light and dark."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from shadow.web.answers import ErrorAnswer
from shadow.web.dashboard.formats import FORMATS
from shadow.web.dashboard.report import report_html, run_html
from tests.browser.chromium import chromium, keep_shot, visiting
from tests.support import dashboard
from tests.support.admin import NOW
from tests.support.dashboard import HOSTILE, OPEN, FakeApi, chosen_settings, dashboard_app, filled_api, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.browser.chromium import Visit

pytestmark = pytest.mark.timeout(300)

TOKEN = "right-of-the-browser"
PAGES = {
    "overview": "",
    "pairs": "pairs",
    "pair": f"pairs/x2:{OPEN}?in=sort%3Dworst",
    "review": "review",
    "latency": "latency",
    "cost": "cost",
    "runs": "runs",
    "run": "runs/r1",
    "compare": "runs/compare?a=r1&b=r2",
    "health": "health",
    "report": "report",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Two tasks, in the second of which everything is odd; marked as made up, with shadowing off."""
    api = filled_api()
    api.answers["/stats"]["tasks"].append(dashboard.odd_task())
    api.answers["/stats"]["tasks"][0]["models"][0]["overhead_ms"] = {"p50": 0.18, "p95": 0.9, "p99": 2.1, "n": 16_400}
    api.answers["/alerts"]["alerts"] = [
        {"created_at": dashboard.UNTIL, "title": "gemini leads", "sentence": "It does."}
    ]
    chosen = chosen_settings(tasks=("support", "search"), demo=True, shadow_off_reason="there is no API key")
    with served(dashboard_app(api, lambda: chosen)) as url:
        yield f"{url}/ui/"


_NAMED = """(it) => (it.closest("nav") ? "nav " : "") + (it.closest("svg") ? "svg " : "") + it.tagName + " "
  + (it.getAttribute("class") || "") + " " + (it.getAttribute("aria-label") || it.textContent).trim().slice(0, 60)"""
_FOCUSED = f"""() => {{
  const it = document.activeElement;
  if (!it || it === document.body) return null;
  const style = getComputedStyle(it);
  return {{what: ({_NAMED})(it), outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2}};
}}"""
_FOCUSABLE = f"""() => [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex]")]
  .filter((it) => it.checkVisibility() && it.tabIndex >= 0 && !it.classList.contains("skip")).slice(0, 150)
  .map({_NAMED})"""


def assert_accessible(visit: Visit) -> None:
    found = Axe().run(visit.page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_clean_accessible_and_fits(browser: Browser, site: str, name: str) -> None:
    with visiting(browser, site + PAGES[name]) as visit:
        visit.page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")
        assert_accessible(visit)
        visit.assert_clean()
        visit.assert_fits()
        visit.page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = false)")
        keep_shot(visit, f"{name}-light-1280")
        visit.page.emulate_media(color_scheme="dark")
        keep_shot(visit, f"{name}-dark-1280")
        visit.page.set_viewport_size({"width": 360, "height": 900})
        visit.page.reload(wait_until="load")
        assert_accessible(visit)
        visit.assert_clean()
        visit.assert_fits()
        keep_shot(visit, f"{name}-dark-360")


def test_every_page_works_without_scripts(browser: Browser, site: str) -> None:
    with visiting(browser, site, scripts=False, width=360) as visit:
        for name, path in PAGES.items():
            visit.page.goto(site + path)
            assert visit.page.locator("h1").inner_text()
            assert visit.page.locator("nav[aria-label=Pages] a").count() == (0 if name == "report" else 8)
            assert visit.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, name
            times = visit.page.locator("main time").all_inner_texts()
            assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", each) for each in times)


def test_numbers_on_the_page_are_those_of_the_answer(browser: Browser, site: str) -> None:
    with visiting(browser, site) as visit:
        stats = visit.page.evaluate("fetch('/stats').then((answer) => answer.json())")
        placed = visit.page.eval_on_selector_all(
            "data[data-path]",
            "all => all.map((one) => [one.dataset.path, one.dataset.form, one.value, one.textContent])",
        )
    assert len(placed) > 50
    for path, form, exact, shown in placed:
        value: Any = stats
        for part in path.split("."):
            value = value[int(part)] if isinstance(value, list) else value[part]
        assert float(exact) == value
        assert shown == FORMATS[form](value)


def test_states_without_data_are_pages_as_good_as_any(browser: Browser) -> None:
    api = filled_api()
    empty = {"tasks": [{"task": "support", "models": [], "comparisons": [], "insights": []}], "dropped": {}}
    api.answers |= {
        "/stats": {**dashboard.filled_stats(), **empty},
        "/latency": {"tasks": []},
        "/pairs": {"pairs": [], "next_cursor": None},
        "/runs": {"runs": [], "next_cursor": None},
        "/labels/next": {"pairs": [], "seed": "blind-1"},
        "/readyz": ErrorAnswer(status=503, kind="not_ready", message="the store is being opened"),
        "/runs/r1": ErrorAnswer(status=503, kind="store", message="the disk is full: /data/shadow.db"),
    }
    for path in ("/trends", "/alerts"):
        del api.answers[path]
    chosen = chosen_settings()
    expected = {
        "": "shadow-gateway demo",
        "pairs": "shadow-gateway check",
        "review": "shadow-gateway label",
        "latency": "shadow-gateway doctor",
        "cost": "shadow.candidates",
        "runs": "shadow-gateway bench",
        "health": "shadow-gateway doctor",
        "report": "shadow-gateway doctor",
        "runs/r1": "shadow-gateway doctor",
        "nowhere": "overview",
    }
    with served(dashboard_app(api, lambda: chosen)) as url, visiting(browser, f"{url}/ui/", width=360) as visit:
        for path, next_step in expected.items():
            visit.page.goto(f"{url}/ui/{path}")
            assert next_step in visit.page.locator("main").inner_text(), path
            assert_accessible(visit)
            assert visit.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, path
            assert visit.page.evaluate("window.violations") == []
            keep_shot(visit, f"empty-{path.replace('/', '-') or 'overview'}-light-360")


def test_files_open_offline_and_ask_for_nothing(browser: Browser, tmp_path: Path) -> None:
    stats, written = dashboard.filled_stats(), NOW
    report = report_html(
        stats, version="1", written=written, latency=dashboard.latency(), trend=dashboard.trends(), demo=True
    )
    for name, html in (
        ("report", report),
        ("run", run_html(dashboard.run_summary("r1"), version="1", written=written)),
    ):
        file = tmp_path / f"{name}.html"
        file.write_text(html)
        with visiting(browser, file.as_uri(), width=360, offline=True) as visit:
            assert visit.requests == [file.as_uri()]
            assert visit.errors == []
            assert visit.page.evaluate("window.violations") == []
            assert_accessible(visit)
            visit.assert_fits()
            assert visit.page.locator("svg.chart").count() == (5 if name == "report" else 2)
            assert visit.page.locator("svg.chart").first.bounding_box()["width"] > 200  # the style sheet is in the file
            keep_shot(visit, f"file-{name}-light-360")


def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser: Browser, site: str) -> None:
    with visiting(browser, site) as visit:
        visit.page.keyboard.press("Tab")
        assert visit.page.evaluate("document.activeElement.className") == "skip"
        assert visit.page.locator(".skip").bounding_box()["x"] >= 0  # it comes into sight
        visit.page.keyboard.press("Enter")
        assert visit.page.url.endswith("#main")
    with visiting(browser, site) as visit:
        seen: list[str] = []
        for _ in range(200):
            visit.page.keyboard.press("Tab")
            at = visit.page.evaluate(_FOCUSED)
            if at is None:
                break
            assert at["outlined"], at
            seen.append(at["what"])
        wanted = visit.page.evaluate(_FOCUSABLE)
        start = seen.index(wanted[0])
        assert seen[start : start + len(wanted)] == wanted  # in the order of the page, none left out
        for kind in ("nav A", "scroll", "SUMMARY", "svg"):
            assert any(kind in each for each in wanted), kind


def test_times_are_shown_in_the_readers_zone(browser: Browser, site: str) -> None:
    with visiting(browser, site + PAGES["pair"]) as visit:
        assert visit.page.locator("main time").first.inner_text() == "20 Nov 2026, 12:59"


def test_filters_work_by_keyboard_alone_and_without_scripts(browser: Browser, site: str) -> None:
    with visiting(browser, site + "pairs", scripts=False) as visit:
        visit.page.get_by_label("Show").select_option("regressed")
        visit.page.get_by_label("Order").focus()
        visit.page.keyboard.press("Tab")
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_url("**show=regressed**")
        assert "sort=worst" in visit.page.url


def test_arrows_lead_from_pair_to_pair(browser: Browser, site: str) -> None:
    with visiting(browser, site + PAGES["pair"]) as visit:
        visit.page.keyboard.press("ArrowRight")
        visit.page.wait_for_url("**/x3**")
        visit.page.keyboard.press("ArrowLeft")
        visit.page.wait_for_url("**/x2**")
        visit.assert_clean()


def test_a_review_is_done_by_keys_alone(browser: Browser) -> None:
    api, chosen = filled_api(), chosen_settings()
    with served(dashboard_app(api, lambda: chosen)) as url, visiting(browser, f"{url}/ui/review") as visit:
        for key, choice in (("1", "A"), ("2", "tie"), ("3", "B")):
            with visit.page.expect_response("**/ui/review?**"):  # the page after the form, fetched anew
                visit.page.keyboard.press(key)
            until_posted(visit, api, choice)
            visit.page.locator("[name=choice][value=undo]").wait_for()
            visit.page.wait_for_timeout(300)
        visit.page.keyboard.press("s")
        visit.page.locator("[name=skip][value='1']").wait_for(state="attached")
        visit.page.wait_for_timeout(300)
        visit.page.keyboard.press("u")
        until_posted(visit, api, None)
        visit.assert_clean()
    with (
        served(dashboard_app(api, lambda: chosen)) as url,
        visiting(browser, f"{url}/ui/review", scripts=False) as visit,
    ):
        visit.page.get_by_role("button", name="B is better").click()
        visit.page.wait_for_url("**saved=1**")
        assert api.posted[-1][1]["choice"] == "B"


def until_posted(visit: Visit, api: FakeApi, choice: str | None) -> None:
    for _ in range(600):
        if api.posted and api.posted[-1][1]["choice"] == choice:
            return
        visit.page.wait_for_timeout(100)
    raise AssertionError(f"{choice} was not posted: {api.posted}")


def test_points_of_a_chart_lead_to_the_pairs_behind_them(browser: Browser, site: str) -> None:
    with visiting(browser, site) as visit:
        visit.page.locator("svg.chart a").first.focus()
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_url("**/ui/pairs?task=support&candidate=**")


def test_whatever_a_model_says_nothing_of_it_runs(browser: Browser) -> None:
    api = filled_api()
    said = "\n".join(text.encode("utf-8", "replace").decode() for text in HOSTILE)
    pair = dashboard.whole_pair(2, error=said)
    pair["content"] |= {"primary_output": said, "candidate_output": said[::-1], "prompt": said}
    api.answers[f"/pairs/x2:{OPEN}"] = pair
    for one in api.answers["/stats"]["tasks"][0]["comparisons"]:
        one["why"] = said
    chosen = chosen_settings()
    api.answers["/labels/next"]["pairs"] = [{**dashboard.to_label(1), **pair["content"]}]
    api.answers["/runs/r1"]["run"] |= {"name": said, "note": said}
    api.answers["/trends"]["drift"][0]["changes"][0]["examples"][0]["now"]["output"] = said
    with served(dashboard_app(api, lambda: chosen)) as url, visiting(browser, f"{url}/ui/", width=360) as visit:
        for name in ("overview", "pair", "review", "runs", "run", "compare"):
            visit.page.goto(f"{url}/ui/{PAGES[name]}")
            visit.assert_clean()
            visit.assert_fits()


def test_signing_in_and_out_in_a_browser(browser: Browser) -> None:
    chosen = chosen_settings(token=TOKEN)
    with served(dashboard_app(filled_api(), lambda: chosen)) as url, visiting(browser, f"{url}/ui/health") as visit:
        assert "/ui/login?next=" in visit.page.url
        assert_accessible(visit)
        visit.page.get_by_label("Token").fill("wrong")
        visit.page.keyboard.press("Enter")
        visit.page.get_by_role("alert").wait_for()
        keep_shot(visit, "login-light-1280")
        visit.errors.clear()  # the browser's own line about the 401
        visit.page.get_by_label("Token").fill(TOKEN)
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_url("**/ui/health")
        assert visit.page.evaluate("document.cookie") == ""
        visit.assert_clean()
        visit.page.get_by_role("button", name="Sign out").click()
        visit.page.wait_for_url("**/ui/login")
        visit.page.goto(f"{url}/ui/")
        assert "/ui/login" in visit.page.url
