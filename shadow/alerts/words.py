"""What alerts say: sentences and figures from numbers that are known; what is not known is left out or said. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shadow.switch import SwitchAdvice
    from shadow.trends import Lead

Interval = tuple[float, float]
MAX_NAME_CHARS = 80

OFF_POLICY = "conversations led by the candidate (later turns hold the primary's answers)"
"""What neither shadowing nor a weekly run can test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one candidate stands against one primary, on live traffic or in the weekly runs. None: not known."""

    task: str
    primary: str
    candidate: str
    state: str
    """A verdict, see `shadow.verdict`."""
    why: str
    n: int
    unit: str = "conversations"
    source: str = "live traffic"
    difference: float | None = None
    """Quality of the candidate minus the primary's."""
    interval: Interval | None = None
    level: float | None = None
    cost_ratio: float | None = None
    """Cost of the candidate as a share of the primary's."""
    cost_ratio_interval: Interval | None = None
    saving_usd_per_month: float | None = None
    saving_interval: Interval | None = None
    cost_per_quality_point: tuple[float | None, float | None] = (None, None)
    """Of the primary and of the candidate, USD."""
    not_tested: tuple[str, ...] = ()

    @property
    def outperforms(self) -> bool:
        """True only when both are proved: the candidate's quality is higher, and it costs less."""
        return self.state == "promote" and self.interval is not None and self.interval[0] > 0


def standing_of(task: str, comparison: Mapping[str, Any], models: Sequence[Mapping[str, Any]] = ()) -> Standing:
    """Read a comparison (and the rows of its models) as `/stats` and `/verdicts` tell them.

    What is missing there stays unknown.
    """
    primary, candidate = str(comparison["primary"]), str(comparison["candidate"])
    difference = comparison.get("quality_diff") or {}
    ratio = comparison.get("cost_ratio") or {}
    saving = comparison.get("projected_saving_usd_per_month") or {}
    return Standing(
        task=task,
        primary=primary,
        candidate=candidate,
        state=str(comparison.get("verdict") or "insufficient_data"),
        why=str(comparison.get("why") or ""),
        n=int(comparison.get("conversations") or 0),
        difference=difference.get("mean"),
        interval=_pair(difference.get("ci")),
        level=difference.get("level"),
        cost_ratio=ratio.get("value"),
        cost_ratio_interval=_pair(ratio.get("ci")),
        saving_usd_per_month=saving.get("value"),
        saving_interval=_pair(saving.get("ci")),
        cost_per_quality_point=_points_of(comparison, models),
        not_tested=(*_not_tested(comparison.get("coverage")), OFF_POLICY),
    )


def standing_of_lead(lead: Lead) -> Standing:
    """Read what the weekly runs say of a candidate."""
    told = []
    if lead.failures:
        told.append(f"{lead.failures:,} {lead.unit} that {name(lead.candidate)} failed to answer (counted against it)")
    if lead.missing:
        told.append(f"{lead.missing:,} whose scoring failed")
    return Standing(
        task=lead.task,
        primary=lead.primary,
        candidate=lead.candidate,
        state=lead.state,
        why=lead.why,
        n=lead.n,
        unit=lead.unit,
        source=f"{lead.runs} weekly runs",
        difference=lead.difference,
        interval=lead.interval,
        level=lead.level,
        cost_ratio=lead.cost_ratio,
        cost_ratio_interval=lead.cost_ratio_interval,
        cost_per_quality_point=lead.cost_per_quality_point,
        not_tested=(
            *told,
            "latency under live load",
            OFF_POLICY,
        ),
    )


def title_of(standing: Standing) -> str:
    """Say it in a line. That one model outperforms another is said only when both its parts are proved."""
    candidate, primary = name(standing.candidate), name(standing.primary)
    if standing.outperforms:
        return f"{candidate} now outperforms {primary} - consider switching"
    titles = {
        "promote": f"{candidate} does the work of {primary} for less - consider switching",
        "better_costlier": f"{candidate} is better than {primary}, and does not save money",
        "equivalent": f"{candidate} is as good as {primary} and saves nothing",
        "reject": f"{candidate} is worse than {primary}: no longer shadowed",
        "withdrawn": f"{candidate} no longer holds what it promised: the switch from {primary} is off",
    }
    return titles.get(standing.state, f"{candidate} against {primary}: {standing.state}")


def sentence_of(standing: Standing, advice: SwitchAdvice | None = None) -> str:
    """Say all that is known: n, difference, interval, saving, cost per quality point of both, what was not tested."""
    parts = [
        f"Task {name(standing.task)}, {standing.source}, {standing.n:,} {standing.unit}: {_difference(standing)}.",
        standing.why.strip(),
        _saving(standing),
        _per_point(standing),
        "Not tested: " + ("; ".join(standing.not_tested) if standing.not_tested else "nothing that was recorded") + ".",
    ]
    if advice is not None:
        parts.append(f"To switch: {advice.steps[0]}; then {advice.steps[1]}. Nothing switches by itself.")
    return " ".join(part for part in parts if part)


