"""Answers of all dialects are understood, streamed or not, whole, quickly, or broken."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shadow.dialects import read_reply
from shadow.records import Dialect, Outcome, Reply, ToolCall, Usage

ANTHROPIC, CHAT, RESPONSES = Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES
ALL = [ANTHROPIC, CHAT, RESPONSES]


def event(name: str | None, payload: Any) -> bytes:
    """One event in the usual layout; a string is data as it stands."""
    data = payload if isinstance(payload, str) else json.dumps(payload, separators=(",", ":"))
    return ((f"event: {name}\n" if name else "") + f"data: {data}\n\n").encode()


def named(payload: dict[str, Any]) -> bytes:
    return event(payload["type"], payload)


def streamed(dialect: Dialect, *events: bytes, status: int = 200) -> Reply:
    """Read a stream; the quick way must agree in all it tells."""
    body = b"".join(events)
    whole = read_reply(dialect, body, status=status, streamed=True)
    assert read_reply(dialect, body, status=status, streamed=True, assemble=False) == without_content(whole)
    return whole


def answered(dialect: Dialect, payload: Any, status: int = 200) -> Reply:
    """Read an answer that is not streamed; the quick way must agree in all it tells."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    whole = read_reply(dialect, body, status=status, streamed=False)
    assert read_reply(dialect, body, status=status, streamed=False, assemble=False) == without_content(whole)
    return whole


def without_content(reply: Reply) -> Reply:
    return replace(reply, text="", tool_calls=())


# --- Anthropic --------------------------------------------------------------------------------------------------------

USAGE = {"input_tokens": 11, "output_tokens": 1}


def start(usage: Any = None, model: str = "claude-x") -> bytes:
    return named({"type": "message_start", "message": {"model": model, "content": [], "usage": usage or USAGE}})


def block(index: int, **content: Any) -> bytes:
    return named({"type": "content_block_start", "index": index, "content_block": content})


def delta(index: int, kind: str, **content: Any) -> bytes:
    return named({"type": "content_block_delta", "index": index, "delta": {"type": kind, **content}})


def text_delta(text: str, index: int = 0) -> bytes:
    return delta(index, "text_delta", text=text)


def end(stop_reason: str | None = "end_turn", usage: Any = None) -> bytes:
    return named(
        {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": usage or {"output_tokens": 6}}
    )


PING = named({"type": "ping"})
BLOCK_STOP = named({"type": "content_block_stop", "index": 0})
STOP = named({"type": "message_stop"})


def test_an_anthropic_stream_of_text() -> None:
    head = start() + block(0, type="text", text="") + PING + text_delta("")
    body = [head, text_delta("Grüß "), text_delta("dich"), BLOCK_STOP, end(), STOP]

    reply = streamed(ANTHROPIC, *body)

    assert reply == Reply(
        outcome=Outcome.OK,
        text="Grüß dich",
        stop_reason="end_turn",
        model="claude-x",
        usage=Usage(input=11, output=6),
        streamed=True,
        first_output_offset=len(head + body[1]),
        first_text_offset=len(head + body[1]),
    )


def test_thinking_is_output_but_not_text() -> None:
    head = start() + block(0, type="thinking", thinking="") + delta(0, "thinking_delta", thinking="")
    thought = delta(0, "thinking_delta", thinking="about text")
    more = [delta(0, "signature_delta", signature="s"), BLOCK_STOP, block(1, type="text", text="")]
    body = [head, thought, thought, *more, text_delta("hi", 1)]

    reply = streamed(ANTHROPIC, *body, text_delta("!", 1), BLOCK_STOP, end(), STOP)

    assert reply.text == "hi!"
    assert reply.first_output_offset == len(head + thought)
    assert reply.first_text_offset == len(b"".join(body))


def test_tool_calls_keep_their_arguments_as_they_were_written() -> None:
    reply = streamed(
        ANTHROPIC,
        start(),
        block(0, type="tool_use", id="t1", name="get", input={}),
        delta(0, "input_json_delta", partial_json=""),
        delta(0, "input_json_delta", partial_json='{"a": 1.0,'),
        delta(0, "input_json_delta", partial_json=' "b": tru'),
        BLOCK_STOP,
        block(1, type="tool_use", id="t2", name="now", input={}),
        block(2, type="tool_use", id="t3", name="given", input={"a": 1}),
        block(3, type="server_tool_use", id="t4", name="web_search", input={}),
        delta(3, "input_json_delta", partial_json="{}"),
        end("tool_use"),
        STOP,
    )

    assert reply.outcome is Outcome.OK
    assert reply.text == ""
    assert reply.tool_calls == (
        ToolCall(name="get", arguments='{"a": 1.0, "b": tru', id="t1"),
        ToolCall(name="now", arguments="{}", id="t2"),
        ToolCall(name="given", arguments='{"a":1}', id="t3"),
    )
    assert reply.first_text_offset is None
    assert reply.first_output_offset is not None


def test_a_block_that_begins_with_content_counts_from_there() -> None:
    with_text = streamed(ANTHROPIC, start(), block(0, type="text", text="hi"), text_delta("!"), end(), STOP)
    with_input = streamed(ANTHROPIC, start(), block(0, type="tool_use", name="f", input={"a": 1}), end(), STOP)

    assert with_text.text == "hi!"
    assert with_text.first_text_offset == len(start() + block(0, type="text", text="hi"))
    assert with_input.first_output_offset == len(start() + block(0, type="tool_use", name="f", input={"a": 1}))


def test_deltas_of_a_block_that_never_began_are_kept() -> None:
    assert streamed(ANTHROPIC, start(), text_delta("hi"), end(), STOP).text == "hi"


def test_usage_at_the_end_replaces_what_it_names_and_keeps_the_rest() -> None:
    begin = {
        "input_tokens": 10,
        "output_tokens": 1,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
    }

    kept = streamed(
        ANTHROPIC, start(begin), text_delta("x"), end(usage={"output_tokens": 9, "input_tokens": None}), STOP
    )
    replaced = streamed(ANTHROPIC, start(begin), end(usage={"input_tokens": 40, "output_tokens": 2}), end(), STOP)

    assert kept.usage == Usage(input=10, cache_read=5, cache_write_5m=3, cache_write_1h=4, output=9)
    assert replaced.usage == Usage(input=40, cache_read=5, cache_write_5m=3, cache_write_1h=4, output=6)


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({}, None),
        ({"input_tokens": 1}, None),
        ({"output_tokens": 1}, None),
        ({"input_tokens": True, "output_tokens": 1}, None),
        ({"input_tokens": -1, "output_tokens": 1}, None),
        ({"input_tokens": 1.0, "output_tokens": 1}, None),
        ({"cache_creation_input_tokens": 5}, Usage(input=1, output=2, cache_write_5m=5)),
        ({"cache_creation": {"ephemeral_1h_input_tokens": 5}}, Usage(input=1, output=2, cache_write_1h=5)),
        (
            {"cache_creation_input_tokens": 4, "cache_creation": {"ephemeral_1h_input_tokens": 5}},
            Usage(input=1, output=2, cache_write_1h=4),
        ),
        (
            {"iterations": [{"type": "message", "input_tokens": 1, "output_tokens": 2}]},
            Usage(input=1, output=2),
        ),
        (
            {
                "iterations": [
                    {"type": "compaction", "input_tokens": 10, "output_tokens": 20, "cache_read_input_tokens": 3}
                ]
            },
            Usage(input=11, output=22, cache_read=3),
        ),
        ({"iterations": [{"type": "compaction"}]}, Usage(input=1, output=2)),
        ([], None),
    ],
)
def test_anthropic_usage_is_counted_once_and_never_guessed(usage: Any, counted: Usage | None) -> None:
    complete = {"input_tokens": 1, "output_tokens": 2}
    given_usage = {**complete, **usage} if counted and isinstance(usage, dict) else usage

    assert answered(ANTHROPIC, {"content": [], "usage": given_usage, "stop_reason": "end_turn"}).usage == counted


