"""One upstream and one live process for all tests that need nothing special."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.live import Live, running, settings_for
from tests.support.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def _shared_upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(_shared_upstream: Upstream) -> Upstream:
    """The shared upstream, with nothing seen yet; it answers `200 ok` until told otherwise."""
    _shared_upstream.start_over()
    return _shared_upstream


@pytest.fixture(scope="session")
def live(_shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A live process in front of the shared upstream, with default settings."""
    folder = tmp_path_factory.mktemp("live")
    with running(settings_for(_shared_upstream.base_url, folder / "shadow.db"), folder) as live:
        yield live
