"""Candidates are asked over real sockets: what leaves, what comes back, and every way it can go wrong."""

from __future__ import annotations

import gzip
import json
import ssl
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from msgspec import structs

from gateway.settings import RedactionRule
from shadow.candidates import (
    OWN_OUTPUT_LIMIT,
    Asked,
    CallLimits,
    CandidateClient,
    ShadowCopy,
    UnsendableError,
    bounded,
    bypasses_proxy,
    copy_for,
    origin_of,
)
from shadow.pricing import PriceBook
from shadow.records import Dialect, JobBody, Outcome
from shadow.redaction import Redactor, Scrubber
from shadow.simulator import Script, SimModel, Simulator, Timing
from tests.support.shadowing import ANSWER, KEY, PRICE, batch, candidate, question
from tests.support.upstream import Answer, Upstream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from shadow.records import Candidate
    from tests.support.http1 import Message

SMALL = CallLimits(connect_timeout_s=1, first_byte_timeout_s=0.3, idle_timeout_s=0.3, total_s=5, max_body_bytes=64_000)


ANSWER_WITH_NAMES = (
    '{"type": "message", "model": "the model of %s", "content": [{"type": "text", "text": "4"}], "stop_reason": "%s",'
    ' "usage": {"input_tokens": 1, "output_tokens": 1}}'
)


def body(**given: Any) -> JobBody:
    return batch(1, "rival", **given).bodies[0]


def ok(content: bytes = ANSWER, *headers: bytes) -> Answer:
    head = [b"HTTP/1.1 200 OK", b"content-type: application/json", b"content-length: %d" % len(content), *headers]
    return Answer(parts=(b"\r\n".join(head) + b"\r\n\r\n" + content,))


def error(status: int, *headers: bytes) -> Answer:
    content = json.dumps({"type": "error", "error": {"type": "api_error", "message": f"key {KEY} is bad"}}).encode()
    head = [b"HTTP/1.1 %d No" % status, b"content-type: application/json", b"content-length: %d" % len(content)]
    return Answer(parts=(b"\r\n".join([*head, *headers]) + b"\r\n\r\n" + content,))


async def ask(asked: Candidate, *bodies: JobBody, **given: Any) -> Asked:
    """Ask one candidate each body in turn with one client; gives the last answer."""
    return (await ask_each(asked, *bodies, **given))[-1]


async def ask_each(
    asked: Candidate,
    *bodies: JobBody,
    limits: CallLimits = SMALL,
    proxy: str | None = None,
    no_proxy: Sequence[str] = (),
    ca_file: str | None = None,
    deployment_id: str = "deployment-1",
) -> list[Asked]:
    """Ask one candidate each body in turn with one client; gives all answers."""
    answers: list[Asked] = []
    client = CandidateClient(
        prices=PriceBook({asked.model: PRICE}),
        scrubber=Scrubber([KEY]),
        limits=limits,
        proxy=proxy,
        no_proxy=no_proxy,
        ca_file=ca_file,
    )
    try:
        for each in bodies or (body(),):
            copy = copy_for(asked, each, redactor=Redactor(()), deployment_id=deployment_id)
            copy, _ = bounded(asked, copy, each.dialect, prices=PriceBook({asked.model: PRICE}))
            answers.append(await client.ask(asked, copy, exchange_id=each.exchange_id, dialect=each.dialect))
    finally:
        await client.aclose()
    return answers


def headers_of(request: Message) -> Mapping[str, str]:
    return {name.decode().lower(): value.decode() for name, value in request.headers}


# --- what leaves ---


async def test_a_candidate_gets_its_own_key_our_hop_mark_and_only_the_allowed_headers_of_the_app() -> None:
    app = {
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "a,b",
        "x-api-key": "sk-of-the-client",
        "authorization": "Bearer of-the-client",
        "cookie": "session=1",
        "idempotency-key": "once",
        "user-agent": "app/1",
        "x-shadow-conversation": "abc",
    }
    with Upstream() as upstream:
        upstream.answer(ok())
        await ask(candidate("rival", upstream.base_url), body(headers=app))
        (sent,) = upstream.requests

    got = headers_of(sent)
    assert got.pop("user-agent").startswith("shadow-gateway/")
    assert got.pop("content-length") == str(len(sent.body))
    assert got.pop("host") == f"127.0.0.1:{upstream.port}"
    assert got.pop("connection") == "keep-alive"
    assert got == {
        "content-type": "application/json",
        "accept": "*/*",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "a,b",
        "accept-encoding": "gzip, deflate, br, zstd",
        "x-shadow-hop": "deployment-1",
        "x-api-key": KEY,
    }


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        ("x-api-key", {"x-api-key": KEY}),
        ("bearer", {"authorization": f"Bearer {KEY}"}),
        ("both", {"x-api-key": KEY, "authorization": f"Bearer {KEY}"}),
    ],
)
async def test_the_key_travels_in_the_configured_form(form: str, headers: dict[str, str]) -> None:
    with Upstream() as upstream:
        upstream.answer(ok())
        await ask(candidate("rival", upstream.base_url, api_key_header=form))
        got = headers_of(upstream.requests[0])

    assert {name: got[name] for name in ("x-api-key", "authorization") if name in got} == headers


