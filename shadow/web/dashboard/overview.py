"""The first page: per candidate what is proved and what is not, then the charts, then every number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.stats.quality import PAIRWISE
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
    rows = [_row(row, comparisons, key=svg.shape_key(series[row["model"]])) for row in task.nodes("models")]
    return {
        "node": task,
        "comparisons": [comparison_view(one, task=task, link=link) for one in comparisons],
        "models": rows,
        "by_conversation": any(row["quality"] == _BY_CONVERSATION for row in rows),
        "by_pair": any(row["node"]["quality.reason"] == PAIRWISE for row in rows),
        "comparison_charts": charts.of_each_primary(task, link=link),
        "latency": charts.latency_curves(task, curves, kind=kind, link=link),
        "insights": [insight["text"] for insight in task.nodes("insights")],
    }


_BY_CONVERSATION = "quality.conversation_avg"


def _row(row: Node, comparisons: Sequence[Node], *, key: str) -> dict[str, Any]:
    """One model's row. A quality is shown as the mean its interval is of, where it has one."""
    against, not_one = _against(row, comparisons) if row["role"] == "candidate" else (None, None)
    by_pair = row["quality.reason"] == PAIRWISE
    return {
        "node": row,
        "key": key,
        "quality": _BY_CONVERSATION if row[_BY_CONVERSATION] is not None else "quality.avg",
        "against": against,
        "not_one": not_one,
        "scored": (row, "quality.n") if not by_pair else None if against is None else (against, "scored"),
    }


def _against(row: Node, comparisons: Sequence[Node]) -> tuple[Node | None, str | None]:
    """Give the one comparison a candidate's row is about, or why there is none: its figures are of several."""
    own = [one for one in comparisons if one["candidate"] == row["model"]]
    asked = [one for one in own if one["pairs"] or one["left_out"]] or own
    if len(asked) > 1:
        names = ", ".join(charts.named(one["primary"]) for one in asked)
        return None, f"{charts.named(row['model'])} is compared with {len(asked)} primaries ({names}): see each card"
    return (asked[0], None) if asked else (None, "it is compared with no primary in this window")


def at_a_glance(
    tasks: Sequence[Node], *, shown: int, href: Callable[[Any], str]
) -> Sequence[tuple[Node, str, Sequence[tuple[str, VerdictWords]], int]]:
    """Every task in a line: its address (on this page for the first `shown`), its verdicts, how many more there are.

    Nothing where there is one task only.
    """
    if len(tasks) < 2:  # noqa: PLR2004  (one is no list)
        return ()
    found = []
    for number, task in enumerate(tasks[:_GLANCED_TASKS], start=1):
        comparisons = task.nodes("comparisons")
        several = charts.several_primaries(comparisons)
        verdicts = [
            (charts.compared(one, several=several), verdict_words(one["verdict"], ended=bool(one["ended"])))
            for one in comparisons[:_GLANCED_VERDICTS]
        ]
        address = f"#task-{number}" if number <= shown else href(task["task"])
        found.append((task, address, verdicts, len(comparisons) - len(verdicts)))
    return found


def comparison_view(one: Node, *, task: Node, link: str | None) -> dict[str, Any]:
    """One candidate's card: the sentence first."""
    return {
        "node": one,
        "words": verdict_words(one["verdict"], ended=bool(one["ended"])),
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
