"""The first page: per candidate what is proved and what is not, then the charts, then every number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.web import svg
from shadow.web.dashboard import charts
from shadow.web.dashboard.words import VerdictWords, sentence, verdict_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shadow.web.dashboard.nodes import Node


_GLANCED_TASKS, _GLANCED_VERDICTS = 60, 12


def task_view(task: Node, *, link: str | None, curves: Sequence[Mapping[str, Any]], kind: str) -> dict[str, Any]:
    """Everything the page shows of one task. `curves` are its latency curves by model, `kind` which of the two."""
    comparisons = task.nodes("comparisons")
    series = charts.series_of(task.nodes("models"))
    against: dict[Any, Node] = {}
    for one in comparisons:  # with several primaries a candidate's row shows the comparison with most pairs
        known = against.get(one["candidate"])
        if known is None or (one["pairs"] or 0) > (known["pairs"] or 0):
            against[one["candidate"]] = one
    return {
        "node": task,
        "comparisons": [comparison_view(one, task=task, link=link) for one in comparisons],
        "models": [
            {
                "node": row,
                "key": svg.shape_key(series[row["model"]]),
                "against": against.get(row["model"]) if row["role"] == "candidate" else None,
            }
            for row in task.nodes("models")
        ],
        "pareto": charts.cost_and_quality(task, link=link),
        "differences": charts.quality_differences(task, link=link),
        "latency": charts.latency_curves(task, curves, kind=kind, link=link),
        "insights": [insight["text"] for insight in task.nodes("insights")],
    }


def at_a_glance(
    tasks: Sequence[Node], *, shown: int, href: Callable[[Any], str]
) -> Sequence[tuple[Node, str, Sequence[tuple[Node, VerdictWords]], int]]:
    """Every task in a line: its address (on this page for the first `shown`), its verdicts, how many more there are.

    Nothing where there is one task only.
    """
    if len(tasks) < 2:  # noqa: PLR2004  (one is no list)
        return ()
    found = []
    for number, task in enumerate(tasks[:_GLANCED_TASKS], start=1):
        comparisons = task.nodes("comparisons")
        verdicts = [(one, verdict_words(one["verdict"])) for one in comparisons[:_GLANCED_VERDICTS]]
        address = f"#task-{number}" if number <= shown else href(task["task"])
        found.append((task, address, verdicts, len(comparisons) - len(verdicts)))
    return found


def comparison_view(one: Node, *, task: Node, link: str | None) -> dict[str, Any]:
    """One candidate's card: the sentence first."""
    return {
        "node": one,
        "words": verdict_words(one["verdict"]),
        "sentence": sentence(one),
        "warnings": list(_warnings(one)),
        "pairs": charts.pairs_link(link, task["task"], one["candidate"]),
    }


def _warnings(one: Node) -> Sequence[str]:
    found = []
    if one["judge.trusted"] is False:
        told = one["judge.reason"] or "its checks failed"
        found.append(f"The judge is not trusted: {told}. Nothing is promoted on its word; label pairs under Review.")
    if one["add_to_config"]:
        found.append(f"Not shadowed, its price is unknown: add {one['add_to_config']} to config.yaml and reload.")
    return found
