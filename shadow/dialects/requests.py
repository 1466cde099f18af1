"""Requests of all dialects: read as far as sampling needs it, and copied with all other values as they were written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence  # noqa: TC003  (msgspec reads annotations at run time)
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from shadow.dialects.untrusted import UnreadableError, as_name, as_object, as_objects, as_text, decode_any

RequestHead = TypeVar("RequestHead", bound=msgspec.Struct)

_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_LIST = msgspec.json.Decoder(list[Raw])
_ESCAPED_ASCII = re.compile(rb"\\u00[2-7]")

TRUE, FALSE, NULL = Raw(b"true"), Raw(b"false"), Raw(b"null")


class Turn(msgspec.Struct):
    """One entry of the history; its content stays undecoded until someone needs it."""

    role: Any = None
    type: Any = None
    content: Raw = NULL  # msgspec reads `Raw | None` as null alone


class Tool(msgspec.Struct):
    """One offered tool, or anything else of which only the `type` matters."""

    type: Any = None


_TYPED = msgspec.json.Decoder(Tool)


def read_head(decoder: msgspec.json.Decoder[RequestHead], body: bytes) -> tuple[RequestHead, bool]:
    """Decode the known parts of a request; the flag is False when one had the wrong shape and was left at its default.

    Raises UnreadableError when the body is no JSON object.
    """
    try:
        return decoder.decode(body), True
    except msgspec.ValidationError:
        pass  # the slow way below tells which part it was
    except (ValueError, RecursionError) as broken:
        raise UnreadableError(f"not readable as JSON: {broken}") from broken
    parts = raw_fields(body)
    kept: dict[str, Any] = {}
    well_formed = True
    for field in msgspec.structs.fields(decoder.type):
        raw = parts.get(field.encode_name)
        try:
            kept |= {} if raw is None else {field.name: msgspec.json.decode(raw, type=field.type)}
        except (ValueError, RecursionError):
            well_formed = False
    return decoder.type(**kept), well_formed


def raw_fields(body: bytes | Raw) -> dict[str, Raw]:
    """Split a JSON object into its members, each as the bytes it was written in; raises UnreadableError."""
    try:
        return _OBJECT.decode(body)
    except (ValueError, RecursionError) as broken:
        raise UnreadableError(f"not readable as a JSON object: {broken}") from broken


def raw_list(value: Raw | None) -> list[Raw] | None:
    """Split a JSON list into its entries, each as the bytes it was written in; None when it is no list."""
    if value is None:
        return None
    try:
        return _LIST.decode(value)
    except (ValueError, RecursionError):
        return None


def type_of(value: Raw) -> str:
    """Return the `type` of a JSON object, '' when it has none."""
    try:
        return as_text(_TYPED.decode(value).type)
    except (ValueError, RecursionError):
        return ""


def encoded(value: Any) -> Raw:
    """Encode a value so that it can stand beside untouched ones."""
    return Raw(msgspec.json.encode(value))


def may_mention(body: bytes, word: bytes) -> bool:
    """Say whether JSON text can hold a key or string with this ASCII word; True too when an escape might hide it."""
    return word in body or (b"\\u00" in body and _ESCAPED_ASCII.search(body) is not None)


def switched_on(value: Any) -> bool:
    """Say whether a yes-or-no parameter may be read as yes: servers differ in what they take for true."""
    return value is not None and value is not False


def start_copy(body: bytes, *, model: str, drop_params: Sequence[str]) -> tuple[dict[str, Raw], bool]:
    """Begin a candidate's copy: its members with the model replaced, and whether that is another model than was asked.

    Left out are `drop_params` and the end user's name in `metadata.user_id`.
    """
    copy = raw_fields(body)
    asked = copy.get("model")
    foreign = asked is None or _decoded(asked) != model
    for name in drop_params:
        if name != "model":
            copy.pop(name, None)
    copy["model"] = encoded(model)
    _leave_out_user(copy)
    return copy, foreign


def map_entries(copy: dict[str, Raw], name: str, change: Callable[[Raw], Raw | None]) -> None:
    """Change the entries of one list of the copy (None leaves an entry out); untouched when nothing changes."""
    entries = raw_list(copy.get(name))
    if entries is None:
        return
    changed = [change(entry) for entry in entries]
    if any(new is not old for new, old in zip(changed, entries, strict=True)):
        copy[name] = encoded([entry for entry in changed if entry is not None])


def without_blocks(turn: Raw, types: frozenset[str]) -> Raw | None:
    """Leave the content blocks of these types out of one turn: None when no other is left, itself without them."""
    try:
        members = raw_fields(turn)
    except UnreadableError:
        return turn
    blocks = raw_list(members.get("content"))
    if not blocks:
        return turn
    kept = [block for block in blocks if type_of(block) not in types]
    if len(kept) == len(blocks):
        return turn
    if not kept:
        return None
    return encoded({**members, "content": encoded(kept)})


def content_text(content: Any) -> str:
    """Return the text of a message's content: a string, or the text blocks of a list, joined."""
    if isinstance(content, str):
        return content
    return "".join(as_text(block.get("text")) for block in as_objects(content))


def identity_text(content: Any) -> str:
    """Return what tells one first message from another: its text, and other blocks as JSON without cache marks.

    Cache marks move from turn to turn, so they may not take part.
    """
    if isinstance(content, str):
        return content
    parts = []
    for block in as_objects(content):
        text = block.get("text")
        if isinstance(text, str):
            parts.append(text)
        else:
            marked = {key: value for key, value in block.items() if key != "cache_control"}
            parts.append(msgspec.json.encode(marked, order="sorted").decode())
    return "".join(parts)


def prompt_identity(system: str, first_user: str) -> str | None:
    """Return the conversation identity of a prompt without a session; None without a first message of the user."""
    return f"prompt:{system}\x00{first_user}" if first_user else None


def decoded_content(turn: Turn) -> Any:
    """Decode the content of a turn; None when it has none or it cannot be read."""
    try:
        return decode_any(turn.content)
    except UnreadableError:
        return None


def mentions_file(roots: Iterable[Any]) -> bool:
    """Say whether content refers to a file kept by the provider. What a tool was called with does not count."""
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            if as_name(node.get("file_id")) is not None or node.get("type") == "container_upload":
                return True
            waiting.extend(value for key, value in node.items() if key not in {"input", "arguments"})
    return False


def session_of(metadata: Any) -> str | None:
    """Return the session named in `metadata.user_id`: a JSON text with `session_id`, or `user_…_session_<id>`."""
    if metadata is None:
        return None
    user_id = as_text((as_object(metadata) or {}).get("user_id"))
    if user_id.startswith("{"):
        try:
            named = as_object(decode_any(user_id.encode("utf-8", "replace")))
        except UnreadableError:
            named = None
        session = as_name(named.get("session_id")) if named else None
    else:
        found = re.search(r"_session_([0-9A-Za-z-]{8,})$", user_id)
        session = found[1] if found else None
    return f"session:{session}" if session else None


def _decoded(value: Raw) -> Any:
    try:
        return decode_any(value)
    except UnreadableError:
        return None


def _leave_out_user(copy: dict[str, Raw]) -> None:
    if "metadata" not in copy:
        return
    try:
        metadata = raw_fields(copy["metadata"])
    except UnreadableError:
        return
    if metadata.pop("user_id", None) is None:
        return
    if metadata:
        copy["metadata"] = encoded(metadata)
    else:
        del copy["metadata"]
