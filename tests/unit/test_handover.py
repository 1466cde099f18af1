"""Frames between a live process and its scribe."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.handover import (
    Frames,
    Kind,
    end_frame,
    lost_frame,
    pack_exchange,
    read_exchange,
    read_lost,
    read_settings,
    settings_frame,
)
from gateway.recording import SLICE_BYTES, Recording, TeeBudget
from gateway.settings import RecordingSettings
from shadow.records import Candidate, Dialect, EvaluatorSpec, Task, TaskMatch

BUDGET = TeeBudget(limit=1 << 20)


def recording(**changes: object) -> Recording:
    fields: dict[str, object] = {
        "id": "01a2",
        "started_at": datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC),
        "method": "POST",
        "path": "/v1/messages",
        "query": "beta=true",
        "dialect": Dialect.ANTHROPIC_MESSAGES,
        "origin": "https://ezaiapi.com:443",
        "budget": BUDGET,
        "max_body_bytes": 1000,
        "t_start": 1.5,
        "t_sent": 1.75,
        "t_first_byte": None,
        "t_end": 2.5,
        "request_headers": [(b"X-App", b"\xff"), (b"x-app", b"")],
        "request": [b'{"model":', b'"m"}'],
        "request_bytes": 13,
        "status": 200,
        "response_headers": [(b"content-type", b"text/event-stream")],
        "response": [b"data: 1\n", b"\n"],
        "response_times": [2.0, 2.25],
        "response_bytes": 9,
        "ending": "complete",
        "taken": 22 + 4 * SLICE_BYTES,
    }
    return Recording(**{**fields, **changes})  # type: ignore[arg-type]


def exchange_frame(recording: Recording) -> bytes:
    packed = bytearray()
    pack_exchange(recording, packed)
    return bytes(packed)


def only_frame(data: bytes) -> tuple[Kind, memoryview]:
    (frame,) = Frames().feed(data)
    return frame


def test_an_exchange_arrives_as_it_was_handed_over() -> None:
    kind, body = only_frame(exchange_frame(recording()))
    budget = TeeBudget(limit=1000)
    came = read_exchange(body, budget=budget)
    assert kind is Kind.EXCHANGE
    assert came == recording(budget=budget)
    assert budget.used == 22 + 4 * SLICE_BYTES


def test_an_exchange_without_copies_stays_without_copies() -> None:
    lost = recording(request=None, response=None, response_times=[], copy_lost="too_large", taken=0, dialect=None)
    budget = TeeBudget(limit=0)
    came = read_exchange(only_frame(exchange_frame(lost))[1], budget=budget)
    assert (came.request, came.response, came.copy_lost, came.dialect) == (None, None, "too_large", None)


def test_a_copy_that_finds_no_room_is_given_up_and_the_record_stays() -> None:
    budget = TeeBudget(limit=21 + 4 * SLICE_BYTES)
    came = read_exchange(only_frame(exchange_frame(recording()))[1], budget=budget)
    assert (came.request, came.response, came.copy_lost, came.status) == (None, None, "tee_full", 200)
    assert budget.used == 0


def test_what_cannot_be_packed_leaves_what_is_packed_already_as_it_is() -> None:
    packed = bytearray(exchange_frame(recording()))
    with pytest.raises(UnicodeEncodeError):
        pack_exchange(recording(path="\ud800"), packed)
    assert packed == exchange_frame(recording())


def test_settings_and_losses_arrive() -> None:
    settings = RecordingSettings(
        store="sqlite:////tmp/x.db",
        candidates=(Candidate(model="m", base_url="http://127.0.0.1:1", dialects=(Dialect.OPENAI_CHAT,)),),
        tasks=(Task(name="t", match=TaskMatch(header={"x-app": "a"}), evaluators=(EvaluatorSpec(type="is-json"),)),),
        secrets=("s" * 9,),
    )
    kind, body = only_frame(settings_frame(settings))
    assert (kind, read_settings(body)) == (Kind.SETTINGS, settings)
    kind, body = only_frame(lost_frame({"buffer_full": 3}))
    assert (kind, read_lost(body)) == (Kind.LOST, {"buffer_full": 3})


def test_a_frame_is_handed_out_with_its_last_byte_and_not_before() -> None:
    wire = lost_frame({"a": 1}) + end_frame()
    frames = Frames()
    found = [(at, kind) for at in range(len(wire)) for kind, _ in frames.feed(wire[at : at + 1])]
    assert found == [(len(lost_frame({"a": 1})) - 1, Kind.LOST), (len(wire) - 1, Kind.END)]


@given(st.lists(st.integers(1, 40), max_size=60))
def test_frames_are_the_same_however_the_bytes_are_sliced(cuts: list[int]) -> None:
    wire = exchange_frame(recording()) + lost_frame({"a": 1}) + end_frame()
    frames = Frames()
    found = []
    at = 0
    for cut in [*cuts, len(wire)]:
        found += frames.feed(wire[at : at + cut])
        at += cut
    found += frames.feed(wire[at:])
    assert [kind for kind, _ in found] == [Kind.EXCHANGE, Kind.LOST, Kind.END]
    assert found == Frames().feed(wire)