@pytest.mark.parametrize(
    ("stop_reason", "outcome"),
    [
        ("end_turn", Outcome.OK),
        ("stop_sequence", Outcome.OK),
        ("tool_use", Outcome.OK),
        ("something_new", Outcome.OK),
        (None, Outcome.OK),
        ("max_tokens", Outcome.TRUNCATED),
        ("model_context_window_exceeded", Outcome.TRUNCATED),
        ("refusal", Outcome.REFUSAL),
        ("pause_turn", Outcome.PAUSED),
        ("compaction", Outcome.PAUSED),
    ],
)
def test_the_stop_reason_says_how_an_anthropic_answer_ended(stop_reason: str | None, outcome: Outcome) -> None:
    whole = answered(ANTHROPIC, {"content": [{"type": "text", "text": "hi"}], "stop_reason": stop_reason})
    stream = streamed(ANTHROPIC, start(), text_delta("hi"), end(stop_reason), STOP)

    assert (whole.outcome, whole.stop_reason) == (outcome, stop_reason)
    assert (stream.outcome, stream.stop_reason) == (outcome, stop_reason)


def test_a_whole_anthropic_answer() -> None:
    content = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "one "},
        {"type": "tool_use", "id": "t1", "name": "get", "input": {"a": [1, 2.0]}},
        {"type": "tool_use", "name": 5},
        {"type": "server_tool_use", "name": "web_search", "input": {}},
        {"type": "text", "text": "two"},
        "odd",
    ]

    reply = answered(ANTHROPIC, {"model": "claude-x", "content": content, "usage": USAGE, "stop_reason": "tool_use"})

    assert reply == Reply(
        outcome=Outcome.OK,
        text="one two",
        tool_calls=(
            ToolCall(name="get", arguments='{"a":[1,2.0]}', id="t1"),
            ToolCall(name="", arguments="{}"),
        ),
        stop_reason="tool_use",
        model="claude-x",
        usage=Usage(input=11, output=1),
    )


