"""The demo's app: conversations over both SDKs, as an app would hold them. Of us it knows nothing but the base_url."""

from __future__ import annotations

import asyncio
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import anthropic
import httpx2

from gateway.demo.cast import APP_KEY, CALCULATOR, PRIMARY, TUTOR

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

ROUNDS = 30
"""Each round holds one conversation of each kind, and the first ones a lesson."""
LESSONS = 21
"""Each asks the judge many times over; so many controls, all passed, tell that it can be trusted."""
_AT_ONCE = 16

MAX_TOKENS = 100
"""Enough for every answer here, and little enough that what a call may cost at most is near what it costs."""

_CITIES = ("Oslo", "New York", "Lima", "Kyoto", "Nairobi", "Lisbon", "Quito")
_PEOPLE = ("Maria Lopez", "Jon Berg", "Aiko Tanaka", "Zoë Martin", "Sam Okafor")
_ITEMS = ("desk lamp", "standing desk", "monitor arm", "office chair", "keyboard")
_ORDER = {
    "type": "object",
    "properties": {
        "customer": {"type": "string"},
        "item": {"type": "string"},
        "quantity": {"type": "integer"},
        "express": {"type": "boolean"},
    },
    "required": ["customer", "item", "quantity", "express"],
    "additionalProperties": False,
}
_TICKET = {
    "type": "object",
    "properties": {
        "customer": {"type": "string"},
        "product": {"type": "string"},
        "urgency": {"type": "string", "enum": ["low", "normal", "high"]},
    },
    "required": ["customer", "product", "urgency"],
    "additionalProperties": False,
}
_WEATHER = {
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
}


class OpenAi(Protocol):
    """The two calls of the openai SDK the app makes; each takes the API's own parameters and gives the text."""

    async def chat(self, **parameters: Any) -> str:
        """Ask for a chat completion."""
        ...

    async def respond(self, **parameters: Any) -> str:
        """Ask for a streamed response."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The app: its two clients."""

    anthropic: anthropic.AsyncAnthropic
    openai: OpenAi


def openai_sdk_is_installed() -> bool:
    """Tell whether the extra `[demo]` is there."""
    return importlib.util.find_spec("openai") is not None


async def drive(base_url: str, *, advance: Callable[[], None]) -> int:
    """Hold every conversation, several at once; `advance` is called after each. Returns how many there were."""
    limit = asyncio.Semaphore(_AT_ONCE)
    conversations = _conversations()

    async def hold(app: App, conversation: Callable[[App], Awaitable[None]]) -> None:
        async with limit:
            await conversation(app)
        advance()

    # Proxy settings of this machine would send 127.0.0.1 elsewhere; the demo needs no network.
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as http, asyncio.TaskGroup() as group:
        app = App(
            anthropic=anthropic.AsyncAnthropic(base_url=base_url, api_key=APP_KEY, http_client=http),
            openai=_openai(f"{base_url}/v1", http),
        )
        for conversation in conversations:
            group.create_task(hold(app, conversation))
    return len(conversations)


def conversation_count() -> int:
    """How many conversations `drive` holds."""
    return len(_conversations())


def _conversations() -> Sequence[Callable[[App], Awaitable[None]]]:
    return [
        held
        for number in range(ROUNDS)
        for held in (_calculation(number), _order(number), _weather(number), _ticket(number), *_lessons(number))
    ]


def _calculation(number: int) -> Callable[[App], Awaitable[None]]:
    """Calculate in three turns with the anthropic SDK, streamed."""
    questions = (
        f"What is {17 + 13 * number} + {25 + 7 * number}?",
        f"Add {number + 5} to that.",
        f"Multiply that by {number % 7 + 2}.",
    )

    async def hold(app: App) -> None:
        history: list[Any] = []
        for question in questions:
            history.append({"role": "user", "content": question})
            async with app.anthropic.messages.stream(
                model=PRIMARY.name,
                max_tokens=MAX_TOKENS,
                system="You are a calculator. Answer with one short sentence.",
                messages=history,
                extra_headers={"x-app": CALCULATOR},
            ) as stream:
                said = "".join([piece async for piece in stream.text_stream])
            history.append({"role": "assistant", "content": said or "(nothing)"})

    return hold


