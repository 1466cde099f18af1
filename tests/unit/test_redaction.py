"""Personal data and keys are taken out of copies, live keys out of whatever is stored."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.redaction import BUILT_IN_REDACTIONS, RedactionRuleError, Redactor, Scrubber, clean_query


@dataclass(frozen=True, kw_only=True)
class Rule:
    name: str
    pattern: str | None = None


BUILT_INS = Redactor(Rule(name=name) for name in BUILT_IN_REDACTIONS)
KEY = "sk-ant-" + "a1B2" * 6


def redacted(value: Any, redactor: Redactor = BUILT_INS) -> Any:
    body, changed = redactor.redact_json(json.dumps(value).encode())
    assert changed == (json.loads(body) != value)
    return json.loads(body)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("write to bob.o'neil+x@mail.ex-ample.co.uk, please", "write to [email], please"),
        ("maría@correo.es", "[email]"),
        ("call +49 (30) 1234-5678 or (030) 123 45 67", "call [phone] or [phone]"),
        ("555-123-4567, 555.123.4567, 089/1234567", "[phone], [phone], [phone]"),
        ("+4915112345678", "[phone]"),
        ("4111 1111 1111 1111 and 5500000000000004", "[card] and [card]"),
        ("4111-1111-1111-1111 123", "[card] 123"),
        ("3782 822463 10005", "[card]"),
        ("a@b.co4111111111111111", "[email][card]"),
        ("+12345678" + "AIza" + "b" * 35 + "AIza" + "c" * 35 + "4111111111111111", "[phone][key][key][card]"),
        ("2223003122003222", "[card]"),
        (f"my key {KEY}!", "my key [key]!"),
        ("AKIAIOSFODNN7EXAMPLE", "[key]"),
        ("ghp_0123456789abcdefghij0123456789abcdef", "[key]"),
        ("xoxb-1234567890-abcdef", "[key]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmN", "[key]"),
        ("Authorization: Bearer 0123456789abcdef0123", "Authorization: [key]"),
        ('api_key = "abcdef123456789"', 'api_key = "[key]"'),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "[key]"),
    ],
)
def test_the_built_ins_find_what_they_are_named_after(text: str, kept: str) -> None:
    assert BUILT_INS.redact_text(text) == (kept, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "user@host without a domain",
        "2023-01-15 12:30:00 and 2024-05-06 2024-05-07 10:00",
        "192.168.100.200 1700000000 1700000000000",
        "4111111111111112",
        "4111 1111 1111 1112 123",
        "1234567890123456",
        "0000000000000000",
        "4444444444444444",
        "+1 2 3",
        "token = tokenizer.next_token(document)",
        "sk-short",
        "ratio 3.14159265358979",
    ],
)
def test_the_built_ins_leave_ordinary_text_alone(text: str) -> None:
    assert BUILT_INS.redact_text(text) == (text, False)


def test_a_number_with_too_many_digits_is_no_telephone_number() -> None:
    text = "+1234567 8901234567"

    assert BUILT_INS.redact_text(text) == (text, False)


def test_a_rule_of_ones_own_is_named_in_the_text() -> None:
    redactor = Redactor([Rule(name="order", pattern=r"ORD-\d+"), Rule(name="edge", pattern=r"x|\b")])

    assert redactor.redact_text("about ORD-17 x") == ("about [order] [edge]", True)


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (Rule(name="bad", pattern="("), "redaction 'bad' is not valid RE2 syntax"),
        (Rule(name="bad", pattern="(?=a)"), "no look-arounds: invalid perl operator"),
        (Rule(name="bad", pattern="a*"), "redaction 'bad' matches the empty text"),
        (Rule(name="zip"), "'zip' is no built-in redaction"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_with_a_sentence(rule: Rule, sentence: str) -> None:
    with pytest.raises(RedactionRuleError) as refused:
        Redactor([rule])

    assert sentence in str(refused.value)


def test_a_built_in_name_with_a_pattern_is_ones_own_rule() -> None:
    assert (
        Redactor([Rule(name="card", pattern="ace")]).redact_text("ace 4111111111111111")[0] == "[card] 4111111111111111"
    )


def test_a_json_body_keeps_its_structure() -> None:
    mail, card = "a@b.com", 4111111111111111
    request = {
        "model": mail,
        "max_tokens": card,
        "system": [{"type": "text", "text": f"serve {mail}", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": mail, "description": mail, "input_schema": {"properties": {mail: {"type": "string"}}}}],
        "metadata": {"user_id": mail, "name": mail},
        "messages": [
            {"role": "user", "name": mail, "content": f"I am {mail}"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": mail, "name": "f", "input": {"id": mail, "n": card}}],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": mail, "content": mail}, True, None, 1.5],
            },
        ],
    }

    assert redacted(request) == {
        "model": mail,
        "max_tokens": card,
        "system": [{"type": "text", "text": "serve [email]", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": mail, "description": "[email]", "input_schema": {"properties": {mail: {"type": "string"}}}}],
        "metadata": {"user_id": "[email]", "name": "[email]"},
        "messages": [
            {"role": "user", "name": mail, "content": "I am [email]"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": mail, "name": "f", "input": {"id": "[email]", "n": "[card]"}}],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": mail, "content": "[email]"}, True, None, 1.5],
            },
        ],
    }


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (
            '{"mail": "a@b.com", "n": 4111111111111111, "x": 7, "y": true}',
            '{"mail":"[email]","n":"[card]","x":7,"y":true}',
        ),
        ('{"mail": "none"}', '{"mail": "none"}'),
        ('{"mail": "a@b.com', '{"mail": "[email]'),
        ("a@b.com", "[email]"),
    ],
)
def test_arguments_that_are_json_within_json_stay_json(arguments: str, kept: str) -> None:
    assert redacted({"function": {"name": "f", "arguments": arguments}})["function"]["arguments"] == kept


def test_a_list_of_tool_calls_is_redacted_too() -> None:
    calls = [{"name": "f", "arguments": {"name": "a@b.com"}}]

    assert redacted(calls) == [{"name": "f", "arguments": {"name": "[email]"}}]


def test_half_of_a_cut_emoji_does_not_keep_a_body_from_being_read_as_json() -> None:
    body = b'{"id": "a@b.com", "n": 4111111111111111, "\\ud83d": ["\\ud83d hi", true], "e": "bob\\u0040mail.com"}'

    kept = b'{"id":"a@b.com","n":4111111111111111,"?":["? hi",true],"e":"[email]"}'
    assert BUILT_INS.redact_json(body) == (kept, True)
    assert BUILT_INS.redact_json(b'"\\ud83d"') == (b'"\\ud83d"', False)


def test_encoded_media_is_left_alone() -> None:
    chance = "555-123-4567"
    media = [
        {"type": "image", "source": {"type": "base64", "data": chance}},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": chance}},
        {"type": "redacted_thinking", "data": chance},
        {"image_url": {"url": f"data:image/png;base64,{chance}"}},
        {"type": "thinking", "thinking": "hm", "signature": chance},
    ]
    text = {"type": "document", "source": {"type": "text", "data": chance}}

    assert redacted(media) == media
    assert redacted(text) == {"type": "document", "source": {"type": "text", "data": "[phone]"}}


def test_a_body_in_which_nothing_is_found_comes_back_byte_for_byte() -> None:
    body = b'{ "a" : 1.0, "b": "gr\\u00fc\\u00dfe" , "c": 12345678901234567890123 }'

    assert BUILT_INS.redact_json(body) == (body, False)


def test_numbers_keep_their_form_when_something_else_is_redacted() -> None:
    body = b'{"a": 1.0, "b": 1e5, "c": 12345678901234567890123, "d": -0.0, "e": "a@b.com"}'

    assert BUILT_INS.redact_json(body) == (
        b'{"a":1.0,"b":1e5,"c":12345678901234567890123,"d":-0.0,"e":"[email]"}',
        True,
    )


def test_data_behind_json_escapes_is_found() -> None:
    assert BUILT_INS.redact_json(b'{"a": "bob\\u0040mail.com"}') == (b'{"a":"[email]"}', True)


@pytest.mark.parametrize(
    "body",
    [
        b"mail a@b.com",
        b'{"a": NaN, "b": "a@b.com"}',
        b'{"a": "\\ud800 a@b.com"}',
        b"[" * 100_000 + b' "a@b.com"',
        b'"\xff a@b.com"',
    ],
)
def test_what_is_not_json_is_redacted_as_text(body: bytes) -> None:
    kept, changed = BUILT_INS.redact_json(body)

    assert changed
    assert b"[email]" in kept
    assert b"a@b.com" not in kept


def test_text_that_is_not_json_and_holds_nothing_comes_back_as_it_is() -> None:
    assert BUILT_INS.redact_json(b"\xff not json") == (b"\xff not json", False)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists, max_leaves=9
    )
)
def test_redaction_of_any_json_is_json(value: Any) -> None:
    body = json.dumps({"content": value, "mail": "a@b.com"}).encode()

    kept, changed = BUILT_INS.redact_json(body)

    assert changed
    assert json.loads(kept)["mail"] == "[email]"


@pytest.mark.parametrize(
    "piece", ["1 ", "a@", "a.", "sk-", "+1 ", "eyJ.", "token= ", "((1", "4111 ", "-----BEGIN PRIVATE KEY-----"]
)
def test_time_grows_with_length_alone(piece: str) -> None:
    """No timing is asserted; a pattern that backtracks would not come to an end within the test's own limit."""
    BUILT_INS.redact_text(piece * (1_000_000 // len(piece)))


SECRET = "sk-live/ab+cd=0123456789"


@given(st.binary(max_size=12), st.binary(max_size=12))
def test_a_secret_is_found_in_base64_wherever_it_starts(before: bytes, after: bytes) -> None:
    scrubber = Scrubber([SECRET])
    plain = before + SECRET.encode() + after

    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        scrubbed = scrubber.scrub(encode(plain).decode())
        assert "[secret]" in scrubbed
        assert encode(SECRET.encode()).decode()[6:-6] not in scrubbed


@pytest.mark.parametrize(
    "text",
    [
        f"x {SECRET} y",
        f"https://x/?key={quote(SECRET, safe='')}",
        f"https://x/?key={re.sub('%..', lambda found: found[0].lower(), quote(SECRET, safe=''))}",
        f"path {quote(SECRET)}",
        json.dumps({"key": SECRET}),
        json.dumps({"key": SECRET}).replace("/", "\\/"),
    ],
)
def test_a_secret_is_found_in_every_usual_spelling(text: str) -> None:
    scrubbed = Scrubber([SECRET, "other-secret"]).scrub(text)

    assert "[secret]" in scrubbed
    assert "0123456789" not in scrubbed


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


@pytest.mark.parametrize(
    "text",
    [
        SECRET.encode().hex(),
        "0x" + SECRET.encode().hex().upper(),
        escaped(SECRET),
        SECRET[:3] + escaped(SECRET[3:]),
        escaped(SECRET).upper().replace("\\U", "\\u"),
        json.dumps(escaped(SECRET)),
        escaped(escaped(SECRET[:2])) + SECRET[2:],
        SECRET.replace("/", "\\\\/"),
        "".join(f"%{ord(letter):02X}" for letter in SECRET),
        quote(quote(SECRET[:4].upper().lower(), safe="") + SECRET[4:], safe="").replace("%2F", "%2f"),
    ],
)
def test_a_secret_is_found_in_hex_and_behind_the_escapes_of_json(text: str) -> None:
    assert "[secret]" in Scrubber([SECRET]).scrub(f'{{"a": "{text}"}}')


def test_escapes_that_hide_nothing_stay_as_they_are() -> None:
    text = json.dumps({"a": escaped("abc"), "b": "\u4e2d\u00e9\x07"})
    assert Scrubber([SECRET]).scrub(text) == text


def test_escapes_of_escapes_cost_no_more_than_their_length() -> None:
    hostile = "\\u005c" + "u005c" * 200_000
    assert Scrubber([SECRET]).scrub(hostile) == hostile


def test_a_secret_that_holds_another_one_goes_whole() -> None:
    assert Scrubber(["secret-key", "my-secret-key-longer"]).scrub("my-secret-key-longer") == "[secret]"


def test_a_known_key_leaves_a_copy_whatever_the_rules_are() -> None:
    redactor = Redactor([], secrets=["a-Key/of+ours"])
    body = b'{"messages": [{"role": "user", "content": "use a-Key\\/of+ours, in a URL a-Key%2Fof%2Bours"}]}'
    assert redactor.redact_json(body) == (
        b'{"messages":[{"role":"user","content":"use [secret], in a URL [secret]"}]}',
        True,
    )
    assert redactor.redact_text("a-Key") == ("a-Key", False)


def test_short_secrets_and_none_at_all_change_nothing() -> None:
    assert Scrubber(["short", ""]).scrub("a short text") == "a short text"
    assert Scrubber([]).scrub("a text") == "a text"


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("", ""),
        ("beta=true", "beta=true"),
        ("beta=true&key=abc&x=%20", "beta=true&x=%20"),
        ("api_key=1&api-key=1&apikey=1&apiKey=1&X-API-Key=1&access_token=1&token=1&auth=1", ""),
        ("api%5Fkey=1&a=1", "a=1"),
        ("a=1;key=2&b=3", "b=3"),
        ("monkey=1&tokens=5&author=x", "monkey=1&tokens=5&author=x"),
        ("KEY=1&key", ""),
    ],
)
def test_credentials_leave_the_query(query: str, kept: str) -> None:
    assert clean_query(query) == kept


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing, and 50% off",
        b"\xff\xfe" + SECRET.encode() + b"\xff",
        SECRET.encode(),
        b"x" + SECRET.encode().hex().encode(),
        b'{"a": "' + SECRET.replace("s", "\\\\u0073", 1).encode() + b'"}',
        SECRET.replace("s", "%73", 1).encode(),
        b"an escape that hides nothing: \\u0041 %41 \\/",
    ],
)
def test_a_secret_is_found_in_bytes_exactly_where_it_would_be_scrubbed(body: bytes) -> None:
    scrubber = Scrubber([SECRET, 'a "key" of signs\\/ü'])
    text = body.decode("utf-8", "replace")

    assert scrubber.finds(body) == (scrubber.scrub(text) != text)


def test_without_secrets_nothing_is_found() -> None:
    scrubber = Scrubber([])
    assert not scrubber.finds(SECRET.encode())
    assert not scrubber.finds(b"")