def test_unknown_events_are_never_counted_even_when_they_carry_usage() -> None:
    future = event("message", {"type": "future_event", "usage": {"input_tokens": 99, "output_tokens": 99}})
    disguised = event(
        "message", {"type": "message_delta", "delta": {"stop_reason": "refusal"}, "usage": {"output_tokens": 99}}
    )

    reply = streamed(
        ANTHROPIC,
        future,
        BLOCK_STOP,
        start(),
        disguised,
        text_delta("hi"),
        future,
        end(),
        disguised,
        STOP,
        future,
        end("refusal"),
    )

    assert reply.outcome is Outcome.OK
    assert reply.usage == Usage(input=11, output=6)


def test_events_without_a_name_count_by_their_type() -> None:
    body = [start(), text_delta("hi"), end(), STOP]
    nameless = [part.partition(b"\n")[2] for part in body]

    assert streamed(ANTHROPIC, *nameless).text == "hi"


def test_a_stream_without_its_end_is_broken_and_keeps_what_is_known() -> None:
    reply = streamed(ANTHROPIC, start(), text_delta("hal"))

    assert (reply.outcome, reply.error) == (Outcome.ERROR_STREAM, "the stream ended before message_stop")
    assert (reply.text, reply.usage) == ("hal", Usage(input=11, output=1))


def test_an_error_in_the_stream_ends_it() -> None:
    error = named({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})

    reply = streamed(ANTHROPIC, start(), text_delta("hal"), error, text_delta("lo"), end(), STOP)

    assert (reply.outcome, reply.error, reply.text) == (Outcome.ERROR_STREAM, "overloaded_error: Overloaded", "hal")
    assert streamed(ANTHROPIC, start(), named({"type": "error"})).error == "error"


def test_another_model_that_takes_over_is_the_one_that_answered() -> None:
    over = block(0, type="fallback", **{"from": {"model": "claude-x"}, "to": {"model": "claude-y"}})

    assert streamed(ANTHROPIC, start(), text_delta("hi"), over, end(), STOP).model == "claude-y"
    assert streamed(ANTHROPIC, start(), block(0, type="fallback", to=None), end(), STOP).model == "claude-x"


# --- OpenAI Chat ------------------------------------------------------------------------------------------------------


def chunk(content: Any = None, finish_reason: str | None = None, **members: Any) -> bytes:
    choice_delta = {"content": content} if content is not None else {}
    choice = {"index": 0, "delta": {**choice_delta, **members}, "logprobs": None, "finish_reason": finish_reason}
    return event(
        None, {"id": "c", "object": "chat.completion.chunk", "model": "gpt-x", "choices": [choice], "usage": None}
    )


CHAT_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
USAGE_CHUNK = event(None, {"id": "c", "model": "gpt-x", "choices": [], "usage": CHAT_USAGE})
DONE = event(None, "[DONE]")


def test_a_chat_stream_of_text() -> None:
    head = chunk("", role="assistant")
    body = [
        chunk("Hel"),
        chunk("lo"),
        chunk(" w\n"),
        chunk('"q"'),
        chunk("\\"),
        chunk("é"),
        chunk(None, "stop"),
        USAGE_CHUNK,
        DONE,
    ]

    reply = streamed(CHAT, head, *body)

    assert reply == Reply(
        outcome=Outcome.OK,
        text='Hello w\n"q"\\é',
        stop_reason="stop",
        model="gpt-x",
        usage=Usage(input=10, output=5),
        streamed=True,
        first_output_offset=len(head + body[0]),
        first_text_offset=len(head + body[0]),
    )


def test_a_chat_stream_that_was_not_asked_for_usage_has_none() -> None:
    assert streamed(CHAT, chunk("hi"), chunk(None, "stop"), DONE).usage is None


def test_chat_tool_calls_are_put_together_by_index() -> None:
    def call(index: int, **members: Any) -> bytes:
        return chunk(tool_calls=[{"index": index, **members}])

    first = call(0, id="t1", type="function", function={"name": "get", "arguments": ""})
    second = call(0, function={"arguments": '{"a":'})
    reply = streamed(
        CHAT,
        first,
        second,
        call(0, function={"arguments": " 1}"}),
        call(0, function={"arguments": "xyz"}),
        call(1, id="t2", function={"name": "now", "arguments": "{}"}),
        call(2, id="t3", type="custom", custom={"name": "own", "input": "free text"}),
        chunk(None, "tool_calls"),
        DONE,
    )

    assert reply.outcome is Outcome.OK
    assert reply.tool_calls == (
        ToolCall(name="get", arguments='{"a": 1}xyz', id="t1"),
        ToolCall(name="now", arguments="{}", id="t2"),
        ToolCall(name="own", arguments="free text", id="t3"),
    )
    assert (reply.first_output_offset, reply.first_text_offset) == (len(first + second), None)


def test_an_old_function_call_is_a_tool_call() -> None:
    old = {"name": "get", "arguments": "{}"}
    stream = streamed(CHAT, chunk(function_call=old), chunk(None, "function_call"), DONE)
    whole = answered(CHAT, {"choices": [{"message": {"function_call": old}, "finish_reason": "function_call"}]})

    assert stream.tool_calls == whole.tool_calls == (ToolCall(name="get", arguments="{}"),)


