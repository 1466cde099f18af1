"""The fault server, the simulator that plays the candidate, and every lane between an app and the fault server."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import trustme

from shadow.simulator import Script, SimModel, Simulator
from tests.faults.lanes import HEALTHY, Lane, lanes_between
from tests.faults.wire_cases import CASES
from tests.support.faultserver import FaultServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def faults() -> Iterator[FaultServer]:
    """The fault server with every fault of the table."""
    with FaultServer({case.slug: case.fault for case in CASES}) as server:
        yield server


@pytest.fixture(scope="package")
def candidate() -> Iterator[Simulator]:
    """Who answers the shadow copies."""
    with Simulator(Script(models=(SimModel(name=HEALTHY),))) as simulator:
        yield simulator


@pytest.fixture(scope="package")
def unreachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], str]]:
    """Upstreams nobody can or may reach, by the path prefix that leads to them; and the authority to trust."""
    authority = trustme.CA()
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    certificates = {
        "/expired": authority.issue_cert("localhost", not_after=yesterday),
        "/wrong-name": authority.issue_cert("other.example"),
        "/self-signed": trustme.CA().issue_cert("localhost"),
    }
    with ExitStack() as stack:
        places = {"/no-such-name": "http://no-such-host.invalid"}
        for place, certificate in certificates.items():
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            server = stack.enter_context(FaultServer({}, tls=context))
            places[place] = f"https://localhost:{server.address[1]}"
        for place in ("/refused", "/no-answer"):
            taken = stack.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            if place == "/no-answer":
                taken.listen(0)
                for _ in range(3):  # fills the backlog, so that the next SYN is never answered
                    filler = stack.enter_context(socket.socket())
                    filler.setblocking(False)
                    filler.connect_ex(taken.getsockname())
            places[place] = f"http://127.0.0.1:{taken.getsockname()[1]}"
        yield places, str(ca_file)


@pytest.fixture(scope="package")
def lanes(
    faults: FaultServer,
    candidate: Simulator,
    unreachable: tuple[dict[str, str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Lane]]:
    """Every lane, by its name."""
    places, ca_file = unreachable
    routes = {place: {"base_url": base_url} for place, base_url in places.items()}
    folder = tmp_path_factory.mktemp("lanes")
    with lanes_between(
        folder,
        base_url=faults.base_url,
        simulator=candidate,
        refused=places["/refused"],
        routes=routes,
        ca_file=ca_file,
    ) as made:
        yield made


@pytest.fixture(scope="module")
def broken_lanes(lanes: dict[str, Lane]) -> Iterator[dict[str, Lane]]:
    """The lanes while what is to be broken in each is broken, during a whole module."""
    with ExitStack() as stack:
        for lane in lanes.values():
            stack.enter_context(lane.broken())
        yield lanes