@pytest.mark.parametrize(
    ("dialect", "names"),
    [
        (Dialect.ANTHROPIC_MESSAGES, {"x-api-key"}),
        (Dialect.OPENAI_CHAT, {"x-api-key", "authorization"}),
        (Dialect.OPENAI_RESPONSES, {"x-api-key", "authorization"}),
    ],
)
async def test_openai_copies_carry_the_key_as_bearer_too_unless_the_candidate_says_otherwise(
    dialect: Dialect, names: set[str]
) -> None:
    with Upstream() as upstream:
        upstream.answer(ok())
        upstream.answer(ok())
        await ask(candidate("rival", upstream.base_url, bearer_for_openai=True), body(dialect=dialect))
        await ask(candidate("rival", upstream.base_url, bearer_for_openai=False), body(dialect=dialect))
        inherited, said = (headers_of(request) for request in upstream.requests)

    assert {"x-api-key", "authorization"} & inherited.keys() == names
    assert {"x-api-key", "authorization"} & said.keys() == {"x-api-key"}


async def test_the_copy_asks_the_candidates_model_at_its_prefix_with_the_apps_query() -> None:
    with Upstream() as upstream:
        upstream.answer(ok())
        await ask(candidate("rival", f"{upstream.base_url}/base"), body(query="beta=true"))
        (sent,) = upstream.requests

    assert sent.start == b"POST /base/v1/messages?beta=true HTTP/1.1"
    assert json.loads(sent.body) == json.loads(question()) | {"model": "rival"}


async def test_cookies_of_an_answer_are_never_sent_back() -> None:
    with Upstream() as upstream:
        upstream.answer(ok(ANSWER, b"set-cookie: a=1; Path=/", b"set-cookie: b=2"))
        await ask(candidate("rival", upstream.base_url), body(), body())
        first, second = upstream.requests

    assert "cookie" not in headers_of(first)
    assert "cookie" not in headers_of(second)


async def test_a_redirect_is_an_error_and_nobody_else_gets_the_key() -> None:
    with Upstream() as upstream, Upstream() as elsewhere:
        elsewhere.answer(ok())
        there = f"location: {elsewhere.base_url}/v1/messages".encode()
        upstream.answer(Answer(parts=(b"HTTP/1.1 307 Go\r\n" + there + b"\r\ncontent-length: 0\r\n\r\n",)))
        asked = await ask(candidate("rival", upstream.base_url))

    assert asked.answer.outcome is Outcome.ERROR_HTTP
    assert asked.answer.status == 307
    assert asked.answer.error == "answered 307; redirects are not followed"
    assert elsewhere.requests == []


async def test_the_environment_chooses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with Upstream() as upstream, Upstream() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
        monkeypatch.setenv("ALL_PROXY", proxy.base_url)
        upstream.answer(ok())
        asked = await ask(candidate("rival", upstream.base_url))

    assert asked.answer.outcome is Outcome.OK
    assert proxy.connections == []


async def test_the_configured_proxy_is_used_except_for_hosts_it_must_not_see() -> None:
    with Upstream() as upstream, Upstream() as proxy:
        upstream.answer(ok())
        proxy.answer(ok())
        await ask(candidate("rival", upstream.base_url), proxy=proxy.base_url, no_proxy=("127.0.0.0/8",))
        assert (len(upstream.requests), len(proxy.requests)) == (1, 0)

        await ask(candidate("rival", upstream.base_url), proxy=proxy.base_url, no_proxy=("example.com",))
        assert (len(upstream.requests), len(proxy.requests)) == (1, 1)


