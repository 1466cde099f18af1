"""Makes judges: finds the endpoint and the key that belong together, and refuses a judge whose price is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shadow.candidates import origin_of
from shadow.judge.bench import Bench
from shadow.judge.client import Api, Endpoint, JudgeClient, KeyForm

if TYPE_CHECKING:
    from shadow.judge.bench import Terms
    from shadow.judge.client import Network
    from shadow.pricing import PriceBook
    from shadow.redaction import Redactor


class NoJudgeError(Exception):
    """This judge cannot be asked; the message says why and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The upstream: where a judge is asked when its options name no other place, with the key configured for it."""

    base_url: str
    api_key: str | None = None
    api_key_header: KeyForm = "x-api-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a judge's options want it to be asked; None: as the upstream."""

    base_url: str | None = None
    api_key: str | None = None
    api_key_header: KeyForm | None = None
    api: Api = "anthropic"


class Agency:
    """Hires judges; one connection pool per endpoint, closed together."""

    def __init__(self, *, home: Home, prices: PriceBook, redactor: Redactor, network: Network) -> None:
        self._home = home
        self._prices = prices
        self._redactor = redactor
        self._network = network
        self._clients: dict[Endpoint, JudgeClient] = {}

    def hire(self, terms: Terms, place: Place, *, system: str) -> Bench:
        """Make a judge ready. Raises NoJudgeError (no key for its origin, price unknown)."""
        endpoint = self._endpoint(terms, place)
        if self._prices.price_of(terms.model) is None:
            line = self._prices.missing_line(terms.model)
            raise NoJudgeError(f"the price of the judge {terms.model} is unknown, so it is not asked; add {line}")
        client = self._clients.setdefault(endpoint, JudgeClient(endpoint, self._network))
        at_home = origin_of(endpoint.base_url) == origin_of(self._home.base_url)
        return Bench(
            terms,
            client=client,
            prices=self._prices,
            redact=_as_it_is if at_home else self._redacted,
            system=system,
        )

    async def aclose(self) -> None:
        """Close every connection; idempotent, and a judge that is asked again connects anew."""
        for client in self._clients.values():
            await client.aclose()

    def _endpoint(self, terms: Terms, place: Place) -> Endpoint:
        home = self._home
        base_url = place.base_url or home.base_url
        at_home = origin_of(base_url) == origin_of(home.base_url)
        api_key = place.api_key or (home.api_key if at_home else None)
        if api_key is None:
            where = "set upstream.api_key (EZAI_API_KEY), or give the judge an api_key"
            advice = where if at_home else "give the judge an api_key: a key goes only to the origin it was made for"
            raise NoJudgeError(f"there is no API key for the judge {terms.model} at {base_url}; {advice}")
        return Endpoint(
            base_url=base_url,
            api_key=api_key,
            api_key_header=place.api_key_header or (home.api_key_header if at_home else "x-api-key"),
            api=place.api,
        )

    def _redacted(self, text: str) -> str:
        return self._redactor.redact_text(text)[0]


def _as_it_is(text: str) -> str:
    return text