@pytest.mark.parametrize("member", ["reasoning_content", "reasoning"])
def test_reasoning_in_a_chat_stream_is_output_but_not_text(member: str) -> None:
    thoughts = [chunk("", **{member: text}) for text in ("let me", " see", " now")]

    reply = streamed(CHAT, *thoughts, chunk("hi"), chunk(" you"), chunk(None, "stop"), DONE)

    assert reply.text == "hi you"
    assert reply.first_output_offset == len(thoughts[0])
    assert reply.first_text_offset == len(b"".join(thoughts)) + len(chunk("hi"))


@pytest.mark.parametrize(
    ("finish_reason", "outcome"),
    [
        ("stop", Outcome.OK),
        ("tool_calls", Outcome.OK),
        ("function_call", Outcome.OK),
        ("eos", Outcome.OK),
        ("length", Outcome.TRUNCATED),
        ("content_filter", Outcome.REFUSAL),
    ],
)
def test_the_finish_reason_says_how_a_chat_answer_ended(finish_reason: str, outcome: Outcome) -> None:
    whole = answered(CHAT, {"choices": [{"message": {"content": "hi"}, "finish_reason": finish_reason}]})
    stream = streamed(CHAT, chunk("hi"), chunk(" you"), chunk(None, finish_reason), DONE)

    assert (whole.outcome, whole.stop_reason) == (outcome, finish_reason)
    assert (stream.outcome, stream.stop_reason) == (outcome, finish_reason)


def test_a_refusal_message_is_a_refusal() -> None:
    whole = answered(
        CHAT, {"choices": [{"message": {"content": None, "refusal": "I cannot"}, "finish_reason": "stop"}]}
    )
    stream = streamed(CHAT, chunk("hi"), chunk("ho"), chunk(refusal="I cannot"), chunk(None, "stop"), DONE)

    assert (whole.outcome, whole.text) == (Outcome.REFUSAL, "")
    assert stream.outcome is Outcome.REFUSAL


def test_a_whole_chat_answer_counts_its_first_choice() -> None:
    message = {
        "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}],
        "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "get", "arguments": "{}"}}],
    }
    other = {"index": 1, "message": {"content": "other"}, "finish_reason": "length"}
    payload = {
        "model": "gpt-x",
        "choices": [other, {"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": CHAT_USAGE,
    }

    assert answered(CHAT, payload) == Reply(
        outcome=Outcome.OK,
        text="one two",
        tool_calls=(ToolCall(name="get", arguments="{}", id="t1"),),
        stop_reason="tool_calls",
        model="gpt-x",
        usage=Usage(input=10, output=5),
    )


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (None, None),
        ({"prompt_tokens": 10}, None),
        ({"completion_tokens": 10}, None),
        (
            {**CHAT_USAGE, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3}},
            Usage(input=3, cache_read=4, cache_write_5m=3, output=5),
        ),
        (
            {**CHAT_USAGE, "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 3}},
            Usage(input=0, cache_read=10, output=5),
        ),
        ({**CHAT_USAGE, "completion_tokens_details": {"reasoning_tokens": 3}}, Usage(input=10, output=5)),
        (
            {**CHAT_USAGE, "completion_tokens_details": {"reasoning_tokens": 7}, "total_tokens": 22},
            Usage(input=10, output=12),
        ),
    ],
)
def test_cached_tokens_are_part_of_an_openai_prompt(usage: Any, counted: Usage | None) -> None:
    payload = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": usage}

    assert answered(CHAT, payload).usage == counted


def test_a_chat_stream_without_done_is_broken() -> None:
    reply = streamed(CHAT, chunk("hi"), chunk(None, "stop"))

    assert (reply.outcome, reply.error) == (Outcome.ERROR_STREAM, "the stream ended before [DONE]")


def test_done_without_its_blank_line_ends_the_stream_all_the_same() -> None:
    assert streamed(CHAT, chunk("hi"), chunk(None, "stop"), b"data: [DONE]").outcome is Outcome.OK


def test_done_alone_is_no_answer() -> None:
    assert streamed(CHAT, DONE).error == "the body holds no answer"


def test_an_error_object_ends_a_chat_stream() -> None:
    error = event(None, {"error": {"message": "boom", "type": None, "code": "server_error"}})

    reply = streamed(CHAT, chunk("hal"), error, chunk("lo"), DONE, DONE)

    assert (reply.outcome, reply.error, reply.text) == (Outcome.ERROR_STREAM, "server_error: boom", "hal")


def test_chunks_that_look_alike_but_end_the_answer_are_read() -> None:
    tricky = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
    ending = tricky.replace(b'"a"}', b'"b"},"finish_reason":"length"},{"x":""}')
    quoted = tricky.replace(b'"a"', b'"a","refusal":"no"')

    assert streamed(CHAT, tricky, tricky, quoted, chunk(None, "stop"), DONE).outcome is Outcome.REFUSAL
    assert streamed(CHAT, tricky, ending, chunk(None, "stop"), DONE).outcome is Outcome.OK


NONSENSE = [2**63, 10**30, -1, 1.5, "12", True, {"n": 1}]


