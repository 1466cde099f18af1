"""The wall around the admin port and around the gateway's own key: every route, every method, every trick, nothing out.

The routes are read from the app itself, so that one that is added later is held to the same rules without being named.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from gateway import adminport
from gateway.config import ConfigErrors, load
from gateway.measuring import AdminServer
from gateway.settings import Upstream as UpstreamSettings
from shadow.records import StoredContent
from shadow.store import open_store
from shadow.web import build_app
from tests.support.admin import CANDIDATE, NOW, add_pair, exchange, settings, url_of
from tests.support.client import ask
from tests.support.live import running, settings_for
from tests.support.serving import SCRIPT, Serve, plain_environment
from tests.support.serving import ask as ask_plainly
from tests.support.upstream import Answer, Upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from shadow.store.base import Store

TOKEN = "Right-of-the-wall/1234+=~"
DATA = b"what-nobody-may-read-without-the-token"
PARAMETERS = {
    "pair_id:path": f"x1:{CANDIDATE}",
    "exchange_id": "x1",
    "digest": "0",
    "name": "app.css",
    "rest:path": "nothing",
    "run_id": "r1",
}
"""What stands for each parameter of a path; a new parameter must be added here, or the test cannot ask its route."""
OPEN = {"/healthz", "/readyz"}
TOKENLESS = {"/ui/login", "/ui/static/0/app.css"}
"""Open to those without token, under a right Host: the form that takes it, and files that hold no data."""
FORMS = {"/ui/login", "/ui/logout", "/ui/review", "/ui/runs"}
"""Take a form in place of JSON, and only one with the word that this process gave; without it nothing is done."""
OF_OTHER_PARTS = {"/ui/review", "/ui/runs", "/ui/runs/r1", "/ui/runs/compare"}
"""Pages about parts that may not be there, or of which there is nothing in this store."""
NOWHERE = ["/nothing", "/ui/nothing", "/stats/", ""]
METHODS = ["GET", "HEAD", "POST", "DELETE", "OPTIONS"]
SAFE = {"GET", "HEAD"}

# What is presented -> whether it opens the port.
CREDENTIALS: dict[str, tuple[list[bytes], bytes, bool]] = {
    "no token": ([], b"", False),
    "a wrong token": ([b"Bearer " + TOKEN[:-1].encode() + b"x"], b"", False),
    "the token in the query": ([], f"token={TOKEN}&access_token={TOKEN}&key={TOKEN}".encode(), False),
    "the token twice": ([b"Bearer " + TOKEN.encode()] * 2, b"", False),
    "the token and another": ([b"Bearer " + TOKEN.encode(), b"Bearer x"], b"", False),
    "the token without a scheme": ([TOKEN.encode()], b"", False),
    "the token as basic": ([b"Basic " + TOKEN.encode()], b"", False),
    "the token": ([b"Bearer " + TOKEN.encode()], b"", True),
    "the token, scheme in lower case": ([b"bearer " + TOKEN.encode()], b"", True),
}
# The Host fields -> what is said to them, None: they are fine.
HOSTS: dict[str, tuple[list[bytes], int | None]] = {
    "a loopback name": ([b"localhost"], None),
    "in upper case with a port": ([b"LOCALHOST:8081"], None),
    "with a dot at the end": ([b"localhost."], None),
    "an address": ([b"127.0.0.1:1"], None),
    "an IPv6 address": ([b"[::1]:8081"], None),
    "a configured name": ([b"Shadow.Internal"], None),
    "another name": ([b"evil.example"], 421),
    "another name with ours in front": ([b"localhost.evil.example:8081"], 421),
    "none": ([], 400),
    "an empty one": ([b""], 400),
    "two": ([b"localhost", b"localhost"], 400),
    "one with a user": ([b"localhost@evil.example"], 400),
}
# Where a browser says it comes from -> whether it may send something.
ORIGINS: dict[str, tuple[list[tuple[bytes, bytes]], bool]] = {
    "nowhere": ([], True),
    "an address bar": ([(b"sec-fetch-site", b"none")], True),
    "our page": ([(b"sec-fetch-site", b"same-origin")], True),
    "another site": ([(b"origin", b"https://evil.example"), (b"sec-fetch-site", b"cross-site")], False),
    "another site, told by the origin alone": ([(b"origin", b"http://localhost.evil.example")], False),
    "a sibling site": ([(b"sec-fetch-site", b"same-site")], False),
    "a sandboxed page": ([(b"origin", b"null")], False),
}
CONTENT_TYPES: dict[str, bool] = {
    "application/json": True,
    "APPLICATION/JSON; charset=utf-8": True,
    "": False,
    "text/plain": False,
    "application/x-www-form-urlencoded": False,
    "multipart/form-data; boundary=x": False,
    "text/plain; application/json": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """The admin app over a store that holds something worth stealing, and how often a reload was asked for."""

    app: Starlette
    reloads: list[None]

    @property
    def routes(self) -> dict[str, set[str]]:
        """A path of each route -> its methods, as the app itself has them."""
        found: dict[str, set[str]] = {}
        for route in self.app.routes:
            assert isinstance(route, Route), f"{route} is no plain route: say here how it is guarded"
            path = route.path
            for name, value in PARAMETERS.items():
                path = path.replace("{" + name + "}", value)
            assert "{" not in path, f"PARAMETERS does not say what to ask {route.path} for"
            found[path] = set(route.methods or ())
        return found


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await open_store(url_of(tmp_path)) as opened:
        content = StoredContent(prompt=DATA.decode(), primary_output=DATA.decode(), candidate_output="b")
        await add_pair(opened, exchange(1, error=DATA.decode()), q_prim=1.0, q_cand=0.5, content=content)
        yield opened


@pytest.fixture
def admin(store: Store) -> Admin:
    own = settings(token=TOKEN, hosts=("shadow.internal",), shadow_off_reason=DATA.decode())
    reloads: list[None] = []
    app = build_app(reader=store.reader, settings=lambda: own, reload=lambda: reloads.append(None), now=lambda: NOW)
    return Admin(app=app, reloads=reloads)


async def answer_of(app: Starlette, scope: dict[str, Any]) -> tuple[int, bytes]:
    """What the app answers to one request, without a socket: so that some ten thousand can be asked."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert sent[0]["type"] == "http.response.start"
    heads = b"".join(name + b": " + value + b"\n" for name, value in sent[0]["headers"])
    assert b"access-control-allow" not in heads
    assert b"set-cookie" not in heads
    return sent[0]["status"], heads + b"".join(message.get("body", b"") for message in sent[1:])