def _order(number: int) -> Callable[[App], Awaitable[None]]:
    """Extract twice with the openai SDK, as chat completions with a schema."""
    questions = [
        f"Extract the order. customer: {_PEOPLE[(number + turn) % 5]}; item: {_ITEMS[(2 * number + turn) % 5]}; "
        f"quantity: {number + turn + 1}; express: {'yes' if number % 2 else 'no'}"
        for turn in range(2)
    ]
    schema = {"type": "json_schema", "json_schema": {"name": "order", "schema": _ORDER, "strict": True}}

    async def hold(app: App) -> None:
        history: list[Any] = [{"role": "system", "content": "You turn orders into JSON."}]
        for question in questions:
            history.append({"role": "user", "content": question})
            said = await app.openai.chat(
                model=PRIMARY.name, messages=history, response_format=schema, max_completion_tokens=MAX_TOKENS
            )
            history.append({"role": "assistant", "content": said})

    return hold


def _weather(number: int) -> Callable[[App], Awaitable[None]]:
    """Call a tool with the anthropic SDK, and have its result reported."""
    city = _CITIES[number % len(_CITIES)]

    async def hold(app: App) -> None:
        history: list[Any] = [{"role": "user", "content": f"What is the weather in {city}? (request {number})"}]
        options: dict[str, Any] = {"model": PRIMARY.name, "max_tokens": MAX_TOKENS, "tools": [_WEATHER]}
        asked = await app.anthropic.messages.create(messages=history, **options)
        call = next((block for block in asked.content if block.type == "tool_use"), None)
        if call is None:
            return
        result = {"type": "tool_result", "tool_use_id": call.id, "content": f"{10 + number} degrees, clear sky"}
        history += [{"role": "assistant", "content": asked.content}, {"role": "user", "content": [result]}]
        await app.anthropic.messages.create(messages=history, **options)

    return hold


def _ticket(number: int) -> Callable[[App], Awaitable[None]]:
    """Extract once with the openai SDK, as a streamed response with a schema."""
    question = (
        f"Extract the ticket. customer: {_PEOPLE[number % 5]}; product: {_ITEMS[(number + 3) % 5]}; "
        f"urgency: {('low', 'normal', 'high')[number % 3]}; number: {number}"
    )
    schema = {"type": "json_schema", "name": "ticket", "schema": _TICKET, "strict": True}

    async def hold(app: App) -> None:
        await app.openai.respond(
            model=PRIMARY.name, input=question, text={"format": schema}, max_output_tokens=MAX_TOKENS, store=False
        )

    return hold


def _lessons(number: int) -> Sequence[Callable[[App], Awaitable[None]]]:
    return [_lesson(number)] if number < LESSONS else []


def _lesson(number: int) -> Callable[[App], Awaitable[None]]:
    """Ask once with the anthropic SDK, in free text: what a judge is for."""
    question = f"I am learning to add. What is {13 + 11 * number} + {8 + 3 * number}?"

    async def hold(app: App) -> None:
        await app.anthropic.messages.create(
            model=PRIMARY.name,
            max_tokens=100,
            system="You are a patient tutor.",
            messages=[{"role": "user", "content": question}],
            extra_headers={"x-app": TUTOR},
        )

    return hold


def _openai(base_url: str, http: httpx2.AsyncClient) -> OpenAi:
    if openai_sdk_is_installed():
        return _BySdk(base_url, http)
    return ByHand(base_url, http)


class _BySdk:
    """The openai SDK."""

    def __init__(self, base_url: str, http: httpx2.AsyncClient) -> None:
        import openai  # noqa: PLC0415  (an extra, which may be absent)

        self._client = openai.AsyncOpenAI(base_url=base_url, api_key=APP_KEY, http_client=http)

    async def chat(self, **parameters: Any) -> str:
        completion = await self._client.chat.completions.create(**parameters)
        return completion.choices[0].message.content or ""

    async def respond(self, **parameters: Any) -> str:
        stream = await self._client.responses.create(stream=True, **parameters)
        return "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])


class ByHand:
    """The same two calls over HTTP, for an installation without the openai SDK; it repeats nothing."""

    def __init__(self, base_url: str, http: httpx2.AsyncClient) -> None:
        self._base_url = base_url
        self._http = http
        self._headers = {"authorization": f"Bearer {APP_KEY}"}

    async def chat(self, **parameters: Any) -> str:
        """Ask for a chat completion; an error is an empty answer, as the app would go on without one."""
        reply = await self._http.post(f"{self._base_url}/chat/completions", json=parameters, headers=self._headers)
        return (reply.json()["choices"][0]["message"]["content"] or "") if reply.is_success else ""

    async def respond(self, **parameters: Any) -> str:
        """Ask for a streamed response and give its raw events."""
        body = {**parameters, "stream": True}
        reply = await self._http.post(f"{self._base_url}/responses", json=body, headers=self._headers)
        return reply.text