@pytest.mark.parametrize("count", NONSENSE)
@pytest.mark.parametrize(
    ("dialect", "usage", "path"),
    [
        (ANTHROPIC, USAGE, ["input_tokens"]),
        (ANTHROPIC, USAGE, ["output_tokens"]),
        (ANTHROPIC, USAGE, ["cache_read_input_tokens"]),
        (ANTHROPIC, USAGE, ["cache_creation_input_tokens"]),
        (ANTHROPIC, USAGE, ["cache_creation", "ephemeral_5m_input_tokens"]),
        (ANTHROPIC, USAGE, ["cache_creation", "ephemeral_1h_input_tokens"]),
        (CHAT, CHAT_USAGE, ["prompt_tokens"]),
        (CHAT, CHAT_USAGE, ["prompt_tokens_details", "cached_tokens"]),
        (CHAT, CHAT_USAGE, ["prompt_tokens_details", "cache_write_tokens"]),
        (CHAT, CHAT_USAGE, ["completion_tokens_details", "reasoning_tokens"]),
        (RESPONSES, {"input_tokens": 10, "output_tokens": 5}, ["output_tokens"]),
    ],
)
def test_a_count_that_is_none_makes_the_usage_unknown(
    dialect: Dialect, usage: dict[str, Any], path: list[str], count: Any
) -> None:
    broken: Any = count
    for name in reversed(path):
        broken = {name: broken}
    payload = {
        "content": [],
        "output": [],
        "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
        "status": "completed",
        "usage": {**usage, **broken},
    }

    reply = answered(dialect, payload)

    assert reply.outcome is Outcome.OK
    assert reply.usage is None


# --- OpenAI Responses -------------------------------------------------------------------------------------------------

RESPONSE_USAGE = {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 4}}


def created() -> bytes:
    return named({"type": "response.created", "response": {"model": "gpt-x", "status": "in_progress", "output": []}})


def output_text(text: str) -> bytes:
    return named({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text})


def message(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(parts)}


def part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text}


CALL = {"type": "function_call", "call_id": "c1", "name": "get", "arguments": '{"a": 1}'}
OWN_CALL = {"type": "custom_tool_call", "call_id": "c2", "name": "own", "input": "free"}


def terminal(kind: str = "completed", **members: Any) -> bytes:
    response = {"model": "gpt-x", "status": kind, "usage": RESPONSE_USAGE, **members}
    return named({"type": f"response.{kind}", "response": response})


def test_a_responses_stream_of_text_and_calls() -> None:
    head = created() + named({"type": "response.reasoning_summary_text.delta", "delta": ""})
    thought = named({"type": "response.reasoning_summary_text.delta", "delta": "hm"})
    body = [
        output_text(""),
        output_text("Hel"),
        output_text("lo"),
        named({"type": "response.output_item.done", "item": message(part("Hello"))}),
        named({"type": "response.function_call_arguments.delta", "delta": '{"a"'}),
        named({"type": "response.output_item.done", "item": CALL}),
        terminal(output=[{"type": "reasoning"}, message(part("Hel"), part("lo")), CALL, OWN_CALL]),
    ]

    reply = streamed(RESPONSES, head, thought, *body)

    assert reply == Reply(
        outcome=Outcome.OK,
        text="Hello",
        tool_calls=(
            ToolCall(name="get", arguments='{"a": 1}', id="c1"),
            ToolCall(name="own", arguments="free", id="c2"),
        ),
        stop_reason="completed",
        model="gpt-x",
        usage=Usage(input=6, cache_read=4, output=5),
        streamed=True,
        first_output_offset=len(head + thought),
        first_text_offset=len(head + thought + body[0] + body[1]),
    )


def test_a_last_event_that_repeats_nothing_leaves_the_events_to_tell() -> None:
    items = [named({"type": "response.output_item.done", "item": item}) for item in (CALL, OWN_CALL, "odd")]

    for ending in (terminal(), terminal(output=[])):
        reply = streamed(RESPONSES, created(), output_text("Hel"), output_text("lo"), *items, ending)

        assert (reply.text, [call.name for call in reply.tool_calls]) == ("Hello", ["get", "own"])
        assert reply.outcome is Outcome.OK


@pytest.mark.parametrize(
    ("details", "stop_reason", "outcome"),
    [
        ({"reason": "max_output_tokens"}, "max_output_tokens", Outcome.TRUNCATED),
        ({"reason": "content_filter"}, "content_filter", Outcome.REFUSAL),
        (None, "incomplete", Outcome.TRUNCATED),
    ],
)
def test_an_incomplete_response_says_why(details: Any, stop_reason: str, outcome: Outcome) -> None:
    whole = answered(RESPONSES, {"status": "incomplete", "incomplete_details": details, "output": [message(part("x"))]})
    stream = streamed(RESPONSES, created(), output_text("x"), terminal("incomplete", incomplete_details=details))

    assert (whole.outcome, whole.stop_reason) == (outcome, stop_reason)
    assert (stream.outcome, stream.stop_reason) == (outcome, stop_reason)