def scope_of(method: str, path: str, *, query: bytes, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8081),
    }


def expected(routes: dict[str, set[str]], method: str, path: str) -> set[int]:
    """What the router says to those who may ask."""
    if path not in routes or (path in {*NOWHERE, "/ui/logout"} and method in SAFE):
        return {404}
    if path in OF_OTHER_PARTS and method in SAFE:
        return {200, 400, 404}
    if path in FORMS and method == "POST":
        return {403}
    if path in {"/epochs", "/feedback"} and method == "POST":
        return {503}  # what takes them is not in this process
    return {200, 202} if method in routes[path] else {405}


async def test_every_route_and_method_is_behind_host_token_and_origin(admin: Admin) -> None:
    routes = admin.routes
    assert len(routes) >= 10
    assert routes.keys() >= OPEN
    asked = let_in = 0
    for path, method in itertools.product(dict.fromkeys([*routes, *NOWHERE]), METHODS):
        # A browser's origin decides about what changes something; reading it may, where the token is.
        origins = list(ORIGINS) if method == "POST" else ["nowhere", "another site"]
        for said, host, origin in itertools.product(CREDENTIALS, HOSTS, origins):
            (credentials, query, opens), (hosts, wrong_host) = CREDENTIALS[said], HOSTS[host]
            headers = [(b"host", value) for value in hosts] + [(b"authorization", value) for value in credentials]
            headers += [*ORIGINS[origin][0], (b"content-type", b"application/json")]
            status, answer = await answer_of(admin.app, scope_of(method, path, query=query, headers=headers))
            case = (method, path, said, host, origin, status)
            asked += 1
            if path in OPEN:
                assert status in expected(routes, method, path), case
            elif wrong_host is not None:
                assert status == wrong_host, case
            elif not opens and path not in TOKENLESS:
                assert status == 401, case
            elif method not in SAFE and not ORIGINS[origin][1]:
                assert status == 403, case
            else:
                let_in += 1
                assert status in expected(routes, method, path), case
                if opens:
                    continue
            assert DATA not in answer, case
            assert TOKEN.encode() not in answer, case
    assert asked > 5_000
    assert let_in > 300


