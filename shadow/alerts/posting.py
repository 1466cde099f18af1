"""Hands one alert to one target: what came of it is data, and no address, key or answer is ever in its words."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

import httpx2
import msgspec

from shadow.alerts.slack import slack_message
from shadow.alerts.webhook import webhook_body, webhook_headers
from shadow.candidates import bypasses_proxy
from shadow.retry_after import rest_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shadow.notices import Alert, AlertTarget, TargetKind

TIMEOUT_S = 10.0
"""For each of connect, write and read; `TOTAL_S` bounds all of it."""
TOTAL_S = 20.0
MAX_ANSWER_BYTES = 4096

NO_APPRISE = "apprise is not installed; pip install 'shadow-gateway[alerts]'"

_PASSING = frozenset({408, 425, 429})
_ASK_TO_WAIT = frozenset({429, 503})
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """How one try ended. `again`: it may work later, not before `wait_s` when the receiver named a time."""

    ok: bool
    why: str | None = None
    again: bool = False
    wait_s: float | None = None


class Poster(Protocol):
    """Hands alerts to targets."""

    async def post(self, target: AlertTarget, alert: Alert) -> Posted:
        """Try once; never raises."""
        ...


class TargetPoster:
    """Posts by HTTP, or through apprise: no redirect is followed, nothing of the environment is used, all is bounded.

    `proxy` and `no_proxy` are the configured ones; `ca_file` is trusted beside the system's authorities.
    """

    def __init__(
        self,
        *,
        proxy: str | None = None,
        no_proxy: Sequence[str] = (),
        ca_file: str | None = None,
        timeout_s: float = TIMEOUT_S,
        total_s: float = TOTAL_S,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._proxy = proxy
        self._no_proxy = tuple(no_proxy)
        self._ca_file = ca_file
        self._timeout_s = timeout_s
        self._total_s = total_s
        self._clock_s = clock_s

    async def post(self, target: AlertTarget, alert: Alert) -> Posted:
        """Try once; never raises."""
        ways: Mapping[TargetKind, Callable[[AlertTarget, Alert], Any]] = {
            "slack": self._slack,
            "webhook": self._webhook,
            "apprise": self._apprise,
        }
        try:
            async with asyncio.timeout(self._total_s):
                posted: Posted = await ways[target.kind](target, alert)
        except TimeoutError:
            return Posted(ok=False, why=f"no answer within {self._total_s:g} s", again=True)
        return posted

    async def _slack(self, target: AlertTarget, alert: Alert) -> Posted:
        return await self._send(target.url, msgspec.json.encode(slack_message(alert)), {})

    async def _webhook(self, target: AlertTarget, alert: Alert) -> Posted:
        body = webhook_body(alert)
        headers = webhook_headers(alert, body, secret=target.secret, timestamp=int(self._clock_s()))
        return await self._send(target.url, body, headers)

    async def _send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Posted:
        own = {
            "content-type": "application/json",
            "user-agent": f"shadow-gateway/{version('shadow-gateway')}",
            "accept-encoding": "identity",
        }
        try:
            async with (
                self._client(url) as client,
                client.stream("POST", url, content=body, headers={**own, **headers}) as answer,
            ):
                await _drained(answer)
                return _judged(answer)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
            return Posted(ok=False, why="the address is none that can be posted to")
        except httpx2.TimeoutException as error:
            return Posted(ok=False, why=f"fell silent ({type(error).__name__})", again=True)
        except httpx2.HTTPError as error:  # its words may hold the address
            return Posted(ok=False, why=f"no connection ({type(error).__name__})", again=True)

    def _client(self, url: str) -> httpx2.AsyncClient:
        parts = httpx2.URL(url)
        direct = bypasses_proxy(parts.host, parts.port or _DEFAULT_PORTS.get(parts.scheme, 0), self._no_proxy)
        tls = ssl.create_default_context()
        if self._ca_file is not None:
            tls.load_verify_locations(cafile=self._ca_file)
        return httpx2.AsyncClient(
            verify=tls,
            trust_env=False,
            follow_redirects=False,
            proxy=None if direct else self._proxy,
            timeout=self._timeout_s,
        )

    async def _apprise(self, target: AlertTarget, alert: Alert) -> Posted:
        try:
            apprise: Any = import_module("apprise")
        except ImportError:
            return Posted(ok=False, why=NO_APPRISE)
        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it logs addresses
        return await asyncio.to_thread(_through_apprise, apprise, target, alert)


def _through_apprise(apprise: Any, target: AlertTarget, alert: Alert) -> Posted:
    """Runs in a thread: apprise blocks."""
    notifier = apprise.Apprise()
    if not notifier.add(target.url):
        return Posted(ok=False, why="the address is none that apprise knows")
    try:
        sent = notifier.notify(title=alert.title, body=alert.sentence)
    except Exception as error:  # noqa: BLE001  (whatever a plugin does, it is a try that failed)
        return Posted(ok=False, why=f"apprise failed ({type(error).__name__})", again=True)
    return Posted(ok=True) if sent else Posted(ok=False, why="apprise could not deliver it", again=True)


async def _drained(answer: httpx2.Response) -> None:
    """Read the answer's beginning, for a receiver may take it for a failure not to be heard; no use is made of it."""
    size = 0
    async for part in answer.aiter_raw():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            return


def _judged(answer: httpx2.Response) -> Posted:
    status = answer.status_code
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Posted(ok=True)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return Posted(ok=False, why=f"answered {status}; redirects are not followed")
    again = status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    wait_s = None
    if status in _ASK_TO_WAIT and "retry-after" in answer.headers:
        wait_s = rest_s(answer.headers, now=datetime.now(UTC))
    return Posted(ok=False, why=f"answered {status}", again=again, wait_s=wait_s)
