"""One pair for people: the prompt in its parts, both answers side by side, and what differs between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from shadow.web.dashboard import charts, diffs
from shadow.web.dashboard.texts import Shown, one_line, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROMPT_BYTES, ANSWER_BYTES = 24_000, 14_000
"""How much HTML the prompt, and each answer, may take on the page; marks of differences come on top."""

_PARAMETERS_CHARACTERS = 600
_NOT_PARAMETERS = frozenset({"messages", "input", "system", "instructions", "tools", "model"})

KINDS = {"same": "same", "changed": "differs", "gone": "primary only", "new": "candidate only"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One part of the prompt: who speaks, and what."""

    who: str
    shown: Shown


def pair_view(pair: Mapping[str, Any], *, view: str) -> dict[str, Any]:
    """Everything the page shows of one pair; `view` is words, json or plain. Takes up to a few hundred ms: a thread."""
    content = pair.get("content") or {}
    ours, theirs = content.get("primary_output") or "", content.get("candidate_output") or ""
    outputs = {"primary": shown(ours, limit_bytes=ANSWER_BYTES), "candidate": shown(theirs, limit_bytes=ANSWER_BYTES)}
    json = diffs.json_diff(ours, theirs) if view in {"", "json"} else None
    words = None
    if json is None and view in {"", "words", "json"}:
        words = diffs.word_diff(outputs["primary"].text, outputs["candidate"].text)
    return {
        "pair": pair,
        "no_content": not content,
        "prompt": prompt_view(content.get("prompt") or ""),
        "outputs": outputs,
        "json": json,
        "words": words,
        "told": _told(json, words, view=view, same=ours == theirs),
        "calls": diffs.call_diffs(content.get("primary_tool_calls"), content.get("candidate_tool_calls")),
        "kinds": KINDS,
        "no_scores": _no_scores(pair),
        "timing": charts.timing(pair),
        "figures": _figures(pair),
    }


def _told(json: diffs.JsonDiff | None, words: diffs.WordDiff | None, *, view: str, same: bool) -> str:
    if json is not None:
        return f"{json.differing} of {json.total} places differ" if json.differing else "equal as JSON"
    if words is not None:
        return "both answers are the same" if words.equal and same else "what only one side says is marked"
    return "" if view == "plain" else f"longer than {diffs.MAX_WORDS:,} words and spaces: side by side, without marks"


def prompt_view(text: str) -> dict[str, Any]:
    """The request in its parts: system and earlier turns folded, the last one open."""
    request = diffs.read_json(text)
    if not isinstance(request, dict):
        return {"earlier": (), "earlier_names": "", "last": [Turn(who="request", shown=shown(text))], "parameters": ""}
    parts = [*_parts(request)] or [("request", text)]
    room = PROMPT_BYTES
    turns: list[Turn] = []
    for who, said in reversed(parts):  # the last turn is what was asked: it gets its room first
        turn = Turn(who=who, shown=shown(said, limit_bytes=max(200, min(room, PROMPT_BYTES // 2))))
        room -= len(turn.shown.text)
        turns.append(turn)
        if len(turns) >= 40 or room <= 0:  # noqa: PLR2004  (a page, not an archive)
            break
    left = len(parts) - len(turns)
    if left:
        turns.append(Turn(who=f"{left} more", shown=shown("(see the JSON of this pair)")))
    turns.reverse()
    names = ", ".join(dict.fromkeys(one_line(turn.who, limit=20) for turn in turns[:-1]))
    return {"earlier": turns[:-1], "earlier_names": names, "last": turns[-1:], "parameters": _parameters(request)}


def _parts(request: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """System, tools and turns of any of the three dialects, in order."""
    found = [("system", _said(request[name])) for name in ("system", "instructions") if request.get(name)]
    if request.get("tools"):
        found.append(("tools", _json(request["tools"])))
    turns = request.get("messages") or request.get("input") or ()
    if isinstance(turns, str):
        found.append(("user", turns))
        return found
    for turn in turns if isinstance(turns, list) else ():
        if isinstance(turn, dict):
            found.append((str(turn.get("role") or turn.get("type") or "turn"), _turn(turn)))
        else:
            found.append(("turn", _json(turn)))
    return found


def _turn(turn: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in turn.items() if name not in {"role", "content"} and value}
    said = _said(turn.get("content")) if turn.get("content") is not None else ""
    return "\n".join(text for text in (said, _json(rest) if rest else "") if text)


def _said(content: Any) -> str:
    """Text blocks as text, everything else as JSON."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return _json(content)
    return "\n".join(
        block["text"] if isinstance(block, dict) and isinstance(block.get("text"), str) else _json(block)
        for block in content
    )


def _parameters(request: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in request.items() if name not in _NOT_PARAMETERS}
    return one_line(_json(kept), limit=_PARAMETERS_CHARACTERS) if kept else ""


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode("utf-8", "replace")


def _no_scores(pair: Mapping[str, Any]) -> str:
    if pair.get("outcome") not in {"ok", "refusal", "truncated"}:
        return f"the candidate's answer ended as {pair.get('outcome')}, so there was nothing to score."
    if pair.get("primary_outcome") not in {"ok", "refusal", "truncated"}:
        return f"the primary's answer ended as {pair.get('primary_outcome')}, so there was nothing to compare with."
    return "no evaluator is configured for this task, or none applies; see evaluators in config.yaml."


def _figures(pair: Mapping[str, Any]) -> Sequence[tuple[str, str, Any, Any]]:
    """Rows of the small table: words, format, primary's, candidate's. The primary's tokens come with its exchange."""
    live = pair.get("exchange") or {}
    return (
        ("First token", "ms", pair.get("primary_ttft_ms"), pair.get("ttft_ms")),
        ("Whole answer", "ms", pair.get("primary_latency_ms"), pair.get("latency_ms")),
        ("Input tokens", "count", live.get("input_tokens"), pair.get("input_tokens")),
        ("Read from a cache", "count", live.get("cache_read_tokens"), pair.get("cache_read_tokens")),
        ("Output tokens", "count", live.get("output_tokens"), pair.get("output_tokens")),
        ("Cost, billed", "usd", pair.get("primary_cost_billed_usd"), pair.get("cost_billed_usd")),
        ("Cost without cache", "usd", pair.get("primary_cost_uncached_usd"), pair.get("cost_uncached_usd")),
    )