async def test_certificates_are_checked_and_a_private_authority_can_be_added(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Upstream(tls=context) as upstream:
        upstream.answer(ok())
        refused = await ask(candidate("rival", upstream.base_url))
        trusted = await ask(candidate("rival", upstream.base_url), ca_file=str(tmp_path / "ca.pem"))

    assert refused.answer.outcome is Outcome.ERROR_CONNECT
    assert refused.answer.cost.billed_usd == 0
    assert trusted.answer.outcome is Outcome.OK


def test_a_candidate_elsewhere_gets_the_redacted_copy_and_says_so() -> None:
    redactor = Redactor((RedactionRule(name="email"),))
    asked = body(request=question(prompt="write to ann@example.com"))

    near = copy_for(candidate("rival", "http://near"), asked, redactor=redactor, deployment_id="d")
    far = copy_for(candidate("rival", "http://far", same_origin=False), asked, redactor=redactor, deployment_id="d")
    plain = copy_for(candidate("rival", "http://far", same_origin=False), body(), redactor=redactor, deployment_id="d")

    assert b"ann@example.com" in near.content
    assert not near.redaction_changed
    assert b"ann@example.com" not in far.content
    assert far.redaction_changed
    assert not plain.redaction_changed


def test_what_a_route_led_elsewhere_is_redacted_for_a_candidate_at_home() -> None:
    asked = body(request=question(prompt="write to ann@example.com"))
    redactor = Redactor((RedactionRule(name="email"),))
    at_home = candidate("rival", "http://near", own_base_url=True)

    home, routed = (
        copy_for(at_home, structs.replace(asked, origin=origin), redactor=redactor, deployment_id="d")
        for origin in ("http://near:80", "http://private:80")
    )

    assert b"ann@example.com" in home.content
    assert b"ann@example.com" not in routed.content
    assert routed.redaction_changed


@pytest.mark.parametrize(
    ("given", "about", "reason"),
    [
        ({"api_key": None}, {}, "no_credentials"),
        ({"dialects": (Dialect.OPENAI_CHAT,)}, {}, "dialect"),
        ({}, {"request": b"[1, 2"}, "unreadable"),
        ({}, {"path": "@evil.example/v1/messages"}, "unreadable"),
        ({}, {"path": "/../v1/messages"}, "unreadable"),
        ({}, {"path": "/a/%2e%2E/v1/messages"}, "unreadable"),
        ({}, {"path": "/a/..%5cb/v1/messages"}, "unreadable"),
        ({}, {"path": "/v1/\x00/messages"}, "unreadable"),
    ],
)
def test_what_cannot_be_asked_names_its_skip_reason(given: dict[str, Any], about: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsendableError) as raised:
        copy_for(
            candidate("rival", "http://near/base", **given), body(**about), redactor=Redactor(()), deployment_id="d"
        )

    assert raised.value.reason == reason


def test_a_candidate_without_an_address_of_its_own_is_not_asked_what_a_route_led_elsewhere() -> None:
    routed = structs.replace(body(), origin="http://private:80")

    def copy_of(asked: Candidate) -> ShadowCopy:
        return copy_for(asked, routed, redactor=Redactor(()), deployment_id="d")

    with pytest.raises(UnsendableError) as raised:
        copy_of(candidate("rival", "http://near"))
    placed = copy_of(candidate("rival", "http://near", own_base_url=True))
    far = copy_of(candidate("rival", "http://far", own_base_url=True, same_origin=False))

    assert raised.value.reason == "routed_elsewhere"
    assert (placed.url, far.url) == ("http://near/v1/messages", "http://far/v1/messages")


def test_no_path_can_change_the_host() -> None:
    copy = copy_for(
        candidate("rival", "http://near"),
        body(path="//evil.example/v1/messages"),
        redactor=Redactor(()),
        deployment_id="d",
    )

    assert origin_of(copy.url) == "http://near:80"


BOOK = PriceBook({"rival": PRICE, "gpt-4": PRICE})


def worst_of(asked: Candidate, dialect: Dialect, **request: Any) -> tuple[dict[str, Any], float]:
    """The copy's request as it leaves, and what is reserved for it."""
    copy = ShadowCopy(url="", headers=(), content=json.dumps(request).encode())
    bound, worst = bounded(asked, copy, dialect, prices=BOOK)
    return json.loads(bound.content), worst


def test_the_worst_case_counts_all_input_and_the_whole_output_limit() -> None:
    rival = candidate("rival", "http://near")

    request, worst = worst_of(rival, Dialect.ANTHROPIC_MESSAGES, max_tokens=1000, messages=[])

    assert request == {"max_tokens": 1000, "messages": []}
    assert worst >= 1000 * 5 / 1e6


@pytest.mark.parametrize(
    ("dialect", "name"),
    [
        (Dialect.OPENAI_CHAT, "max_completion_tokens"),
        (Dialect.OPENAI_RESPONSES, "max_output_tokens"),
        (Dialect.ANTHROPIC_MESSAGES, "max_tokens"),
    ],
)
def test_a_request_without_an_output_limit_gets_the_one_that_is_reserved(dialect: Dialect, name: str) -> None:
    request, worst = worst_of(candidate("rival", "http://near"), dialect, model="rival")
    small, _ = worst_of(candidate("gpt-4", "http://near"), dialect, model="gpt-4")

    assert request == {"model": "rival", name: OWN_OUTPUT_LIMIT}
    assert worst >= OWN_OUTPUT_LIMIT * 5 / 1e6
    assert small[name] == 8192 // 4  # of a small context window, so that there is room for the question


def test_a_candidate_that_takes_no_limit_is_reserved_its_context_window_or_not_asked() -> None:
    drop = {"drop_params": ("max_completion_tokens",)}

    request, worst = worst_of(candidate("gpt-4", "http://near", **drop), Dialect.OPENAI_CHAT, model="gpt-4")
    with pytest.raises(UnsendableError) as unknown:
        worst_of(candidate("rival", "http://near", **drop), Dialect.OPENAI_CHAT, model="rival")

    assert request == {"model": "gpt-4"}
    assert worst >= 8192 * 5 / 1e6
    assert unknown.value.reason == "no_output_limit"


def test_each_of_several_answers_is_reserved_for() -> None:
    rival = candidate("rival", "http://near")

    _, one = worst_of(rival, Dialect.OPENAI_CHAT, max_tokens=1000, n=1)
    _, eight = worst_of(rival, Dialect.OPENAI_CHAT, max_tokens=1000, n=8)
    _, open_ended = worst_of(rival, Dialect.OPENAI_CHAT, n=8)

    assert eight - one == pytest.approx(7000 * 5 / 1e6)
    assert open_ended >= 8 * OWN_OUTPUT_LIMIT * 5 / 1e6


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"service_tier": "priority"}, "price_varies"),
        ({"max_tokens": -1}, "unreadable"),
        ({"n": "8"}, "unreadable"),
    ],
)
def test_a_price_that_cannot_be_bounded_is_not_paid(request_: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsendableError) as raised:
        worst_of(candidate("rival", "http://near"), Dialect.OPENAI_CHAT, **request_)

    assert raised.value.reason == reason


