"""Pictures of the dashboard for README and docs, taken of a demo: `.venv/bin/python scripts/screenshots.py`.

Runs `shadow-gateway demo`, waits for its verdicts, and writes overview, pair and review, light and dark, to docs/img.
Needs Chromium (scripts/browser.sh).
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser.chromium import chromium, visiting  # noqa: E402  (found only by the line above)

PICTURES = ROOT / "docs" / "img"
WIDTH = 1280
HEIGHTS = {"overview": 1555, "pair": 1180, "review": 800}


def main() -> None:
    """Make every picture."""
    command = [str(Path(sys.executable).with_name("shadow-gateway")), "demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        try:
            address = _address(demo)
            with chromium() as browser:
                for scheme in ("light", "dark"):
                    for name, path in _pages(browser, address).items():
                        with visiting(browser, f"{address}/ui/{path}", scheme=scheme, width=WIDTH) as visit:
                            visit.assert_clean()
                            file = PICTURES / f"{name}-{scheme}.png"
                            clip = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHTS[name]}
                            visit.page.screenshot(path=str(file), full_page=True, clip=clip)
                            print(f"{file.relative_to(ROOT)}: {file.stat().st_size:,} bytes")
        finally:
            demo.terminate()


def _address(demo: subprocess.Popen[str]) -> str:
    assert demo.stdout is not None
    for line in demo.stdout:
        found = re.match(r"look +(http://\S+?)/ui/", line)
        if found:
            return found[1]
    raise SystemExit("the demo ended without saying where its dashboard is")


def _pages(browser: object, address: str) -> dict[str, str]:
    """Choose the pages; the pair is the worst one of the candidate that loses."""
    with visiting(browser, f"{address}/ui/pairs?candidate=demo-swift&show=regressed") as visit:  # type: ignore[arg-type]
        href = visit.page.locator("tbody th a").first.get_attribute("href") or ""
    return {"overview": "", "pair": href.removeprefix("/ui/"), "review": "review"}


if __name__ == "__main__":
    PICTURES.mkdir(parents=True, exist_ok=True)
    main()
