"""What an ended exchange is read as: outcome, clocks, sampling, jobs and their reasons, and no key anywhere."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from gateway.reading import ExchangeReader, ReadExchange, bare_record, credentials_of, plain_headers
from gateway.recording import Recording, TeeBudget
from shadow.records import NOISE_FLOOR, Candidate, Dialect, Outcome, Task, TaskMatch, Usage
from shadow.retry_after import rest_s
from tests.support.recordings import ANSWER, KEY, QUESTION, STARTED, STREAM, event, recording, settings

if TYPE_CHECKING:
    from gateway.recording import Ending


def read(of: Recording, **changes: Any) -> ReadExchange:
    return ExchangeReader(settings(**changes)).read(of)


def fates(of: Recording, **changes: Any) -> list[tuple[str, str, str | None]]:
    return [(job.candidate, job.state, job.reason) for job in read(of, **changes).jobs]


# --- the record ---


def test_a_whole_answer_becomes_a_record_with_model_usage_and_latency_from_the_first_byte_sent() -> None:
    found = read(recording()).record

    assert (found.id, found.started_at, found.method, found.path) == ("exchange-1", STARTED, "POST", "/v1/messages")
    assert (found.outcome, found.status, found.stop_reason) == (Outcome.OK, 200, "end_turn")
    assert (found.model, found.model_answered) == ("primary", "primary-20261101")
    assert found.usage == Usage(input=12, output=6)
    assert found.latency_ms == pytest.approx(110)
    assert (found.ttft_ms, found.first_text_ms, found.streamed) == (None, None, False)
    assert found.eligible
    assert found.error is None


def test_a_streams_first_output_is_timed_by_the_slice_that_brought_it() -> None:
    found = read(recording(slices=STREAM)).record

    assert found.streamed
    assert found.ttft_ms == pytest.approx(140)
    assert found.first_text_ms == pytest.approx(140)
    assert found.latency_ms == pytest.approx(260)
    assert found.usage == Usage(input=12, output=6)


def test_a_compressed_stream_is_timed_by_the_slice_whose_decoded_part_brought_it() -> None:
    import zlib  # noqa: PLC0415  (only here)

    coder = zlib.compressobj(wbits=31)
    slices = [coder.compress(part) + coder.flush(zlib.Z_SYNC_FLUSH) for part in STREAM]
    slices[-1] += coder.flush()
    of = recording(slices=slices, response_headers={"content-type": "text/event-stream", "content-encoding": "gzip"})

    found = read(of)

    assert found.record.ttft_ms == pytest.approx(140)
    assert found.body is not None
    assert found.body.response == b"".join(STREAM)
    assert found.body.origin == "https://api.example:443"


def test_the_first_text_comes_after_thinking() -> None:
    thinking = event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}) + event(
        "content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "Hm"}
    )
    found = read(recording(slices=[STREAM[0], thinking, *STREAM[1:]])).record

    assert found.ttft_ms == pytest.approx(140)
    assert found.first_text_ms == pytest.approx(190)


def test_the_model_is_the_one_that_went_upstream() -> None:
    assert read(recording(upstream_model="promoted")).record.model == "promoted"


@pytest.mark.parametrize(
    ("ending", "outcome", "eligible"),
    [
        ("client_gone", Outcome.ABORTED, False),
        ("client_stalled", Outcome.ABORTED, False),
        ("drained", Outcome.ABORTED, False),
        ("connect_failed", Outcome.ERROR_CONNECT, True),
        ("first_byte_timeout", Outcome.TIMEOUT, True),
        ("idle_timeout", Outcome.TIMEOUT, True),
        ("upstream_broken", Outcome.ERROR_STREAM, True),
        ("rejected", Outcome.ERROR_HTTP, True),
    ],
)
def test_an_exchange_that_was_cut_short_says_how_and_keeps_the_usage_it_saw(
    ending: Ending, outcome: Outcome, *, eligible: bool
) -> None:
    found = read(recording(slices=STREAM[:2], ending=ending))

    assert found.record.outcome is outcome
    assert found.record.error
    assert found.record.eligible is eligible
    assert found.body is None
    assert [(job.state, job.reason) for job in found.jobs] == ([("skipped", "primary_error")] if eligible else [])
    assert found.record.usage is None or found.record.usage.input == 12


def test_a_connection_that_broke_before_an_answer_began_is_a_failed_connection() -> None:
    lost_race = recording(slices=[], ending="upstream_broken", t_first_byte=None, status=502, gateway_error="connect")

    found = read(lost_race).record

    assert found.outcome is Outcome.ERROR_CONNECT
    assert (found.status, found.gateway_error) == (502, "connect")


def test_an_exchange_that_was_never_sent_is_timed_from_its_arrival() -> None:
    found = read(recording(slices=[], ending="rejected", t_sent=None, t_first_byte=None, status=401)).record

    assert found.latency_ms == pytest.approx(120)


def test_clocks_that_were_never_read_give_no_negative_time() -> None:
    assert read(recording(t_end=None)).record.latency_ms == 0
    assert read(recording(t_end=99.0)).record.latency_ms == 0


def test_an_http_error_is_an_error_with_upstreams_sentence_and_nothing_is_shadowed() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    found = read(recording(slices=[json.dumps(error).encode()], status=529))

    assert found.record.outcome is Outcome.ERROR_HTTP
    assert "Overloaded" in (found.record.error or "")
    assert [(job.state, job.reason) for job in found.jobs] == [("skipped", "primary_error")]


def test_a_path_we_do_not_understand_is_recorded_by_status_and_time_only() -> None:
    of = recording(dialect=None, path="/v1/models", request=b"", slices=[])
    of.free()

    good, bad = read(of), read(replace_recording(of, status=404))

    assert (good.record.outcome, bad.record.outcome) == (Outcome.OK, Outcome.ERROR_HTTP)
    assert not good.record.eligible
    assert (good.jobs, good.body, good.record.conversation, good.record.model) == ((), None, None, None)


def replace_recording(of: Recording, **changes: Any) -> Recording:
    for name, value in changes.items():
        setattr(of, name, value)
    return of


def test_a_record_without_a_reading_leaves_the_path_out() -> None:
    found = bare_record(recording())

    assert (found.path, found.outcome, found.model) == ("", Outcome.OK, None)


def test_an_ending_that_was_never_told_counts_as_aborted() -> None:
    assert read(recording(ending=None)).record.outcome is Outcome.ABORTED


def test_what_the_headers_say_reaches_the_record() -> None:
    headers = {"x-shadow-version": "v7", "x-stainless-retry-count": "2", "x-shadow-conversation": "talk"}
    one, two = read(recording(headers=headers)).record, read(recording(headers=headers, request=b"{}")).record

    assert (one.version, one.client_retry) == ("v7", True)
    assert one.conversation == two.conversation
    assert "talk" not in str(one.conversation)


@pytest.mark.parametrize(
    ("count", "is_retry"),
    [("0", False), ("", False), ("x", False), ("-1", False), ("00", False), ("1", True), ("9" * 5000, True)],
)
def test_a_retry_is_what_the_sdk_counts_above_zero(count: str, *, is_retry: bool) -> None:
    assert read(recording(headers={"x-stainless-retry-count": count})).record.client_retry is is_retry


def test_the_task_is_found_by_header_path_model_and_system_prompt() -> None:
    task = Task(
        name="support",
        match=TaskMatch(header={"x-app": "help"}, path="/v1/messages", model="primary", system_contains="support"),
    )
    asked = QUESTION | {"system": "You are a support agent."}

    hit = read(recording(request=asked, headers={"x-app": "help"}), tasks=(task,))
    miss = read(recording(request=asked), tasks=(task,))

    assert (hit.record.task, miss.record.task) == ("support", "default")
    assert hit.jobs[0].task == "support"


# --- jobs ---


def test_with_a_noise_floor_the_primary_gets_a_job_too_that_counts_for_no_candidate() -> None:
    rivals = (Candidate(model="a", base_url="https://x"), Candidate(model="b", base_url="https://y"))
    jobs = read(recording(), noise_floor=True, candidates=rivals).jobs
    assert [job.candidate for job in jobs] == ["a", "b", NOISE_FLOOR]
    again = jobs[-1]
    assert (again.state, again.counted, again.primary) == ("pending", False, jobs[0].primary)


def test_where_no_candidate_is_asked_neither_is_the_primary() -> None:
    rivals = (Candidate(model="a", base_url="https://x"),)
    failed = read(recording(ending="idle_timeout"), noise_floor=True, candidates=rivals).jobs
    assert [(job.candidate, job.reason) for job in failed] == [("a", "primary_error")]
    assert read(recording(), noise_floor=True, candidates=rivals, sample_rate=0.0).jobs == ()


def test_a_sampled_exchange_gets_a_job_for_each_candidate_and_one_copy() -> None:
    rivals = (Candidate(model="a", base_url="https://x"), Candidate(model="b", base_url="https://y"))
    found = read(recording(), candidates=rivals)

    assert [(job.candidate, job.state, job.counted) for job in found.jobs] == [
        ("a", "pending", True),
        ("b", "pending", True),
    ]
    assert {job.conversation for job in found.jobs} == {found.record.conversation}
    assert found.jobs[0].created_at == STARTED + timedelta(seconds=0.12)
    assert found.body is not None
    assert json.loads(found.body.request) == QUESTION
    assert json.loads(found.body.response) == ANSWER
    assert (found.body.path, found.body.query, found.body.response_status) == ("/v1/messages", "beta=true", 200)


def test_the_same_prompt_has_the_same_keyed_hash_whatever_the_model_and_nothing_unsampled_has_one() -> None:
    rivals = (Candidate(model="a", base_url="https://x"),)

    def prompt(changes: dict[str, Any] | bytes, **given: Any) -> str | None:
        asked = changes if isinstance(changes, bytes) else {**QUESTION, **changes}
        return read(recording(request=asked), candidates=rivals, **given).record.prompt

    plain = prompt({})
    assert plain is not None
    assert len(plain) == 32
    assert plain == prompt({"model": "another", "temperature": 0.3})
    assert plain != prompt({"messages": [{"role": "user", "content": "Something else"}]})
    assert plain != prompt({}, seed="another")
    assert prompt(b"[" * 5000) is None
    assert prompt({}, sample_rate=0.0) is None


def test_the_copy_has_only_headers_a_candidate_needs_and_no_credential() -> None:
    headers = {
        "authorization": f"Bearer {KEY}",
        "cookie": "session=1",
        "x-shadow-conversation": "talk",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "tools",
        "accept": "application/json",
        "idempotency-key": "once",
    }
    found = read(recording(headers=headers, query=f"beta=true&key={KEY}"))

    assert found.body is not None
    assert dict(found.body.request_headers) == {
        "accept": "application/json",
        "anthropic-beta": "tools",
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
    }
    assert found.body.query == "beta=true"


@pytest.mark.parametrize("changes", [{"shadow_enabled": False}, {"sample_rate": 0.0}, {"candidates": ()}])
def test_nothing_is_shadowed_when_it_is_off(changes: dict[str, Any]) -> None:
    found = read(recording(), **changes)

    assert (found.jobs, found.body) == ((), None)
    assert found.record.eligible


def test_a_candidates_own_rate_wins() -> None:
    rivals = (
        Candidate(model="never", base_url="https://x", sample_rate=0.0),
        Candidate(model="always", base_url="https://x", sample_rate=1.0),
        Candidate(model="default", base_url="https://x"),
    )

    assert [name for name, _, _ in fates(recording(), candidates=rivals, sample_rate=0.0)] == ["always"]


def test_a_conversation_is_sampled_as_a_whole_and_by_its_hash() -> None:
    turns = [recording(id=f"x{n}", headers={"x-shadow-conversation": f"talk-{n % 40}"}) for n in range(200)]
    reader = ExchangeReader(settings(sample_rate=0.5))

    found = [reader.read(turn) for turn in turns]

    by_talk: dict[str | None, set[bool]] = {}
    for one in found:
        by_talk.setdefault(one.record.conversation, set()).add(bool(one.jobs))
    assert len(by_talk) == 40
    assert all(len(decisions) == 1 for decisions in by_talk.values())
    assert 8 <= sum(True in decisions for decisions in by_talk.values()) <= 32


def test_the_app_can_opt_out() -> None:
    assert fates(recording(headers={"x-shadow": " OFF "})) == []
    assert fates(recording(headers={"x-shadow": "off, off"})) == []
    assert fates(recording(headers={"x-shadow": "on, off"})) == []


def test_opting_in_needs_leave_and_is_never_counted() -> None:
    of = recording(headers={"x-shadow": "on"})

    refused = read(of, sample_rate=0.0)
    granted = read(of, sample_rate=0.0, allow_opt_in=True)

    assert refused.jobs == ()
    assert [(job.state, job.counted) for job in granted.jobs] == [("pending", False)]


def test_each_reason_not_to_shadow_is_told() -> None:
    stateful = QUESTION | {"container": "c1"}
    chat_only = Candidate(model="chat", base_url="https://x", dialects=(Dialect.OPENAI_CHAT,))
    same = Candidate(model="primary", base_url="https://x")

    assert fates(recording(headers={"x-stainless-retry-count": "1"})) == [("rival", "skipped", "client_retry")]
    assert fates(recording(), candidates=(chat_only, same)) == [
        ("chat", "skipped", "dialect"),
        ("primary", "skipped", "same_model"),
    ]
    [(_, state, reason)] = fates(recording(request=stateful))
    assert state == "skipped"
    assert reason not in {None, "primary_error"}
    assert fates(recording(request=b"not JSON")) == [("rival", "skipped", "unreadable")]


def test_a_request_or_answer_in_an_unknown_coding_cannot_be_shadowed_but_is_recorded() -> None:
    asked = recording(headers={"content-encoding": "rot13"})
    answered = recording(response_headers={"content-encoding": "rot13"})

    assert fates(asked) == fates(answered) == [("rival", "skipped", "unreadable")]
    assert read(asked).record.outcome is read(answered).record.outcome is Outcome.OK
    assert read(answered).record.usage is None


def test_an_answer_that_is_not_in_the_coding_it_names_is_an_error_and_says_why() -> None:
    sentence = "the answer cannot be decoded: the body is not valid gzip"
    for content_type in ("text/event-stream", "application/json"):
        headers = {"content-type": content_type, "content-encoding": "gzip"}
        found = read(recording(response_headers=headers)).record

        assert found.outcome is Outcome.ERROR_STREAM
        assert (found.error or "").startswith(sentence)
        assert found.streamed == (content_type == "text/event-stream")
        assert (found.usage, found.status, found.eligible) == (None, 200, True)
        assert fates(recording(response_headers=headers)) == [("rival", "skipped", "primary_error")]


def test_an_error_that_cannot_be_decoded_is_still_an_error_of_its_status() -> None:
    found = read(recording(response_headers={"content-encoding": "gzip"}, status=503)).record

    assert found.outcome is Outcome.ERROR_HTTP
    assert (found.error or "").startswith("the answer cannot be decoded")


def test_an_answer_that_cannot_be_decoded_and_broke_off_is_told_as_broken_off() -> None:
    found = read(recording(response_headers={"content-encoding": "gzip"}, ending="client_gone")).record

    assert (found.outcome, found.error) == (Outcome.ABORTED, "the client hung up before the end")


def test_a_compressed_request_is_read() -> None:
    of = recording(request=gzip.compress(json.dumps(QUESTION).encode()), headers={"content-encoding": "gzip"})

    found = read(of)

    assert found.record.model == "primary"
    assert found.body is not None
    assert json.loads(found.body.request) == QUESTION


def test_a_copy_that_grows_beyond_the_cap_when_decoded_is_too_large() -> None:
    bomb = gzip.compress(b" " * (5 << 20))

    of = recording(request=bomb, headers={"content-encoding": "gzip"})

    assert fates(of) == [("rival", "skipped", "too_large")]


def test_an_answer_that_grows_beyond_our_cap_is_too_large_and_no_error() -> None:
    of = recording(slices=[gzip.compress(b" " * (5 << 20))], response_headers={"content-encoding": "gzip"})

    assert (read(of).record.outcome, read(of).record.error) == (Outcome.OK, None)
    assert fates(of) == [("rival", "skipped", "too_large")]


def test_a_lost_copy_is_counted_for_its_sampled_share_and_the_record_stays() -> None:
    full = recording(budget=TeeBudget(limit=10))
    large = recording(max_body_bytes=10)

    assert (full.copy_lost, large.copy_lost) == ("tee_full", "too_large")
    assert fates(full) == [("rival", "dropped", "tee_full")]
    assert fates(large) == [("rival", "skipped", "too_large")]
    assert fates(full, sample_rate=0.0) == []
    found = read(full)
    assert (found.record.outcome, found.record.model, found.record.eligible) == (Outcome.OK, None, True)
    assert found.jobs[0].primary == "unknown"


def test_an_answer_too_large_to_copy_leaves_the_request_to_tell_who_was_asked() -> None:
    large = recording(max_body_bytes=120)

    assert (large.copy_lost, large.response) == ("too_large", None)
    assert large.budget.used == large.taken > 0
    found = read(large)
    assert (found.record.model, found.record.eligible, found.jobs[0].primary) == ("primary", True, "primary")
    assert fates(large) == [("rival", "skipped", "too_large")]
    large.free()
    assert large.budget.used == 0


@pytest.mark.parametrize(
    ("request_body", "status", "ending"),
    [
        (b"", 502, "connect_failed"),  # refused before the body was there
        (b'{"model": "prim', 502, "upstream_broken"),
        (b"not json", 400, "complete"),
    ],
)
def test_what_nobody_answered_and_nobody_knows_who_was_asked_compares_with_no_one(
    request_body: bytes, status: int, ending: Ending
) -> None:
    of = recording(request=request_body, slices=[b"{}"], status=status, ending=ending)

    found = read(of)

    assert (found.record.model, found.record.eligible, found.jobs) == (None, False, ())


def test_what_nobody_answered_counts_for_the_model_that_was_asked() -> None:
    found = read(recording(slices=[], status=502, ending="connect_failed", gateway_error="connect"))

    assert (found.record.outcome, found.record.eligible) == (Outcome.ERROR_CONNECT, True)
    assert [(job.primary, job.state, job.reason) for job in found.jobs] == [("primary", "skipped", "primary_error")]


def test_an_error_without_a_copy_is_an_error_by_its_status() -> None:
    full = recording(budget=TeeBudget(limit=10), status=500)

    assert read(full).record.outcome is Outcome.ERROR_HTTP


# --- rests ---


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 60),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "86400"}, 300),
        ({"retry-after": "inf"}, 300),
        ({"retry-after": "nan"}, 60),
        ({"retry-after": "soon"}, 60),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30"}, 30),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "Mon, 23 Nov 99999999999999999999 12:00:00 GMT"}, 60),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:00 +99999999999999999999"}, 60),
    ],
)
def test_an_origin_rests_as_long_as_it_asks_and_at_most_five_minutes(headers: dict[str, str], seconds: float) -> None:
    assert rest_s(headers, now=STARTED) == pytest.approx(seconds)


@pytest.mark.parametrize("dialect", [Dialect.ANTHROPIC_MESSAGES, None])
@pytest.mark.parametrize("status", [429, 529])
def test_a_live_429_or_529_lets_its_origin_rest_from_the_end_of_the_answer(
    status: int, dialect: Dialect | None
) -> None:
    found = read(recording(status=status, dialect=dialect, response_headers={"Retry-After": "10"}))

    assert found.rest == ("https://api.example:443", STARTED + timedelta(seconds=10.12))


def test_our_own_refusal_and_other_statuses_let_no_origin_rest() -> None:
    assert read(recording(status=429, gateway_error="limit")).rest is None
    assert read(recording(status=500)).rest is None


# --- keys ---


def test_no_key_of_the_client_or_the_gateway_reaches_anything_but_the_copy() -> None:
    own = "sk-gateway-9876543210"
    error = {"error": {"message": f"Incorrect API key provided: {KEY}, not {own}, nor query-key-0123456789"}}
    of = recording(
        request=QUESTION | {"model": f"model-{KEY}"},
        slices=[json.dumps(error).encode()],
        status=401,
        headers={"Authorization": f"Bearer {KEY}", "x-shadow-version": own},
        path=f"/{own}/v1/messages",
        query="key=query-key-0123456789&beta=true",
    )

    found = msgspec.json.encode(read(of, secrets=(own,))).decode()

    assert "Incorrect API key provided" in found
    for secret in (KEY, own, "query-key-0123456789"):
        assert secret not in found


def deltas(*pieces: str, kind: str = "text_delta", member: str = "text") -> list[bytes]:
    """A stream that says its text in these pieces."""
    said = [event("content_block_delta", index=0, delta={"type": kind, member: piece}) for piece in pieces]
    return [STREAM[0], *said, *STREAM[-2:]]


def chunks(*pieces: str) -> list[bytes]:
    """The same as chat completions, in the text and in a tool call."""
    said = []
    for piece in pieces:
        call = {"index": 0, "function": {"name": "f", "arguments": piece}}
        said.append({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
    said.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return [*(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in said), b"data: [DONE]\n\n"]


CUT = [KEY[:9], KEY[9:14], KEY[14:]]
BLOCKS = {
    "type": "message",
    "model": "primary",
    "stop_reason": "end_turn",
    "content": [{"type": "text", "text": piece} for piece in CUT],
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


@pytest.mark.parametrize(
    ("slices", "dialect"),
    [
        (deltas("it is ", *CUT), Dialect.ANTHROPIC_MESSAGES),
        (deltas(*KEY), Dialect.ANTHROPIC_MESSAGES),
        (deltas('{"a": "', *CUT, '"}', kind="input_json_delta", member="partial_json"), Dialect.ANTHROPIC_MESSAGES),
        (deltas(*"".join(f"\\u{ord(letter):04x}" for letter in KEY)), Dialect.ANTHROPIC_MESSAGES),
        ([json.dumps(BLOCKS).encode()], Dialect.ANTHROPIC_MESSAGES),
        (chunks('{"key": "', *CUT, '"}'), Dialect.OPENAI_CHAT),
    ],
)
def test_a_key_that_an_answer_says_in_pieces_is_seen_when_they_are_put_together(
    slices: list[bytes], dialect: Dialect
) -> None:
    kind = {"content-type": "text/event-stream" if len(slices) > 1 else "application/json"}
    found = read(recording(slices=slices, headers={"x-api-key": KEY}, response_headers=kind, dialect=dialect))
    assert [(job.state, job.reason) for job in found.jobs] == [("skipped", "holds_key")]
    assert found.body is None
    foreign = {"x-api-key": "some-other-key-0123"}
    other = read(recording(slices=slices, headers=foreign, response_headers=kind, dialect=dialect))
    assert [job.state for job in other.jobs] == ["pending"]


@pytest.mark.parametrize("at", range(280, 301, 4))
def test_an_error_is_shortened_after_the_keys_are_gone(at: int) -> None:
    error = {"error": {"type": "x", "message": "y" * at + KEY + "z" * 500}}
    of = recording(slices=[json.dumps(error).encode()], status=401, headers={"x-api-key": KEY})
    told = read(of).record.error or ""
    assert len(told) == 301
    assert KEY[:8] not in told


def test_what_a_provider_says_about_an_error_is_kept_as_far_as_content_is() -> None:
    said = "cannot serve jane@example.com, card 4111 1111 1111 1111"
    of = recording(slices=[json.dumps({"error": {"type": "x", "message": said}}).encode()], status=400)
    assert read(of, content="redacted").record.error == "x: cannot serve [email], card [card]"
    assert read(of, content="full").record.error == f"x: {said}"
    assert "jane" not in (read(of, content="none").record.error or "")
    assert "jane" in (read(of, content="redacted", redact=()).record.error or "")


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ({"authorization": "Basic bWU6cGFzcy13b3JkLTEyMw=="}, {"bWU6cGFzcy13b3JkLTEyMw==", "pass-word-123"}),
        ({"authorization": "Basic not base64"}, {"base64"}),
        ({"authorization": "Basic /////w=="}, {"/////w=="}),
        ({"cookie": 'lang=en-US; session="0123456789abcdef0"; x'}, {"0123456789abcdef0"}),
        ({"cookie": "lang=en-US"}, set()),
        ({"x-goog-api-key": "g-0123456789", "api-key": "a-0123456789"}, {"g-0123456789", "a-0123456789"}),
        ({"ocp-apim-subscription-key": "o-0123456789"}, {"o-0123456789"}),
    ],
)
def test_whatever_a_client_proves_itself_with_is_known_as_a_key(headers: dict[str, str], known: set[str]) -> None:
    assert set(credentials_of(headers, "")) == known


def test_names_that_others_choose_are_kept_up_to_a_bound() -> None:
    answer = {"type": "message", "content": [], "model": "a" * 5000, "stop_reason": "b" * 5000, "usage": {}}
    of = recording(
        request=QUESTION | {"model": "c" * 5000},
        slices=[json.dumps(answer).encode()],
        headers={"x-shadow-version": "d" * 5000},
    )

    record = read(of).record

    names = (record.model, record.model_answered, record.stop_reason, record.version)
    assert [name and (name[0], len(name)) for name in names] == [("c", 200), ("a", 200), ("b", 200), ("d", 200)]


def test_credentials_are_found_without_their_scheme_and_in_the_query() -> None:
    headers = {"authorization": "Bearer abc", "x-api-key": "def", "content-type": "application/json"}

    assert credentials_of(headers, "api_key=ghi&beta=true") == ("abc", "def", "ghi")
    assert credentials_of({}, "") == ()


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ([(b"x-api-key", b"abc ")], ("abc",)),
        ([(b"x-api-key", b"abc\t ")], ("abc",)),
        ([(b"authorization", b"Bearer\tabc")], ("abc",)),
        ([(b"authorization", b"Bearer  abc ")], ("abc",)),
        ([(b"x-api-key", b"abc"), (b"X-Api-Key", b"def ")], ("abc", "def")),
        ([(b"authorization", b"Bearer abc"), (b"authorization", b"Bearer def")], ("abc", "def")),
        ([(b"x-api-key", b"")], ()),
    ],
)
def test_credentials_are_found_whatever_blanks_and_repeats_there_are(
    fields: list[tuple[bytes, bytes]], keys: tuple[str, ...]
) -> None:
    assert credentials_of(plain_headers(fields), "") == keys


def test_repeated_header_fields_are_joined() -> None:
    assert plain_headers([(b"Accept", b"a"), (b"accept", b"b"), (b"X", b"\xe9")]) == {"accept": "a, b", "x": "é"}


def test_reading_leaves_the_recording_as_it_was() -> None:
    of = recording()
    read(of)

    assert of.request
    assert of.response
    assert of.budget.used == of.taken > 0