def test_a_failed_response_is_broken_and_tells_its_tokens() -> None:
    error = {"code": "server_error", "message": "boom"}
    stream = streamed(RESPONSES, created(), output_text("x"), terminal("failed", error=error), output_text("y"))
    silent = streamed(RESPONSES, created(), terminal("failed", error=None))
    cancelled = answered(RESPONSES, {"status": "cancelled", "output": []})

    assert (stream.outcome, stream.error, stream.text) == (Outcome.ERROR_STREAM, "server_error: boom", "x")
    assert stream.usage == Usage(input=6, cache_read=4, output=5)
    assert silent.error == "the response ended as failed"
    assert cancelled.error == "the response ended as cancelled"


def test_a_refusal_in_a_response_is_a_refusal() -> None:
    refusal = message({"type": "refusal", "refusal": "I cannot"})
    spoken = [named({"type": "response.refusal.delta", "delta": text}) for text in ("", "I cannot")]

    whole = answered(RESPONSES, {"status": "completed", "output": [refusal]})
    repeated = streamed(RESPONSES, created(), terminal(output=[refusal]))
    told = streamed(RESPONSES, created(), *spoken, terminal())

    assert whole.outcome is repeated.outcome is told.outcome is Outcome.REFUSAL
    assert told.first_output_offset == len(created() + spoken[0] + spoken[1])


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"type": "error", "code": "server_error", "message": "boom"}, "server_error: boom"),
        ({"type": "error", "error": {"type": "x", "message": "boom"}}, "x: boom"),
        ({"type": "error"}, "error"),
    ],
)
def test_an_error_event_ends_a_response(payload: dict[str, Any], error: str) -> None:
    reply = streamed(RESPONSES, created(), output_text("x"), named(payload), terminal())

    assert (reply.outcome, reply.error) == (Outcome.ERROR_STREAM, error)


def test_a_response_still_in_the_making_tells_its_status() -> None:
    reply = answered(RESPONSES, {"status": "queued", "output": []})

    assert (reply.outcome, reply.stop_reason) == (Outcome.PAUSED, "queued")


def test_a_response_without_a_status_is_read_all_the_same() -> None:
    assert answered(RESPONSES, {"output": [message(part("x"))]}).text == "x"


def test_a_response_stream_without_its_end_is_broken() -> None:
    assert streamed(RESPONSES, created(), output_text("x")).error == "the stream ended before response.completed"


# --- what is no answer ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}', "rate_limit_error: slow"),
        (b'{"error":{"message":"no key","type":null,"code":null}}', "error: no key"),
        (b'{"error":{"type":"x"}}', "x"),
        (b'{"error":"just text"}', "just text"),
        (b'{"error":{}}', "HTTP 529 without an error we can read"),
        (b'{"error":""}', "HTTP 529 without an error we can read"),
        (b"<html>524</html>", "HTTP 529 without an error we can read"),
        (b"", "HTTP 529 without an error we can read"),
    ],
)
def test_an_http_error_keeps_its_own_words(dialect: Dialect, body: bytes, error: str) -> None:
    assert answered(dialect, body, status=529) == Reply(outcome=Outcome.ERROR_HTTP, error=error)


def test_an_http_error_may_come_as_a_stream() -> None:
    error = event("error", {"type": "error", "error": {"type": "overloaded_error", "message": "x"}})

    assert streamed(ANTHROPIC, b": hello\n\n", event("odd", "odd"), error, status=529).error == "overloaded_error: x"
    assert streamed(ANTHROPIC, event("odd", "odd"), status=529).error == "HTTP 529 without an error we can read"


def test_a_redirect_is_no_answer() -> None:
    assert answered(CHAT, b"", status=307).outcome is Outcome.ERROR_HTTP


def test_a_long_error_is_shortened() -> None:
    assert len(answered(CHAT, {"error": {"type": "x", "message": "y" * 50_000}}, status=400).error or "") == 10_001


HOSTILE = [
    b"",
    b"[]",
    b"null",
    b"not json",
    b'{"a": NaN}',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"content": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    b'{"x": ' + b"9" * 5_000 + b"}",
    b'{"content": 5, "choices": {}, "output": "x", "usage": []}',
    b'{"content": [5], "choices": [5], "output": null}',
    b'{"a": "\\ud83d", "b": NaN}',
    b'{"a": "\\ud83d", "b": ' + b"[" * 50_000,
    b'{"a": "\\ud83d", "b": "\xed\xa0\xbd"}',
    b'{"a": "\\ud83d", "b": ' + b"9" * 5_000 + b"}",
]


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize("body", HOSTILE)
def test_a_hostile_body_is_a_broken_answer_or_an_empty_one(dialect: Dialect, body: bytes) -> None:
    reply = answered(dialect, body)
    stream = streamed(dialect, event(None, "x").replace(b"x", body.replace(b"\n", b"")))

    assert reply.outcome is Outcome.ERROR_STREAM or (dialect is ANTHROPIC and reply.text == "")
    assert stream.outcome is Outcome.ERROR_STREAM
    assert reply.usage is None


@pytest.mark.parametrize("dialect", ALL)
@given(st.binary(max_size=200), st.booleans(), st.sampled_from([200, 404]))
def test_no_bytes_make_the_reading_fail(dialect: Dialect, body: bytes, is_stream: bool, status: int) -> None:  # noqa: FBT001
    read_reply(dialect, body, status=status, streamed=is_stream)