async def test_every_route_that_changes_something_wants_json_and_tells_a_browser_no(admin: Admin) -> None:
    changing = [(path, method) for path, methods in admin.routes.items() for method in methods - {"GET", "HEAD"}]
    assert ("/reload", "POST") in changing
    for path, method in changing:
        if path in FORMS:
            continue
        for kind, fits in CONTENT_TYPES.items():
            before = len(admin.reloads)
            headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {TOKEN}".encode())]
            headers += [(b"content-type", kind.encode())] if kind else []
            status, _ = await answer_of(admin.app, scope_of(method, path, query=b"", headers=headers))
            assert (status == 415) is not fits, (path, kind, status)
            assert len(admin.reloads) - before == (path == "/reload" and fits)


async def test_the_two_open_paths_say_yes_or_no_and_nothing_more(store: Store) -> None:
    class Broken:
        async def health(self) -> dict[str, Any]:
            return {"ok": False, "reason": DATA.decode()}

    said = settings(token=TOKEN, shadow_off_reason=DATA.decode())
    for reader, ready in ((store.reader, b'{"ready":true}'), (Broken(), b"the store is not usable")):
        app = build_app(reader=reader, settings=lambda: said)  # type: ignore[arg-type]  # all that is asked of it
        for path in sorted(OPEN):
            _, answer = await answer_of(app, scope_of("GET", path, query=b"", headers=[]))
            assert DATA not in answer
            assert (b'{"status":"ok"}' if path == "/healthz" else ready) in answer


# ---- on the wire: the server that `serve` runs, byte by byte


@contextlib.asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[tuple[str, int]]:
    """Serve the app by the product's own server."""
    async with serving(app) as (_, address):
        yield address


@contextlib.asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[tuple[AdminServer, tuple[str, int]]]:
    """The same, with the server."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = AdminServer(app)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        await server.listening.wait()
        try:
            yield server, listening.getsockname()[:2]
        finally:
            server.should_exit = True
            await task


async def said_to(address: tuple[str, int], request: bytes) -> bytes:
    """All that comes back until the connection is closed; the server must close it, or answer and be left."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    writer.write_eof()
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(30):
            answer = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        await writer.wait_closed()
    return answer


