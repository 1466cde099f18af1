"""Looks at everything a start needs, one line a finding, with what to do about it."""

from __future__ import annotations

import http.client
import os
import resource
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from gateway import ask, sockets
from gateway.addresses import is_loopback, origin_parts, same_origin
from gateway.announce import model_prices
from shadow.store import check_store_modes, open_store
from shadow.store.base import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.addresses import ListenAddress
    from gateway.config import Config
    from shadow.store.base import Reader

Grade = Literal["ok", "warn", "fail"]
_CONNECT_TIMEOUT_S = 5.0
_FILES_PER_EXCHANGE = 2
_LITTLE_BYTES = 256 << 20
_MANY_DELTAS = 50_000
_LOOK_BACK = timedelta(hours=1)
_REMOTE = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ncpfs",
        "afs",
        "ceph",
        "glusterfs",
        "lustre",
        "9p",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.rclone",
        "fuse.gcsfuse",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at; `advice` says what to do when it is not ok."""

    grade: Grade
    about: str
    sentence: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.grade:4} {self.about}: {self.sentence}{'; ' + self.advice if self.advice else ''}"


async def examine(config: Config) -> AsyncIterator[Finding]:
    """Look at store, ports, upstreams, keys, prices and limits. Sends no request to any upstream."""
    for found in await _store(config):
        yield found
    kind = filesystem_of(config.store_path, _mounts())
    if kind in _REMOTE:
        sentence = f"{config.store_path} is on a network file system ({kind}), where SQLite's locks and log do not hold"
        yield Finding(grade="warn", about="store", sentence=sentence, advice="put it on a local disk")
    yield _port("listen", config.listen, runs=_live_answers(config))
    yield _port("admin.listen", config.admin_listen, runs=_admin_answers(config))
    for finding in (*_upstreams(config), *_keys(config), *_prices(config)):
        yield finding
    yield _open_files(config)


def filesystem_of(path: Path, mounts: str) -> str | None:
    """Give the type of the file system a path lies on; `mounts` is the text of /proc/self/mountinfo (proc(5))."""
    where = path.resolve()
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        mounted, kind = _unescaped(before.split(" ")[4]), after.split(" ")[0]
        depth = len(mounted.parts)
        if where.is_relative_to(mounted) and (found is None or depth >= found[0]):  # the later one covers the earlier
            found = depth, kind
    return None if found is None else found[1]


def _unescaped(name: str) -> Path:
    """Read a mount point: blanks, tabs, newlines and backslashes are written in octal."""
    return Path(name.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\"))


def _mounts() -> str:
    """What is mounted where; empty where the kernel does not say."""
    try:
        return Path("/proc/self/mountinfo").read_text("utf-8", errors="surrogateescape")
    except OSError:
        return ""


def is_ready(config: Config, *, role: str) -> bool:
    """Tell whether what this machine should run answers: /healthz of the live port and of the admin port."""
    live = role == "shadow" or _live_answers(config)
    return live and (role == "gateway" or _admin_answers(config))


def _live_answers(config: Config) -> bool:
    """Ask the live port; every answer of ours has an id."""
    answer = _healthz(config.listen, tls=config.tls is not None)
    return answer is not None and answer.status == HTTPStatus.OK and "x-shadow-request-id" in answer.headers


def _admin_answers(config: Config) -> bool:
    answer = _healthz(config.admin_listen, tls=False)
    return answer is not None and answer.json() == {"status": "ok"}


def _healthz(address: ListenAddress, *, tls: bool) -> ask.Answer | None:
    try:
        return ask.get(address, "/healthz", tls=tls)
    except (OSError, http.client.HTTPException):
        return None


async def _store(config: Config) -> list[Finding]:
    path = config.store_path
    if not path.exists():
        folder = next(parent for parent in path.parents if parent.exists())
        if not os.access(folder, os.W_OK | os.X_OK):
            sentence = f"{folder} is not writable"
            return [Finding(grade="fail", about="store", sentence=sentence, advice="give this user the folder")]
        return [Finding(grade="ok", about="store", sentence=f"{path} will be made at the first start")]
    try:
        check_store_modes(config.measuring.store)
        async with await open_store(config.measuring.store) as store:
            health = await store.reader.health()
            if not health["ok"]:
                return [Finding(grade="fail", about="store", sentence=str(health["reason"]))]
            size = store.room.size_bytes() / 1e6
            sentence = (
                f"{path}, {size:,.1f} MB, schema {health['schema']}, {health['pending_jobs']} shadow jobs waiting"
            )
            return [
                Finding(grade="ok", about="store", sentence=sentence),
                _disk(await store.room.free_bytes()),
                _rollups(await store.rollups.due(), await store.rollups.waiting()),
                *await _primary_model(config.live.primary_model, store.reader),
            ]
    except StoreError as error:
        return [Finding(grade="fail", about="store", sentence=str(error))]


def _disk(free_bytes: int) -> Finding:
    sentence = f"{free_bytes / 1e6:,.0f} MB are left on the store's disk"
    if free_bytes < _LITTLE_BYTES:
        advice = "make room, or keep less: shadow.retention_days, then shadow-gateway db prune"
        return Finding(grade="warn", about="disk", sentence=sentence, advice=advice)
    return Finding(grade="ok", about="disk", sentence=sentence)


def _rollups(due_before: int | None, waiting: int) -> Finding:
    """Tell whether the sums that stats read are complete, and whether somebody folds what is appended to them."""
    if due_before is not None:
        when = datetime.fromtimestamp(due_before, UTC).isoformat()
        sentence = f"sums of before {when} are not made yet"
        advice = "a running server makes them, or shadow-gateway db rebuild-rollups"
        return Finding(grade="warn", about="rollups", sentence=sentence, advice=advice)
    if waiting > _MANY_DELTAS:
        sentence = f"{waiting} appended sums are not folded, so stats are slow"
        advice = "start the measuring process (serve, or serve --role shadow)"
        return Finding(grade="warn", about="rollups", sentence=sentence, advice=advice)
    return Finding(grade="ok", about="rollups", sentence=f"complete, {waiting} appended sums wait to be folded")


async def _primary_model(model: str | None, reader: Reader) -> list[Finding]:
    """Tell whether `primary.model` replaced the model of every request: one that cannot be changed goes up as it is."""
    if model is None:
        return []
    now = datetime.now(UTC)
    eligible = [row for row in await reader.coverage(since=now - _LOOK_BACK, until=now) if row["state"] == "eligible"]
    asked = sum(row["count"] for row in eligible if row["primary"] is not None)
    others = sum(row["count"] for row in eligible if row["primary"] not in (None, model))
    if not others:
        counted = f"{asked} of {asked} requests of the last hour asked it" if asked else "no request in the last hour"
        sentence = f"apps get {model}: {counted}"
        return [Finding(grade="ok", about="primary.model", sentence=sentence)]
    sentence = f"{others} of {asked} requests of the last hour asked another model than {model}"
    advice = "if that was after the switch, their bodies cannot be changed (encoded, too large, …): serve logs why"
    return [Finding(grade="warn", about="primary.model", sentence=sentence, advice=advice)]


def _port(key: str, address: ListenAddress, *, runs: bool) -> Finding:
    if runs:
        return Finding(grade="ok", about=key, sentence=f"{address} answers /healthz: it runs")
    try:
        bound, _ = sockets.bind(address, count=1, key=key, mode=sockets.ADMIN_SOCKET_MODE)
    except sockets.ListenError as error:
        return Finding(grade="fail", about=key, sentence=str(error).removeprefix(f"{key}: "))
    sockets.close(bound)
    sockets.unlink(address)
    return Finding(grade="ok", about=key, sentence=f"{address} is free")


def _upstreams(config: Config) -> Iterator[Finding]:
    """Connect to each origin once: TCP, and TLS where it is spoken."""
    targets = {"upstream": config.live.upstream.base_url}
    targets |= {f"upstream.routes.{prefix}": route.base_url for prefix, route in config.live.routes.items()}
    targets |= {candidate.model: candidate.base_url for candidate in config.measuring.candidates}
    seen: list[str] = []
    for about, url in targets.items():
        if not any(same_origin(url, other) for other in seen):
            seen.append(url)
            yield _reachable(about, url, config)


def _reachable(about: str, url: str, config: Config) -> Finding:
    scheme, host, port = origin_parts(url)
    proxy = config.live.proxy
    try:
        if proxy is not None and not is_loopback(host):
            near = urlsplit(proxy)
            socket.create_connection((near.hostname or "", near.port or 80), timeout=_CONNECT_TIMEOUT_S).close()
            return Finding(grade="ok", about=about, sentence=f"the proxy for {url} can be reached")
        with socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT_S) as connection:
            if scheme == "https":
                context = ssl.create_default_context(cafile=config.live.ca_file)
                context.wrap_socket(connection, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        advice = "check the address, or name the authority in upstream.ca_file"
        return Finding(grade="fail", about=about, sentence=f"{url}: {error.verify_message}", advice=advice)
    except OSError as error:
        reason = error.strerror or "no answer in time"
        return Finding(
            grade="fail", about=about, sentence=f"{url} cannot be reached: {reason}", advice="check address and network"
        )
    if scheme == "http" and not is_loopback(host):
        return Finding(
            grade="warn",
            about=about,
            sentence=f"{url} is not encrypted",
            advice="prompts and keys can be read on the way",
        )
    return Finding(grade="ok", about=about, sentence=f"{url} can be reached")


def _keys(config: Config) -> Iterator[Finding]:
    reason = config.shadow_off_reason
    if reason is not None:
        yield Finding(grade="warn", about="shadowing", sentence=f"off: {reason}")
        return
    for candidate in config.measuring.candidates:
        if candidate.api_key is None:
            sentence = f"no API key for {candidate.base_url}, so it is not shadowed"
            yield Finding(
                grade="warn", about=candidate.model, sentence=sentence, advice="add api_key to this candidate"
            )


def _prices(config: Config) -> Iterator[Finding]:
    for price in model_prices(config):
        grade: Grade = "ok" if price.source is not None else "warn"
        yield Finding(grade=grade, about=price.model, sentence=price.sentence)


def _open_files(config: Config) -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_PER_EXCHANGE * config.live.max_connections
    if hard != resource.RLIM_INFINITY and hard < needed:
        return Finding(
            grade="warn",
            about="open files",
            sentence=f"at most {hard}, but {config.live.max_connections} connections need {needed}",
            advice="raise the limit (ulimit -Hn, LimitNOFILE=), or lower upstream.max_connections",
        )
    return Finding(grade="ok", about="open files", sentence=f"at most {hard}")
