"""The demo's judge in a few lines: what it did, what it cost, and how far it can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Stats = dict[str, Any]


def judge_lines(tasks: Sequence[Stats]) -> Iterator[str]:
    """Tell of each task's judge: its money first, then its trust beside each candidate."""
    for task in tasks:
        judged = [each for each in task["comparisons"] if each["judge"]["model"] is not None]
        if not judged:
            continue
        blocks = [each["judge"] for each in judged]
        model = blocks[0]["model"]
        cost = f"${_sum(blocks, 'cost_usd'):.4f}, ${_sum(blocks, 'control_cost_usd'):.4f} of it for controls"
        yield f"Judge {model}, task {task['task']}: {_sum(blocks, 'calls')} calls for {cost}"
        for each in judged:
            block = each["judge"]
            told = f"{block['judgements']} pairs judged, {block['identical']} identical, {block['failed']} unruled"
            yield f"  {each['candidate']}: {told}; {block['reason']}"


def _sum(blocks: Sequence[Mapping[str, Any]], name: str) -> Any:
    return sum(block[name] for block in blocks)
