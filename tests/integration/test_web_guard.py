"""Who may ask the admin port what: token, Host and origin, over real sockets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from shadow.store import open_store
from tests.support.admin import admin_port, settings, url_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2

    from shadow.store.base import Store

TOKEN = "correct horse bättery"
GUARDED = [
    "/",
    "/stats",
    "/verdicts",
    "/pairs",
    "/pairs/a:b",
    "/exchanges/a",
    "/openapi.json",
    "/reload",
    "/nothing",
    "/ui/",
]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await open_store(url_of(tmp_path)) as opened:
        yield opened


async def raw(client: httpx2.AsyncClient, head: bytes) -> tuple[int, bytes]:
    """Send a head as it is and read the whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    writer.write(head + b"\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split(b" ", 2)[1]), answer


def get_with(*headers: bytes, path: bytes = b"/stats") -> bytes:
    lines = [b"GET " + path + b" HTTP/1.1", b"connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n"


# ---- token


@pytest.mark.parametrize("path", GUARDED)
async def test_with_a_token_every_path_but_the_probes_needs_it(store: Store, path: str) -> None:
    async with admin_port(store.reader, lambda: settings(token=TOKEN)) as client:
        answer = await client.get(path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("application/json", "no-store")
    assert "Authorization: Bearer" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_need_neither_token_nor_host(store: Store, path: str) -> None:
    async with admin_port(store.reader, lambda: settings(token=TOKEN)) as client:
        answer = await client.get(path, headers={"host": "10.1.2.3:8081"})
    assert answer.status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_right_token_opens_the_port(store: Store, scheme: str) -> None:
    async with admin_port(store.reader, lambda: settings(token=TOKEN)) as client:
        answer = await client.get("/stats", headers={b"authorization": f"{scheme} {TOKEN}".encode()})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer wrong",
        b"Bearer " + TOKEN.encode() + b"x",
        b"Bearer " + TOKEN.encode()[:-1],
        b"Basic " + TOKEN.encode(),
        TOKEN.encode(),
        b"Bearer \xff\xfe",
    ],
)
async def test_a_wrong_token_opens_nothing(store: Store, value: bytes) -> None:
    async with admin_port(store.reader, lambda: settings(token=TOKEN)) as client:
        status, _ = await raw(client, get_with(b"host: localhost", b"authorization: " + value))
    assert status == 401


async def test_two_tokens_are_none(store: Store) -> None:
    line = b"authorization: Bearer " + TOKEN.encode()
    async with admin_port(store.reader, lambda: settings(token=TOKEN)) as client:
        status, _ = await raw(client, get_with(b"host: localhost", line, line))
    assert status == 401


async def test_the_token_is_not_taken_from_the_query(store: Store) -> None:
    async with admin_port(store.reader, lambda: settings(token="t")) as client:
        assert (await client.get("/stats?token=t&access_token=t")).status_code == 401


async def test_the_path_decides_not_an_absolute_target(store: Store) -> None:
    async with admin_port(store.reader, lambda: settings(token=TOKEN)) as client:
        for target in (b"/stats?/healthz", b"/stats#/healthz", b"/stats;/healthz", b"/healthz/../stats", b"/%2e/stats"):
            status, _ = await raw(client, get_with(b"host: localhost", path=target))
            assert status == 401, target


async def test_a_token_is_not_shown_when_settings_are_printed() -> None:
    assert TOKEN not in repr(settings(token=TOKEN))


# ---- host


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"LOCALHOST:1234",
        b"localhost.",
        b"127.0.0.1",
        b"127.0.0.1:8081",
        b"[::1]",
        b"[::1]:8081",
        b"[0:0:0:0:0:0:0:1]:8081",
        b"shadow.internal",
        b"Shadow.Internal:443",
        b"[2001:db8::7]:8081",
    ],
)
async def test_loopback_names_and_configured_hosts_are_answered(store: Store, host: bytes) -> None:
    own = settings(hosts=("shadow.internal", "2001:DB8:0::7"))
    async with admin_port(store.reader, lambda: own) as client:
        status, _ = await raw(client, get_with(b"host: " + host))
    assert status == 200


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"localhost.evil.example",
        b"127.0.0.1.evil.example",
        b"xlocalhost",
        b"192.0.2.1",
        b"[::2]",
        b"127.1",
    ],
)
async def test_a_rebound_name_is_not_answered(store: Store, host: bytes) -> None:
    async with admin_port(store.reader) as client:
        status, answer = await raw(client, get_with(b"host: " + host))
    assert status == 421
    assert b"evil" not in answer


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"localhost:port",
        b"localhost:0",
        b"user@localhost",
        b"localhost/",
        b"[::1",
        b"local\thost",
        b"localhost:99999",
        b":80",
    ],
)
async def test_a_malformed_host_is_400(store: Store, host: bytes) -> None:
    async with admin_port(store.reader) as client:
        status, _ = await raw(client, get_with(b"host: " + host))
    assert status == 400


@pytest.mark.parametrize(
    "hosts", [[], [b"host: localhost", b"host: localhost"], [b"host: localhost", b"host: evil.example"]]
)
async def test_no_host_or_two_hosts_are_400(store: Store, hosts: list[bytes]) -> None:
    async with admin_port(store.reader) as client:
        status, _ = await raw(client, get_with(*hosts))
    assert status == 400


async def test_the_address_connected_to_is_answered_as_a_host(store: Store) -> None:
    async with admin_port(store.reader, address="127.0.0.2") as client:
        assert (await client.get("/stats")).status_code == 200
        assert (await client.get("/stats", headers={"host": "127.0.0.3"})).status_code == 421


async def test_a_forwarded_host_changes_nothing(store: Store) -> None:
    async with admin_port(store.reader) as client:
        answer = await client.get("/stats", headers={"host": "evil.example", "x-forwarded-host": "localhost"})
    assert answer.status_code == 421


# ---- origin


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"origin": "file://"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "same-origin", "origin": "https://evil.example"},
    ],
)
async def test_a_post_from_another_origin_is_403(store: Store, headers: dict[str, str]) -> None:
    async with admin_port(store.reader, reload=lambda: pytest.fail("reached")) as client:
        answer = await client.post("/reload", json={}, headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


async def test_a_post_from_this_port_s_own_page_is_taken(store: Store) -> None:
    async with admin_port(store.reader, reload=lambda: None) as client:
        own = str(client.base_url).rstrip("/")
        for headers in ({"origin": own, "sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}):
            answer = await client.post("/reload", json={}, headers=headers)
            assert answer.status_code == 202


async def test_a_preflight_gets_no_permission(store: Store) -> None:
    async with admin_port(store.reader) as client:
        headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        answer = await client.options("/reload", headers=headers)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/stats", "/nothing", "/stats?x=1", "/"])
async def test_every_answer_says_how_it_may_be_used(store: Store, path: str) -> None:
    async with admin_port(store.reader) as client:
        headers = (await client.get(path)).headers
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


async def test_a_websocket_is_turned_away(store: Store) -> None:
    upgrade = (b"host: localhost", b"upgrade: websocket", b"connection: upgrade", b"sec-websocket-version: 13")
    key = b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
    async with admin_port(store.reader) as client:
        status, _ = await raw(client, b"\r\n".join([b"GET /stats HTTP/1.1", *upgrade, key]) + b"\r\n")
    assert status == 403
