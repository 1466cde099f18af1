"""What `serve` and `check` tell people: where things are, who is shadowed at which price, and why not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.judges import named_judges
from gateway.sockets import reach
from shadow.pricing import PriceBook
from shadow.schedule import next_run, schedule_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.addresses import ListenAddress
    from gateway.config import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrice:
    """One model of the configuration with its price in USD per 1M tokens, None when unknown."""

    model: str
    role: str
    input_usd: float | None
    output_usd: float | None
    source: str | None
    advice: str | None
    """What to add to the file when the price is unknown."""

    @property
    def sentence(self) -> str:
        """The price and its source, or that the model is not shadowed and what to add."""
        if self.input_usd is None or self.output_usd is None:
            return f"{_UNPRICED[self.role]}, add {self.advice}"
        return f"{_dollars(self.input_usd)} in, {_dollars(self.output_usd)} out per 1M tokens ({self.source})"


_VERSION = "/v1"
_UNPRICED = {
    "candidate": "not shadowed: price unknown",
    "judge": "not asked: price unknown",
    "primary": "price unknown: its cost stays empty",
}


def model_prices(config: Config) -> list[ModelPrice]:
    """Look up every model the configuration names: the primary when it is fixed, candidates and judges."""
    book = PriceBook(config.measuring.prices)
    fixed = config.live.primary_model
    named = [] if fixed is None else [(fixed, "primary")]
    named += [(candidate.model, "candidate") for candidate in config.measuring.candidates]
    if config.shadow_off_reason is None:
        named += [(model, "judge") for model in dict.fromkeys(judge.model for judge in named_judges(config))]
    prices = []
    for model, role in named:
        known = book.price_of(model)
        prices.append(
            ModelPrice(
                model=model,
                role=role,
                input_usd=None if known is None else known.input,
                output_usd=None if known is None else known.output,
                source=None if known is None else known.source,
                advice=book.missing_line(model) if known is None else None,
            )
        )
    return prices


def address_url(address: ListenAddress, *, tls: bool = False) -> str:
    """Give the URL by which a client on this machine reaches the address."""
    if address.path is not None:
        return str(address)
    return f"{'https' if tls else 'http'}://{reach(address)}"


def banner(
    config: Config, *, listen: ListenAddress, admin_listen: ListenAddress, role: str, store_fault: str | None = None
) -> list[str]:
    """Tell what was started, in lines for people; `store_fault` says why nothing can be recorded yet."""
    lines = []
    if role != "shadow":
        url = address_url(listen, tls=config.tls is not None)
        number = "" if config.workers == 1 else f", {config.workers} processes"
        lines.append(f"listening on {url}, upstream {config.live.upstream.base_url}{number}")
        if listen.path is None:
            lines.append(f'in your app: base_url="{url}" (OpenAI SDK: "{url}/v1")')
    lines.extend(doubled_paths(config))
    if role != "gateway":
        curl = f"curl --unix-socket {admin_listen.path} http://localhost/stats"
        lines.append(f"stats on {address_url(admin_listen)}/stats" if admin_listen.path is None else f"stats: {curl}")
        lines.extend(shadow_lines(config))
        lines.extend(weekly_lines(config, now=datetime.now(UTC)))
    if store_fault is None:
        lines.append(f"recording to {config.measuring.store}")
    else:
        lines.append(f"not recording to {config.measuring.store}: {store_fault}; it is tried again and again")
    return lines


def doubled_paths(config: Config) -> Iterator[str]:
    """Warn of each address that ends with the `/v1` with which the app's path begins: it would be there twice."""
    home = config.live.upstream.base_url
    named = {"upstream.base_url": home}
    for prefix, route in config.live.routes.items():
        if prefix.startswith(_VERSION):
            named[f"upstream.routes.{prefix}.base_url"] = route.base_url
    for index, candidate in enumerate(config.measuring.candidates):
        if candidate.base_url != home:
            named[f"shadow.candidates[{index}].base_url"] = candidate.base_url
    for key, address in named.items():
        if address.endswith(_VERSION):
            yield (
                f"warning: {key} ends with {_VERSION}, and the app's path is put behind it: "
                f"{address}/v1/chat/completions; leave {_VERSION} away, unless your app's paths begin without it"
            )