# --- halves of surrogate pairs ----------------------------------------------------------------------------------------

TEXT_DELTA = {ANTHROPIC: text_delta, CHAT: chunk, RESPONSES: output_text}
BEGIN = {ANTHROPIC: start() + block(0, type="text", text=""), CHAT: b"", RESPONSES: created()}
FINISH = {ANTHROPIC: end() + STOP, CHAT: chunk(None, "stop") + DONE, RESPONSES: terminal()}


def said(dialect: Dialect, *pieces: str) -> str:
    """The text of a stream that says it in these pieces."""
    reply = streamed(dialect, BEGIN[dialect], *map(TEXT_DELTA[dialect], pieces), FINISH[dialect])
    assert reply.outcome is Outcome.OK
    return reply.text


@pytest.mark.parametrize("dialect", ALL)
def test_the_halves_of_a_character_in_two_deltas_are_joined_and_half_a_one_is_marked(dialect: Dialect) -> None:
    assert said(dialect, "a", "b \ud83d", "\ude00 c", "d") == "ab \U0001f600 cd"
    assert said(dialect, "\ud83d", "\ude00") == "\U0001f600"
    assert said(dialect, "\ud83d", "x", "\ude00") == "\ufffdx\ufffd"
    assert said(dialect, "half \ud83d of one, \U0001f600 and é") == "half \ufffd of one, \U0001f600 and é"


@pytest.mark.parametrize("dialect", ALL)
@given(text=st.text(max_size=12), cuts=st.sets(st.integers(0, 24)))
def test_a_text_cut_anywhere_between_its_utf16_units_is_read_whole(dialect: Dialect, text: str, cuts: set[int]) -> None:
    units = text.encode("utf-16-le")
    ends = [*sorted(2 * cut for cut in cuts if 2 * cut < len(units)), len(units)]
    pieces = [units[begin:stop].decode("utf-16-le", "surrogatepass") for begin, stop in pairwise([0, *ends])]

    assert said(dialect, *pieces) == text


@pytest.mark.parametrize("dialect", ALL)
def test_half_a_character_in_an_answer_that_came_whole_is_marked_and_the_rest_is_kept(dialect: Dialect) -> None:
    text, kept, model = "good \ud83d answer", "good \ufffd answer", "m\ude00"
    arguments = {"q": text}
    call = {"function": {"name": text, "arguments": json.dumps(arguments, ensure_ascii=False)}}
    bodies: dict[Dialect, Any] = {
        ANTHROPIC: {
            "content": [
                {"type": "text", "text": text},
                {"type": "tool_use", "name": text, "id": "i", "input": arguments},
            ]
        },
        CHAT: {"choices": [{"message": {"content": text, "tool_calls": [{"id": "i", **call}]}}]},
        RESPONSES: {
            "status": "completed",
            "output": [message(part(text)), {"type": "function_call", "call_id": "i", **call["function"]}],
        },
    }

    reply = answered(dialect, bodies[dialect] | {"model": model})

    assert (reply.outcome, reply.text, reply.model) == (Outcome.OK, kept, "m\ufffd")
    [called] = reply.tool_calls
    assert (called.name, json.loads(called.arguments), called.id) == (kept, {"q": kept}, "i")


def test_the_arguments_of_a_streamed_call_are_joined_too() -> None:
    of_anthropic = [
        block(0, type="tool_use", id="t", name="get\ud83d", input={}),
        delta(0, "input_json_delta", partial_json='{"q": "\ud83d'),
        delta(0, "input_json_delta", partial_json='\ude00"}'),
    ]
    begun_whole = block(0, type="tool_use", id="t", name="get\ud83d", input={"q": "\ud83d\ude00", "r": ["\ude00"]})
    of_chat = [chunk(tool_calls=[{"index": 0, "function": {"arguments": half}}]) for half in ("\ud83d", "\ude00")]

    joined = ToolCall(name="get\ufffd", arguments='{"q": "\U0001f600"}', id="t")
    assert streamed(ANTHROPIC, start(), *of_anthropic, end(), STOP).tool_calls == (joined,)
    [call] = streamed(ANTHROPIC, start(), begun_whole, end(), STOP).tool_calls
    assert call.arguments == '{"q":"\U0001f600","r":["\ufffd"]}'
    [call] = streamed(CHAT, *of_chat, FINISH[CHAT]).tool_calls
    assert call.arguments == "\U0001f600"


@pytest.mark.parametrize("dialect", ALL)
def test_half_a_character_in_an_error_is_marked(dialect: Dialect) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy \ud83d"}}

    assert answered(dialect, error, status=529).error == "overloaded_error: busy \ufffd"
    assert streamed(dialect, named(error)).error == "overloaded_error: busy \ufffd"


