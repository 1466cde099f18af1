"""What never leaves or is never kept: personal data in copies, live keys in stored text, credentials in queries."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, quote_plus, unquote_plus

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

BUILT_IN_REDACTIONS = ("email", "phone", "card", "key")
SCRUBBED = "[secret]"
MIN_SECRET_CHARACTERS = 8

_EMAIL = r"[\p{L}\p{N}._%+'\-]*[\p{L}\p{N}_%+\-]@(?:[\p{L}\p{N}\-]+\.)+\p{L}{2,24}"
# With a country code, or in groups: bare runs of digits are ids and times far more often than telephone numbers.
_PHONE = (
    r"\+\(?\d(?:[ .\-/()]{0,3}\d){6,15}"
    r"|\(\d{2,5}\)[ .\-/]?\d(?:[ .\-]?\d){4,10}"
    r"|\b\d{3}[ .\-]\d{3}[ .\-]\d{4}\b"
    r"|\b0\d{2,4}[ /\-]\d{4,9}(?:[ \-]\d{2,5}){0,2}\b"
)
# In one row or in the groups that are printed on cards; then the first digits and the check digit decide.
_CARD = (
    r"\b\d{13,19}\b"
    r"|\b\d{4}[ \-]\d{6}[ \-]\d{4,5}\b"
    r"|\b\d{4}[ \-]\d{4}[ \-]\d{4}[ \-]\d{1,4}(?:[ \-]\d{1,3})?\b"
)
_CARD_ISSUERS = re.compile("3|4|5|6|2(?:2[2-9]|[3-6]|7[01]|720)")
_KEY = (
    r"\b(?:sk|pk|rk)-[A-Za-z0-9_\-]{16,}"
    r"|\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[opsur]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}"
    r"|\bxox[abeoprs]-[A-Za-z0-9\-]{10,}"
    r"|AIza[0-9A-Za-z_\-]{35}"
    r"|\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{4,}"
    r"|(?i:\bbearer\s+)[A-Za-z0-9._~+/\-]{16,}=*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----"
)
# A named key: the name stays, the value goes when it holds a digit (words of a program seldom do).
_NAMED_KEY = (
    r"(?i)\b((?:api|access|secret|private|auth)[_\-]?(?:key|token)|secret|token|password|passwd)"
    r"([\"']?\s{0,3}[:=]\s{0,3}[\"']?)([A-Za-z0-9_./+\-]{12,}=*)"
)

_MIN_PHONE_DIGITS, _MAX_PHONE_DIGITS = 8, 15
_MIN_CARD_DIGITS = 13
_LUHN_BASE = 10
_MAX_EXACT_DIGITS = 19
_MORE_ROUNDS = 2
"""A find may end where another one begins that only now stands alone: `a@b.com4111111111111111`."""


class RedactionRuleError(Exception):
    """A redaction rule that cannot work; the message says which one, why, and what would be right."""


class Rule(Protocol):
    """A thing to take out: a built-in name, or a name with its own pattern in RE2 syntax."""

    @property
    def name(self) -> str:
        """Stands in the text instead of what was taken out, in brackets."""
        ...

    @property
    def pattern(self) -> str | None:
        """None: the built-in of that name."""
        ...


class Redactor:
    """Takes personal data and keys out of texts and JSON bodies, in time that grows only with their length.

    `secrets` are known keys, taken out whatever the rules are.
    """

    def __init__(self, rules: Iterable[Rule], *, secrets: Iterable[str] = ()) -> None:
        """Compile the rules; raises RedactionRuleError. Built-in keys and cards come first, for they contain others."""
        self._scrubber = Scrubber(secrets)
        ordered = sorted(rules, key=_order)
        self._steps = [step for rule in ordered for step in _steps(rule)]
        self._again = [step for rule in ordered if rule.pattern is None for step in _steps(rule)]

    def redact_text(self, text: str) -> tuple[str, bool]:
        """Return the text with every find replaced by its rule's name in brackets, and whether there was one."""
        # RE2 reads UTF-8, in which a lone surrogate (half of a cut emoji) cannot be written.
        readable = text.encode("utf-8", "replace").decode()
        kept = self._scrubber.scrub(readable)
        for pattern, replace in self._steps:
            kept = pattern.sub(replace, kept)
        if kept == readable:
            return text, False
        for pattern, replace in self._again * _MORE_ROUNDS:
            kept = pattern.sub(replace, kept)
        return kept, True

    def redact_json(self, body: bytes) -> tuple[bytes, bool]:
        """Redact the strings of a JSON body. When nothing is found the body comes back as it is, byte for byte.

        Keys, models, roles, types, ids, names of tools and encoded media stay, so that it means the same to an API.
        Within the arguments of a tool call nothing but keys is exempt. All other values keep the form they had.
        What is not JSON is redacted as text.
        """
        try:
            redacted = _JsonRedaction(self.redact_text).run(body.decode("utf-8", "replace"), free=False)
        except (ValueError, RecursionError):
            text, changed = self.redact_text(body.decode("utf-8", "replace"))
            return (text.encode() if changed else body), changed
        return (body, False) if redacted is None else (redacted, True)

    def redact_written(self, text: str) -> str:
        """Return what a person or a model wrote with every find taken out, and every known key, wherever it stands.

        JSON stays JSON, but nothing in it is exempt, names of its objects neither; the rest is redacted as text.
        """
        try:
            found = _JsonRedaction(self.redact_text, names=True).run(text, free=True)
        except (ValueError, RecursionError):
            return self.redact_text(text)[0]
        return text if found is None else found.decode()

    def redact_request(self, text: str) -> str:
        """Return a kept request as `redact_json` gives it, and without any known key, wherever it stands."""
        redacted, changed = self.redact_json(text.encode("utf-8", "replace"))
        return self._scrubber.scrub(redacted.decode() if changed else text)