def test_a_candidate_without_a_price_is_not_asked() -> None:
    with pytest.raises(UnsendableError) as raised:
        worst_of(candidate("nobody-knows-me", "http://near"), Dialect.OPENAI_CHAT, model="nobody-knows-me")

    assert raised.value.reason == "price_unknown"


def test_what_is_dropped_of_a_copy_has_no_price() -> None:
    asked = json.dumps({"model": "m", "max_tokens": 9, "speed": "fast", "messages": []}).encode()
    rival = candidate("rival", "http://near", drop_params=("speed",))
    copy = copy_for(rival, body(request=asked), redactor=Redactor(()), deployment_id="d")

    assert bounded(rival, copy, Dialect.ANTHROPIC_MESSAGES, prices=BOOK)[0].own_limit is None


def test_another_origin_is_not_told_who_the_user_is() -> None:
    who = {"user": "u-1", "safety_identifier": "s-1", "prompt_cache_key": "c-1", "metadata": {"user_id": "m-1"}}
    asked = body(request=json.dumps({"model": "m", "input": "hi", **who}).encode(), dialect=Dialect.OPENAI_RESPONSES)

    near, far = (
        json.loads(copy_for(rival, asked, redactor=Redactor(()), deployment_id="d").content)
        for rival in (candidate("r", "http://near"), candidate("r", "http://far", same_origin=False))
    )

    assert far == {"model": "r", "input": "hi", "store": False}
    assert {name: near.get(name) for name in who} == {**who, "metadata": None}


# --- what comes back ---


