"""Verified TLS to the upstream, proxies, and every kind of address a live process can listen on."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from gateway.control import Tls
from gateway.settings import Upstream as UpstreamSettings
from tests.live.identity_cases import JSON, PROMPT, answer, chunked_answer, events, request, upload
from tests.support.client import Client, NoAnswerError, ask
from tests.support.live import Live, bound_socket, running, settings_for
from tests.support.proxy import ConnectProxy
from tests.support.upstream import Answer, Upstream
from tests.support.waiting import AT_ONCE_S, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.client import Received


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The certificate authority the tests trust."""
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its certificate as a file."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """A server that proves these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def _secure(authority: trustme.CA) -> Iterator[Upstream]:
    with Upstream(tls=server_context(authority, "localhost")) as upstream:
        yield upstream


@pytest.fixture
def secure(_secure: Upstream) -> Upstream:
    """An upstream that speaks TLS as `localhost`, with nothing seen yet."""
    _secure.start_over()
    return _secure


@pytest.fixture(scope="module")
def trusting(_secure: Upstream, ca_file: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A live process in front of it that trusts the authority."""
    folder = tmp_path_factory.mktemp("trusting")
    with running(settings_for(named(_secure), folder / "shadow.db", ca_file=ca_file), folder) as live:
        yield live


def named(upstream: Upstream, host: str = "localhost") -> str:
    """Its base URL with a host name."""
    return f"https://{host}:{upstream.port}"


def ask_once(folder: Path, base_url: str, asked: bytes, **changes: Any) -> Received:
    """One request through a live process of its own."""
    with running(settings_for(base_url, folder / "shadow.db", **changes), folder) as live:
        return ask(live.address, asked)


def test_an_upstream_is_asked_over_tls_and_its_connection_is_kept(secure: Upstream, trusting: Live) -> None:
    secure.answer(chunked_answer(events(b"\n"), [7], size=50))
    for asked in (request(body=PROMPT), upload(PROMPT, [3])):
        received = ask(trusting.address, asked, size=100)
        assert received.complete
        assert received.body == events(b"\n")
    assert [bytes(seen.body) for seen in secure.requests] == [PROMPT, PROMPT]
    assert [seen.values(b"host") for seen in secure.requests] == [[f"localhost:{secure.port}".encode()]] * 2
    assert len(secure.connections) == 1


def test_a_large_exchange_over_tls_is_whole(secure: Upstream, trusting: Live) -> None:
    secure.answer(answer(body=JSON * 5000))
    received = ask(trusting.address, request(body=PROMPT * 5000))
    assert received.body == JSON * 5000
    assert bytes(secure.requests[0].body) == PROMPT * 5000


@pytest.mark.parametrize("end", ["fin", "reset"])
def test_a_cut_over_tls_is_seen_by_the_client(secure: Upstream, trusting: Live, end: Any) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
    secure.answer(Answer(parts=(head,), end=end))
    received = ask(trusting.address, request(body=b"{}"))
    assert not received.complete
    assert received.ended == "reset"


def test_an_answer_up_to_the_close_is_whole_after_close_notify_only(secure: Upstream, trusting: Live) -> None:
    secure.answer(Answer(parts=(b"HTTP/1.1 200 OK\r\n\r\nhello",), end="fin"))
    assert ask(trusting.address, request(body=b"{}")).complete
    secure.answer(Answer(parts=(b"HTTP/1.1 200 OK\r\n\r\nhello",), end="reset"))
    assert not ask(trusting.address, request(body=b"{}")).complete


def test_a_client_that_hangs_up_closes_a_tls_upstream_too(secure: Upstream, trusting: Live) -> None:
    secure.answer(Answer(parts=(), end="stall"))
    with Client(trusting.address) as client:
        client.send(request(body=PROMPT))
        connection, _ = secure.wait_for_request()
    eventually(lambda: connection.closed_at, within_s=AT_ONCE_S)


def test_certificates_are_verified_by_authority_name_and_address(
    tmp_path: Path, authority: trustme.CA, ca_file: str
) -> None:
    unknown = trustme.CA()
    names: list[str | None] = []
    context = server_context(authority, "localhost")
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    with ExitStack() as stack:

        def place(tls: ssl.SSLContext) -> Upstream:
            return stack.enter_context(Upstream(tls=tls))

        right = place(context)
        other_name = place(server_context(authority, "other.example"))
        other_authority = place(server_context(unknown, "localhost"))
        address = place(server_context(authority, "127.0.0.1"))
        expected = {
            "/right": (named(right), 200),
            "/other-name": (named(other_name), 502),
            "/other-authority": (named(other_authority), 502),
            "/address": (named(address, "127.0.0.1"), 200),
            "/name-asked-by-address": (named(right, "127.0.0.1"), 502),
            "/address-asked-by-name": (named(address), 502),
        }
        routes = {path: UpstreamSettings(base_url=base_url) for path, (base_url, _) in expected.items()}
        settings = settings_for(named(right), tmp_path / "shadow.db", ca_file=ca_file, routes=routes)
        with running(settings, tmp_path) as live:
            received = {path: ask(live.address, request("POST", path, body=b"{}")) for path in expected}
        assert {path: answered.status for path, answered in received.items()} == {
            path: status for path, (_, status) in expected.items()
        }
        for answered in received.values():
            assert (answered.header(b"x-shadow-gateway-error") is None) == (answered.status == 200)
        assert other_name.requests == other_authority.requests == []
        assert names[0] == "localhost"


def test_an_authority_that_is_not_configured_is_not_trusted(tmp_path: Path, secure: Upstream) -> None:
    assert ask_once(tmp_path, named(secure), request(body=b"{}")).status == 502
    assert secure.requests == []


def test_an_upstream_that_speaks_no_tls_or_never_ends_its_handshake_is_a_502(tmp_path: Path, ca_file: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain, socket.create_server(("127.0.0.1", 0)) as silent:
        speaking = threading.Thread(target=refuse_to_speak_tls, args=(plain,))
        speaking.start()
        urls = [f"https://localhost:{listener.getsockname()[1]}" for listener in (plain, silent)]
        settings = settings_for(
            urls[0],
            tmp_path / "shadow.db",
            ca_file=ca_file,
            connect_timeout_s=0.5,
            routes={"/silent": UpstreamSettings(base_url=urls[1])},
        )
        with running(settings, tmp_path) as live:
            assert ask(live.address, request(body=b"{}")).status == 502
            assert ask(live.address, request("POST", "/silent", body=b"{}")).status == 502
        speaking.join()


def test_at_most_eight_handshakes_are_under_way_at_once(tmp_path: Path, ca_file: str) -> None:
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
        silent.settimeout(0.5)
        base_url = f"https://localhost:{silent.getsockname()[1]}"
        settings = settings_for(base_url, tmp_path / "shadow.db", ca_file=ca_file, connect_timeout_s=20)
        live = stack.enter_context(running(settings, tmp_path))
        for _ in range(20):
            stack.enter_context(Client(live.address)).send(request(body=b"{}"))
        handshakes = 0
        with suppress(TimeoutError):
            while True:
                stack.enter_context(silent.accept()[0])
                handshakes += 1
    assert handshakes == 8


def refuse_to_speak_tls(plain: socket.socket) -> None:
    """Answer a TLS hello like a server that speaks HTTP only."""
    connection, _ = plain.accept()
    with connection:
        connection.recv(10_000)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        connection.recv(10_000)


# Proxies.


def test_a_proxy_is_asked_to_connect_and_sees_nothing_more(tmp_path: Path, secure: Upstream, ca_file: str) -> None:
    with ConnectProxy() as proxy:
        settings = settings_for(
            named(secure),
            tmp_path / "shadow.db",
            ca_file=ca_file,
            proxy=f"http://us%20er:p%40ss@127.0.0.1:{proxy.port}",
        )
        with running(settings, tmp_path) as live:
            for _ in range(3):
                assert ask(live.address, request(body=b"{}", headers=b"x-api-key: sk-1\r\n")).body == b"ok"
        assert len(secure.requests) == 3
        (head,) = proxy.heads
    first, *fields = head.split(b"\r\n")
    assert first == f"CONNECT localhost:{secure.port} HTTP/1.1".encode()
    assert b"proxy-authorization: basic " + base64.b64encode(b"us er:p@ss").lower() in [one.lower() for one in fields]
    assert b"sk-1" not in head
    assert secure.requests[0].values(b"proxy-authorization") == []


def test_an_upstream_behind_a_proxy_is_verified_too(tmp_path: Path, secure: Upstream) -> None:
    with ConnectProxy() as proxy:
        address = f"http://127.0.0.1:{proxy.port}"
        assert ask_once(tmp_path, named(secure), request(body=b"{}"), proxy=address).status == 502
        assert len(proxy.heads) == 1
    assert secure.requests == []


REFUSALS = [
    b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 3\r\n\r\nsk!",
    b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
    b"HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1/\r\n\r\n",
    b"garbage\r\n\r\n",
    b"HTTP/1.1 200 OK",
    b" ",
]


def test_a_proxy_that_refuses_or_is_gone_is_a_502_of_ours(tmp_path: Path, secure: Upstream, ca_file: str) -> None:
    proxy = ConnectProxy()
    with proxy:
        settings = settings_for(
            named(secure), tmp_path / "shadow.db", ca_file=ca_file, proxy=f"http://127.0.0.1:{proxy.port}"
        )
        with running(settings, tmp_path) as live:
            for refusal in REFUSALS:
                proxy.refusal = refusal
                received = ask(live.address, request(body=b"{}"))
                assert received.status == 502, refusal
                assert received.header(b"x-shadow-gateway-error"), refusal
                assert b"sk!" not in received.body
            proxy.close()
            assert ask(live.address, request(body=b"{}")).status == 502
    assert len(proxy.heads) == len(REFUSALS)
    assert secure.requests == []


@pytest.mark.parametrize("host", ["localhost", "*"])
def test_no_proxy_goes_straight(tmp_path: Path, secure: Upstream, ca_file: str, host: str) -> None:
    with ConnectProxy() as proxy:
        received = ask_once(
            tmp_path,
            named(secure),
            request(body=b"{}"),
            ca_file=ca_file,
            proxy=f"http://127.0.0.1:{proxy.port}",
            no_proxy=(host,),
        )
        assert received.status == 200
        assert proxy.heads == []


def test_proxies_of_the_environment_are_not_looked_at(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ask_once(tmp_path, upstream.base_url, request(body=b"{}")).status == 200


# Listening.


def test_a_unix_socket(upstream: Upstream, tmp_path: Path) -> None:
    path = str(tmp_path / "gateway.sock")
    listener = bound_socket(socket.AF_UNIX, path)
    settings = settings_for(upstream.base_url, tmp_path / "shadow.db")
    with running(settings, tmp_path, listener=listener) as live:
        received = ask(path, request(body=PROMPT))
        assert received.body == b"ok"
        assert bytes(upstream.requests[0].body) == PROMPT
        upstream.answer(Answer(parts=(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",), end="fin"))
        assert not ask(path, request(body=PROMPT)).complete
        client = Client(path)
        upstream.answer(Answer(parts=(), end="stall"))
        client.send(request(body=PROMPT))
        connection, _ = upstream.wait_for_request()
        client.close()
        eventually(lambda: connection.closed_at, within_s=AT_ONCE_S)
        assert live.exchange(request_id=received.request_id)


def test_ipv6(upstream: Upstream, tmp_path: Path) -> None:
    listener = bound_socket(socket.AF_INET6, ("::1", 0))
    with running(settings_for(upstream.base_url, tmp_path / "shadow.db"), tmp_path, listener=listener) as live:
        assert ask(live.address, request(body=PROMPT)).body == b"ok"


def test_an_upstream_on_ipv6(tmp_path: Path) -> None:
    with Upstream(host="::1") as upstream:
        assert ask_once(tmp_path, f"http://[::1]:{upstream.port}", request("GET", "/")).body == b"ok"
        assert upstream.requests[0].values(b"host") == [f"[::1]:{upstream.port}".encode()]


def test_a_name_with_two_addresses_of_which_one_is_dead(tmp_path: Path, upstream: Upstream) -> None:
    """localhost is ::1 and 127.0.0.1 on most systems; the upstream listens on the second only."""
    assert ask_once(tmp_path, f"http://localhost:{upstream.port}", request("GET", "/")).body == b"ok"


@pytest.fixture(scope="module")
def listening_tls(
    _shared_upstream: Upstream, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    """A live process whose clients speak TLS."""
    tmp_path = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("localhost")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    settings = settings_for(_shared_upstream.base_url, tmp_path / "shadow.db")
    with running(settings, tmp_path, tls=Tls(cert=str(cert), key=str(key))) as live:
        yield live


@pytest.fixture
def trust(ca_file: str) -> ssl.SSLContext:
    """What a client needs to trust it."""
    return ssl.create_default_context(cafile=ca_file)


def test_clients_may_speak_tls(upstream: Upstream, listening_tls: Live, trust: ssl.SSLContext) -> None:
    upstream.answer(answer(body=JSON * 3000))
    with Client(listening_tls.address, tls=trust, name="localhost") as client:
        for _ in range(3):
            received = client.ask(request(body=PROMPT), size=50)
            assert received.body == JSON * 3000
            assert received.ended == "kept"


def test_a_cut_answer_is_no_clean_end_for_a_tls_client(
    upstream: Upstream, listening_tls: Live, trust: ssl.SSLContext
) -> None:
    upstream.answer(Answer(parts=(b"HTTP/1.1 200 OK\r\n\r\nhello",), end="reset"))
    with Client(listening_tls.address, tls=trust, name="localhost") as client:
        received = client.ask(request("GET", "/"))
    assert received.body == b"hello"
    assert received.ended == "reset"


def test_a_whole_answer_without_a_length_is_a_clean_end_for_a_tls_client(
    upstream: Upstream, listening_tls: Live, trust: ssl.SSLContext
) -> None:
    upstream.answer(Answer(parts=(b"HTTP/1.1 200 OK\r\n\r\nhello",), end="fin"))
    with Client(listening_tls.address, tls=trust, name="localhost") as client:
        received = client.ask(request("GET", "/"))
    assert received.body == b"hello"
    assert received.ended == "fin"
    assert received.complete


def test_a_tls_client_that_hangs_up_closes_upstream(
    upstream: Upstream, listening_tls: Live, trust: ssl.SSLContext
) -> None:
    upstream.answer(Answer(parts=(), end="stall"))
    client = Client(listening_tls.address, tls=trust, name="localhost")
    client.send(request(body=PROMPT))
    connection, _ = upstream.wait_for_request()
    client.close()
    eventually(lambda: connection.closed_at, within_s=AT_ONCE_S)


def test_plain_bytes_on_a_tls_port_reach_nobody(upstream: Upstream, listening_tls: Live) -> None:
    with Client(listening_tls.address) as client, pytest.raises((NoAnswerError, ConnectionResetError)):
        client.ask(request("GET", "/"))
    assert upstream.requests == []


def test_two_processes_share_one_port_and_each_takes_some_of_the_clients(upstream: Upstream, tmp_path: Path) -> None:
    settings = settings_for(upstream.base_url, tmp_path / "shadow.db")
    first = bound_socket()
    second = bound_socket(address=first.getsockname())
    with (
        running(settings, tmp_path, listener=first) as one,
        running(settings, tmp_path, listener=second) as two,
        ExitStack() as stack,
    ):
        before = one.open_sockets(), two.open_sockets()
        clients = [stack.enter_context(Client(one.address)) for _ in range(40)]
        ids = {client.ask(request(body=b'{"model": "m"}')).request_id for client in clients}
        after = one.open_sockets(), two.open_sockets()
        assert after[0] > before[0]
        assert after[1] > before[1]
        assert len(ids) == 40
        recorded = {row["id"] for row in one.exchanges(path="/v1/messages", count=40)}
        assert recorded == ids


def test_a_process_that_stops_leaves_the_port_to_its_sibling(upstream: Upstream, tmp_path: Path) -> None:
    settings = settings_for(upstream.base_url, tmp_path / "shadow.db")
    first = bound_socket()
    second = bound_socket(address=first.getsockname())
    with running(settings, tmp_path, listener=first) as one, running(settings, tmp_path, listener=second) as two:
        one.terminate()
        assert one.wait() == 0
        for _ in range(20):
            assert ask(two.address, request("GET", "/")).body == b"ok"