class _JsonRedaction:
    """One walk through one body."""

    # What these say is structure to an API. In free-form values (the arguments of a tool call) they are content.
    _STRUCTURE = frozenset(
        {
            "call_id",
            "encrypted_content",
            "id",
            "media_type",
            "model",
            "name",
            "role",
            "signature",
            "tool_call_id",
            "tool_use_id",
            "type",
        }
    )

    def __init__(self, redact: Callable[[str], tuple[str, bool]], *, names: bool = False) -> None:
        self._redact = redact
        self._names = names
        self._changed = False

    def run(self, text: str, *, free: bool) -> bytes | None:
        """Return the redacted JSON, None when nothing was found; raises ValueError or RecursionError when unreadable.

        `free`: nothing but keys is exempt.
        """
        tree = json.loads(text, parse_int=_exact_int, parse_float=_exact, parse_constant=_no_constant)
        redacted = self._value(tree, free=free)
        if not self._changed:
            return None
        try:
            return msgspec.json.encode(redacted)
        except UnicodeEncodeError:
            return msgspec.json.encode(_without_half_characters(redacted))

    def _value(self, value: Any, *, free: bool) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {self._name(name): self._member(value, name, free=free) for name in value}
        if isinstance(value, list):
            return [self._value(entry, free=free) for entry in value]
        if free and type(value) is int:
            return self._number(value)
        return value

    def _member(self, holder: Mapping[str, Any], name: str, *, free: bool) -> Any:
        value = holder[name]
        if not free and isinstance(value, str) and (name in self._STRUCTURE or _is_encoded(holder, name)):
            return value
        if name == "arguments" and isinstance(value, str):
            return self._arguments(value)
        begins_free = isinstance(value, dict) and name in {"arguments", "input", "metadata"}
        return self._value(value, free=free or begins_free)

    def _name(self, name: str) -> str:
        return self._text(name) if self._names else name

    def _text(self, text: str) -> str:
        if text.startswith("data:") and ";base64," in text[:100]:
            return text
        redacted, changed = self._redact(text)
        self._changed |= changed
        return redacted

    def _number(self, number: int) -> Any:
        redacted, changed = self._redact(str(number))
        self._changed |= changed
        return redacted if changed else number

    def _arguments(self, text: str) -> str:
        """Redact arguments that are JSON within a string so that they stay JSON; others are redacted as text."""
        try:
            redacted = _JsonRedaction(self._redact).run(text, free=True)
        except (ValueError, RecursionError):
            return self._text(text)
        if redacted is None:
            return text
        self._changed = True
        return redacted.decode()


