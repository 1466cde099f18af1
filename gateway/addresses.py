"""Addresses as the configuration writes them: where we listen, where we send, and whether the two meet."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*")
_MAX_PORT = 65_535
_MAX_UNIX_PATH = 107
"""Bytes of `sun_path`, less the closing zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """A TCP host and port, or the path of a unix socket (then host is empty and port 0)."""

    host: str = ""
    port: int = 0
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> ListenAddress:
        """Read `host:port`, `[v6]:port` or `unix:/path`. Raises ValueError with the sentence to show."""
        if text.startswith("unix:"):
            return cls(path=_unix_path(text.removeprefix("unix:")))
        host, colon, port = text.rpartition(":")
        if not colon or not host:
            raise ValueError('must be host:port such as 127.0.0.1:8080, "[::]:8080" or unix:/path')
        if host.startswith("[") and host.endswith("]"):
            host = _v6(host[1:-1])
        elif ":" in host:
            raise ValueError('an IPv6 address needs brackets and quotes, such as "[::]:8080"')
        elif not _HOST.fullmatch(host):
            raise ValueError(f"'{host}' is no host name or address; write host:port such as 127.0.0.1:8080")
        if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > _MAX_PORT:
            raise ValueError(f"the port must be a number from 0 to {_MAX_PORT}, not '{port}'")
        return cls(host=host, port=int(port))

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """True when only this machine can reach it: loopback or a unix socket."""
        return self.path is not None or is_loopback(self.host)

    @property
    def is_wildcard(self) -> bool:
        """True for 0.0.0.0 and [::]: every address of this machine."""
        address = _ip(self.host)
        return address is not None and address.is_unspecified

    def answers(self, url: str) -> bool:
        """Tell whether a request to `url` would arrive at this address, as far as can be known without asking DNS."""
        if self.path is not None or self.port == 0:
            return False
        scheme, host, port = origin_parts(url)
        if port != self.port or scheme not in _DEFAULT_PORTS:
            return False
        if self.is_wildcard:
            return host == socket.gethostname().lower() or is_loopback(host) or _is_of_this_machine(host)
        if is_loopback(self.host):
            return is_loopback(host) or host in ("0.0.0.0", "::")
        return host == self.host.lower()


def is_loopback(host: str) -> bool:
    """Tell whether `host` is localhost, in 127.0.0.0/8 or ::1."""
    if host.lower().rstrip(".") == "localhost" or host.lower().rstrip(".").endswith(".localhost"):
        return True
    address = _ip(host)
    return address is not None and address.is_loopback


def origin_parts(url: str) -> tuple[str, str, int]:
    """Scheme, lower-case host and port of a URL that was checked before."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def same_origin(one: str, other: str) -> bool:
    """Tell whether both URLs name one scheme, host and port; a default port may be left out."""
    return origin_parts(one) == origin_parts(other)


def base_url_of(text: str) -> str:
    """Check a `base_url` and drop its closing slash. Raises ValueError with the sentence to show."""
    parts = _split(text)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("must start with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or password; put the key into api_key")
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        raise ValueError("must not hold a query or fragment")
    _check_host(parts.hostname)
    path = parts.path.rstrip("/")
    if not _PREFIX.fullmatch(path) or any(segment in (".", "..") for segment in path.split("/")):
        raise ValueError("the path may not hold empty, '.' or '..' segments, spaces or backslashes")
    return f"{parts.scheme}://{parts.netloc}{path}"


def proxy_url_of(text: str) -> str:
    """Check a proxy's URL; a bare host:port is an http one. Raises ValueError with the sentence to show."""
    url = text if "://" in text else f"http://{text}"
    parts = _split(url)
    if parts.scheme != "http":
        raise ValueError("must be an http:// proxy (it is asked to CONNECT)")
    _check_host(parts.hostname)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must be http://[user:password@]host:port and nothing more")
    return f"http://{parts.netloc}"


def _split(text: str) -> SplitResult:
    if not all("!" <= char <= "~" for char in text):
        raise ValueError("must be printable ASCII without spaces")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from None
    if port == 0:
        raise ValueError("the port must not be 0")
    return parts


def _check_host(host: str | None) -> None:
    if not host or (_ip(host) is None and not _HOST.fullmatch(host)):
        raise ValueError("needs a host, such as https://ezaiapi.com")


def _unix_path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("a unix socket needs an absolute path, such as unix:/run/shadow-gateway.sock")
    if len(path.encode()) > _MAX_UNIX_PATH or "\0" in path:
        raise ValueError(f"the path of a unix socket has at most {_MAX_UNIX_PATH} bytes")
    return path


def _v6(host: str) -> str:
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise ValueError(f"'{host}' is no IPv6 address") from None


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_of_this_machine(host: str) -> bool:
    """Try to bind a datagram socket, which works exactly for addresses of our own; nothing is sent."""
    address = _ip(host)
    if address is None:
        return False
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004  (the version of IP)
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
        return True