def shadow_lines(config: Config) -> Iterator[str]:
    """Tell whom the traffic is shadowed to, how much of it and for how much, or why it is not; then every price."""
    measuring = config.measuring
    prices = model_prices(config)
    known = {price.model for price in prices if price.input_usd is not None}
    count = len(measuring.candidates)
    asked = sum(each.api_key is not None and each.model in known for each in measuring.candidates)
    if measuring.shadow_off_reason is not None:
        yield f"shadowing is off: {measuring.shadow_off_reason}"
    elif not asked:
        yield "nothing is shadowed: no candidate can be asked"
    else:
        among = str(count) if asked == count else f"{asked} of {count}"
        yield (
            f"shadowing {_percent(measuring.sample_rate)} of conversations to {among} "
            f"candidate{'' if count == 1 else 's'}, at most ${measuring.budget_usd_per_day:.2f} a day"
        )
    sentences = {(price.model, price.role): price.sentence for price in prices}
    yield from (f"  {price.model}: {price.sentence} (primary)" for price in prices if price.role == "primary")
    for candidate in measuring.candidates:
        sentence = sentences[candidate.model, "candidate"]
        if candidate.api_key is None and measuring.shadow_off_reason is None:
            sentence = f"not shadowed: no API key for {candidate.base_url}, add api_key to this candidate"
        own_rate = "" if candidate.sample_rate is None else f", {_percent(candidate.sample_rate)} of conversations"
        yield f"  {candidate.model}: {sentence}{own_rate}"
    if measuring.shadow_off_reason is None and asked and measuring.noise_floor is not None:
        share = _percent(measuring.noise_floor_rate)
        yield f"  noise floor: the primary is asked again about {share} of these conversations, the first 30 always"
    if measuring.shadow_off_reason is None:
        yield from _judge_lines(config, prices)


def _judge_lines(config: Config, prices: Sequence[ModelPrice]) -> Iterator[str]:
    """Tell who judges which tasks at which price, why one cannot be asked, and which one is partial."""
    sentences = {price.model: price.sentence for price in prices if price.role == "judge"}
    for judge in named_judges(config):
        tasks = f"task{'' if len(judge.tasks) == 1 else 's'} {', '.join(judge.tasks)}"
        yield f"  {judge.model}: {judge.unusable or sentences[judge.model]} (judge of {tasks}, two calls a pair)"
        if judge.warning is not None:
            yield f"  warning: {judge.warning}"


def weekly_lines(config: Config, *, now: datetime) -> Iterator[str]:
    """Tell when the team's prompts are asked again, and where changes are told."""
    measuring = config.measuring
    benchmark = measuring.benchmark
    at = next_weekly_run(config, now=now)
    if measuring.upstream.api_key is None:
        yield "no weekly run: no API key for the primary (upstream.api_key)"
    elif at is None or benchmark.schedule is None:
        yield "no weekly run by itself: benchmark.schedule is null"
    else:
        schedule = schedule_of(benchmark.schedule, benchmark.timezone)
        yield (
            f"weekly run: {schedule.explained()}, next {at:%Y-%m-%d %H:%M} UTC, {benchmark.sample} prompts, "
            f"at most ${benchmark.budget_usd:.2f}"
        )
    told = ", ".join(target.name for target in measuring.alerts)
    yield f"alerts go to {told}" if told else "alerts go nowhere: add alerts: [{slack: …}] to be told"
    yield from measuring.alerts_off


def next_weekly_run(config: Config, *, now: datetime) -> datetime | None:
    """Say when the team's prompts are asked again; None where they are not by themselves."""
    benchmark = config.measuring.benchmark
    if benchmark.schedule is None or config.measuring.upstream.api_key is None:
        return None
    return next_run(now, schedule_of(benchmark.schedule, benchmark.timezone))


def _percent(rate: float) -> str:
    return f"{100 * rate:g} %"


def _dollars(amount: float) -> str:
    """Two decimals, or as many as a very small price needs."""
    return f"${amount:.2f}" if round(amount, 2) == amount else f"${amount:g}"
