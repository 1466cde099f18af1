"""When the weekly run is due: cron, time zone and daylight saving; pure, the time is an argument.

A run belongs to a *period*, named by the UTC moment its slot of the schedule stands for. Whoever asks after downtime
gets the latest slot that has passed and none of those before it: one catch-up run, and never twice the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_ONE_SECOND = timedelta(seconds=1)


class ScheduleError(ValueError):
    """A schedule that cannot be: the message says what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Five fields of cron (minute, hour, day of month, month, day of week) in one time zone. Made by `schedule_of`."""

    cron: str
    timezone: str
    zone: tzinfo

    def explained(self) -> str:
        """Say it in words: `At 03:00 on Sunday (UTC)`."""
        return f"{CronSim(self.cron, datetime(2026, 1, 1, tzinfo=UTC)).explain()} ({self.timezone})"


def schedule_of(cron: str, timezone: str = "UTC") -> Schedule:
    """Check and build a schedule. Raises ScheduleError."""
    zone = _zone(timezone)
    if len(cron.split()) != 5:  # noqa: PLR2004  (a sixth field would be seconds, and those skip Debian's rules on DST)
        raise ScheduleError(f"needs five fields of cron, such as '0 3 * * sun', not '{cron}'")
    try:
        next(CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        reason = f" ({str(error)[:1].lower()}{str(error)[1:]})" if str(error) else " (no such day comes)"
        raise ScheduleError(f"needs cron such as '0 3 * * sun', not '{cron}'{reason}") from None
    return Schedule(cron=cron, timezone=timezone, zone=zone)


def _zone(name: str) -> tzinfo:
    if name.upper() in {"UTC", "ETC/UTC", "Z"}:
        return UTC  # also where the machine has no time zone database
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ScheduleError(
            f"'{name}' is no time zone this machine knows; take a name such as Europe/Berlin, or UTC"
        ) from None


def next_run(now: datetime, schedule: Schedule) -> datetime:
    """Give the first slot after `now` (aware), in UTC.

    A slot in the hour that spring leaves out comes right after it; one in the hour that autumn repeats comes once.
    """
    found: datetime = next(CronSim(schedule.cron, now.astimezone(schedule.zone)))
    return found.astimezone(UTC)


def latest_slot(now: datetime, schedule: Schedule) -> datetime:
    """Give the last slot at or before `now` (aware), in UTC."""
    # From a second later: a search backwards begins before the moment it is given.
    start = (now.astimezone(UTC) + _ONE_SECOND).astimezone(schedule.zone)
    found: datetime = next(CronSim(schedule.cron, start, reverse=True))
    return found.astimezone(UTC)


def period_key(slot: datetime) -> str:
    """Name the period of a slot: its moment in UTC, the same for every process and whatever the clock's zone."""
    return slot.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def due_period(now: datetime, schedule: Schedule, *, known_since: datetime, last_slot: datetime | None) -> str | None:
    """Name the period whose run is due at `now`, or None.

    `known_since` is when this schedule was first seen: a schedule that is new does not catch up on the time before it.
    `last_slot` is the slot of the latest run that was begun, whichever schedule it followed. A clock that went back
    makes nothing due.
    """
    slot = latest_slot(now, schedule)
    if slot < known_since.astimezone(UTC).replace(microsecond=0):
        return None
    if last_slot is not None and slot <= last_slot:
        return None
    return period_key(slot)
