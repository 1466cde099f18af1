"""Asks our own ports over HTTP, from the command line: TCP or unix socket, with or without TLS."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.sockets import reach

if TYPE_CHECKING:
    from gateway.addresses import ListenAddress


class AskError(Exception):
    """What was asked for cannot be had; the message says why and what to do."""


class WrongQuestionError(AskError):
    """What was asked for does not make sense, such as a time that is none; the message says what does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One whole answer; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Read the body as JSON; None when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class _UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a unix socket."""

    def __init__(self, path: str, *, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def get(
    address: ListenAddress, target: str, *, tls: bool = False, token: str | None = None, timeout_s: float = 5.0
) -> Answer:
    """Send one GET. Raises OSError when nobody answers, and http.client.HTTPException when the answer is no HTTP.

    The certificate is not checked: it is our own, named for the outside, and nothing secret is sent to a TLS port.
    """
    connection = _connection(address, tls=tls, timeout_s=timeout_s)
    headers = {"host": "localhost", "connection": "close"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    try:
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, headers=headers, body=response.read())
    finally:
        connection.close()


def post(
    address: ListenAddress, target: str, value: object, *, token: str | None = None, timeout_s: float = 5.0
) -> Answer:
    """Send one POST with a JSON body. Raises OSError and http.client.HTTPException as `get` does."""
    connection = _connection(address, tls=False, timeout_s=timeout_s)
    headers = {"host": "localhost", "connection": "close", "content-type": "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    try:
        connection.request("POST", target, json.dumps(value), headers)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, headers=headers, body=response.read())
    finally:
        connection.close()


def _connection(address: ListenAddress, *, tls: bool, timeout_s: float) -> http.client.HTTPConnection:
    if address.path is not None:
        return _UnixConnection(address.path, timeout_s=timeout_s)
    near = reach(address)
    if not tls:
        return http.client.HTTPConnection(near.host, near.port, timeout=timeout_s)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(near.host, near.port, timeout=timeout_s, context=context)