_ASCII_ESCAPE = re.compile(r"(?:\\{1,4}u00|%)([2-7][0-9A-Fa-f])|\\{1,4}/")
_ESCAPE_SIGNS = ("\\u00", "\\/", "%")
_ESCAPE_IN_BYTES = rb"(?:\\u00|%)[2-7][0-9A-Fa-f]|\\/"
"""RE2 syntax: where this matches nothing, `_ASCII_ESCAPE` matches nothing."""
_ESCAPE_DEPTH = 2
"""JSON and URLs may write any letter as an escape; JSON holds JSON again in the arguments of tool calls."""


class Scrubber:
    """Replaces known secrets in anything stored or logged: as they are, and in base64, hex, URL and JSON spelling.

    Secrets shorter than 8 characters are left alone: they would turn up by chance everywhere.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= MIN_SECRET_CHARACTERS for form in _forms(secret)}
        # Longest first: the form that contains another one must not be broken by it.
        self._forms = sorted(forms, key=lambda form: (-len(form), form))
        self._suspect: Any = None

    def scrub(self, text: str) -> str:
        """Return the text with every known secret replaced by `[secret]`."""
        scrubbed = plain = self._replace(text)
        for _ in range(_ESCAPE_DEPTH):
            if not any(sign in plain for sign in _ESCAPE_SIGNS):
                break
            # Where escapes hide a secret, what they stand for is written out.
            plain = _ASCII_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)) if escape[1] else "/", plain)
            if (found := self._replace(plain)) != plain:
                return found
        return scrubbed

    def finds(self, body: bytes) -> bool:
        """Say whether a known secret stands in a body, in any spelling that `scrub` knows."""
        if self._suspect is None:
            self._suspect = self._compiled_suspect()
        if not self._suspect.Match(body):
            return False
        text = body.decode("utf-8", "replace")
        return self.scrub(text) != text

    def _compiled_suspect(self) -> Any:
        """One automaton for all forms, and for escapes that might hide one: a single pass over the body."""
        import re2  # noqa: PLC0415  (the live process scrubs but looks through no bodies, and need not load it)

        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1  # bytes are looked for as they are, whatever they mean
        forms = [re2.escape(form.encode()) for form in self._forms]
        suspect = re2.Set.SearchSet(options)  # asks whether, not where, which is quicker
        suspect.Add(b"|".join([_ESCAPE_IN_BYTES, *forms]))
        suspect.Compile()
        return suspect

    def _replace(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, SCRUBBED)
        return text


_CREDENTIALS = frozenset(
    {
        "accesskey",
        "accesstoken",
        "apikey",
        "apitoken",
        "auth",
        "authkey",
        "authorization",
        "authtoken",
        "bearer",
        "clientsecret",
        "cookie",
        "credential",
        "credentials",
        "idtoken",
        "jwt",
        "key",
        "passwd",
        "password",
        "pwd",
        "refreshtoken",
        "secret",
        "secretkey",
        "sessiontoken",
        "sig",
        "signature",
        "subscriptionkey",
        "token",
        "xamzcredential",
        "xamzsecuritytoken",
        "xamzsignature",
        "xapikey",
        "xgoogapikey",
        "xgoogsignature",
    }
)


def clean_query(query: str) -> str:
    """Return a query without the parameters that carry credentials; the others stay as they were written."""
    if not query:
        return ""
    return "&".join(part for part in query.split("&") if not _is_credential(part))


def _is_credential(part: str) -> bool:
    # Some servers read `;` as a separator too.
    return any(names_credential(one.partition("=")[0]) for one in unquote_plus(part).split(";"))


def names_credential(name: str) -> bool:
    """Say whether a parameter, a header or an option of this name holds a key, a token or a password."""
    return re.sub(r"[\W_]", "", name).lower() in _CREDENTIALS


def _forms(secret: str) -> Iterable[str]:
    yield secret
    for spelled in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield spelled
        yield re.sub("%[0-9A-F]{2}", lambda escape: escape[0].lower(), spelled)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret)[1:-1].replace("/", "\\/")
    plain = secret.encode("utf-8", "surrogatepass")
    yield plain.hex()
    yield plain.hex().upper()
    for offset in range(3):
        # What stands before and after the secret shares base64 characters with its edges: those are left out.
        first, end = -(-offset * 8 // 6), (offset + len(plain)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(offset) + plain).decode()[first:end]


def _order(rule: Rule) -> int:
    return _FIRST.index(rule.name) if rule.pattern is None and rule.name in _FIRST else len(_FIRST)


def _steps(rule: Rule) -> list[tuple[Any, Callable[[Any], str]]]:
    mark = f"[{rule.name}]"
    if rule.pattern is not None:
        return [(_compiled(rule.name, rule.pattern), lambda found: mark if found[0] else "")]
    if rule.name not in BUILT_IN_REDACTIONS:
        raise RedactionRuleError(
            f"'{rule.name}' is no built-in redaction ({', '.join(BUILT_IN_REDACTIONS)}); give it a pattern of its own"
        )
    return [(_compiled(rule.name, pattern), replace) for pattern, replace in _BUILT_IN[rule.name]]


def _compiled(name: str, pattern: str) -> Any:
    import re2  # noqa: PLC0415  (the live process scrubs but never redacts, and need not load it)

    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
        matches_nothing = compiled.search("") is not None
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace") if error.args and isinstance(error.args[0], bytes) else error
        raise RedactionRuleError(
            f"the pattern of redaction '{name}' is not valid RE2 syntax, which has no look-arounds: {reason}"
        ) from error
    if matches_nothing:
        raise RedactionRuleError(f"the pattern of redaction '{name}' matches the empty text; it must need a character")
    return compiled


def _phone(found: Any) -> str:
    digits = sum(character.isdigit() for character in found[0])
    return "[phone]" if _MIN_PHONE_DIGITS <= digits <= _MAX_PHONE_DIGITS else str(found[0])


def _card(found: Any) -> str:
    """Replace a number that can be a card's; of a longer row of groups, the longest beginning that can."""
    text = str(found[0])
    start = found.start()
    is_phone = found.string[max(start - 1, 0) : start] == "+"
    if is_phone or not _CARD_ISSUERS.match(text):
        return text
    ends = [len(text), *(at for at in range(len(text) - 1, 0, -1) if text[at] in " -")]
    for end in ends:
        digits = [int(character) for character in text[:end] if character.isdigit()]
        if len(digits) >= _MIN_CARD_DIGITS and _passes_luhn(digits):
            return f"[card]{text[end:]}"
    return text


