"""Which production prompts a weekly run asks: a stratified random sample of whole conversations; pure."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shadow.runs import StoredPrompt


def shares(traffic: Mapping[str, int], total: int) -> dict[str, int]:
    """Divide `total` prompts among tasks: half of them equally, half by traffic, and no task more than it has.

    Equally, because each task gets a figure of its own; by traffic, because most money is spent where most traffic is.
    What a small task cannot use goes to the others.
    """
    left = {task: count for task, count in traffic.items() if count > 0}
    given = dict.fromkeys(left, 0)
    while left and total > sum(given.values()):
        open_total = total - sum(given.values())
        whole = sum(left.values())
        wanted = {task: open_total * (0.5 / len(left) + 0.5 * count / whole) for task, count in left.items()}
        floors = {task: min(int(want), traffic[task] - given[task]) for task, want in wanted.items()}
        if not any(floors.values()):  # less than one prompt each: the largest remainder gets one
            task = max(wanted, key=lambda each: (wanted[each], each))
            floors = {task: 1}
        for task, more in floors.items():
            given[task] += more
        left = {task: count for task, count in left.items() if given[task] < traffic[task]}
    return given


def conversations_of(prompts: Iterable[StoredPrompt], *, seed: str) -> dict[str, list[list[StoredPrompt]]]:
    """Group prompts into conversations by task, in the random order that `seed` gives; turns stay in theirs.

    The order depends on nothing but the seed and the conversation, so that the newest are no likelier than others.
    """
    found: dict[str, dict[str, list[StoredPrompt]]] = defaultdict(lambda: defaultdict(list))
    for prompt in sorted(prompts, key=lambda each: (each.started_at, each.exchange_id)):
        found[prompt.task][prompt.conversation or prompt.exchange_id].append(prompt)
    return {
        task: [turns for _, turns in sorted(of_task.items(), key=lambda each: place(seed, task, each[0]))]
        for task, of_task in found.items()
    }


def place(*parts: str) -> bytes:
    """Give a random place that depends on `parts` only."""
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).digest()