# --- the quick way tells the same -------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["a", " text", 'q"', "\\", "é", "\n", "\u2028", "", "usage", '"finish_reason":"length"']
) | st.text(max_size=4)
CUT_WORDS = WORDS | st.sampled_from(["\ud83d", "\ude00", "a\ud83d", '\ude00"'])
RAW = st.sampled_from(
    [
        b"event: content_block_delta\ndata: {broken\n\n",
        b"event: content_block_delta\nevent: message_delta\n\n",
        b'event: content_block_delta\ndata: {"type":"message_stop"}\n\n',
        b'event: content_block_delta\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
        b": comment\n\n",
        b"data: [DONE]\n",
        b"data: 5\n\n",
        b"event: ping\nid: 1\n\n",
        b"\n",
        b"\r\n",
        b'data: {"error": {"message": "x"}}\n\n',
        b'data: {"choices":[{"delta":{"content":"b"},"\\u0066inish_reason":"length"}]}\n\n',
        event(
            "content_block_delta", '{"type":"content_block_delta","delta":{"type":"te\\u0078t_delta","\\u0074ext":"x"}}'
        ),
    ]
)
ANTHROPIC_EVENTS = st.one_of(
    st.sampled_from([start(), PING, BLOCK_STOP, end(), end("refusal"), STOP, named({"type": "error"})]),
    st.builds(text_delta, CUT_WORDS, st.integers(0, 2)),
    st.builds(lambda text: delta(0, "thinking_delta", thinking=text), CUT_WORDS),
    st.builds(lambda text: delta(1, "input_json_delta", partial_json=text), CUT_WORDS),
    st.builds(lambda kind, text: block(0, type=kind, text=text), st.sampled_from(["text", "fallback"]), CUT_WORDS),
    st.builds(lambda n: end(usage={"output_tokens": n, "input_tokens": n}), st.integers(0, 9)),
    RAW,
)
CHAT_EVENTS = st.one_of(
    st.sampled_from([USAGE_CHUNK, DONE, chunk(None, "stop"), chunk(refusal="no")]),
    st.builds(chunk, CUT_WORDS),
    st.builds(chunk, CUT_WORDS, st.sampled_from(["stop", "length", "content_filter"])),
    st.builds(lambda text: chunk("", reasoning_content=text), CUT_WORDS),
    st.builds(lambda text: chunk(tool_calls=[{"index": 0, "function": {"arguments": text}}]), CUT_WORDS),
    st.builds(
        lambda text: event(None, json.dumps({"choices": [{"delta": {"content": text}}]}, ensure_ascii=False)), WORDS
    ),
    RAW,
)
RESPONSES_EVENTS = st.one_of(
    st.sampled_from([created(), terminal(), terminal("failed"), terminal("incomplete"), named({"type": "error"})]),
    st.builds(output_text, CUT_WORDS),
    st.builds(lambda text: named({"type": "response.refusal.delta", "delta": text}), CUT_WORDS),
    st.builds(lambda text: named({"type": "response.function_call_arguments.delta", "delta": text}), CUT_WORDS),
    st.builds(lambda text: named({"type": "response.output_item.done", "item": message(part(text))}), CUT_WORDS),
    st.builds(lambda text: terminal(output=[message(part(text))]), CUT_WORDS),
    RAW,
)
EVENTS = {ANTHROPIC: ANTHROPIC_EVENTS, CHAT: CHAT_EVENTS, RESPONSES: RESPONSES_EVENTS}


@st.composite
def streams(draw: st.DrawFn, dialect: Dialect) -> bytes:
    body = b"".join(draw(st.lists(EVENTS[dialect], max_size=14)))
    line_end = draw(st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"]))
    cut = draw(st.sampled_from([0, 0, 1, 2, 7]))
    body = body.replace(b"\n", line_end)
    return body[: len(body) - cut]


@pytest.mark.parametrize("dialect", ALL)
@settings(max_examples=400, deadline=None)
@given(st.data())
def test_the_quick_way_and_the_whole_way_agree(dialect: Dialect, data: st.DataObject) -> None:
    body = data.draw(streams(dialect))

    whole = read_reply(dialect, body, status=200, streamed=True)
    quick = read_reply(dialect, body, status=200, streamed=True, assemble=False)

    assert quick == without_content(whole)


def test_an_event_without_data_changes_nothing_in_the_quick_way_either() -> None:
    idle = b"event: ping\nid: 1\n\n"
    body = idle + start() + idle + block(0, type="text", text="") + text_delta("a") + idle + end() + idle + STOP

    whole = read_reply(ANTHROPIC, body, status=200, streamed=True)
    quick = read_reply(ANTHROPIC, body, status=200, streamed=True, assemble=False)

    assert whole.outcome is Outcome.OK
    assert quick == without_content(whole)


@pytest.mark.parametrize("dialect", ALL)
def test_a_stream_cut_anywhere_before_its_last_event_is_broken(dialect: Dialect) -> None:
    bodies = {
        ANTHROPIC: start() + block(0, type="text", text="") + text_delta("grüße") + end() + STOP,
        CHAT: chunk("grüße") + chunk(" dich") + chunk(None, "stop") + USAGE_CHUNK + DONE,
        RESPONSES: created() + output_text("grüße") + terminal(output=[message(part("grüße"))]),
    }
    body = bodies[dialect]
    last_byte_that_matters = len(body) - 2

    for cut in range(last_byte_that_matters):
        assert streamed(dialect, body[:cut]).outcome is Outcome.ERROR_STREAM
    assert streamed(dialect, body).outcome is Outcome.OK