async def until_no_connections(server: AdminServer) -> None:
    async with asyncio.timeout(30):
        while server.server_state.connections:  # noqa: ASYNC110  (no event)
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def unread(address: tuple[str, int], request: bytes) -> AsyncIterator[None]:
    """A client that sends this and takes next to nothing of what comes back."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, address)
        sending = asyncio.create_task(loop.sock_sendall(client, request))
        yield
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_a_client_that_takes_no_answers_is_cut_off(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adminport, "STALL_TIMEOUT_S", 0.2)
    flood = b"GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50_000
    async with serving(admin.app) as (server, address), unread(address, flood):
        async with asyncio.timeout(30):
            while not server.server_state.connections:  # noqa: ASYNC110  (no event)
                await asyncio.sleep(0.01)
        await until_no_connections(server)


async def test_the_end_of_a_connection_does_not_wait_for_its_client_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adminport, "STALL_TIMEOUT_S", 0.2)
    monkeypatch.setattr(adminport.AdminConnection, "pause_writing", lambda _: None)  # the end alone is looked at
    large, sent = b"x" * (8 << 20), asyncio.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"%d" % len(large)), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": large})
        sent.set()

    served_app: Any = app
    async with serving(served_app) as (server, address), unread(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"):
        await asyncio.wait_for(sent.wait(), 30)
        await until_no_connections(server)


async def test_strangers_cannot_use_up_the_files_of_the_measuring_process(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adminport, "MAX_CONNECTIONS", 3)
    async with served(admin.app) as address, contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            _, writer = await asyncio.open_connection(*address)
            stack.callback(writer.close)
        reader, writer = await asyncio.open_connection(*address)
        stack.callback(writer.close)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""


def tricks(path: str) -> Iterator[bytes]:
    """One path in every spelling by which a guard and a router were ever made to disagree."""
    plain = path.encode()
    name = plain.removeprefix(b"/")
    yield from (b"/" + plain, b"//" + plain, b"/./" + name, b"/%2e/" + name, b"/%2e%2e/" + name, b"/..;/" + name)
    yield from (plain + b"/", plain + b"//", plain + b"/.", plain + b"/..", plain + b"/../x", plain + b"/%2e%2e/x")
    yield from (
        plain + end for end in (b"%00", b"%0a", b"%20", b";", b";x=1", b"%3b", b"%3f", b"%23", b"?", b"?/healthz")
    )
    yield from (
        plain + end for end in (b"#/healthz", b"\\", b"%5c", b"%2f", b".json", b"%c0%af", b"\xff", b"%ff", b"%", b"%zz")
    )
    yield from (b"/healthz/.." + plain, b"/healthz/%2e%2e" + plain, b"/healthz%2f.." + plain, b"/healthz;" + plain)
    yield from (b"/healthz?" + plain, b"/healthz%3f" + plain, b"/healthz\\.." + plain, b"/healthz//.." + plain)
    yield from (
        plain.upper(),
        plain.title(),
        b"/%" + b"%02x" % name[0] + name[1:] if name else b"/%2f",
        b"/" + b"a/../" * 9 + name,
    )
    yield from (b"http://localhost" + plain, b"http://localhost:1" + plain, b"http://evil.example" + plain)
    yield from (b"http://localhost/healthz/.." + plain, b"//localhost" + plain, b"https:" + plain, b"*", name or b"x")
    yield from (plain + b"%2500", plain.replace(b"/", b"%2f"), plain.replace(b"/", b"\\"), b"/x" * 2000 + plain)


def is_refused(answer: bytes) -> bool:
    """Whether nothing was told: refused by the parser, by the guard, or by the router; never a fault of ours."""
    statuses = [int(part.split(b" ", 1)[0]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert all(status < 500 for status in statuses), answer
    return DATA not in answer


async def test_no_spelling_of_a_path_gives_data_without_the_token(admin: Admin) -> None:
    paths = [path for path in admin.routes if path not in OPEN]
    targets = sorted({trick for path in paths for trick in (path.encode(), *tricks(path))})
    assert len(targets) > 400
    tellers = 0
    async with served(admin.app) as address:
        for target in targets:
            head = b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n"
            answer = await said_to(address, head + b"\r\n")
            assert is_refused(answer), target
            is_open = b'{"status":"ok"}' in answer and b"healthz" in target
            is_open |= b"<h1>Sign in</h1>" in answer or b"content-type: text/css" in answer
            assert b" 200 " not in answer.split(b"\r\n")[0] or is_open, target
        for target in targets:  # with the token, a strange spelling may find its path or not, but is no fault either
            head = b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + TOKEN.encode()
            answer = await said_to(address, head + b"\r\n\r\n")
            tellers += not is_refused(answer)
    assert tellers >= 3
    assert admin.reloads == []


HEADS: dict[str, bytes] = {
    "HTTP/1.0 without Host": b"GET /stats HTTP/1.0\r\n\r\n",
    "HTTP/0.9": b"GET /stats\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an obsolete fold": b"GET /stats HTTP/1.1\r\nHost: localhost\r\nAuthorization:\r\n Bearer x\r\n\r\n",
    "a forwarded path": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Original-URL: /stats\r\n\r\n",
    "a forwarded prefix": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Prefix: /stats\r\n\r\n",
    "a method in a header": b"GET /stats HTTP/1.1\r\nHost: localhost\r\nX-HTTP-Method-Override: POST\r\n\r\n",
    "a trusted neighbour": b"GET /stats HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n",
    "a second request behind a length and chunks": (
        b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n"
    ),
    "a second request behind an open one": (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n"
    ),
    "an upgrade": (
        b"GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ),
    "a connection to elsewhere": b"CONNECT localhost:8081 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an endless head": b"GET /stats HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (128 << 10) + b"\r\n\r\n",
    "a token beyond ASCII": b"GET /stats HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \xe2\x82\xac\xff\r\n\r\n",
}


@pytest.mark.parametrize("how", HEADS)
async def test_no_head_gives_data_without_the_token(admin: Admin, how: str) -> None:
    async with served(admin.app) as address:
        answer = await said_to(address, HEADS[how])
    assert is_refused(answer)
    assert b'"tasks"' not in answer


# ---- what refuses to start


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an admin port for all machines without a token": (
        {"admin": {"listen": "0.0.0.0:0"}},
        "admin.token is required",
    ),
    "an admin port for all machines with an empty token": (
        {"admin": {"listen": "[::]:0", "token": "${SHADOW_NOT_SET_ANYWHERE:-}"}},
        "admin.token is required",
    ),
    "gateway auth without clients": (
        {"upstream": {"base_url": "http://127.0.0.1:1", "auth": "gateway", "api_key": "k"}},
        "gateway needs clients",
    ),
    "gateway auth without clients on a unix socket": (
        {
            "listen": "unix:/nowhere/gateway.sock",
            "clients": [],
            "upstream": {"base_url": "http://127.0.0.1:1", "auth": "gateway", "api_key": "k"},
        },
        "gateway needs clients",
    ),
    "a client whose key is empty": (
        {"clients": [""], "upstream": {"base_url": "http://127.0.0.1:1", "auth": "gateway", "api_key": "k"}},
        "must not be empty",
    ),
    "gateway auth without a key of its own": (
        {"clients": ["c"], "upstream": {"base_url": "http://127.0.0.1:1", "auth": "gateway"}},
        "gateway needs upstream.api_key",
    ),
    "gateway auth whose route has no key for its origin": (
        {
            "clients": ["c"],
            "upstream": {
                "base_url": "http://127.0.0.1:1",
                "auth": "gateway",
                "api_key": "k",
                "routes": {"/other": {"base_url": "http://127.0.0.1:2"}},
            },
        },
        "a key goes only to the origin it was configured for",
    ),
}


@pytest.mark.parametrize("how", REFUSED)
def test_an_open_door_is_a_fault_of_the_configuration(tmp_path: Path, how: str) -> None:
    config, sentence = REFUSED[how]
    with pytest.raises(ConfigErrors) as refused:
        load(written(tmp_path, config), {})
    assert sentence in "\n".join(refused.value.lines)


def test_serve_refuses_to_start_with_an_open_door_and_binds_nothing(tmp_path: Path) -> None:
    file = written(tmp_path, REFUSED["gateway auth without clients"][0] | {"listen": f"unix:{tmp_path}/live.sock"})
    command = [SCRIPT, "serve", "-c", file]
    ended = subprocess.run(command, cwd=tmp_path, env=plain_environment(), capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert b"gateway needs clients" in ended.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def written(folder: Path, config: dict[str, Any]) -> str:
    file = folder / "config.yaml"
    file.write_text(json.dumps({"listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}, **config}))
    return str(file)


# ---- the gateway's own key


CLIENT, KEY, OTHER_KEY = "client-of-the-wall", "key-of-the-wall", "key-of-the-other-wall"
BEYOND = [
    b"POST /admin",
    b"POST /v1/messages/batches",
    b"POST /v1/messages/",
    b"POST /v1/messages/../files",
    b"POST /v1/files/../messages",
    b"POST /v1/files/%2e%2e/v1/messages",
    b"POST /x/%252e%252e/v1/messages",
    b"POST /admin%2fx/v1/messages",
    b"POST /admin%5cx/v1/messages",
    b"POST /admin\\x/v1/messages",
    b"POST /admin;/v1/messages",
    b"POST /admin%3b/v1/messages",
    b"POST /admin%3f/v1/messages",
    b"POST /admin%23/v1/messages",
    b"POST /admin%00/v1/messages",
    b"POST //v1/messages",
    b"POST //evil.example/v1/messages",
    b"POST http://evil.example/admin",
    b"POST http://evil.example//v1/messages",
    b"POST /V1/MESSAGES",
    b"POST /v1/messages%20",
    b"POST /v1/messages%00",
    b"POST /v1/messages;x",
    b"POST /admin?/v1/messages",
    b"POST /admin#/v1/messages",
    b"POST /v1/%6dessages",
    b"POST /v1/models",
    b"GET /v1/messages",
    b"PUT /v1/messages",
    b"DELETE /v1/models/gpt-4o",
    b"GET /v1/models/a%2f..%2f..%2fadmin",
    b"GET /v1/models/..",
    b"GET /v1/organizations/x/models/y/z",
    b"OPTIONS *",
    b"GET /v1/files//x",
    b"GET /v1/files/%2e%2e/admin",
    b"GET /v1/files/%252e%252e/admin",
    b"GET /v1/filesystem",
    b"GET /admin HTTP/1.1\r\nX-Original-URL: /v1/models\r\nX:",
]


def test_gateway_auth_lends_its_key_to_no_path_beyond_its_list(tmp_path: Path) -> None:
    with Upstream() as upstream:
        place = UpstreamSettings(base_url=upstream.base_url, api_key=KEY)
        own = settings_for(
            upstream.base_url,
            tmp_path / "shadow.db",
            upstream=place,
            auth="gateway",
            clients=(CLIENT,),
            allow_paths=("/v1/files",),
        )
        with running(own, tmp_path) as live:
            for line in BEYOND:
                head = (
                    line + b" HTTP/1.1\r\nHost: a\r\nx-api-key: " + CLIENT.encode() + b"\r\nContent-Length: 2\r\n\r\n{}"
                )
                assert ask(live.address, head).status in {400, 403}, line
            assert [bytes(connection.received) for connection in upstream.connections] == []
            for line in (b"POST /v1/messages", b"GET /v1/files/x", b"POST http://evil.example/v1/messages"):
                head = (
                    line + b" HTTP/1.1\r\nHost: a\r\nx-api-key: " + CLIENT.encode() + b"\r\nContent-Length: 2\r\n\r\n{}"
                )
                assert ask(live.address, head).status == 200, line
        targets = [request.target for request in upstream.requests]
        assert targets == [b"/v1/messages", b"/v1/files/x", b"/v1/messages"]
        assert {value for request in upstream.requests for value in request.values(b"host")} == {
            b"127.0.0.1:%d" % upstream.port
        }


def test_a_key_goes_to_its_own_origin_whatever_the_path_looks_like_and_wherever_an_answer_points(
    tmp_path: Path,
) -> None:
    with Upstream() as main, Upstream() as other, Upstream() as third:
        moved = b"HTTP/1.1 307 X\r\nlocation: " + third.base_url.encode() + b"/v1/messages\r\ncontent-length: 0\r\n\r\n"
        main.answer(Answer(parts=[moved]))
        other.answer(Answer(parts=[moved]))
        own = settings_for(
            main.base_url,
            tmp_path / "shadow.db",
            upstream=UpstreamSettings(base_url=main.base_url, api_key=KEY),
            routes={
                "/other": UpstreamSettings(base_url=other.base_url, api_key=OTHER_KEY),
                "/other/same": UpstreamSettings(base_url=main.base_url, api_key=KEY),
                "/oth": UpstreamSettings(base_url=main.base_url, api_key=KEY),
            },
            auth="gateway",
            clients=(CLIENT,),
            allow_paths=("/",),
        )
        targets = [
            *(b"/v1/messages", b"/other/v1/messages", b"/otherx/v1/messages", b"/other", b"/other/same/v1/messages"),
            *(
                b"/other//same/x",
                b"/OTHER/x",
                b"//other/x",
                b"/other%2fsame/x",
                b"/%6fther/x",
                b"/oth/er/x",
                b"/other?x",
            ),
            *(b"/x/other/v1/messages", b"/other;x/y", b"/other%3f/x", b"http://" + other.base_url[7:].encode() + b"/x"),
            *(b"/other/same%2f..%2fx", b"/other/../x", b"/other/%2e%2e/x"),
        ]
        with running(own, tmp_path) as live:
            for target in targets:
                sent = b"POST " + target + b" HTTP/1.1\r\nHost: " + other.base_url[7:].encode()
                sent += b"\r\nx-api-key: " + CLIENT.encode() + b"\r\nContent-Length: 2\r\n\r\n{}"
                answer = ask(live.address, sent)
                assert answer.status == (400 if b".." in target or b"%2e" in target else 307), target
        for place, key, foreign in ((main, KEY, OTHER_KEY), (other, OTHER_KEY, KEY)):
            assert place.requests
            for connection in place.connections:
                received = bytes(connection.received)
                assert received.count(key.encode()) == len(connection.requests)
                assert foreign.encode() not in received
                assert CLIENT.encode() not in received
        assert {request.target for request in other.requests} == {
            *(b"/other/v1/messages", b"/other", b"/other//same/x", b"/other?x"),
        }
        assert third.connections == []


def test_the_admin_port_of_a_running_serve_is_the_wall_that_was_tested(tmp_path: Path) -> None:
    config = {
        "listen": f"unix:{tmp_path}/live.sock",
        "admin": {"listen": "127.0.0.1:0", "token": TOKEN},
        "upstream": {"base_url": "http://127.0.0.1:1"},
    }
    with Serve(tmp_path, json.dumps(config), environ=plain_environment()) as serving:
        for path in ("/stats", "//stats", "/pairs", "/openapi.json", "/", "/nothing", "/%73tats"):
            assert ask_plainly(serving.admin, "GET", path)[0] == 401, path
        allowed = {"authorization": f"Bearer {TOKEN}"}
        eventually(
            lambda: ask_plainly(serving.admin, "GET", "/stats", None, allowed)[0] == 200,
            within_s=30,
            what="the store to be open",
        )
        assert ask_plainly(serving.admin, "GET", "/stats", None, {**allowed, "host": "evil.example"})[0] == 421
        assert ask_plainly(serving.admin, "POST", "/reload", {}, {**allowed, "origin": "http://evil.example"})[0] == 403
        assert ask_plainly(serving.admin, "GET", "/healthz")[1] == b'{"status":"ok"}'
        assert "configuration reloaded" not in serving.stderr
        assert ask_plainly(serving.admin, "POST", "/reload", {}, allowed)[0] == 202
        eventually(lambda: "configuration reloaded" in serving.stderr, within_s=30, what="the reload")
        assert serving.stop() == 0
        assert TOKEN not in serving.stderr + serving.stdout
