"""Whether a request may pass and where to, as tables of cases."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.heads import BadHeadError, RequestHead, read_request
from gateway.policy import Health, Origin, Passage, Policy, has_dot_segments, origin_of, presented_keys
from gateway.refusal import Refusal
from gateway.settings import LiveSettings, Upstream
from shadow.dialects import dialect_of
from shadow.records import Dialect

EZAI = "https://ezaiapi.com"


def policy(base_url: str = EZAI, **changes: Any) -> Policy:
    upstream = changes.pop("upstream", Upstream(base_url=base_url, api_key="sk-up"))
    return Policy(LiveSettings(deployment_id="me", upstream=upstream, **changes), dialect_of=dialect_of)


def asked(target: str, method: str = "GET", *fields: str) -> RequestHead:
    return read_request("\r\n".join([f"{method} {target} HTTP/1.1", "Host: a", *fields, ""]).encode("latin-1"))


def passage(decision: Passage | Health | Refusal) -> Passage:
    assert isinstance(decision, Passage), decision
    return decision


def refusal(decision: Passage | Health | Refusal) -> tuple[int, str]:
    assert isinstance(decision, Refusal), decision
    return decision.status, decision.error


@pytest.mark.parametrize(
    ("base_url", "target", "sent"),
    [
        (EZAI, "/v1/messages?beta=true", b"/v1/messages?beta=true"),
        (EZAI, "/", b"/"),
        (EZAI, "//a//b/", b"//a//b/"),
        (EZAI, "/a%2Fb%20?x=%2e%2e/..", b"/a%2Fb%20?x=%2e%2e/.."),
        (EZAI, "/a/../b/./c", b"/a/../b/./c"),
        (EZAI, "http://evil.example/x?y", b"/x?y"),
        (EZAI, "HTTPS://evil.example", b"/"),
        (EZAI, "http://evil.example?y", b"/?y"),
        ("https://h/pre/fix", "/x?y", b"/pre/fix/x?y"),
        ("https://h/pre/", "/x", b"/pre/x"),
    ],
)
def test_the_target_goes_up_as_it_came_behind_the_prefix(base_url: str, target: str, sent: bytes) -> None:
    decision = passage(policy(base_url).decide(asked(target)))
    assert decision.target == sent
    assert decision.destination.origin == origin_of(base_url)


def test_path_and_query_are_told_apart_for_the_record() -> None:
    decision = passage(policy("https://h/pre").decide(asked("/v1/messages?a=b?c", "POST")))
    assert (decision.path, decision.query, decision.dialect) == ("/v1/messages", "a=b?c", Dialect.ANTHROPIC_MESSAGES)


def test_asking_about_the_server_itself_passes_without_a_prefix() -> None:
    assert passage(policy("https://h/pre").decide(asked("*", "OPTIONS"))).target == b"*"


@pytest.mark.parametrize(
    ("target", "method", "expected"),
    [
        ("example.com:443", "CONNECT", (405, "method")),
        ("/", "CONNECT", (405, "method")),
        ("*", "GET", (400, "bad_request")),
        ("relative", "GET", (400, "bad_request")),
        ("ftp://a/b", "GET", (400, "bad_request")),
        ("/a#b", "GET", (400, "bad_request")),
    ],
)
def test_what_is_no_path_is_refused(target: str, method: str, expected: tuple[int, str]) -> None:
    assert refusal(policy().decide(asked(target, method))) == expected


@pytest.mark.parametrize(
    ("target", "method", "readiness"),
    [("/healthz", "GET", False), ("/readyz?x", "HEAD", True), ("http://a/readyz", "GET", True)],
)
def test_health_is_answered_here(target: str, method: str, *, readiness: bool) -> None:
    assert policy().decide(asked(target, method)) == Health(readiness=readiness)
    assert policy(auth="gateway", clients=("c",)).decide(asked(target, method)) == Health(readiness=readiness)


@pytest.mark.parametrize(("target", "method"), [("/healthz", "POST"), ("/healthz/", "GET"), ("/x/readyz", "GET")])
def test_nothing_else_is(target: str, method: str) -> None:
    assert isinstance(policy().decide(asked(target, method)), Passage)


@pytest.mark.parametrize("value", ["me", "other, me", "me,other"])
def test_a_request_that_came_through_here_before_is_a_loop(value: str) -> None:
    assert refusal(policy().decide(asked("/", "GET", f"X-Shadow-Hop: {value}"))) == (508, "loop")


def test_marks_of_other_gateways_are_no_loop() -> None:
    assert isinstance(policy().decide(asked("/", "GET", "X-Shadow-Hop: other, meme")), Passage)


@pytest.mark.parametrize(
    ("path", "dots"),
    [
        (b"/v1/messages", False),
        (b"/a.b/..c/d../...", False),
        (b"/%2525/a", False),
        (b"/.", True),
        (b"/a/../b", True),
        (b"/a/%2e%2E/b", True),
        (b"/a/.%2e", True),
        (b"/a%2f..%2fb", True),
        (b"/a\\..\\b", True),
        (b"/a%5c..", True),
        (b"/a/..;x=y/b", True),
    ],
)
def test_dot_segments_are_seen_in_every_spelling(path: bytes, *, dots: bool) -> None:
    assert has_dot_segments(path) is dots


@pytest.mark.parametrize(
    "guard",
    [
        {"base_url": "https://h/pre"},
        {"routes": {"/openai": Upstream(base_url="https://o")}},
        {"auth": "gateway", "clients": ("c",), "allow_paths": ("/",)},
    ],
    ids=["prefix", "routes", "gateway auth"],
)
def test_dot_segments_are_refused_where_a_path_decides_something(guard: dict[str, Any]) -> None:
    head = asked("/a/%2e%2e/b", "GET", "x-api-key: c")
    assert refusal(policy(**guard).decide(head)) == (400, "dot_segments")


ROUTES = {
    "/openai": Upstream(base_url="https://o", api_key="sk-o", api_key_header="bearer"),
    "/openai/eu/": Upstream(base_url="http://eu:8000/base", api_key="sk-eu", api_key_header="both"),
    "/local": Upstream(base_url="http://[::1]:9"),
}


@pytest.mark.parametrize(
    ("target", "label", "sent", "credentials"),
    [
        ("/v1/messages", "https://ezaiapi.com:443", b"/v1/messages", (b"x-api-key: sk-up",)),
        ("/openai", "https://o:443", b"/openai", (b"authorization: Bearer sk-o",)),
        ("/openai/v1/chat", "https://o:443", b"/openai/v1/chat", (b"authorization: Bearer sk-o",)),
        (
            "/openai/eu/x",
            "http://eu:8000",
            b"/base/openai/eu/x",
            (b"x-api-key: sk-eu", b"authorization: Bearer sk-eu"),
        ),
        ("/openaix", "https://ezaiapi.com:443", b"/openaix", (b"x-api-key: sk-up",)),
        ("/local/x", "http://[::1]:9", b"/local/x", ()),
    ],
)
def test_the_longest_route_wins_and_a_key_goes_only_to_its_own_origin(
    target: str, label: str, sent: bytes, credentials: tuple[bytes, ...]
) -> None:
    guarded = policy(routes=ROUTES, auth="gateway", clients=("c",), allow_paths=("/",))
    decision = passage(guarded.decide(asked(target, "GET", "x-api-key: c")))
    assert decision.destination.label == label
    assert decision.target == sent
    assert decision.destination.credentials == credentials
    assert passage(policy(routes=ROUTES).decide(asked(target))).destination.credentials == ()


@pytest.mark.parametrize(
    "fields",
    [
        ("x-api-key: c2",),
        ("Authorization: Bearer c1",),
        ("authorization: bearer  c1",),
        ("x-api-key: wrong", "Authorization: Bearer c1"),
    ],
)
def test_a_client_with_one_of_our_keys_may_ask(fields: tuple[str, ...]) -> None:
    guarded = policy(auth="gateway", clients=("c1", "c2"))
    assert isinstance(guarded.decide(asked("/v1/messages", "POST", *fields)), Passage)


@pytest.mark.parametrize(
    "fields",
    [(), ("x-api-key:",), ("x-api-key: C1",), ("Authorization: c1",), ("Authorization: Basic c1",), ("api-key: c1",)],
)
@pytest.mark.parametrize("target", ["/v1/messages", "/nowhere"])
def test_anybody_else_is_refused_before_the_path_is_looked_at(fields: tuple[str, ...], target: str) -> None:
    guarded = policy(auth="gateway", clients=("c1", "c2"))
    assert refusal(guarded.decide(asked(target, "POST", *fields))) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("method", "target", "passes"),
    [
        ("POST", "/v1/messages", True),
        ("POST", "/openai/v1/chat/completions", True),
        ("POST", "/v1/responses?x", True),
        ("POST", "/v1/messages/count_tokens", True),
        ("GET", "/v1/models", True),
        ("GET", "/v1/models/gpt-4o", True),
        ("HEAD", "/v1/models", True),
        ("GET", "/v1/messages", False),
        ("DELETE", "/v1/models/gpt-4o", False),
        ("GET", "/v1/models/a/b", False),
        ("GET", "/v1/models\n", False),
        ("GET", "/v1/messages/count_tokens", False),
        ("GET", "/v1/responses/r1", False),
        ("POST", "/v1/files", False),
        ("POST", "/v1/%6dessages", False),
        ("POST", "/v1/embeddings", True),
        ("POST", "/v1/embeddings/x", True),
        ("POST", "/v1/embeddingsx", False),
        ("GET", "/v1/batches/b1", True),
    ],
)
def test_a_guarded_gateway_passes_what_it_knows_and_what_is_allowed(method: str, target: str, *, passes: bool) -> None:
    guarded = policy(auth="gateway", clients=("c",), allow_paths=("/v1/embeddings", "/v1/batches/"))
    if "\n" in target:
        target = target.replace("\n", "%0a")
    decision = guarded.decide(asked(target, method, "x-api-key: c"))
    if passes:
        assert isinstance(decision, Passage)
    else:
        assert refusal(decision) == (403, "forbidden_path")


STRANGE_BEFORE_A_KNOWN_END = [
    "/admin%00/v1/messages",
    "/admin%0a/v1/messages",
    "/admin%23/v1/messages",
    "/admin%3f/v1/messages",
    "/admin%3F/v1/messages",
    "/admin;/v1/messages",
    "/admin%3b/v1/messages",
    "/admin%252e%252e/v1/messages",
    "/admin%2f/v1/messages",
    "/admin%5c/v1/messages",
    "/admin\\v1/messages",
    "/admin\\/v1/messages",
    "/admin%/v1/messages",
    "/admin%c0%af/v1/messages",
    "/admin//v1/messages",
    "//v1/messages",
    "//evil.example/v1/messages",
    "/admin /v1/messages",
    "/admin\t/v1/messages",
    "/adm\xefn/v1/messages",
    "/a'b/v1/messages",
    "/a&b/v1/messages",
    "/a=b/v1/messages",
    "/a:b/v1/messages",
    "/a@b/v1/messages",
    "http://evil.example//v1/messages",
    "http://evil.example/admin;/v1/messages",
]


@pytest.mark.parametrize("target", STRANGE_BEFORE_A_KNOWN_END)
@pytest.mark.parametrize("end", ["/v1/messages", "/chat/completions", "/responses", "/v1/messages/count_tokens"])
def test_a_guarded_gateway_recognises_plain_paths_only(target: str, end: str) -> None:
    target = target.replace("/v1/messages", end)
    guarded = policy(auth="gateway", clients=("c",))
    if " " in target or "\t" in target:
        with pytest.raises(BadHeadError):
            asked(target, "POST", "x-api-key: c")
        return
    assert refusal(guarded.decide(asked(target, "POST", "x-api-key: c"))) == (403, "forbidden_path")
    models = target.removesuffix(end) + "/v1/models"
    assert refusal(guarded.decide(asked(models, "GET", "x-api-key: c"))) == (403, "forbidden_path")


@pytest.mark.parametrize(
    ("target", "passes"),
    [
        ("/v1/files", True),
        ("/v1/files/", True),
        ("/v1/files/file-1/content", True),
        ("/v1/files/my%20file.txt", True),
        ("/v1/files/a:b@c,d=e", True),
        ("/v1/files/%e4%b8%ad", True),
        ("/v1/files//", False),
        ("/v1/files//admin", False),
        ("/v1/files/%252e%252e/admin", False),
        ("/v1/files/%2fadmin", False),
        ("/v1/files/%5Cadmin", False),
        ("/v1/files/\\admin", False),
        ("/v1/files/a%00", False),
        ("/v1/files/a%3fb", False),
        ("/v1/files/a%23b", False),
        ("/v1/files/a;b", False),
        ("/v1/files/a%3Bb", False),
        ("/v1/files/%c0%ae%c0%ae/admin", False),
        ("/v1/files/%", False),
        ("/V1/files/a", False),
        ("/v1/%66iles/a", False),
        ("/x/v1/files/a", False),
    ],
)
def test_no_spelling_leads_out_of_what_allow_paths_opens(target: str, *, passes: bool) -> None:
    guarded = policy(auth="gateway", clients=("c",), allow_paths=("/v1/files",))
    decision = guarded.decide(asked(target, "GET", "x-api-key: c"))
    assert isinstance(decision, Passage) is passes
    everything = policy(auth="gateway", clients=("c",), allow_paths=("/",))
    assert isinstance(everything.decide(asked(target, "GET", "x-api-key: c")), Passage)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "post", "PROPFIND"])
def test_a_guarded_gateway_passes_no_other_method_on_the_paths_it_knows(method: str) -> None:
    guarded = policy(auth="gateway", clients=("c",))
    for path in ("/v1/messages", "/v1/chat/completions", "/v1/responses", "/v1/messages/count_tokens"):
        assert refusal(guarded.decide(asked(path, method, "x-api-key: c"))) == (403, "forbidden_path")


def test_what_is_remembered_of_a_target_knows_nothing_of_who_asked() -> None:
    guarded = policy(auth="gateway", clients=("c",))
    for _ in range(2):
        assert isinstance(guarded.decide(asked("/v1/messages", "POST", "x-api-key: c")), Passage)
        assert refusal(guarded.decide(asked("/v1/messages", "POST"))) == (401, "unauthorized")
        assert refusal(guarded.decide(asked("/v1/messages", "POST", "x-shadow-hop: me"))) == (508, "loop")


def test_memory_for_targets_is_bounded() -> None:
    plain = policy()
    for number in range(2500):
        plain.decide(asked(f"/{number}"))
    plain.decide(asked("/" + "x" * 600))
    assert len(plain._known) <= 1000
    assert not any(len(target) > 512 for _, target in plain._known)


def test_keys_are_taken_from_both_fields_in_every_repetition() -> None:
    head = asked("/", "GET", "x-api-key: a", "X-API-KEY: b", "authorization: BEARER c", "authorization: Digest d")
    assert presented_keys(head) == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("url", "label", "authority"),
    [
        ("https://a", "https://a:443", b"a"),
        ("http://a:80", "http://a:80", b"a"),
        ("http://a:443", "http://a:443", b"a:443"),
        ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443", b"[2001:db8::1]:8443"),
    ],
)
def test_an_origin_is_named_with_its_port_and_asked_without_a_default_one(
    url: str, label: str, authority: bytes
) -> None:
    origin = origin_of(url)
    assert (origin.label, origin.authority) == (label, authority)
    assert origin.tls is url.startswith("https")
    assert origin == Origin(origin.scheme, origin.host, origin.port)


def test_refused_requests_name_the_default_upstream() -> None:
    assert policy("http://h:8000/p").origin == "http://h:8000"
