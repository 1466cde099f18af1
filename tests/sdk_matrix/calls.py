"""What an app does with an SDK: the calls, and a plain account of each that can be compared.

The end-to-end tests import this. `make sdk-matrix` runs it as a script inside one virtual environment per SDK, so it
needs nothing but the standard library and the SDK:

    python calls.py anthropic http://127.0.0.1:8080      # prints {"<mode>/<case>": {fine, saw}} and versions
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import platform
import sys
from dataclasses import dataclass
from typing import Any

KEY = "key-of-the-app"
CASE_HEADER = "x-case"
"""Names the case in every request, so that what upstream received can be told apart."""

SUM = [{"role": "user", "content": "What is 17 + 25?"}]
WEATHER = [{"role": "user", "content": "What is the weather in New York?"}]
WEATHER_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
ORDER = "Extract the order. customer: Zoë Lopez; item: desk lamp; quantity: 3"
ORDER_SCHEMA = {
    "type": "object",
    "properties": {"customer": {"type": "string"}, "quantity": {"type": "integer"}},
    "required": ["customer", "quantity"],
    "additionalProperties": False,
}
MOMENTARY = frozenset({"created", "created_at", "_request_id", "request_id"})


@dataclass(frozen=True, kw_only=True)
class Clients:
    """The SDKs, pointed at one address; blocking or not."""

    anthropic: Any = None
    openai: Any = None


async def outcome_of(scenario: Any, clients: Clients) -> Any:
    """What an app would see: the plain result, or the error with everything an app can read from it."""
    try:
        return plain(await scenario(clients))
    except Exception as error:
        kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
        if hasattr(error, "status_code") and hasattr(error, "response"):
            names = ("retry-after", "x-should-retry", "content-type")
            headers = {name: error.response.headers.get(name) for name in names}
            return ["error", type(error).__name__, error.status_code, str(plain(error.body)), headers]
        if kinds & {"httpx.TransportError", "httpx2.TransportError"} or "APIConnectionError" in str(kinds):
            return ["error", "the connection broke"]  # how a broken connection is told depends on where it broke
        if kinds & {"anthropic.APIError", "openai.APIError"}:
            return ["error", type(error).__name__, error.message]
        raise


def plain(result: Any) -> Any:
    """A result without what differs from call to call."""
    if hasattr(result, "model_dump"):
        return plain(result.model_dump())
    if isinstance(result, dict):
        return {name: plain(value) for name, value in result.items() if name not in MOMENTARY}
    if isinstance(result, list | tuple):
        return [plain(each) for each in result]
    return result


async def resolved(result: Any) -> Any:
    """The value of a call of either kind of client."""
    return await result if inspect.isawaitable(result) else result


async def collected(stream: Any) -> list[Any]:
    """All events of a stream of either kind."""
    return [each async for each in stream] if hasattr(stream, "__aiter__") else list(stream)


async def a_message(c: Clients) -> Any:
    return await resolved(c.anthropic.messages.create(model="pebble", max_tokens=100, messages=SUM))


async def a_thinking_message(c: Clients) -> Any:
    return await resolved(
        c.anthropic.messages.create(model="boulder", max_tokens=500, system="Be brief.", messages=SUM)
    )


async def a_message_stream(c: Clients) -> Any:
    return await collected(
        await resolved(c.anthropic.messages.create(model="boulder", max_tokens=500, messages=SUM, stream=True))
    )


async def a_message_stream_helper(c: Clients) -> Any:
    manager = c.anthropic.messages.stream(model="pebble", max_tokens=200, messages=[{"role": "user", "content": "Hi."}])
    if hasattr(manager, "__aenter__"):
        async with manager as stream:
            return [[text async for text in stream.text_stream], await stream.get_final_message()]
    with manager as stream:
        return [list(stream.text_stream), stream.get_final_message()]


async def a_tool_call_and_its_result(c: Clients) -> Any:
    tools = [{"name": "get_weather", "description": "Weather of a city", "input_schema": WEATHER_SCHEMA}]
    options = {"model": "pebble", "max_tokens": 300, "tools": tools}
    asked = await resolved(c.anthropic.messages.create(messages=WEATHER, **options))
    result = {"type": "tool_result", "tool_use_id": asked.content[0].id, "content": "18 degrees, clear"}
    history = [
        *WEATHER,
        {"role": "assistant", "content": [each.model_dump(exclude_none=True) for each in asked.content]},
        {"role": "user", "content": [result]},
    ]
    return [asked, await resolved(c.anthropic.messages.create(messages=history, **options))]


async def a_streamed_tool_call(c: Clients) -> Any:
    tools = [{"name": "get_weather", "input_schema": WEATHER_SCHEMA}]
    return await collected(
        await resolved(
            c.anthropic.messages.create(model="pebble", max_tokens=300, tools=tools, messages=WEATHER, stream=True)
        )
    )


async def a_cached_prefix(c: Clients) -> Any:
    system = [{"type": "text", "text": "Be exact. " * 50, "cache_control": {"type": "ephemeral"}}]
    options = {"model": "pebble", "max_tokens": 100, "system": system, "messages": SUM}
    return [await resolved(c.anthropic.messages.create(**options)) for _ in range(2)]


async def a_structured_message(c: Clients) -> Any:
    return await resolved(
        c.anthropic.messages.create(
            model="pebble",
            max_tokens=300,
            messages=[{"role": "user", "content": ORDER}],
            output_config={"format": {"type": "json_schema", "schema": ORDER_SCHEMA}},
        )
    )


async def a_beta_message_with_a_query(c: Clients) -> Any:
    return await resolved(
        c.anthropic.beta.messages.create(
            model="pebble",
            max_tokens=100,
            messages=SUM,
            betas=["context-1m-2025-08-07"],
            extra_headers={"x-app": "test"},
        )
    )


async def counted_tokens(c: Clients) -> Any:
    return await resolved(c.anthropic.messages.count_tokens(model="pebble", messages=SUM))


async def models_of_anthropic(c: Clients) -> Any:
    page = await resolved(c.anthropic.models.list())
    return [page.data, await resolved(c.anthropic.models.retrieve("boulder"))]


async def a_completion(c: Clients) -> Any:
    return await resolved(c.openai.chat.completions.create(model="pebble", messages=SUM, temperature=0.2))


async def a_completion_stream(c: Clients) -> Any:
    return await collected(await resolved(c.openai.chat.completions.create(model="pebble", messages=SUM, stream=True)))


async def a_completion_stream_with_usage(c: Clients) -> Any:
    return await collected(
        await resolved(
            c.openai.chat.completions.create(
                model="pebble", messages=SUM, stream=True, stream_options={"include_usage": True}
            )
        )
    )


async def a_function_call(c: Clients) -> Any:
    function = {"name": "get_weather", "parameters": WEATHER_SCHEMA, "strict": True}
    tools = [{"type": "function", "function": function}]
    options = {"model": "pebble", "messages": WEATHER, "tools": tools}
    streamed = await resolved(c.openai.chat.completions.create(stream=True, **options))
    return [await resolved(c.openai.chat.completions.create(**options)), await collected(streamed)]


async def a_structured_completion(c: Clients) -> Any:
    schema = {"type": "json_schema", "json_schema": {"name": "order", "schema": ORDER_SCHEMA, "strict": True}}
    messages = [{"role": "user", "content": ORDER}]
    return await resolved(c.openai.chat.completions.create(model="pebble", messages=messages, response_format=schema))


async def a_response(c: Clients) -> Any:
    return await resolved(
        c.openai.responses.create(model="boulder", input="What is 17 + 25?", instructions="Be brief.")
    )


async def a_response_stream(c: Clients) -> Any:
    return await collected(
        await resolved(c.openai.responses.create(model="boulder", input="What is 17 + 25?", stream=True))
    )


async def a_response_with_a_tool(c: Clients) -> Any:
    tools = [{"type": "function", "name": "get_weather", "parameters": WEATHER_SCHEMA, "strict": True}]
    stream = await resolved(c.openai.responses.create(model="pebble", input=WEATHER, tools=tools, stream=True))
    return await collected(stream)


async def models_of_openai(c: Clients) -> Any:
    page = await resolved(c.openai.models.list())
    return [page.data, await resolved(c.openai.models.retrieve("boulder"))]


async def a_refusal_and_a_truncation(c: Clients) -> Any:
    return [
        await resolved(c.anthropic.messages.create(model="pebble~refusal", max_tokens=100, messages=SUM)),
        await resolved(c.anthropic.messages.create(model="pebble", max_tokens=2, messages=SUM)),
    ]


async def a_refused_and_a_truncated_completion(c: Clients) -> Any:
    return [
        await resolved(c.openai.chat.completions.create(model="pebble~refusal", messages=SUM)),
        await resolved(c.openai.chat.completions.create(model="pebble", max_completion_tokens=2, messages=SUM)),
    ]


async def raw_headers(c: Clients) -> Any:
    raw = await resolved(c.anthropic.messages.with_raw_response.create(model="pebble", max_tokens=100, messages=SUM))
    names = [name for name in raw.headers if name not in {"x-shadow-request-id", "connection"}]
    steady = {name: raw.headers[name] for name in ("content-type", "server", "anthropic-organization-id")}
    return [raw.status_code, names, steady, raw.http_version]


def failing(fault: str, api: str, *, stream: bool = False) -> Any:
    """A scenario in which upstream fails."""

    async def scenario(c: Clients) -> Any:
        options: dict[str, Any] = {"model": "pebble", "extra_headers": {"x-sim-fault": fault}, "stream": stream}
        if api == "messages":
            result = await resolved(c.anthropic.messages.create(max_tokens=100, messages=SUM, **options))
        elif api == "chat":
            result = await resolved(c.openai.chat.completions.create(messages=SUM, **options))
        else:
            result = await resolved(c.openai.responses.create(input="What is 17 + 25?", **options))
        return await collected(result) if stream else result

    return scenario


def speaking(api_version: str, *, stream: bool = False, **more: Any) -> Any:
    """A message in one of the two API versions of today."""

    async def scenario(c: Clients) -> Any:
        headers = {"anthropic-version": api_version}
        asked = c.anthropic.messages.create(
            model="boulder", max_tokens=500, messages=SUM, stream=stream, extra_headers=headers, **more
        )
        return await collected(await resolved(asked)) if stream else await resolved(asked)

    return scenario


ANTHROPIC = [
    a_message,
    a_thinking_message,
    a_message_stream,
    a_message_stream_helper,
    a_tool_call_and_its_result,
    a_streamed_tool_call,
    a_cached_prefix,
    a_structured_message,
    a_beta_message_with_a_query,
    counted_tokens,
    models_of_anthropic,
    a_refusal_and_a_truncation,
    raw_headers,
]
OPENAI = [
    a_completion,
    a_completion_stream,
    a_completion_stream_with_usage,
    a_function_call,
    a_structured_completion,
    a_response,
    a_response_stream,
    a_response_with_a_tool,
    models_of_openai,
    a_refused_and_a_truncated_completion,
]

API_VERSIONS = ("2023-06-01", "2026-10-21")
APIS = {"anthropic": ("messages",), "openai": ("chat", "responses")}
FAULTS = ("400", "401", "403", "404", "429; retry-after=3", "500", "502", "529; retry-after=1", "524")
IN_STREAM = ("sse_error; after=1", "cut; after=1", "cut_mid_event; after=1", "reset; after=1")


def cases_of(sdk: str, mode: str = "") -> dict[str, tuple[Any, bool, int]]:
    """Every case of one SDK by its name: the scenario, whether it must end well, and the SDK's own retries.

    `mode` keeps the faults that strike twice apart: they are counted by their text.
    """
    cases: dict[str, tuple[Any, bool, int]] = {
        scenario.__name__: (scenario, True, 0) for scenario in (ANTHROPIC if sdk == "anthropic" else OPENAI)
    }
    if sdk == "anthropic":
        for version in API_VERSIONS:
            cases[f"version {version}"] = (speaking(version), True, 0)
            cases[f"version {version}, streamed"] = (speaking(version, stream=True), True, 0)
        # Sampling parameters are refused by the newer version; not every SDK has them as arguments.
        hot = {"extra_body": {"temperature": 0.5}}
        cases["temperature in 2023-06-01"] = (speaking("2023-06-01", **hot), True, 0)
        cases["temperature in 2026-10-21"] = (speaking("2026-10-21", **hot), False, 0)
    for api in APIS[sdk]:
        for fault in FAULTS:
            cases[f"{api}: {fault}"] = (failing(fault, api), False, 0)
        for fault in IN_STREAM:
            # Of a response the error is one more event to the SDK; of the others it is raised.
            told = api == "responses" and fault.startswith("sse_error")
            cases[f"{api}: {fault}"] = (failing(fault, api, stream=True), told, 0)
        cases[f"{api}: retried twice"] = (failing(f"529; times=2; retry-after-ms=5; id={api}-{mode}", api), True, 2)
    return cases


async def run_cases(sdk: str, base_url: str, *, asynchronous: bool, form: str) -> dict[str, Any]:
    """Run every case with one client; `form` says how the key travels (`api_key`, `auth_token`)."""
    module = importlib.import_module(sdk)
    name = {"anthropic": "Anthropic", "openai": "OpenAI"}[sdk]
    address = base_url if sdk == "anthropic" else f"{base_url}/v1"
    kind = getattr(module, f"Async{name}" if asynchronous else name)
    client = kind(base_url=address, max_retries=0, **{form: KEY})
    mode = f"{'async' if asynchronous else 'sync'} {form}"
    seen = {}
    try:
        for case, (scenario, fine, retries) in cases_of(sdk, mode.replace(" ", "-")).items():
            label = f"{mode}/{case}"
            asking = client.with_options(default_headers={CASE_HEADER: label}, max_retries=retries)
            seen[label] = {"fine": fine, "saw": await outcome_of(scenario, Clients(**{sdk: asking}))}
        headers = {CASE_HEADER: f"{mode}/wrong key"}
        wrong = kind(base_url=address, max_retries=0, default_headers=headers, **{form: "wrong"})
        ask = a_message if sdk == "anthropic" else a_completion
        seen[f"{mode}/wrong key"] = {"fine": False, "saw": await outcome_of(ask, Clients(**{sdk: wrong}))}
        await resolved(wrong.close())
    finally:
        await resolved(client.close())
    return seen


async def run_all(sdk: str, base_url: str) -> dict[str, Any]:
    """Run every case in every mode."""
    seen: dict[str, Any] = {}
    for asynchronous in (False, True):
        for form in ("api_key", "auth_token") if sdk == "anthropic" else ("api_key",):
            seen |= await run_cases(sdk, base_url, asynchronous=asynchronous, form=form)
    return seen


if __name__ == "__main__":
    _, wanted, where = sys.argv
    told = {
        "python": platform.python_version(),
        "version": importlib.import_module(wanted).__version__,
        "seen": asyncio.run(run_all(wanted, where)),
    }
    sys.stdout.write(json.dumps(told))
