"""A real Chromium for tests, offline, and what it has to say about a page."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from playwright.sync_api import Page, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

EXECUTABLE = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHOTS = Path(__file__).parent / ".shots"
PATIENCE_MS = 60_000

_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(
  `${event.violatedDirective}: ${event.blockedURI}`));
"""
_CLIPPED = """() => [...document.querySelectorAll("svg.chart")].flatMap((svg) => {
  const box = svg.viewBox.baseVal;
  return [...svg.querySelectorAll("text")].filter((text) => {
    const at = text.getBBox();
    return at.x < -0.5 || at.y < -0.5 || at.x + at.width > box.width + 0.5 || at.y + at.height > box.height + 0.5;
  }).map((text) => text.textContent);
})"""
_MEETING = """() => [...document.querySelectorAll("svg.chart")].flatMap((svg) => {
  const labels = [...svg.querySelectorAll("text.label")].map((text) => [text.textContent, text.getBBox()]);
  return labels.flatMap(([name, a], index) => labels.slice(index + 1).filter(([, b]) =>
    a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
  ).map(([other]) => `${name} on ${other}`));
})"""


@dataclass(slots=True)
class Visit:
    """One page in a browser of its own settings, and what happened there."""

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    transferred: int = 0

    def assert_clean(self) -> None:
        """Nothing was refused by the policy, nothing was fetched from elsewhere, nothing went wrong."""
        assert self.errors == []
        assert [each for each in self.requests if urlsplit(each).hostname not in {"127.0.0.1", None}] == []
        assert self.page.evaluate("window.violations") == []

    def assert_fits(self) -> None:
        """No text of a chart is cut off or lies on another, and the page does not scroll sideways."""
        assert self.page.evaluate(_CLIPPED) == []
        assert self.page.evaluate(_MEETING) == []
        assert self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start it for one test module and end it there: Playwright's loop must not outlive its tests."""
    assert Path(EXECUTABLE).exists(), "Chromium is not here: `sh scripts/browser.sh` installs it or says how"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=ARGUMENTS, timeout=PATIENCE_MS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def visiting(
    browser: Browser, url: str, *, scheme: Any = "light", width: int = 1280, scripts: bool = True, **more: Any
) -> Iterator[Visit]:
    """Open a page in a new, empty profile."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        java_script_enabled=scripts,
        reduced_motion="reduce",
        timezone_id="Europe/Berlin",
        locale="en-GB",
        **more,
    )
    context.set_default_timeout(PATIENCE_MS)
    if scripts:
        context.add_init_script(_WATCH)
    visit = Visit(context.new_page())
    visit.page.on("request", lambda request: visit.requests.append(request.url))
    visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
    visit.page.on("console", lambda line: visit.errors.append(line.text) if line.type in {"error", "warning"} else None)
    visit.page.on("dialog", lambda dialog: visit.errors.append(f"dialog: {dialog.message}"))
    try:
        visit.page.goto(url, wait_until="load")
        yield visit
    finally:
        context.close()


def keep_shot(visit: Visit, name: str) -> None:
    """Keep a picture of the page as it is, in a folder git does not see."""
    SHOTS.mkdir(exist_ok=True)
    visit.page.screenshot(path=str(SHOTS / f"{name}.png"), full_page=True)
