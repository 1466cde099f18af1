"""What one page has read of the store: all of it tells of one moment, and nothing is read twice for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from shadow.stats.rows import RolledRows, StatsRows
    from shadow.web.parameters import Window

KEY = "shadow.moment"
"""Where a question that a page asks within the process carries its moment, in the ASGI scope."""


class Moment:
    """The rows of the windows that were read so far. Lives as long as one page is made."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Window, str | None], StatsRows | RolledRows] = {}

    def find(self, window: Window, task: str | None) -> StatsRows | RolledRows | None:
        """Give the rows of a window that hold this task's (None: all tasks')."""
        return self._rows.get((window, task)) or self._rows.get((window, None))

    def keep(self, window: Window, task: str | None, rows: StatsRows | RolledRows) -> None:
        """Keep what was read."""
        self._rows[window, task] = rows


def moment_of(scope: Mapping[str, Any]) -> Moment:
    """Give the moment a question belongs to; a new one where it stands alone."""
    found = scope.get(KEY)
    return found if isinstance(found, Moment) else Moment()
