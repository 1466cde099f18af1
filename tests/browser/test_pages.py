"""Every page in a real browser: policy, network, accessibility, layout, with and without scripts, light and dark."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from shadow.web.dashboard.formats import FORMATS
from tests.browser.chromium import chromium, keep_shot, visiting
from tests.support import dashboard
from tests.support.dashboard import HOSTILE, OPEN, FakeApi, chosen_settings, dashboard_app, filled_api, served

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    chosen = chosen_settings()
    with served(dashboard_app(filled_api(), lambda: chosen)) as url:
        yield f"{url}/ui/"


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
    with served(dashboard_app(api, lambda: chosen)) as url:
        for name in ("overview", "pair"):
            with visiting(browser, f"{url}/ui/{PAGES[name]}", width=360) as visit:
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
