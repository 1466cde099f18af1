"""What one live process is to the system around it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.settings import Upstream as UpstreamSettings
from tests.live.identity_cases import request
from tests.support.client import ask
from tests.support.live import Live, running, settings_for

if TYPE_CHECKING:
    from tests.support.upstream import Upstream


def test_a_folder_full_of_decoys_changes_nothing(upstream: Upstream, tmp_path: Path) -> None:
    for name in ("gateway", "shadow", "uvicorn", "msgspec"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('a decoy was imported')")
    (tmp_path / "json.py").write_text("raise SystemExit('a decoy was imported')")
    with running(settings_for(upstream.base_url, tmp_path / "shadow.db"), tmp_path) as live:
        assert ask(live.address, request("GET", "/")).body == b"ok"


def test_no_key_travels_by_argument_or_environment(upstream: Upstream, tmp_path: Path) -> None:
    place = UpstreamSettings(base_url=upstream.base_url, api_key="sk-very-secret")
    settings = settings_for(
        upstream.base_url, tmp_path / "shadow.db", upstream=place, auth="gateway", clients=("sk-client-secret",)
    )
    with running(settings, tmp_path) as live:
        known = b"".join(Path(f"/proc/{live.pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
        assert b"secret" not in known


def test_it_may_open_as_many_files_as_the_system_allows(live: Live) -> None:
    limits = Path(f"/proc/{live.pid}/limits").read_text().splitlines()
    (line,) = (line for line in limits if line.startswith("Max open files"))
    soft, hard = line.split()[3:5]
    assert soft == hard