async def test_an_answer_is_read_timed_and_priced() -> None:
    with Upstream() as upstream:
        upstream.answer(ok())
        asked = await ask(candidate("rival", upstream.base_url))

    assert asked.answer.outcome is Outcome.OK
    assert asked.reply.text == '{"answer": 4}'
    assert asked.answer.ttft_ms is None
    assert not asked.answer.streamed
    assert asked.answer.latency_ms > 0
    assert asked.answer.cost.billed_usd is not None
    assert asked.answer.started_at <= datetime.now(UTC)
    assert asked.healthy


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_streaming_stays_streaming_and_the_first_token_is_timed(dialect: Dialect) -> None:
    paths = {
        Dialect.ANTHROPIC_MESSAGES: "/v1/messages",
        Dialect.OPENAI_CHAT: "/v1/chat/completions",
        Dialect.OPENAI_RESPONSES: "/v1/responses",
    }
    requests = {
        Dialect.ANTHROPIC_MESSAGES: question(stream=True),
        Dialect.OPENAI_CHAT: b'{"model":"m","stream":true,"messages":[{"role":"user","content":"Tell a story."}]}',
        Dialect.OPENAI_RESPONSES: b'{"model":"m","stream":true,"store":true,"input":"Tell a story."}',
    }
    timing = Timing(header_delay_ms=10, ttft_ms=40, gap_ms=2)
    script = Script(models=(SimModel(name="rival", timing=timing),), compress_streams=True)
    async with Simulator(script) as simulator:
        asked = await ask(
            candidate("rival", simulator.base_url, api_key_header="both"),
            body(path=paths[dialect], dialect=dialect, request=requests[dialect]),
            limits=CallLimits(),
        )

    answer = asked.answer
    assert answer.outcome is Outcome.OK
    assert answer.streamed
    assert asked.reply.text
    assert answer.usage is not None
    assert answer.ttft_ms is not None
    assert answer.first_text_ms is not None
    assert 45 <= answer.ttft_ms <= answer.first_text_ms < answer.latency_ms


async def test_a_compressed_answer_is_understood() -> None:
    packed = gzip.compress(ANSWER)
    with Upstream() as upstream:
        upstream.answer(ok(packed, b"content-encoding: gzip"))
        asked = await ask(candidate("rival", upstream.base_url))

    assert asked.reply.text == '{"answer": 4}'


async def test_an_answer_in_an_unknown_coding_is_a_broken_answer() -> None:
    with Upstream() as upstream:
        upstream.answer(ok(ANSWER, b"content-encoding: rot13"))
        asked = await ask(candidate("rival", upstream.base_url))

    assert asked.answer.outcome is Outcome.ERROR_STREAM
    assert asked.answer.cost.billed_usd is None


# --- what goes wrong ---


@pytest.mark.parametrize(
    ("status", "outcome", "healthy"),
    [
        (400, Outcome.INCOMPATIBLE, True),
        (404, Outcome.INCOMPATIBLE, True),
        (422, Outcome.INCOMPATIBLE, True),
        (401, Outcome.ERROR_HTTP, True),
        (429, Outcome.ERROR_HTTP, None),
        (500, Outcome.ERROR_HTTP, False),
        (503, Outcome.ERROR_HTTP, False),
        (529, Outcome.ERROR_HTTP, None),
    ],
)
async def test_an_error_status_has_its_outcome_costs_nothing_and_keeps_no_key(
    *, status: int, outcome: Outcome, healthy: bool | None
) -> None:
    with Upstream() as upstream:
        upstream.answer(error(status))
        asked = await ask(candidate("rival", upstream.base_url))
        requests = len(upstream.requests)

    assert asked.answer.outcome is outcome
    assert asked.answer.status == status
    assert asked.healthy is healthy
    assert asked.answer.cost.billed_usd == 0
    assert asked.answer.error
    assert KEY not in asked.answer.error
    assert requests == 1, "a call is never tried again"


