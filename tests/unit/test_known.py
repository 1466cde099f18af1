"""Heads that are known give exactly what reading them gives, and nothing else is ever taken for one of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import heads
from gateway.known import Known, KnownHeads
from gateway.policy import Passage, Policy
from gateway.settings import LiveSettings, Upstream
from shadow.dialects import dialect_of

FIELDS = ("Host: app", "x-api-key: k", "Content-Type: application/json", "Connection: x-gone", "X-Gone: 1")


def policy(**changes: Any) -> Policy:
    settings = LiveSettings(deployment_id="me", upstream=Upstream(base_url="https://ezai/pre", api_key="sk"), **changes)
    return Policy(settings, dialect_of=dialect_of)


def block(*fields: str, line: str = "POST /v1/messages?x=1 HTTP/1.1") -> bytes:
    return "\r\n".join([line, *fields, ""]).encode()


def learn(data: bytes, rules: Policy | None = None) -> KnownHeads:
    rules = rules or policy()
    known = KnownHeads(rules)
    head = heads.read_request(data)
    decision = rules.decide(head)
    assert isinstance(decision, Passage)
    known.keep(data, head, decision)
    return known


def read(data: bytes) -> Known:
    """The long way."""
    rules = policy()
    head = heads.read_request(data)
    decision = rules.decide(head)
    assert isinstance(decision, Passage)
    destination = decision.destination
    wire = heads.request_head(
        head,
        target=decision.target,
        authority=destination.authority,
        drop=rules.drop,
        credentials=destination.credentials,
        deployment_id=rules.deployment_id,
    )
    return Known(head, decision, wire)


def find(known: KnownHeads, data: bytes) -> Known | None:
    return known.find(data + b"\r\n{}", len(data))


@pytest.mark.parametrize("digits", ["0", "7", "12", "007", "999999999999999999"])
@pytest.mark.parametrize("name", ["content-length", "Content-Length"])
@pytest.mark.parametrize("at", range(len(FIELDS) + 1))
def test_a_known_head_with_another_length_gives_what_reading_it_gives(digits: str, name: str, at: int) -> None:
    first = block(*FIELDS[:at], f"{name}: 12", *FIELDS[at:])
    again = block(*FIELDS[:at], f"{name}: {digits}", *FIELDS[at:])
    assert find(learn(first), again) == read(again)


def test_a_head_without_a_length_is_known_too() -> None:
    data = block(*FIELDS, line="GET /v1/models HTTP/1.1")
    assert find(learn(data), data) == read(data)
    chunked = block(*FIELDS, "Transfer-Encoding: chunked")
    assert find(learn(chunked), chunked) == read(chunked)


@pytest.mark.parametrize(
    "other",
    [
        block(*FIELDS, "content-length: 1\x00"),
        block(*FIELDS, "content-length: \x00"),
        block(*FIELDS, "content-length: "),
        block(*FIELDS, "content-length: +5"),
        block(*FIELDS, "content-length: 5, 5"),
        block(*FIELDS, "content-length: 1111111111111111111"),
        block(*FIELDS, "content-length: 5", "content-length: 5"),
        block(*FIELDS, "content-length: 5", "content-length: 6"),
        block(*FIELDS, "content-length: 5", "transfer-encoding: chunked"),
        block(*FIELDS, "content-length : 5"),
        block(*FIELDS, " content-length: 5"),
        block(*FIELDS[1:], "content-length: 5"),
        block("Host: other", *FIELDS[1:], "content-length: 5"),
        block(*FIELDS, "content-length: 5", line="POST /v1/messages?x=2 HTTP/1.1"),
        block(*FIELDS, "content-length: 5", line="POST /v1/messages?x=1 HTTP/1.0"),
        block(*FIELDS, "content-length: 5")[:-2] + b"\n",
        block(*FIELDS),
    ],
)
def test_nothing_else_is_taken_for_a_known_head(other: bytes) -> None:
    assert find(learn(block(*FIELDS, "content-length: 12")), other) is None


def test_a_second_length_is_never_taken_for_the_first_one() -> None:
    known = learn(block("content-length: 12", *FIELDS))
    assert find(known, block("content-length: 12", *FIELDS, "content-length: 5")) is None
    assert find(known, block("content-length: 5", "content-length: 12", *FIELDS)) is None


@given(st.binary(max_size=40), st.integers(min_value=0, max_value=200), st.integers(min_value=0, max_value=40))
def test_a_changed_head_is_unknown_or_gives_what_reading_it_gives(junk: bytes, at: int, cut: int) -> None:
    data = block(*FIELDS, "content-length: 12")
    changed = data[:at] + junk + data[at + cut :]
    found = find(learn(data), changed)
    if found is not None:
        assert found == read(changed)


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({"primary_model": "gpt-x"}, block(*FIELDS, "content-length: 12")),
        ({}, block(*FIELDS, "expect: 100-continue", "content-length: 12")),
        ({}, block("Host: a", "Connection: Upgrade", "Upgrade: websocket", line="GET /ws HTTP/1.1")),
        ({}, block(*FIELDS, "x-long: " + "a" * 5000, "content-length: 12")),
        ({}, block(*FIELDS, "content-length:12")),
    ],
)
def test_what_depends_on_more_than_the_head_is_not_kept(changes: dict[str, Any], data: bytes) -> None:
    assert find(learn(data, policy(**changes)), data) is None


def test_a_length_of_zero_leaves_an_upgrade_what_it_is() -> None:
    asked = ("Host: a", "Connection: Upgrade", "Upgrade: websocket")
    known = learn(block(*asked, "content-length: 5", line="GET /ws HTTP/1.1"))
    other = block(*asked, "content-length: 0", line="GET /ws HTTP/1.1")
    assert read(other).head.websocket
    assert find(known, other) is None


def test_a_model_to_be_spliced_does_not_hinder_other_paths() -> None:
    data = block(*FIELDS, line="GET /v1/models HTTP/1.1")
    assert find(learn(data, policy(primary_model="gpt-x")), data) is not None


def test_the_number_of_known_heads_is_bounded() -> None:
    first = block(*FIELDS, "content-length: 12")
    known = learn(first)
    rules = policy()
    for number in range(600):
        data = block(*FIELDS, f"x-number: {number}", "content-length: 12")
        head = heads.read_request(data)
        decision = rules.decide(head)
        assert isinstance(decision, Passage)
        known.keep(data, head, decision)
    assert find(known, first) is None
    assert find(known, block(*FIELDS, "x-number: 599", "content-length: 12")) is not None
    assert len(known) <= 512