def _passes_luhn(digits: Sequence[int]) -> bool:
    """Say whether the digits pass the check of ISO/IEC 7812-1, annex B; a row of one same digit is no card."""
    doubled = [sum(divmod(digit * 2, _LUHN_BASE)) for digit in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % _LUHN_BASE == 0


def _named_key(found: Any) -> str:
    name, between, value = found[1], found[2], found[3]
    return f"{name}{between}[key]" if any(character.isdigit() for character in value) else str(found[0])


_BUILT_IN: Mapping[str, Sequence[tuple[str, Callable[[Any], str]]]] = {
    "email": ((_EMAIL, lambda _: "[email]"),),
    "phone": ((_PHONE, _phone),),
    "card": ((_CARD, _card),),
    "key": ((_KEY, lambda _: "[key]"), (_NAMED_KEY, _named_key)),
}
_FIRST = ("key", "card")


def _is_encoded(holder: Mapping[str, Any], name: str) -> bool:
    """Say whether a member is media or an opaque block: in it every find would be chance, and would break it."""
    kind = holder.get("type")
    return name == "data" and (kind in {"base64", "redacted_thinking"} or "format" in holder)


def _exact(number: str) -> msgspec.Raw:
    return msgspec.Raw(number.encode())


def _exact_int(number: str) -> int | msgspec.Raw:
    return int(number) if len(number) <= _MAX_EXACT_DIGITS else _exact(number)


def _without_half_characters(value: Any) -> Any:
    """Write `?` for each half of a surrogate pair, as apps leave it that cut an emoji: UTF-8 cannot hold it."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_without_half_characters(name): _without_half_characters(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_without_half_characters(entry) for entry in value]
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
