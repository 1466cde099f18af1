"""Requests are understood as far as sampling needs it, and copied without touching any other value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.dialects import (
    UnreadableError,
    dialect_of,
    estimate_input_tokens,
    is_event_stream,
    max_output_tokens,
    read_request,
    request_for,
)
from shadow.dialects.requests import may_mention, raw_fields, raw_list
from shadow.records import Dialect

ANTHROPIC, CHAT, RESPONSES = Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES
ALL = [ANTHROPIC, CHAT, RESPONSES]


def body(**members: Any) -> bytes:
    return json.dumps({"model": "m", **members}).encode()


def user(content: Any = "hi") -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any = "hello") -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def copied(dialect: Dialect, content: bytes, **options: Any) -> Any:
    return json.loads(request_for(dialect, content, **{"model": "other", **options}))


@pytest.mark.parametrize(
    ("method", "path", "dialect"),
    [
        ("POST", "/v1/messages", ANTHROPIC),
        ("POST", "/anthropic/v1/messages?beta=true", ANTHROPIC),
        ("POST", "/v1/chat/completions", CHAT),
        ("POST", "/openai/v1/chat/completions", CHAT),
        ("POST", "/chat/completions", CHAT),
        ("POST", "/v1/responses", RESPONSES),
        ("GET", "/v1/messages", None),
        ("POST", "/v1/messages/count_tokens", None),
        ("POST", "/v1/messages/batches", None),
        ("POST", "/v1/threads/t_1/messages", None),
        ("POST", "/v1/responses/r_1/cancel", None),
        ("POST", "/v1/completions", None),
        ("POST", "/myresponses", None),
        ("POST", "/", None),
    ],
)
def test_a_dialect_is_known_by_method_and_end_of_path(method: str, path: str, dialect: Dialect | None) -> None:
    assert dialect_of(method, path) == dialect


@pytest.mark.parametrize(
    ("content_type", "is_stream"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream; charset=utf-8", True),
        ("application/json", False),
        ("", False),
        (None, False),
    ],
)
def test_an_event_stream_is_known_by_its_content_type(content_type: str | None, is_stream: bool) -> None:  # noqa: FBT001  (a table)
    assert is_event_stream(content_type) is is_stream


# --- what a request asks for ------------------------------------------------------------------------------------------


def test_facts_of_an_anthropic_request() -> None:
    facts = read_request(
        ANTHROPIC,
        body(
            max_tokens=100,
            stream=True,
            system=[{"type": "text", "text": "You are "}, {"type": "text", "text": "kind"}],
            messages=[user(), assistant(), user("and?")],
            tools=[{"name": "f"}],
        ),
    )

    assert (facts.model, facts.stream, facts.max_output_tokens, facts.has_tools) == ("m", True, 100, True)
    assert facts.system == "You are kind"
    assert facts.conversation == "prompt:You are kind\x00hi"
    assert facts.first_turn is False
    assert facts.skip is None


def test_facts_of_a_chat_request() -> None:
    facts = read_request(
        CHAT,
        body(
            max_completion_tokens=10,
            max_tokens=99,
            n=3,
            messages=[{"role": "developer", "content": "be"}, {"role": "system", "content": "kind"}, user()],
        ),
    )

    assert facts.max_output_tokens == 30
    assert facts.system == "be\nkind"
    assert facts.conversation == "prompt:be\nkind\x00hi"
    assert facts.first_turn
    assert not facts.stream
    assert not facts.has_tools


def test_a_later_system_message_does_not_change_the_conversation() -> None:
    first = [{"role": "system", "content": "be kind"}, user()]
    later = [*first, assistant(), {"role": "system", "content": "be quick"}, user("and?")]

    assert (
        read_request(CHAT, body(messages=first)).conversation == read_request(CHAT, body(messages=later)).conversation
    )


def test_old_functions_are_tools_too() -> None:
    assert read_request(CHAT, body(messages=[user()], functions=[{"name": "f"}])).has_tools


@pytest.mark.parametrize(
    ("given_input", "conversation", "first_turn"),
    [
        ("hi", "prompt:be kind\x00hi", True),
        ([user([{"type": "input_text", "text": "hi"}])], "prompt:be kind\x00hi", True),
        ([{"role": "developer", "content": "now"}, user()], "prompt:be kind\nnow\x00hi", True),
        ([user(), {"type": "function_call", "name": "f"}], "prompt:be kind\x00hi", False),
        ([user(), assistant(), user("and?")], "prompt:be kind\x00hi", False),
        ([], None, True),
        (None, None, True),
    ],
)
def test_facts_of_a_responses_request(given_input: Any, conversation: str | None, first_turn: bool) -> None:  # noqa: FBT001
    facts = read_request(RESPONSES, body(instructions="be kind", input=given_input, max_output_tokens=7))

    assert facts.conversation == conversation
    assert facts.first_turn is first_turn
    assert facts.max_output_tokens == 7
    assert facts.skip is None


def test_a_responses_request_without_instructions_or_input_is_understood() -> None:
    facts = read_request(RESPONSES, body(prompt={"id": "p"}))

    assert (facts.system, facts.conversation, facts.first_turn) == ("", None, True)


def test_a_prefill_of_the_app_is_no_answer_yet() -> None:
    assert read_request(ANTHROPIC, body(messages=[user(), assistant("{")])).first_turn


@pytest.mark.parametrize(
    ("user_id", "conversation"),
    [
        ('{"device_id": "d", "session_id": "0123"}', "session:0123"),
        ("user_abc_account_def_session_0123-4567-89ab", "session:0123-4567-89ab"),
        ('{"device_id": "d"}', "prompt:\x00hi"),
        ("{broken", "prompt:\x00hi"),
        ("[1]", "prompt:\x00hi"),
        ("user-17", "prompt:\x00hi"),
        (17, "prompt:\x00hi"),
    ],
)
@pytest.mark.parametrize("dialect", [ANTHROPIC, CHAT])
def test_a_session_in_the_user_id_is_the_conversation(dialect: Dialect, user_id: Any, conversation: str) -> None:
    assert read_request(dialect, body(messages=[user()], metadata={"user_id": user_id})).conversation == conversation


def test_cache_marks_and_the_form_of_the_text_do_not_change_the_conversation() -> None:
    plain = user("hi")
    marked = user([{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}])

    assert read_request(ANTHROPIC, body(messages=[plain])).conversation == "prompt:\x00hi"
    assert read_request(ANTHROPIC, body(messages=[marked])).conversation == "prompt:\x00hi"


def test_another_first_image_is_another_conversation() -> None:
    def about(data: str, **mark: Any) -> str | None:
        image = {"type": "image", "source": {"type": "base64", "data": data}, **mark}
        return read_request(ANTHROPIC, body(messages=[user([image, {"type": "text", "text": "what?"}])])).conversation

    assert about("AAAA") != about("BBBB")
    assert about("AAAA") == about("AAAA", cache_control={"type": "ephemeral"})


@pytest.mark.parametrize(
    ("dialect", "members", "reason"),
    [
        (ANTHROPIC, {"thread": {"type": "continue"}}, "stateful"),
        (ANTHROPIC, {"fallback_credit_token": "t"}, "stateful"),
        (ANTHROPIC, {"billing_policy": "user_profile"}, "stateful"),
        (ANTHROPIC, {"billing_policy": "other"}, None),
        (ANTHROPIC, {"thread": None, "container": None, "mcp_servers": []}, None),
        (ANTHROPIC, {"mcp_servers": [{"url": "https://x"}]}, "mcp"),
        (ANTHROPIC, {"tools": [{"type": "mcp_toolset"}]}, "mcp"),
        (ANTHROPIC, {"container": "c_1"}, "server_tools"),
        (ANTHROPIC, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "server_tools"),
        (ANTHROPIC, {"tools": [{"type": "web_fetch_20250910"}]}, "server_tools"),
        (ANTHROPIC, {"tools": [{"type": "code_execution_20250825"}]}, "server_tools"),
        (ANTHROPIC, {"tools": [{"type": "computer_20250124"}]}, "server_tools"),
        (ANTHROPIC, {"tools": [{"type": "browser_toolset_20260801"}]}, "server_tools"),
        (ANTHROPIC, {"tools": [{"type": "something_new_20270101"}]}, "server_tools"),
        (ANTHROPIC, {"tools": [{"name": "a"}, {"type": "custom", "name": "b"}, {"type": "bash_20250124"}]}, None),
        (ANTHROPIC, {"messages": [user([{"type": "document", "source": {"type": "file", "file_id": "f"}}])]}, "files"),
        (ANTHROPIC, {"messages": [user([{"type": "container_upload", "file_id": "f"}])]}, "files"),
        (ANTHROPIC, {"messages": [user([{"type": "container_upload"}])]}, "files"),
        (ANTHROPIC, {"messages": [assistant([{"type": "tool_use", "input": {"file_id": "mine"}}]), user()]}, None),
        (ANTHROPIC, {"messages": [user("what is a file_id?")]}, None),
        (CHAT, {"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "custom"}]}, None),
        (CHAT, {"tools": [{"type": "web_search_preview"}]}, "server_tools"),
        (CHAT, {"web_search_options": {}}, "server_tools"),
        (CHAT, {"tools": [{"type": "mcp", "server_url": "https://x"}]}, "mcp"),
        (CHAT, {"mcp_servers": [{}]}, "mcp"),
        (CHAT, {"container": {}}, "server_tools"),
        (CHAT, {"conversation": "c"}, "stateful"),
        (CHAT, {"background": True}, "stateful"),
        (CHAT, {"background": "true"}, "stateful"),
        (CHAT, {"background": None}, None),
        (CHAT, {"messages": [user([{"type": "file", "file": {"file_id": "f"}}])]}, "files"),
        (CHAT, {"messages": [user([{"type": "file", "file": {"file_data": "data:…"}}])]}, None),
        (RESPONSES, {"previous_response_id": "r"}, "stateful"),
        (RESPONSES, {"conversation": {"id": "c"}}, "stateful"),
        (RESPONSES, {"background": True}, "stateful"),
        (RESPONSES, {"background": 1}, "stateful"),
        (RESPONSES, {"background": "false"}, "stateful"),
        (RESPONSES, {"background": False, "store": True}, None),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "i"}]}, "stateful"),
        (RESPONSES, {"prompt": {"id": "p", "version": "2"}}, "stateful"),
        (RESPONSES, {"tools": [{"type": "mcp"}]}, "mcp"),
        (RESPONSES, {"tools": [{"type": "file_search"}]}, "server_tools"),
        (RESPONSES, {"tools": [{"type": "image_generation"}]}, "server_tools"),
        (RESPONSES, {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, "server_tools"),
        (RESPONSES, {"tools": [{"type": "function"}, {"type": "custom"}]}, None),
        (RESPONSES, {"input": [user([{"type": "input_file", "file_id": "f"}])]}, "files"),
        (RESPONSES, {"input": [{"type": "function_call_output", "output": "file_id"}]}, None),
        (RESPONSES, {"input": 5}, "unreadable"),
        (RESPONSES, {"input": [5]}, "unreadable"),
        (ANTHROPIC, {"tools": [5]}, "unreadable"),
        (ANTHROPIC, {"messages": {"role": "user"}}, "unreadable"),
    ],
)
def test_requests_that_may_not_be_repeated_are_skipped_for_a_reason(
    dialect: Dialect, members: dict[str, Any], reason: str | None
) -> None:
    defaults = {} if dialect is RESPONSES else {"messages": [user()]}

    assert read_request(dialect, body(**{**defaults, **members})).skip == reason


def test_a_file_hidden_behind_escapes_is_found() -> None:
    hidden = body(messages=[user([{"type": "document", "source": {"file_id": "f"}}])]).replace(
        b"file_id", b"f\\u0069le_id"
    )

    assert read_request(ANTHROPIC, hidden).skip == "files"


def test_escapes_of_other_letters_hide_no_word() -> None:
    assert not may_mention(b'{"a": "gr\\u00fc\\u00dfe"}', b"file_id")
    assert may_mention(b'{"a": "\\u0066ile_id"}', b"file_id")


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize(
    "unreadable",
    [b"", b"null", b"[]", b"5", b"{", b'{"a": NaN}', b"\xff", b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}"],
)
def test_a_body_that_is_no_json_object_is_unreadable(dialect: Dialect, unreadable: bytes) -> None:
    for read in (
        lambda: read_request(dialect, unreadable),
        lambda: request_for(dialect, unreadable, model="other"),
    ):
        with pytest.raises(UnreadableError, match="not readable"):
            read()
    assert max_output_tokens(dialect, unreadable) is None


@pytest.mark.parametrize("dialect", ALL)
def test_wrong_types_have_defined_results(dialect: Dialect) -> None:
    odd = b"""{"model": 5, "stream": "yes", "max_tokens": -1, "max_output_tokens": true, "n": 1.5, "system": {"a": 1},
        "instructions": [], "metadata": "x", "messages": [{"role": 7, "content": 8}], "tools": null}"""

    facts = read_request(dialect, odd)

    assert (facts.model, facts.stream, facts.max_output_tokens, facts.conversation) == (None, False, None, None)


def test_duplicate_members_count_by_their_last_value_as_at_the_apis() -> None:
    twice = b'{"model": "a", "messages": [], "model": "b"}'

    assert read_request(ANTHROPIC, twice).model == "b"
    assert request_for(ANTHROPIC, twice, model="c") == b'{"model":"c","messages":[]}'


def test_a_number_too_long_for_any_machine_does_not_stop_the_reading() -> None:
    digits = b"9" * 5_000
    huge = b'{"model": "m", "seed": ' + digits + b', "messages": [{"role": "user", "content": "hi"}]}'

    assert read_request(ANTHROPIC, huge).conversation == "prompt:\x00hi"
    assert b'"seed":' + digits in request_for(ANTHROPIC, huge, model="other")


def test_a_number_too_long_where_we_look_gives_the_default() -> None:
    huge = b'{"model": "m", "max_tokens": ' + b"9" * 5_000 + b', "messages": [{"role": "user", "content": "hi"}]}'

    facts = read_request(ANTHROPIC, huge)

    assert (facts.max_output_tokens, facts.conversation, facts.skip) == (None, "prompt:\x00hi", "unreadable")


def test_an_input_that_is_a_number_too_long_is_unreadable() -> None:
    assert read_request(RESPONSES, b'{"input": ' + b"9" * 5_000 + b"}").skip == "unreadable"


def test_content_that_cannot_be_read_gives_no_conversation() -> None:
    odd = b'{"messages": [{"role": "user", "content": "\xff"}]}'

    assert read_request(CHAT, odd).conversation is None


@pytest.mark.parametrize(
    ("dialect", "members", "limit"),
    [
        (ANTHROPIC, {"max_tokens": 5}, 5),
        (CHAT, {"max_tokens": 5}, 5),
        (CHAT, {"max_tokens": 5, "n": 0}, 5),
        (CHAT, {}, None),
        (RESPONSES, {"max_output_tokens": 5}, 5),
    ],
)
def test_the_output_limit_is_found(dialect: Dialect, members: dict[str, Any], limit: int | None) -> None:
    assert max_output_tokens(dialect, body(**members)) == limit


# --- the candidate's copy ---------------------------------------------------------------------------------------------

NUMBERS = st.sampled_from(["1.0", "-0.0", "1e5", "1E+05", "0.1000", "9" * 40, "-1", "3.141592653589793238462643"])
JSON_TEXTS = st.recursive(
    NUMBERS
    | st.sampled_from(["true", "false", "null", '"\\u00e9\\/\\ud83d\\ude00"', '""'])
    | st.text().map(json.dumps),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda entries: "[ " + " ,".join(entries) + "]")
        | st.dictionaries(st.text(max_size=5), inner, max_size=3).map(
            lambda members: "{" + ", ".join(f"{json.dumps(name)} :{value}" for name, value in members.items()) + " }"
        )
    ),
    max_leaves=12,
)
MEMBERS = st.dictionaries(
    st.sampled_from(["temperature", "tools", "system", "seed", "messages", "input", "stream", "top_p", "x", "été"]),
    JSON_TEXTS,
)


@given(MEMBERS, st.sampled_from(ALL))
def test_a_copy_keeps_every_other_value_byte_for_byte(members: dict[str, str], dialect: Dialect) -> None:
    request = {"model": '"m"', **members}
    original = ("{" + ",".join(f"{json.dumps(name)}: {text}" for name, text in request.items()) + "}").encode()
    try:
        before = raw_fields(original)
    except UnreadableError:  # a lone surrogate, which is no JSON text that can be sent
        return

    after = raw_fields(request_for(dialect, original, model="other"))

    changed = {"model"} | ({"store"} if dialect is RESPONSES else set())
    changed |= {"stream_options"} if dialect is CHAT and members.get("stream") == "true" else set()
    assert {name: bytes(value) for name, value in after.items() if name not in changed} == {
        name: bytes(value) for name, value in before.items() if name not in changed
    }
    assert bytes(after["model"]) == b'"other"'


def test_dropped_parameters_are_left_out_but_never_the_model() -> None:
    content = body(temperature=1, top_p=1, messages=[])

    assert copied(ANTHROPIC, content, drop_params=("temperature", "top_k", "model")) == {
        "model": "other",
        "top_p": 1,
        "messages": [],
    }


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize(
    ("metadata", "kept"),
    [
        ({"user_id": "u"}, None),
        ({"user_id": "u", "team": "t"}, {"team": "t"}),
        ({"team": "t"}, {"team": "t"}),
        ({}, {}),
        ("odd", "odd"),
    ],
)
def test_the_end_users_name_is_left_out(dialect: Dialect, metadata: Any, kept: Any) -> None:
    assert copied(dialect, body(metadata=metadata)).get("metadata") == kept


THINKING = {"type": "thinking", "thinking": "hm", "signature": "s"}
REDACTED = {"type": "redacted_thinking", "data": "x"}
TEXT = {"type": "text", "text": "thinking is text here"}


def test_thinking_of_another_model_is_left_out_of_the_history() -> None:
    history = [
        user(),
        assistant([THINKING, TEXT]),
        user(),
        assistant([REDACTED]),
        user([TEXT]),
        "odd",
        {"content": [5]},
    ]

    assert copied(ANTHROPIC, body(messages=history))["messages"] == [
        user(),
        assistant([TEXT]),
        user(),
        user([TEXT]),
        "odd",
        {"content": [5]},
    ]


def test_the_same_model_gets_its_own_thinking_back() -> None:
    history = [user(), assistant([THINKING, TEXT])]

    assert copied(ANTHROPIC, body(messages=history), model="m")["messages"] == history


def test_a_request_without_a_readable_model_counts_as_of_another_model() -> None:
    history = [assistant([THINKING, TEXT])]
    content = json.dumps({"messages": history}).encode()
    unreadable = b'{"model": 1' + b"0" * 5_000 + b"," + content[1:]

    assert copied(ANTHROPIC, content)["messages"] == [assistant([TEXT])]
    assert copied(ANTHROPIC, unreadable)["messages"] == [assistant([TEXT])]


def test_messages_that_are_no_list_stay_as_they_are() -> None:
    assert copied(ANTHROPIC, body(messages={"thinking": 1}))["messages"] == {"thinking": 1}
    assert copied(ANTHROPIC, body(system="thinking"))["system"] == "thinking"
    assert copied(ANTHROPIC, body(messages=[user("thinking")]))["messages"] == [user("thinking")]
    assert raw_list(None) is None


def test_a_streamed_chat_copy_asks_for_usage() -> None:
    assert copied(CHAT, body(stream=True))["stream_options"] == {"include_usage": True}
    assert copied(CHAT, body(stream=True, stream_options={"include_obfuscation": False}))["stream_options"] == {
        "include_obfuscation": False,
        "include_usage": True,
    }
    assert copied(CHAT, body(stream=True, stream_options=None))["stream_options"] == {"include_usage": True}
    assert "stream_options" not in copied(CHAT, body(stream=False))
    assert "stream_options" not in copied(CHAT, body(stream=True), drop_params=("stream_options",))


def test_an_openai_copy_is_never_stored() -> None:
    assert copied(CHAT, body(store=True))["store"] is False
    assert "store" not in copied(CHAT, body())
    assert copied(RESPONSES, body(store=True))["store"] is False
    assert copied(RESPONSES, body())["store"] is False


def test_reasoning_of_another_model_is_left_out_of_a_chat_history() -> None:
    spoken = {**assistant("hello"), "reasoning_content": "hm", "reasoning": "hm"}

    assert copied(CHAT, body(messages=[user(), spoken, assistant([THINKING]), "odd", user()]))["messages"] == [
        user(),
        assistant("hello"),
        "odd",
        user(),
    ]
    assert copied(CHAT, body(messages=[spoken]), model="m")["messages"] == [spoken]


def test_reasoning_of_another_model_is_left_out_of_a_responses_input() -> None:
    call = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}
    history = [user(), {"type": "reasoning", "id": "rs_1", "summary": []}, {**call, "id": "fc_1"}, "odd"]

    assert copied(RESPONSES, body(input=history))["input"] == [user(), call, "odd"]
    assert copied(RESPONSES, body(input=history), model="m")["input"] == history
    assert copied(RESPONSES, body(input="reasoning"))["input"] == "reasoning"


# --- how many tokens it can be at most --------------------------------------------------------------------------------


@given(st.text())
def test_the_estimate_is_never_below_the_bytes_of_the_text(text: str) -> None:
    content = json.dumps({"messages": [user(text)]}).encode()

    assert estimate_input_tokens(content) >= len(text.encode("utf-8", "surrogatepass"))


def test_an_image_counts_at_a_fixed_price_inline_or_linked() -> None:
    inline = "A" * 1_000_000
    source = {"type": "base64", "media_type": "image/png", "data": inline}
    forms = [
        {"type": "image", "source": source},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{inline}"}},
        {"type": "input_image", "image_url": f"data:image/png;base64,{inline}"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]

    for form in forms:
        assert 50_000 <= estimate_input_tokens(body(messages=[user([form])])) < 53_000


def test_a_picture_of_few_bytes_may_have_many_pixels() -> None:
    image = {"type": "image_url", "image_url": "data:image/png;base64,AAAA"}

    assert 50_000 <= estimate_input_tokens(body(messages=[user([image])])) < 53_000


def test_documents_count_at_a_high_price_and_large_ones_by_their_bytes() -> None:
    def inline(size: int) -> list[dict[str, Any]]:
        data = "A" * size
        source = {"type": "base64", "media_type": "application/pdf", "data": data}
        return [{"type": "document", "source": source}, {"type": "file", "file": {"file_data": data}}]

    linked = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}
    by_url = {"type": "input_file", "file_url": "https://example.com/a.pdf"}

    for small, large in zip(inline(90_000), inline(300_000), strict=True):
        assert 200_000 < estimate_input_tokens(body(messages=[user([small])])) < 203_000
        assert 300_000 < estimate_input_tokens(body(messages=[user([large])])) < 303_000
    assert estimate_input_tokens(body(messages=[user([linked])])) > 200_000
    assert estimate_input_tokens(body(messages=[user([by_url])])) > 200_000


def test_a_body_that_cannot_be_read_counts_by_its_bytes() -> None:
    assert estimate_input_tokens(b"not json") == 2_008