def details_of(standing: Standing, advice: SwitchAdvice | None = None) -> tuple[tuple[str, str], ...]:
    """Give the figures one by one."""
    rows = [
        ("Task", name(standing.task)),
        ("Verdict", standing.state),
        (standing.unit.capitalize(), f"{standing.n:,}"),
        ("Quality difference", _difference(standing).removeprefix("quality differs by ")),
        ("Cost", _cost(standing)),
        ("Saving a month", _monthly(standing)),
        ("Cost per quality point", _per_point_figures(standing)),
        ("Not tested", "; ".join(standing.not_tested) or "nothing that was recorded"),
    ]
    if advice is not None:
        rows.append(("Change", f"{advice.change} in {advice.file}"))
    return tuple(rows)


def facts_of(standing: Standing, advice: SwitchAdvice | None = None) -> dict[str, Any]:
    """Give the numbers for machines."""
    facts = {key: getattr(standing, key) for key in Standing.__dataclass_fields__}
    facts["outperforms"] = standing.outperforms
    if advice is not None:
        facts["switch"] = {"file": advice.file, "change": advice.change, "yaml": advice.yaml, "steps": advice.steps}
    return facts


def name(text: str) -> str:
    """Cut a name that somebody else chose to one line of printable text."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return plain if len(plain) <= MAX_NAME_CHARS else plain[: MAX_NAME_CHARS - 1] + "…"


def usd(value: float) -> str:
    """Write money with as many digits as it needs: $212, $0.0042."""
    size = abs(value)
    digits = 0 if size >= 100 else 2 if size >= 1 else 4 if size >= 0.001 else 6  # noqa: PLR2004
    return f"{'-' if value < 0 else ''}${size:,.{digits}f}"


def signed(value: float) -> str:
    """Write a difference of qualities: +0.031."""
    return f"{value:+.3f}"


_WHOLE = 999.5
"""From here on three figures would be written with an exponent."""


def share(value: float) -> str:
    """Write a share as per cent: three figures, or whole where it has more."""
    part = 100 * value
    return f"{part:.3g} %" if abs(part) < _WHOLE else f"{part:,.0f} %"


def _pair(values: Any) -> Interval | None:
    if values is None or len(values) != 2 or None in values:  # noqa: PLR2004
        return None
    return float(values[0]), float(values[1])


def _points_of(comparison: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> tuple[float | None, float | None]:
    """Cost per quality point of primary and candidate, over the compared pairs where they are told."""
    compared = comparison.get("cost_per_quality_point_usd")
    if compared:
        return (compared.get("primary") or {}).get("value"), (compared.get("candidate") or {}).get("value")
    return (
        _cpq(models, str(comparison["primary"]), "primary"),
        _cpq(models, str(comparison["candidate"]), "candidate"),
    )


def _cpq(models: Sequence[Mapping[str, Any]], model: str, role: str) -> float | None:
    rows = [row for row in models if row.get("model") == model and row.get("role") in (None, role)]
    value: float | None = next(((row.get("cost_per_quality_point_usd") or {}).get("value") for row in rows), None)
    return value


def _not_tested(coverage: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Tell what of the eligible traffic the candidate was not asked, by reason."""
    if coverage is None:
        return ("how much of the traffic it was asked is not known",)
    eligible = coverage.get("eligible") or 0
    told = []
    if eligible and coverage.get("not_sampled"):
        told.append(f"{share(coverage['not_sampled'] / eligible)} of the exchanges were not sampled")
    for kind, verb in (("skipped", "skipped"), ("dropped", "lost")):
        reasons = coverage.get(kind) or {}
        total = sum(reasons.values())
        if total:
            most = sorted(reasons.items(), key=lambda each: (-each[1], each[0]))[:3]
            told.append(f"{total:,} {verb} ({', '.join(f'{reason} {count:,}' for reason, count in most)})")
    return tuple(told)


def _difference(standing: Standing) -> str:
    if standing.difference is None:
        return "quality difference not known"
    told = f"quality differs by {signed(standing.difference)}"
    if standing.interval is None:
        return told
    low, high = standing.interval
    level = "" if standing.level is None else f"{share(standing.level)} "
    return f"{told} ({level}interval {signed(low)} to {signed(high)})"


def _cost(standing: Standing) -> str:
    if standing.cost_ratio is None:
        return "not known"
    told = f"{share(standing.cost_ratio)} of the primary's"
    if standing.cost_ratio_interval is None:
        return told
    low, high = standing.cost_ratio_interval
    return f"{told} ({share(low)} to {share(high)})"


def _saving(standing: Standing) -> str:
    if standing.cost_ratio is None:
        return "Cost: not known."
    if standing.saving_usd_per_month is None:
        return f"Cost: {_cost(standing)}; what that saves a month is not known."
    return f"Cost: {_cost(standing)}, saving {_monthly(standing)} a month."


def _monthly(standing: Standing) -> str:
    if standing.saving_usd_per_month is None:
        return "not known"
    told = usd(standing.saving_usd_per_month)
    if standing.saving_interval is None:
        return told
    low, high = standing.saving_interval
    return f"{told} ({usd(low)} to {usd(high)})"


def _per_point(standing: Standing) -> str:
    return f"Cost per quality point: {_per_point_figures(standing)}."


def _per_point_figures(standing: Standing) -> str:
    before, after = (("n/a" if value is None else usd(value)) for value in standing.cost_per_quality_point)
    return f"{name(standing.candidate)} {after}, {name(standing.primary)} {before}"