OPEN_ENDED = b'{"model":"primary-model","messages":[{"role":"user","content":"hi"}]}'
CHAT_ANSWER = {
    "model": "rival",
    "choices": [{"message": {"content": "and so on"}, "finish_reason": "length"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": OWN_OUTPUT_LIMIT},
}


async def test_an_answer_that_reaches_the_limit_we_set_is_paid_and_not_compared() -> None:
    with Upstream() as upstream:
        upstream.answer(ok(json.dumps(CHAT_ANSWER).encode()))
        rival = candidate("rival", upstream.base_url)
        given = {"path": "/v1/chat/completions", "dialect": Dialect.OPENAI_CHAT}
        ours = await ask(rival, body(request=OPEN_ENDED, **given))
        its_own = await ask(rival, body(request=OPEN_ENDED[:-1] + b',"max_tokens":16384}', **given))
        sent = json.loads(upstream.requests[0].body)

    assert sent["max_completion_tokens"] == OWN_OUTPUT_LIMIT
    assert ours.answer.outcome is Outcome.ABORTED
    assert ours.answer.error == "longer than the 16384 tokens reserved for it, for the app sets no limit"
    assert ours.answer.cost.billed_usd == pytest.approx((10 * 1 + OWN_OUTPUT_LIMIT * 5) / 1e6)
    assert ours.healthy
    assert its_own.answer.outcome is Outcome.TRUNCATED


async def test_a_candidate_that_refuses_the_limit_we_set_is_not_called_incompatible() -> None:
    refusal = b'{"error":{"message":"max_tokens is too large: 16384","type":"invalid_request_error"}}'
    head = b"HTTP/1.1 400 No\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(refusal)
    with Upstream() as upstream:
        upstream.answer(Answer(parts=(head + refusal,)))
        rival = candidate("rival", upstream.base_url)
        given = {"path": "/v1/chat/completions", "dialect": Dialect.OPENAI_CHAT}
        ours = await ask(rival, body(request=OPEN_ENDED, **given))
        its_own = await ask(rival, body(request=OPEN_ENDED[:-1] + b',"max_tokens":16384}', **given))

    assert ours.answer.outcome is Outcome.ABORTED
    assert "drop_params" in (ours.answer.error or "")
    assert ours.answer.cost.billed_usd == 0
    assert its_own.answer.outcome is Outcome.INCOMPATIBLE


@pytest.mark.parametrize("status", [429, 529])
async def test_a_limit_says_how_long_the_origin_rests(status: int) -> None:
    with Upstream() as upstream:
        upstream.answer(error(status, b"retry-after: 7"))
        asked = await ask(candidate("rival", upstream.base_url))

    assert asked.rest_s == 7


async def test_a_closed_port_is_a_connect_error_that_costs_nothing() -> None:
    with Upstream() as upstream:
        gone = upstream.base_url
    asked = await ask(candidate("rival", gone))

    assert asked.answer.outcome is Outcome.ERROR_CONNECT
    assert asked.answer.status is None
    assert asked.answer.cost.billed_usd == 0
    assert asked.healthy is False


async def test_silence_before_the_head_is_a_timeout_of_unknown_cost() -> None:
    with Upstream() as upstream:
        upstream.answer(Answer(parts=(), end="stall"))
        asked = await ask(candidate("rival", upstream.base_url))

    assert asked.answer.outcome is Outcome.TIMEOUT
    assert asked.answer.cost.billed_usd is None
    assert asked.healthy is False


async def test_silence_in_the_answer_is_bounded_by_the_idle_timeout_not_the_first_byte_one() -> None:
    limits = CallLimits(first_byte_timeout_s=60, idle_timeout_s=0.2, total_s=60)
    with Upstream() as upstream:
        upstream.answer(Answer(parts=(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{",), end="stall"))
        began = time.monotonic()
        asked = await ask(candidate("rival", upstream.base_url), limits=limits)

    assert asked.answer.outcome is Outcome.TIMEOUT
    assert asked.answer.status == 200
    assert time.monotonic() - began < 30


async def test_an_answer_that_only_drips_is_bounded_too() -> None:
    limits = CallLimits(first_byte_timeout_s=5, idle_timeout_s=5, total_s=0.3)
    with Upstream() as upstream:
        drops: list[bytes | float] = [b" ", 0.05] * 1000
        upstream.answer(Answer(parts=(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", *drops)))
        asked = await ask(candidate("rival", upstream.base_url), limits=limits)

    assert asked.answer.outcome is Outcome.TIMEOUT
    assert asked.answer.error == "no whole answer within 0.3 s"


@pytest.mark.parametrize("end", ["fin", "reset"])
async def test_a_connection_lost_before_the_head_is_a_connect_error(end: Any) -> None:
    with Upstream() as upstream:
        upstream.answer(Answer(parts=(), end=end))
        asked = await ask(candidate("rival", upstream.base_url))

    assert asked.answer.outcome is Outcome.ERROR_CONNECT
    assert asked.answer.cost.billed_usd is None, "it may have worked on the request"
    assert asked.healthy is False


@pytest.mark.parametrize("end", ["fin", "reset"])
async def test_a_kept_connection_that_is_closed_unused_says_nothing_and_is_the_last_kept_one(end: Any) -> None:
    answers = [ok(), Answer(parts=(), end=end), ok(), Answer(parts=(), end=end)]
    with Upstream() as upstream:
        upstream.answer(lambda _: answers.pop(0))
        first, closed, fresh, broken = await ask_each(candidate("rival", upstream.base_url), *[body()] * 4)
        requests = [len(connection.requests) for connection in upstream.connections]

    assert requests == [2, 1, 1]
    assert (first.healthy, first.answer.outcome) == (fresh.healthy, fresh.answer.outcome) == (True, Outcome.OK)
    assert (closed.healthy, closed.answer.outcome) == (None, Outcome.ABORTED)
    assert closed.answer.error == "sent on a kept connection that was being closed"
    assert closed.answer.cost.billed_usd is None, "it may have worked on the request"
    assert (broken.healthy, broken.answer.outcome) == (False, Outcome.ERROR_CONNECT)


@pytest.mark.parametrize("end", ["fin", "reset"])
async def test_an_answer_that_breaks_off_is_a_stream_error(end: Any) -> None:
    with Upstream() as upstream:
        upstream.answer(Answer(parts=(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", 0.05), end=end))
        asked = await ask(candidate("rival", upstream.base_url))

    assert asked.answer.outcome is Outcome.ERROR_STREAM
    assert asked.answer.cost.billed_usd is None
    assert asked.healthy is False


async def test_the_names_in_an_answer_hold_no_key_and_are_of_bounded_length() -> None:
    content = ANSWER_WITH_NAMES % (KEY, KEY + "x" * 5000)
    with Upstream() as upstream:
        upstream.answer(ok(content.encode()))
        asked = await ask(candidate("rival", upstream.base_url))

    assert asked.answer.model_answered == "the model of [secret]"
    assert asked.answer.stop_reason is not None
    assert asked.answer.stop_reason.startswith("[secret]x")
    assert len(asked.answer.stop_reason) == 200


async def test_a_huge_answer_is_given_up_by_us_and_is_no_failure_of_the_candidate() -> None:
    with Upstream() as upstream:
        upstream.answer(ok(b"x" * 1_000_000))
        asked = await ask(candidate("rival", upstream.base_url))

    assert asked.answer.outcome is Outcome.ABORTED
    assert asked.answer.error == "the answer is larger than 64000 bytes"
    assert asked.answer.cost.billed_usd is None
    assert asked.healthy is None


async def test_a_compression_bomb_stops_at_the_same_bound() -> None:
    with Upstream() as upstream:
        upstream.answer(ok(gzip.compress(b" " * 20_000_000), b"content-encoding: gzip"))
        asked = await ask(candidate("rival", upstream.base_url))

    assert asked.answer.outcome is Outcome.ABORTED


async def test_garbage_is_a_broken_answer() -> None:
    with Upstream() as upstream:
        upstream.answer(ok(b"<html>hello</html>"))
        asked = await ask(candidate("rival", upstream.base_url))

    assert asked.answer.outcome is Outcome.ERROR_STREAM


# --- small rules ---


@pytest.mark.parametrize(
    ("entry", "host", "yes"),
    [
        ("*", "a.example", True),
        ("example.com", "example.com", True),
        ("example.com", "api.example.com", True),
        (".example.com", "api.example.com", True),
        ("example.com", "badexample.com", False),
        ("EXAMPLE.com", "api.Example.COM", True),
        ("example.com:443", "example.com", True),
        ("example.com:80", "example.com", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "ten.example", False),
        ("::1", "::1", True),
        ("example.com", "10.1.2.3", False),
        ("", "example.com", False),
    ],
)
def test_which_hosts_are_asked_without_the_proxy(entry: str, host: str, *, yes: bool) -> None:
    assert bypasses_proxy(host, 443, [entry]) is yes


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://EzAI.example/prefix", "https://ezai.example:443"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080"),
        ("http://[::1]/x", "http://[::1]:80"),
        ("https://host:443", "https://host:443"),
    ],
)
def test_origins_compare(url: str, origin: str) -> None:
    assert origin_of(url) == origin
