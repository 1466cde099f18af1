"""What the demo prints below its tables: where to look next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.demo.cast import IDLE_S, MARGIN, MIN_CONVERSATIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Row = Mapping[str, Any]

ABOUT = "DEMO, made-up models and prices. "
VERDICTS = (
    f"Verdicts by the demo's quick rules: margin {MARGIN:g}, {MIN_CONVERSATIONS} conversations, {IDLE_S:g} s of silence"
)


def next_steps(*, base_url: str, admin_url: str, command: str, stays: bool) -> Sequence[str]:
    """Where to look (or where it was, when nothing `stays`), and the one line to change."""
    return (
        f"gateway  {base_url}",
        f"look     {admin_url}/ui/",
        f"stats    {admin_url}/stats",
        f"pairs    {admin_url}/pairs?sort=worst   (/pairs/<id> shows both answers)",
        *(() if stays else ("These have ended; without --once they stay up until Ctrl-C.",)),
        "",
        f"On your own traffic:  EZAI_API_KEY=… SHADOW_CANDIDATES=gpt-4o,gemini-2.5-pro {command} serve",
        'and one line in your app:  base_url="http://127.0.0.1:8080"  (openai SDK: "http://127.0.0.1:8080/v1")',
    )


def one_of_each(tasks: Sequence[Row], *, switch: bool) -> Sequence[Row]:
    """Keep the first comparison of each verdict, whose sentences are told; without `switch` not what to change."""
    seen: set[str | None] = set()
    kept = []
    for task in tasks:
        comparisons = []
        for each in task["comparisons"]:
            if each["verdict"] not in seen:
                comparisons.append(each if switch else {**each, "switch": None})
            seen.add(each["verdict"])
        kept.append({**task, "comparisons": comparisons})
    return kept
