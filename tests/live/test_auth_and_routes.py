"""Who may ask, with which key it is asked upstream, and which way it goes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.settings import Upstream as UpstreamSettings
from tests.live.identity_cases import request
from tests.support.client import Client, ask
from tests.support.live import Live, running, settings_for
from tests.support.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.settings import ApiKeyHeader
    from tests.support.http1 import Message

CLIENT_KEY = "sk-client-one"
UPSTREAM_KEY = "sk-upstream-secret"


def credentials(seen: Message) -> dict[bytes, list[bytes]]:
    """What a request says about who asks."""
    names = (b"x-api-key", b"authorization", b"proxy-authorization")
    return {name: seen.values(name) for name in names if seen.values(name)}


def gateway_settings(upstream: Upstream, folder: Path, **changes: Any) -> Any:
    """Settings with `auth: gateway`."""
    place = UpstreamSettings(
        base_url=upstream.base_url, api_key=UPSTREAM_KEY, api_key_header=changes.pop("header", "x-api-key")
    )
    clients = (CLIENT_KEY, "sk-client-two")
    return settings_for(
        upstream.base_url,
        folder / "shadow.db",
        **{"upstream": place, "auth": "gateway", "clients": clients, **changes},
    )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Upstream, Live]]:
    """A live process with `auth: gateway` and two client keys."""
    folder = tmp_path_factory.mktemp("guarded")
    with Upstream() as upstream, running(gateway_settings(upstream, folder), folder) as live:
        yield upstream, live


PRESENTED: dict[str, bytes] = {
    "x-api-key": b"x-api-key: sk-client-one\r\n",
    "X-API-KEY": b"X-API-KEY:sk-client-two\r\n",
    "bearer": b"Authorization: Bearer sk-client-one\r\n",
    "bearer in lower case": b"authorization: bearer sk-client-two\r\n",
    "both": b"x-api-key: sk-client-one\r\nAuthorization: Bearer sk-client-one\r\n",
}

NOT_LET_IN: dict[str, bytes] = {
    "nothing": b"",
    "an empty key": b"x-api-key:\r\n",
    "an empty bearer": b"Authorization: Bearer\r\n",
    "a wrong key": b"x-api-key: sk-client-three\r\n",
    "a prefix of a key": b"x-api-key: sk-client-on\r\n",
    "a key and more": b"x-api-key: sk-client-onex\r\n",
    "a key in other letters": b"x-api-key: SK-CLIENT-ONE\r\n",
    "the upstream key": b"x-api-key: sk-upstream-secret\r\n",
    "basic": b"Authorization: Basic c2stY2xpZW50LW9uZQ==\r\n",
    "a bare key as authorization": b"Authorization: sk-client-one\r\n",
    "a key in another field": b"api-key: sk-client-one\r\nproxy-authorization: Bearer sk-client-one\r\n",
    "bytes beyond ASCII": b"x-api-key: sk-client-\xf6ne\r\n",
}


@pytest.mark.parametrize("how", PRESENTED)
def test_a_known_client_is_let_in_and_its_key_stays_here(guarded: tuple[Upstream, Live], how: str) -> None:
    upstream, live = guarded
    upstream.start_over()
    assert ask(live.address, request("POST", "/v1/messages", PRESENTED[how], b"{}")).status == 200
    (seen,) = upstream.requests
    assert credentials(seen) == {b"x-api-key": [UPSTREAM_KEY.encode()]}
    assert b"sk-client" not in upstream.connections[0].received


@pytest.mark.parametrize("how", NOT_LET_IN)
def test_an_unknown_client_is_a_401_and_upstream_hears_nothing(guarded: tuple[Upstream, Live], how: str) -> None:
    upstream, live = guarded
    upstream.start_over()
    for path, shape in (("/v1/messages", "anthropic"), ("/v1/chat/completions", "openai"), ("/v1/files", None)):
        received = ask(live.address, request("POST", path, NOT_LET_IN[how], b"{}"))
        assert received.status == 401
        body = json.loads(received.body)
        assert body["error"]["message"]
        assert b"sk-" not in received.body
        if shape:
            assert (body.get("type") == "error") == (shape == "anthropic")
        assert received.header(b"x-shadow-gateway-error")
    assert upstream.requests == []


def test_a_refused_upload_is_not_read_as_the_next_request(guarded: tuple[Upstream, Live]) -> None:
    upstream, live = guarded
    upstream.start_over()
    smuggled = request("GET", "/v1/models", b"x-api-key: sk-client-one\r\n")
    with Client(live.address) as client:
        assert client.ask(request("POST", "/v1/messages", b"", smuggled)).status == 401
        client.closes_within(0.2)
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("x-api-key", {b"x-api-key": [UPSTREAM_KEY.encode()]}),
        ("bearer", {b"authorization": [b"Bearer " + UPSTREAM_KEY.encode()]}),
        ("both", {b"x-api-key": [UPSTREAM_KEY.encode()], b"authorization": [b"Bearer " + UPSTREAM_KEY.encode()]}),
    ],
)
def test_the_key_is_written_as_configured_whatever_the_client_sent(
    tmp_path: Path, upstream: Upstream, header: ApiKeyHeader, expected: dict[bytes, list[bytes]]
) -> None:
    with running(gateway_settings(upstream, tmp_path, header=header), tmp_path) as live:
        for presented in PRESENTED.values():
            assert ask(live.address, request("POST", "/v1/messages", presented, b"{}")).status == 200
    assert [credentials(seen) for seen in upstream.requests] == [expected] * len(PRESENTED)


ALLOWED = [
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages?beta=true"),
    ("POST", "/openai/v1/chat/completions"),
    ("POST", "/chat/completions"),
    ("POST", "/v1/responses"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models?limit=1000"),
    ("GET", "/v1/models/claude-haiku-4-5"),
    ("POST", "/v1/messages/count_tokens"),
]
NOT_ALLOWED = [
    ("GET", "/"),
    ("GET", "/v1/files"),
    ("POST", "/v1/messages/batches"),
    ("POST", "/v1/organizations/api_keys"),
    ("GET", "/v1/messagesx"),
    ("GET", "/admin?x=/v1/messages"),
    ("GET", "/admin;/v1/modelsx"),
]


def test_gateway_auth_passes_what_it_knows_and_nothing_else(guarded: tuple[Upstream, Live]) -> None:
    upstream, live = guarded
    upstream.start_over()
    key = PRESENTED["bearer"]
    for method, target in NOT_ALLOWED:
        assert ask(live.address, request(method, target, key)).status == 403, target
    assert upstream.requests == []
    for method, target in ALLOWED:
        assert ask(live.address, request(method, target, key, b"{}" if method == "POST" else None)).status == 200
    assert [seen.target.decode() for seen in upstream.requests] == [target for _, target in ALLOWED]


def test_allow_paths_widens_what_gateway_auth_passes(tmp_path: Path, upstream: Upstream) -> None:
    settings = gateway_settings(upstream, tmp_path, allow_paths=("/v1/files",))
    with running(settings, tmp_path) as live:
        assert ask(live.address, request("GET", "/v1/files", PRESENTED["x-api-key"])).status == 200
        assert ask(live.address, request("GET", "/v1/files?after=1", PRESENTED["x-api-key"])).status == 200
        assert ask(live.address, request("GET", "/v1/filesystem", PRESENTED["x-api-key"])).status == 403
        assert ask(live.address, request("GET", "/v1/batches", PRESENTED["x-api-key"])).status == 403
        assert ask(live.address, request("GET", "/v1/files")).status == 401
        assert ask(live.address, request("POST", "/v1/messages", PRESENTED["x-api-key"], b"{}")).status == 200


def test_health_needs_no_key(guarded: tuple[Upstream, Live]) -> None:
    _, live = guarded
    assert ask(live.address, request("GET", "/healthz")).status == 200
    assert ask(live.address, request("GET", "/readyz")).status == 200


def test_passthrough_lets_the_apps_own_key_travel_and_keeps_ours(tmp_path: Path, upstream: Upstream) -> None:
    place = UpstreamSettings(base_url=upstream.base_url, api_key=UPSTREAM_KEY)
    with running(settings_for(upstream.base_url, tmp_path / "shadow.db", upstream=place), tmp_path) as live:
        for headers in (b"x-api-key: mine\r\nAuthorization: Bearer mine-too\r\n", b""):
            assert ask(live.address, request("POST", "/v1/messages", headers, b"{}")).status == 200
            assert ask(live.address, request("POST", "/v1/organizations", headers, b"{}")).status == 200
    mine = {b"x-api-key": [b"mine"], b"authorization": [b"Bearer mine-too"]}
    assert [credentials(seen) for seen in upstream.requests] == [mine, mine, {}, {}]
    assert UPSTREAM_KEY.encode() not in b"".join(bytes(connection.received) for connection in upstream.connections)


def test_routes_go_to_their_own_place_with_their_own_key_and_the_longest_wins(tmp_path: Path) -> None:
    with Upstream() as main, Upstream() as openai, Upstream() as azure, Upstream() as keyless:
        routes = {
            "/openai": UpstreamSettings(base_url=openai.base_url, api_key="sk-openai", api_key_header="bearer"),
            "/openai/azure": UpstreamSettings(base_url=f"{azure.base_url}/base", api_key="sk-azure"),
            "/local": UpstreamSettings(base_url=keyless.base_url),
        }
        with running(gateway_settings(main, tmp_path, routes=routes), tmp_path) as live:
            for target in (
                "/openai/v1/chat/completions?x=1",
                "/openai/azure/v1/chat/completions",
                "/local/v1/chat/completions",
                "/v1/messages",
                "/other/openai/v1/chat/completions",
            ):
                assert ask(live.address, request("POST", target, PRESENTED["both"], b"{}")).status == 200, target
        paths = [[seen.target.decode() for seen in place.requests] for place in (openai, azure, keyless, main)]
        assert paths == [
            ["/openai/v1/chat/completions?x=1"],
            ["/base/openai/azure/v1/chat/completions"],
            ["/local/v1/chat/completions"],
            ["/v1/messages", "/other/openai/v1/chat/completions"],
        ]
        assert credentials(openai.requests[0]) == {b"authorization": [b"Bearer sk-openai"]}
        assert credentials(azure.requests[0]) == {b"x-api-key": [b"sk-azure"]}
        assert credentials(keyless.requests[0]) == {}
        assert credentials(main.requests[0]) == {b"x-api-key": [UPSTREAM_KEY.encode()]}
        for place in (openai, azure, keyless, main):
            assert place.requests[0].values(b"host") == [b"127.0.0.1:%d" % place.port]
            assert b"sk-client" not in b"".join(bytes(connection.received) for connection in place.connections)


def test_connections_of_one_route_are_not_used_for_another(tmp_path: Path) -> None:
    with Upstream() as main, Upstream() as other:
        routes = {"/other": UpstreamSettings(base_url=other.base_url)}
        settings = settings_for(main.base_url, tmp_path / "shadow.db", routes=routes)
        with running(settings, tmp_path) as live, Client(live.address) as client:
            for _ in range(5):
                client.ask(request("GET", "/x"))
                client.ask(request("GET", "/other/x"))
        assert [seen.target for seen in main.requests] == [b"/x"] * 5
        assert [seen.target for seen in other.requests] == [b"/other/x"] * 5


def test_no_key_of_anybody_is_in_the_store_or_the_log(tmp_path: Path, upstream: Upstream) -> None:
    with running(gateway_settings(upstream, tmp_path), tmp_path) as live:
        for presented in PRESENTED.values():
            ask(live.address, request("POST", "/v1/messages?key=sk-client-one", presented, b'{"model": "m"}'))
        ask(live.address, request("POST", "/v1/messages", NOT_LET_IN["a wrong key"], b"{}"))
        live.exchanges(path="/v1/messages", count=len(PRESENTED))
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for key in (b"sk-client-one", b"sk-client-two", b"sk-client-three", UPSTREAM_KEY.encode()):
        assert key not in kept
