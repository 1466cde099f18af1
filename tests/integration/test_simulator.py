"""The simulator over real sockets: what a client of EzAI would see, and what a test can make go wrong."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anthropic
import brotli
import httpx2
import pytest
import zstandard

from shadow.simulator import FaultRate, Quality, Script, SimModel, Simulator, Timing

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.no_cover  # smaller tests cover the same lines

SUM = [{"role": "user", "content": "What is 17 + 25?"}]
ORDER = "Extract the order as JSON. customer: Maria Lopez; item: desk lamp; quantity: 3"
ORDER_SCHEMA = {
    "type": "object",
    "properties": {"customer": {"type": "string"}, "item": {"type": "string"}, "quantity": {"type": "integer"}},
    "required": ["customer", "item", "quantity"],
    "additionalProperties": False,
}
WEATHER_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
}
ANTHROPIC = {"anthropic-version": "2023-06-01", "x-api-key": "key-of-the-app"}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(Script(models=(SimModel(name="pebble"), SimModel(name="boulder", thinks=True)))) as running:
        yield running


@pytest.fixture
def client(simulator: Simulator) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=simulator.base_url, trust_env=False, verify=False, timeout=10) as open_client:
        yield open_client


def messages_body(**more: Any) -> dict[str, Any]:
    return {"model": "pebble", "max_tokens": 200, "messages": SUM, **more}


def events_of(body: bytes) -> list[tuple[str | None, Any]]:
    """(name, data) of each event; data that is no JSON stays text."""
    found = []
    for block in body.decode().strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in lines:
            data = lines["data"]
            found.append((lines.get("event"), json.loads(data) if data.startswith("{") else data))
    return found


def raw_exchange(simulator: Simulator, body: dict[str, Any], *headers: str) -> tuple[bytes, OSError | None]:
    """All bytes of an answer, and how the connection ended (None: FIN)."""
    payload = json.dumps(body).encode()
    head = [
        "POST /v1/messages HTTP/1.1",
        "host: sim",
        "anthropic-version: 2023-06-01",
        f"content-length: {len(payload)}",
    ]
    received = b""
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=10) as connection:
        connection.sendall("\r\n".join([*head, *headers]).encode() + b"\r\n\r\n" + payload)
        try:
            while slice_ := connection.recv(65536):
                received += slice_
        except OSError as error:
            return received, error
    return received, None


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the simulator's log never said so"
        time.sleep(0.005)


def test_a_message_is_answered_with_the_truth_and_the_model_it_was_asked_of(client: httpx2.Client) -> None:
    reply = client.post("/v1/messages", json=messages_body(), headers=ANTHROPIC)
    assert reply.status_code == 200
    assert reply.headers["request-id"].startswith("req_")
    assert reply.headers["anthropic-ratelimit-requests-remaining"] == "3999"
    told = reply.json()
    assert (told["type"], told["role"], told["model"], told["stop_reason"]) == (
        "message",
        "assistant",
        "pebble",
        "end_turn",
    )
    assert told["content"] == [{"type": "text", "text": "The answer is 42."}]
    assert told["usage"]["input_tokens"] > 0


def test_the_same_question_gives_the_same_answer_and_another_model_another_id(client: httpx2.Client) -> None:
    first, again, other = (
        client.post("/v1/messages", json=messages_body(model=model), headers=ANTHROPIC).json()
        for model in ("pebble", "pebble", "gravel")
    )
    assert first == again
    assert first["id"] != other["id"]


def test_a_message_streams_in_the_order_of_the_real_api(client: httpx2.Client) -> None:
    reply = client.post("/v1/messages", json=messages_body(stream=True), headers=ANTHROPIC)
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = events_of(reply.content)
    assert [name for name, _ in events] == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * 4,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert all(name == data["type"] for name, data in events)
    assert events[0][1]["message"]["usage"]["output_tokens"] == 1
    assert events[-2][1]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert events[-2][1]["usage"]["output_tokens"] == 5
    assert (
        "".join(data["delta"]["text"] for name, data in events if name == "content_block_delta") == "The answer is 42."
    )


def test_a_thinking_model_signs_its_thoughts(client: httpx2.Client) -> None:
    body = messages_body(model="boulder", stream=True)
    events = events_of(client.post("/v1/messages", json=body, headers=ANTHROPIC).content)
    kinds = [data["delta"]["type"] for name, data in events if name == "content_block_delta"]
    assert kinds.index("signature_delta") == kinds.count("thinking_delta")
    assert kinds[-1] == "text_delta"


def test_tool_calls_carry_arguments_that_fit_the_schema_in_all_three_shapes(client: httpx2.Client) -> None:
    question = [{"role": "user", "content": "What is the weather in New York?"}]
    function = {"name": "get_weather", "parameters": WEATHER_SCHEMA}
    right = {"city": "New York", "unit": "celsius"}
    anthropic = client.post(
        "/v1/messages",
        json=messages_body(messages=question, tools=[{"name": "get_weather", "input_schema": WEATHER_SCHEMA}]),
        headers=ANTHROPIC,
    ).json()
    assert (anthropic["stop_reason"], anthropic["content"][0]["input"]) == ("tool_use", right)
    chat = client.post(
        "/v1/chat/completions",
        json={"model": "pebble", "messages": question, "tools": [{"type": "function", "function": function}]},
    ).json()["choices"][0]
    assert chat["finish_reason"] == "tool_calls"
    assert json.loads(chat["message"]["tool_calls"][0]["function"]["arguments"]) == right
    responses = client.post(
        "/v1/responses", json={"model": "pebble", "input": question, "tools": [{"type": "function", **function}]}
    ).json()
    assert json.loads(responses["output"][0]["arguments"]) == right


def test_streamed_tool_arguments_start_empty_and_join_to_json(client: httpx2.Client) -> None:
    body = messages_body(
        stream=True,
        messages=[{"role": "user", "content": "What is the weather in Oslo?"}],
        tools=[{"name": "get_weather", "input_schema": WEATHER_SCHEMA}],
    )
    events = events_of(client.post("/v1/messages", json=body, headers=ANTHROPIC).content)
    pieces = [data["delta"]["partial_json"] for name, data in events if name == "content_block_delta"]
    assert pieces[0] == ""
    assert json.loads("".join(pieces)) == {"city": "Oslo", "unit": "celsius"}


def test_a_tool_result_is_reported(client: httpx2.Client) -> None:
    history = [
        {"role": "user", "content": "What is the weather in Oslo?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "get_weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "3 degrees, rain"}]},
    ]
    tools = [{"name": "get_weather", "input_schema": WEATHER_SCHEMA}]
    told = client.post("/v1/messages", json=messages_body(messages=history, tools=tools), headers=ANTHROPIC).json()
    assert told["content"][0]["text"] == "Here is what I found: 3 degrees, rain"


def test_a_later_turn_counts_on_from_the_last_answer(client: httpx2.Client) -> None:
    history = [
        *SUM,
        {"role": "assistant", "content": "The answer is 42."},
        {"role": "user", "content": "Add 5 to that."},
    ]
    told = client.post("/v1/chat/completions", json={"model": "pebble", "messages": history}).json()
    assert told["choices"][0]["message"]["content"] == "The answer is 47."


@pytest.mark.parametrize(
    ("path", "more", "text_of"),
    [
        (
            "/v1/messages",
            {
                "max_tokens": 200,
                "messages": [{"role": "user", "content": ORDER}],
                "output_config": {"format": {"type": "json_schema", "schema": ORDER_SCHEMA}},
            },
            lambda told: told["content"][0]["text"],
        ),
        (
            "/openai/v1/chat/completions",
            {
                "messages": [{"role": "user", "content": ORDER}],
                "response_format": {"type": "json_schema", "json_schema": {"name": "o", "schema": ORDER_SCHEMA}},
            },
            lambda told: told["choices"][0]["message"]["content"],
        ),
        (
            "/v1/responses",
            {"input": ORDER, "text": {"format": {"type": "json_schema", "name": "o", "schema": ORDER_SCHEMA}}},
            lambda told: told["output"][0]["content"][0]["text"],
        ),
    ],
)
def test_an_extraction_follows_its_schema(client: httpx2.Client, path: str, more: dict[str, Any], text_of: Any) -> None:
    told = client.post(path, json={"model": "pebble", **more}, headers=ANTHROPIC).json()
    assert json.loads(text_of(told)) == {"customer": "Maria Lopez", "item": "desk lamp", "quantity": 3}


def test_a_chat_stream_tells_usage_only_when_asked(client: httpx2.Client) -> None:
    body = {"model": "pebble", "messages": SUM, "stream": True}
    plain = events_of(client.post("/v1/chat/completions", json=body).content)
    asked = {**body, "stream_options": {"include_usage": True}}
    with_usage = events_of(client.post("/v1/chat/completions", json=asked).content)
    assert plain[-1] == with_usage[-1] == (None, "[DONE]")
    assert not any("usage" in data for _, data in plain[:-1])
    assert with_usage[-2][1]["choices"] == []
    assert with_usage[-2][1]["usage"]["completion_tokens"] == 5
    assert all(data["usage"] is None for _, data in with_usage[:-2])


def test_a_response_streams_numbered_events_and_ends_with_the_whole_response(client: httpx2.Client) -> None:
    body = {"model": "boulder", "input": "What is 17 + 25?", "stream": True}
    events = events_of(client.post("/v1/responses", json=body).content)
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    assert [name for name, _ in events[:2]] == ["response.created", "response.in_progress"]
    last_name, last = events[-1]
    assert last_name == "response.completed"
    assert last["response"]["output"][1]["content"][0]["text"] == "The answer is 42."
    assert last["response"]["usage"]["output_tokens_details"]["reasoning_tokens"] > 0


def test_an_answer_over_the_limit_is_truncated_in_all_three_shapes(client: httpx2.Client) -> None:
    prose = [{"role": "user", "content": "Tell me about measuring."}]
    anthropic = client.post("/v1/messages", json=messages_body(messages=prose, max_tokens=5), headers=ANTHROPIC).json()
    chat = client.post("/v1/chat/completions", json={"model": "pebble", "messages": prose, "max_tokens": 5}).json()
    body = {"model": "pebble", "input": prose, "max_output_tokens": 5}
    responses = client.post("/v1/responses", json=body).json()
    assert (anthropic["stop_reason"], anthropic["usage"]["output_tokens"]) == ("max_tokens", 5)
    assert chat["choices"][0]["finish_reason"] == "length"
    assert (responses["status"], responses["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


def test_a_stop_sequence_ends_the_answer(client: httpx2.Client) -> None:
    told = client.post("/v1/messages", json=messages_body(stop_sequences=[" is"]), headers=ANTHROPIC).json()
    assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", " is")
    assert told["content"][0]["text"] == "The answer"


def test_a_marked_prefix_is_written_once_and_read_the_second_time(client: httpx2.Client) -> None:
    system = [{"type": "text", "text": "You are precise. " * 40, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    first, second = (
        client.post("/v1/messages", json=messages_body(system=system), headers=ANTHROPIC).json()["usage"]
        for _ in range(2)
    )
    written = first["cache_creation"]["ephemeral_1h_input_tokens"]
    assert written == first["cache_creation_input_tokens"] > 0
    assert first["cache_read_input_tokens"] == 0
    assert (second["cache_read_input_tokens"], second["cache_creation_input_tokens"]) == (written, 0)
    assert first["input_tokens"] == second["input_tokens"] > 0


def test_openai_shapes_cache_long_prompts_by_themselves(client: httpx2.Client) -> None:
    body = {"model": "pebble", "messages": [{"role": "system", "content": "You are precise. " * 400}, *SUM]}
    first, second = (client.post("/v1/chat/completions", json=body).json()["usage"] for _ in range(2))
    assert first["prompt_tokens_details"]["cached_tokens"] == 0
    assert second["prompt_tokens_details"]["cached_tokens"] % 128 == 0
    assert 1024 <= second["prompt_tokens_details"]["cached_tokens"] <= second["prompt_tokens"] == first["prompt_tokens"]


def test_count_tokens_and_models_answer_in_the_shape_of_who_asks(client: httpx2.Client) -> None:
    counted = client.post("/v1/messages/count_tokens", json={"model": "pebble", "messages": SUM}, headers=ANTHROPIC)
    assert counted.json() == {"input_tokens": 6}
    anthropic = client.get("/v1/models", headers=ANTHROPIC).json()
    assert [each["id"] for each in anthropic["data"]] == ["pebble", "boulder"]
    assert (anthropic["first_id"], anthropic["last_id"], anthropic["has_more"]) == ("pebble", "boulder", False)
    openai = client.get("/openai/v1/models").json()
    assert (openai["object"], openai["data"][0]["object"]) == ("list", "model")
    assert client.get("/v1/models/pebble").json()["id"] == "pebble"


@pytest.mark.parametrize("parameter", ["temperature", "top_p", "top_k"])
def test_the_newest_version_refuses_sampling_parameters(client: httpx2.Client, parameter: str) -> None:
    newest = {**ANTHROPIC, "anthropic-version": "2026-10-21"}
    refused = client.post("/v1/messages", json=messages_body(**{parameter: 1}), headers=newest)
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    assert client.post("/v1/messages", json=messages_body(**{parameter: 1}), headers=ANTHROPIC).status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "JSON object"),
        (b'{"messages": []}', "model"),
        (b'{"model": "pebble", "messages": []}', "messages"),
        (b'{"model": "pebble", "messages": [{"role": "user", "content": "hi"}]}', "max_tokens"),
    ],
)
def test_a_request_the_api_would_not_take_is_a_400_with_the_reason(
    client: httpx2.Client, body: bytes, said: str
) -> None:
    refused = client.post("/v1/messages", content=body, headers=ANTHROPIC)
    assert refused.status_code == 400
    assert said in refused.json()["error"]["message"]


def test_a_thread_continues_once_from_each_message(client: httpx2.Client) -> None:
    body = messages_body(thread={"type": "continue", "previous_message_id": "msg_1"})
    assert client.post("/v1/messages", json=body, headers=ANTHROPIC).status_code == 200
    again = client.post("/v1/messages", json=body, headers=ANTHROPIC)
    assert (again.status_code, "thread_already_continued" in again.text) == (400, True)


def test_a_batch_is_in_progress_then_ended_with_a_result_per_request(simulator: Simulator) -> None:
    params = {"model": "pebble", "max_tokens": 100, "messages": SUM}
    with anthropic.Anthropic(base_url=simulator.base_url, api_key="key-of-the-app", max_retries=0) as sdk:
        wanted = [{"custom_id": name, "params": params} for name in ("a", "b")]
        wanted += [{"custom_id": "bad", "params": {"model": "pebble"}}, {"custom_id": "odd", "params": {}}]
        made = sdk.messages.batches.create(requests=wanted)
        assert (made.processing_status, made.request_counts.processing, made.results_url) == ("in_progress", 4, None)
        ended = sdk.messages.batches.retrieve(made.id)
        assert (ended.processing_status, ended.ended_at is None) == ("ended", False)
        assert (ended.request_counts.succeeded, ended.request_counts.errored) == (2, 2)
        results = {each.custom_id: each.result for each in sdk.messages.batches.results(made.id)}
        assert [results[name].message.content[0].text for name in ("a", "b")] == ["The answer is 42."] * 2
        assert results["bad"].error.error.type == results["odd"].error.error.type == "invalid_request_error"
        assert [batch.id for batch in sdk.messages.batches.list()] == [made.id]


def test_a_canceled_batch_ends_with_nothing_but_canceled_requests(simulator: Simulator) -> None:
    params = {"model": "pebble", "max_tokens": 100, "messages": SUM}
    with anthropic.Anthropic(base_url=simulator.base_url, api_key="key-of-the-app", max_retries=0) as sdk:
        made = sdk.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
        assert sdk.messages.batches.cancel(made.id).processing_status == "canceling"
        assert sdk.messages.batches.retrieve(made.id).request_counts.canceled == 1
        assert [each.result.type for each in sdk.messages.batches.results(made.id)] == ["canceled"]
        for call in (sdk.messages.batches.retrieve, sdk.messages.batches.cancel):
            with pytest.raises(anthropic.NotFoundError):
                call("msgbatch_none")


def test_files_are_listed_and_told_about(simulator: Simulator) -> None:
    with anthropic.Anthropic(base_url=simulator.base_url, api_key="key-of-the-app", max_retries=0) as sdk:
        listed = list(sdk.files.list())
        assert [file.filename for file in listed] == ["terms.pdf", "notes.txt"]
        assert sdk.files.retrieve_metadata(listed[0].id) == listed[0]
        with pytest.raises(anthropic.NotFoundError):
            sdk.files.retrieve_metadata("file_none")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/messages/batches", {}, 400),
        ("POST", "/v1/messages/batches", {"requests": []}, 400),
        ("POST", "/v1/messages/batches", {"requests": [{"custom_id": "a", "params": {}}] * 2}, 400),
        ("DELETE", "/v1/messages/batches", None, 405),
        ("GET", "/v1/messages/batches/x/cancel", None, 405),
        ("GET", "/v1/messages/batches/x/results", None, 404),
        ("GET", "/v1/messages/batches/x/more", None, 404),
        ("POST", "/v1/files", {}, 405),
    ],
)
def test_what_batches_and_files_do_not_do_is_refused(
    client: httpx2.Client, method: str, path: str, body: Any, status: int
) -> None:
    refused = client.request(method, path, json=body, headers=ANTHROPIC)
    assert (refused.status_code, refused.json()["type"]) == (status, "error")


def test_unknown_paths_methods_and_encodings_are_refused_in_the_apis_shape(client: httpx2.Client) -> None:
    assert client.get("/v1/nothing", headers=ANTHROPIC).json()["error"]["type"] == "not_found_error"
    assert client.get("/v1/chat/completions").status_code == 405
    encoded = client.post("/v1/messages", json=messages_body(), headers={**ANTHROPIC, "content-encoding": "gzip"})
    assert "request_body_encoding_unsupported" in encoded.json()["error"]["message"]


def test_only_listed_keys_and_models_are_let_in() -> None:
    script = Script(models=(SimModel(name="pebble"),), other=None, keys=frozenset({"good"}))
    with (
        Simulator(script) as simulator,
        httpx2.Client(base_url=simulator.base_url, trust_env=False, verify=False) as client,
    ):
        version = {"anthropic-version": "2023-06-01"}
        by_header = [
            client.post("/v1/messages", json=messages_body(), headers={**version, **header}).status_code
            for header in ({"x-api-key": "good"}, {"authorization": "Bearer good"}, {"x-api-key": "bad"}, {})
        ]
        assert by_header == [200, 200, 401, 401]
        wrong = client.post("/v1/chat/completions", json={}, headers={"authorization": "Bearer bad"})
        assert wrong.json()["error"]["code"] == "invalid_api_key"
        good = {**version, "x-api-key": "good"}
        assert client.post("/v1/messages", json=messages_body(model="other"), headers=good).status_code == 404
        assert client.get("/v1/models/other", headers=good).status_code == 404
        assert [entry.credential for entry in simulator.log][:4] == ["x-api-key", "authorization", "x-api-key", None]
        assert simulator.log.entries()[1].key == "good"


@pytest.mark.parametrize(
    ("coding", "decode"),
    [
        ("gzip", gzip.decompress),
        ("br", brotli.decompress),
        ("zstd", lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
    ],
)
def test_json_and_forced_streams_are_compressed_as_asked(client: httpx2.Client, coding: str, decode: Any) -> None:
    asked = {**ANTHROPIC, "accept-encoding": f"identity, {coding};q=0.8"}
    with client.stream("POST", "/v1/messages", json=messages_body(), headers=asked) as reply:
        assert reply.headers["content-encoding"] == coding
        assert json.loads(decode(b"".join(reply.iter_raw())))["content"][0]["text"] == "The answer is 42."
    forced = {**ANTHROPIC, "accept-encoding": "identity", "x-sim-encoding": coding}
    with client.stream("POST", "/v1/messages", json=messages_body(stream=True), headers=forced) as reply:
        assert reply.headers["content-encoding"] == coding
        assert events_of(decode(b"".join(reply.iter_raw())))[-1][0] == "message_stop"


def test_an_unwanted_coding_is_not_used(client: httpx2.Client) -> None:
    reply = client.post("/v1/messages", json=messages_body(), headers={**ANTHROPIC, "accept-encoding": "gzip;q=0"})
    assert "content-encoding" not in reply.headers


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("400", 400, "invalid_request_error"),
        ("401", 401, "authentication_error"),
        ("429; retry-after=7", 429, "rate_limit_error"),
        ("500", 500, "api_error"),
        ("529; should-retry=false; retry-after-ms=20", 529, "overloaded_error"),
    ],
)
def test_http_faults_come_in_the_shape_of_each_api(client: httpx2.Client, fault: str, status: int, kind: str) -> None:
    anthropic = client.post("/v1/messages", json=messages_body(), headers={**ANTHROPIC, "x-sim-fault": fault})
    assert (anthropic.status_code, anthropic.json()["error"]["type"]) == (status, kind)
    assert anthropic.json()["request_id"] == anthropic.headers["request-id"]
    body = {"model": f"pebble~{fault}", "messages": SUM}
    openai = client.post("/v1/chat/completions", json=body)
    assert (openai.status_code, set(openai.json()["error"])) == (status, {"message", "type", "param", "code"})
    assert openai.headers.get("retry-after") == ("7" if status == 429 else None)
    assert openai.headers.get("x-should-retry") == ("false" if status == 529 else None)
    assert openai.headers.get("retry-after-ms") == ("20" if status == 529 else None)


def test_a_proxy_error_is_a_page(client: httpx2.Client) -> None:
    page = client.post("/v1/messages", json=messages_body(), headers={**ANTHROPIC, "x-sim-fault": "502"})
    assert (page.status_code, page.headers["content-type"]) == (502, "text/html; charset=UTF-8")
    assert page.text.startswith("<html>")


def test_a_fault_with_times_lets_the_retry_through(client: httpx2.Client) -> None:
    asked = {**ANTHROPIC, "x-sim-fault": "529; times=2; id=retry"}
    statuses = [client.post("/v1/messages", json=messages_body(), headers=asked).status_code for _ in range(3)]
    assert statuses == [529, 529, 200]


@pytest.mark.parametrize("header", ["x-sim-fault", "x-sim-manner", "x-sim-timing", "x-sim-encoding"])
def test_a_wish_the_simulator_does_not_know_is_a_400_with_what_it_knows(client: httpx2.Client, header: str) -> None:
    refused = client.post("/v1/messages", json=messages_body(), headers={**ANTHROPIC, header: "nonsense=1"})
    assert refused.status_code == 400
    assert "nonsense" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fault", "ends"),
    [("cut", b"\n\n\r\n"), ("cut_mid_event", None), ("cut_mid_utf8", b"caf\xc3\r\n")],
)
def test_a_cut_stream_closes_without_its_last_chunk(simulator: Simulator, fault: str, ends: bytes | None) -> None:
    received, error = raw_exchange(simulator, messages_body(stream=True), f"x-sim-fault: {fault}; after=2")
    assert error is None
    assert not received.endswith(b"0\r\n\r\n")
    assert received.count(b"event: content_block_delta") == (3 if fault == "cut_mid_event" else 2)
    assert ends is None or received.endswith(ends)
    wait_until(lambda: simulator.log.entries()[0].ending == "broken")


def test_a_cut_json_answer_is_shorter_than_its_length(simulator: Simulator) -> None:
    received, error = raw_exchange(simulator, messages_body(), "x-sim-fault: cut", "accept-encoding: identity")
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.splitlines() if line.startswith(b"content-length"))
    assert error is None
    assert 0 < len(body) < length


@pytest.mark.parametrize(("fault", "some"), [("reset", False), ("reset; after=2", True)])
def test_a_reset_is_a_reset(simulator: Simulator, fault: str, *, some: bool) -> None:
    received, error = raw_exchange(simulator, messages_body(stream=True), f"x-sim-fault: {fault}")
    assert isinstance(error, ConnectionResetError)
    assert some or not received


def test_an_error_event_ends_a_stream_in_each_shape(client: httpx2.Client) -> None:
    fault = {**ANTHROPIC, "x-sim-fault": "sse_error; after=1"}
    anthropic = events_of(client.post("/v1/messages", json=messages_body(stream=True), headers=fault).content)
    assert (anthropic[-1][0], anthropic[-1][1]["error"]["type"]) == ("error", "overloaded_error")
    body = {"model": "pebble", "messages": SUM, "stream": True}
    chat = events_of(client.post("/v1/chat/completions", json=body, headers=fault).content)
    assert chat[-1][1]["error"]["type"] == "server_error"
    body = {"model": "pebble", "input": "What is 1 + 1?", "stream": True}
    assert events_of(client.post("/v1/responses", json=body, headers=fault).content)[-1][0] == "error"


def test_faults_of_shape_change_only_what_they_name(client: httpx2.Client) -> None:
    def events(fault: str) -> list[tuple[str | None, Any]]:
        asked = {**ANTHROPIC, "x-sim-fault": fault}
        return events_of(client.post("/v1/messages", json=messages_body(stream=True), headers=asked).content)

    assert events("no_end")[-1][0] == "message_delta"
    assert events("no_final_usage")[-2][1]["usage"] == {"output_tokens": 0}
    assert events("no_start_usage")[0][1]["message"]["usage"] == {"input_tokens": 0, "output_tokens": 0}
    assert [name for name, _ in events("usage_twice")].count("message_delta") == 2
    assert events("unknown_events")[0] == (
        "message",
        {"type": "future_event", "usage": {"input_tokens": 99, "output_tokens": 99}},
    )


def test_faults_of_json_answers(client: httpx2.Client) -> None:
    broken = client.post("/v1/messages", json=messages_body(), headers={**ANTHROPIC, "x-sim-fault": "invalid_json"})
    assert broken.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        broken.json()
    big = client.post("/v1/messages", json=messages_body(), headers={**ANTHROPIC, "x-sim-fault": "big_body"})
    assert len(big.content) > 5 << 20
    assert big.json()["type"] == "message"


@pytest.mark.parametrize("fault", ["hang", "stall; after=1"])
def test_silence_lasts_until_the_client_leaves_and_the_log_says_so(simulator: Simulator, fault: str) -> None:
    with (
        httpx2.Client(base_url=simulator.base_url, trust_env=False, verify=False, timeout=0.2) as client,
        pytest.raises(httpx2.ReadTimeout),
    ):
        client.post("/v1/messages", json=messages_body(stream=True), headers={**ANTHROPIC, "x-sim-fault": fault})
    wait_until(lambda: simulator.log.entries()[0].ending == "cancelled")
    assert (simulator.log.entries()[0].first_byte_at is None) == (fault == "hang")


def test_a_stalled_answer_does_not_keep_the_simulator_from_stopping() -> None:
    simulator = Simulator().start()
    payload = json.dumps(messages_body()).encode()
    with socket.create_connection(("127.0.0.1", simulator.port)) as connection:
        connection.sendall(
            b"POST /v1/messages HTTP/1.1\r\nhost: s\r\nanthropic-version: 2023-06-01\r\nx-sim-fault: hang\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(payload), payload)
        )
        wait_until(simulator.log.calls)
        simulator.stop()
    assert simulator.log.entries()[0].ending == "broken"


@pytest.mark.parametrize(
    ("manner", "check"),
    [
        ("right", lambda choice: json.loads(choice["message"]["content"])["quantity"] == 3),
        ("wrong", lambda choice: set(json.loads(choice["message"]["content"])) == {"customer", "item", "quantity"}),
        ("off_schema", lambda choice: "quantity" not in json.loads(choice["message"]["content"])),
        ("broken_json", lambda choice: not choice["message"]["content"].endswith("}")),
        ("fenced", lambda choice: choice["message"]["content"].startswith("```json\n")),
        ("refusal", lambda choice: choice["message"]["content"] is None and choice["message"]["refusal"]),
        ("empty", lambda choice: choice["message"]["content"] == ""),
        ("truncated", lambda choice: choice["finish_reason"] == "length"),
    ],
)
def test_each_manner_fails_in_its_own_way(client: httpx2.Client, manner: str, check: Any) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "order", "schema": ORDER_SCHEMA}}
    body = {"model": "pebble", "messages": [{"role": "user", "content": ORDER}], "response_format": schema}
    told = client.post("/v1/chat/completions", json=body, headers={"x-sim-manner": manner}).json()
    assert check(told["choices"][0])


def test_messages_refuse_and_pause_with_their_own_stop_reasons(client: httpx2.Client) -> None:
    refusal = client.post("/v1/messages", json=messages_body(model="pebble~refusal"), headers=ANTHROPIC).json()
    assert (refusal["stop_reason"], refusal["stop_details"]["type"], refusal["content"]) == ("refusal", "refusal", [])
    paused = client.post("/v1/messages", json=messages_body(model="pebble~paused"), headers=ANTHROPIC).json()
    assert paused["stop_reason"] == "pause_turn"


def test_models_fail_at_the_rates_of_the_script() -> None:
    quality = Quality(wrong=0.3, refusal=0.1)
    script = Script(models=(SimModel(name="sloppy", quality=quality, faults=(FaultRate(fault="500", rate=0.2),)),))
    with (
        Simulator(script) as simulator,
        httpx2.Client(base_url=simulator.base_url, trust_env=False, verify=False) as client,
    ):
        for number in range(300):
            messages = [{"role": "user", "content": f"What is {number} + {number}?"}]
            client.post("/v1/chat/completions", json={"model": "sloppy", "messages": messages})
        calls = simulator.log.calls(model="sloppy")
        answered = [call.manner for call in calls if call.status == 200]
        assert 200 <= len(answered) <= 270
        assert 0.2 < answered.count("wrong") / len(answered) < 0.4
        assert 0.03 < answered.count("refusal") / len(answered) < 0.18


def test_a_quality_of_more_than_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="sum to 1 at most"):
        Quality(wrong=0.7, refusal=0.7)


def test_the_clock_of_a_model_is_kept_and_pings_fill_the_wait() -> None:
    timing = Timing(header_delay_ms=40, ttft_ms=120, gap_ms=20, jitter=0.2, ping_ms=50)
    with (
        Simulator(Script(models=(SimModel(name="slow", timing=timing),))) as simulator,
        httpx2.Client(base_url=simulator.base_url, trust_env=False, verify=False) as client,
    ):
        started = time.monotonic()
        reply = client.post("/v1/messages", json=messages_body(model="slow", stream=True), headers=ANTHROPIC)
        assert time.monotonic() - started > 0.04 + 0.12 * 0.8 + 3 * 0.02 * 0.8
        assert [name for name, _ in events_of(reply.content)].count("ping") >= 2
        entry = simulator.log.entries()[0]
        assert entry.first_byte_at is not None
        assert entry.first_byte_at - entry.arrived_at >= 0.04


@pytest.mark.parametrize("timing", ["chunk_bytes=3", "events_per_chunk=4", "events_per_chunk=100; chunk_bytes=50"])
def test_however_a_stream_is_cut_it_says_the_same(client: httpx2.Client, timing: str) -> None:
    whole = client.post("/v1/messages", json=messages_body(stream=True), headers=ANTHROPIC).content
    asked = {**ANTHROPIC, "x-sim-timing": timing}
    assert client.post("/v1/messages", json=messages_body(stream=True), headers=asked).content == whole


def test_the_log_is_a_page_too(client: httpx2.Client) -> None:
    client.post("/v1/messages?beta=true", json=messages_body(), headers=ANTHROPIC)
    (entry,) = client.get("/_sim/log").json()["requests"]
    assert (entry["method"], entry["path"], entry["query"]) == ("POST", "/v1/messages", "beta=true")
    assert (entry["status"], entry["ending"], entry["model"]) == (200, "completed", "pebble")
    assert ["x-api-key", "key-of-the-app"] in entry["headers"]
    assert json.loads(entry["body"]) == messages_body()
    assert client.get("/_sim/log", params={"after": entry["number"]}).json() == {"requests": []}
    assert client.delete("/_sim/log").json() == {"requests": []}
    assert [each["name"] for each in client.get("/_sim/script").json()["models"]] == ["pebble", "boulder"]


def test_responses_refuse_break_and_name_their_tools_in_their_own_way(client: httpx2.Client) -> None:
    def events(model: str, **more: Any) -> list[tuple[str | None, Any]]:
        body = {"model": model, "stream": True, **more}
        return events_of(client.post("/v1/responses", json=body).content)

    refused = events("pebble~refusal", input="What is 1 + 1?")
    assert "".join(data["delta"] for name, data in refused if name == "response.refusal.delta").startswith("I cannot")
    tool = {"type": "function", "name": "get_weather", "parameters": WEATHER_SCHEMA}
    asked = [{"role": "user", "content": [{"type": "input_text", "text": "What is the weather in Oslo?"}]}]
    called = events("pebble", input=asked, tools=[tool], tool_choice={"type": "function", "name": "get_weather"})
    deltas = "".join(data["delta"] for name, data in called if name == "response.function_call_arguments.delta")
    assert json.loads(deltas) == {"city": "Oslo", "unit": "celsius"}
    call = called[-1][1]["response"]["output"][0]
    told = [*asked, call, {"type": "function_call_output", "call_id": call["call_id"], "output": "3 degrees"}]
    reply = client.post("/v1/responses", json={"model": "pebble", "input": told, "tools": [tool]}).json()
    assert reply["output"][0]["content"][0]["text"] == "Here is what I found: 3 degrees"


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("auto", False),
        ("required", True),
        ("none", False),
        ({"type": "function", "function": {"name": "get_weather"}}, True),
    ],
)
def test_a_tool_is_called_when_the_client_says_so(client: httpx2.Client, choice: Any, *, called: bool) -> None:
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER_SCHEMA}}
    body = {"model": "pebble", "messages": SUM, "tools": [tool], "tool_choice": choice}
    message = client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]
    assert ("tool_calls" in message) is called


@pytest.mark.parametrize(
    ("manner", "arguments"),
    [
        ("wrong", {"city": "Oslo", "unit": "fahrenheit"}),
        ("off_schema", {"city": "Oslo"}),
        ("broken_json", {"unparsed": '{"city": "Oslo", "unit":'}),
    ],
)
def test_tool_arguments_are_spoiled_in_their_own_ways(client: httpx2.Client, manner: str, arguments: Any) -> None:
    question = [{"role": "user", "content": "What is the weather in Oslo?"}]
    body = messages_body(messages=question, tools=[{"name": "get_weather", "input_schema": WEATHER_SCHEMA}])
    found = []
    for number in range(12):  # which value is wrong depends on the prompt
        body["system"] = f"You are assistant number {number}."
        told = client.post("/v1/messages", json=body, headers={**ANTHROPIC, "x-sim-manner": manner}).json()
        found.append(told["content"][0]["input"])
    assert any(each == arguments or str(each)[:20] == str(arguments)[:20] for each in found)
    assert {"city": "Oslo", "unit": "celsius"} not in found


def test_a_schema_is_filled_whatever_its_types(client: httpx2.Client) -> None:
    schema = {
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": {"type": "string"}},
            "price": {"type": ["number", "null"]},
            "urgent": {"type": "boolean"},
            "kind": {"const": "order"},
            "address": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
            "note": {"type": "string"},
        },
        "required": ["tags", "price", "urgent", "kind", "address"],
    }
    text = "Extract it. tags: red, blue; price: 1,299.50 EUR; urgent: yes; city: Quito"
    body = {
        "model": "pebble",
        "messages": [{"role": "user", "content": text}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "any", "schema": schema}},
    }
    told = client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
    assert json.loads(told) == {
        "tags": ["red", "blue"],
        "price": 1299.5,
        "urgent": True,
        "kind": "order",
        "address": {"city": "Quito"},
    }


@pytest.mark.parametrize(
    ("turns", "answer"),
    [
        (["What is 9 - 4?"], "5"),
        (["What is 9 times 4?"], "36"),
        (["What is 9 plus 4?", "Subtract 3 from that.", "Multiply that by 5."], "50"),
    ],
)
def test_arithmetic_is_right(client: httpx2.Client, turns: list[str], answer: str) -> None:
    history: list[dict[str, str]] = []
    for turn in turns:
        history.append({"role": "user", "content": turn})
        told = client.post("/v1/chat/completions", json={"model": "pebble", "messages": history}).json()
        history.append({"role": "assistant", "content": told["choices"][0]["message"]["content"]})
    assert history[-1]["content"] == f"The answer is {answer}."


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_alone_it_says_where_it_listens_and_ends_on_ctrl_c(host: str, shown: str) -> None:
    command = [Path(sys.executable).with_name("shadow-gateway"), "simulator", "--port", "0", "--host", host]
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environ, text=True)
    assert process.stdout
    try:
        line = process.stdout.readline()
        assert line.startswith(f"simulator listening on http://{shown}:")
        base_url = line.split()[-1]
        listed = httpx2.get(f"{base_url}/v1/models", trust_env=False).json()
        names = [each["id"] for each in listed["data"]]
        assert names[:4] == ["claude-sonnet-4-5", "claude-haiku-4-5", "gpt-4o", "gemini-2.5-pro"]
        assert {"judge-truthful", "judge-always-a", "judge-random", "judge-refusal"} < set(names)
        for name in names:
            assert httpx2.get(f"{base_url}/v1/models/{name}", trust_env=False).json()["id"] == name
    finally:
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        process.stdout.close()
        assert process.wait(20) == 0


async def test_a_simulator_also_starts_inside_a_running_loop() -> None:
    async with (
        Simulator() as simulator,
        httpx2.AsyncClient(base_url=simulator.base_url, trust_env=False, verify=False) as client,
    ):
        assert (await client.post("/v1/messages", json=messages_body(), headers=ANTHROPIC)).status_code == 200
