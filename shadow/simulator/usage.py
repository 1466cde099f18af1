"""Tokens and the prompt cache: what an answer's usage says, and why the second call with one prefix is cheaper."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shadow.records import Usage
from shadow.simulator.answer import Answer, count_tokens, output_tokens

if TYPE_CHECKING:
    from shadow.simulator.question import Question
    from shadow.simulator.script import Script

_LIFETIME_S = {"5m": 300.0, "1h": 3600.0}
_STEP_TOKENS = 128
"""OpenAI-shaped caches count in steps of this many tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prefix:
    key: str
    tokens: int
    ttl: str | None


class PromptCache:
    """Remembers prefixes per model until they expire. Times are seconds of one monotonic clock."""

    def __init__(self, *, limit: int = 10_000) -> None:
        self._limit = limit
        self._expiry: OrderedDict[str, float] = OrderedDict()

    def usage(self, question: Question, said: Answer, script: Script, *, now: float) -> Usage:
        """Count the tokens of one exchange and remember its prefixes."""
        prefixes = _prefixes(question)
        total = prefixes[-1].tokens if prefixes else 0
        output = output_tokens(said)
        if question.api != "messages":
            read = self._automatic(prefixes, script, now=now)
            return Usage(input=total - read, cache_read=read, output=output)
        marked = [each for each in prefixes if each.ttl and each.tokens >= script.min_cached_tokens]
        read = max((each.tokens for each in marked if self._known(each.key, now=now)), default=0)
        written = {"5m": 0, "1h": 0}
        reached = read
        for each in marked:
            ttl = each.ttl or "5m"
            written[ttl] += max(0, each.tokens - reached)
            reached = max(reached, each.tokens)
            self._remember(each.key, until=now + _LIFETIME_S[ttl])
        return Usage(
            input=total - reached,
            cache_read=read,
            cache_write_5m=written["5m"],
            cache_write_1h=written["1h"],
            output=output,
        )

    def _automatic(self, prefixes: list[_Prefix], script: Script, *, now: float) -> int:
        """Read tokens of the longest known prefix, in whole steps, when it is long enough; remember all of them."""
        known = max((each.tokens for each in prefixes if self._known(each.key, now=now)), default=0)
        for each in prefixes:
            self._remember(each.key, until=now + _LIFETIME_S["5m"])
        return known // _STEP_TOKENS * _STEP_TOKENS if known >= script.automatic_cache_tokens else 0

    def _known(self, key: str, *, now: float) -> bool:
        return self._expiry.get(key, 0.0) > now

    def _remember(self, key: str, *, until: float) -> None:
        self._expiry[key] = max(until, self._expiry.get(key, 0.0))
        self._expiry.move_to_end(key)
        while len(self._expiry) > self._limit:
            self._expiry.popitem(last=False)


def input_tokens(question: Question) -> int:
    """All tokens of a prompt, as count_tokens tells them."""
    prefixes = _prefixes(question)
    return prefixes[-1].tokens if prefixes else 0


def _prefixes(question: Question) -> list[_Prefix]:
    """Hash and size of the prompt up to the end of each block."""
    digest = hashlib.blake2b(f"{question.api}\x1f{question.model}".encode(), digest_size=16)
    found, tokens = [], 0
    for block in question.blocks:
        digest.update(b"\x1e" + block.text.encode())
        tokens += count_tokens(block.text)
        found.append(_Prefix(key=digest.hexdigest(), tokens=tokens, ttl=block.cache_ttl))
    return found
