"""What a judge takes in a configuration."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from shadow.judge.bench import DEFAULT_CONTROL_RATE, DEFAULT_MAX_TOKENS, DEFAULT_MODEL, LEAST_MAX_TOKENS, Terms
from shadow.judge.client import Api, KeyForm
from shadow.judge.hire import Place

if TYPE_CHECKING:
    from collections.abc import Mapping

Text = Annotated[str, msgspec.Meta(min_length=1)]
HttpUrl = Annotated[str, msgspec.Meta(pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$")]


class JudgeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, by which criteria, and where it is asked."""

    model: Text = DEFAULT_MODEL
    rubric: Text | None = None
    """What counts in this task, in the user's own words; it becomes part of the judge's instructions."""
    api: Api = "anthropic"
    base_url: HttpUrl | None = None
    api_key: Text | None = None
    api_key_header: KeyForm | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=LEAST_MAX_TOKENS, le=100_000)] = DEFAULT_MAX_TOKENS
    control_rate: Annotated[float, msgspec.Meta(ge=0.01, le=1.0)] = DEFAULT_CONTROL_RATE

    @property
    def terms(self) -> Terms:
        """How it judges."""
        return Terms(model=self.model, rubric=self.rubric, max_tokens=self.max_tokens, control_rate=self.control_rate)

    @property
    def place(self) -> Place:
        """Where it is asked."""
        return Place(
            base_url=None if self.base_url is None else self.base_url.rstrip("/"),
            api_key=self.api_key,
            api_key_header=self.api_key_header,
            api=self.api,
        )


_RIGHT: Mapping[str, str] = {
    "model": "the name of a model",
    "rubric": "a text with something in it",
    "base_url": "an address without credentials, such as https://ezaiapi.com",
    "api_key": "a text with something in it",
    "api_key_header": "x-api-key, bearer or both",
    "max_tokens": f"a whole number from {LEAST_MAX_TOKENS} to 100000",
    "control_rate": "a number from 0.01 to 1",
}
"""What would be right, for each option whose value can be wrong."""


class OptionsError(Exception):
    """A judge's options are wrong; the message says which, and what would be right."""


def read_options(options: Mapping[str, Any]) -> JudgeOptions:
    """Check options as a configuration writes them. Raises OptionsError with a sentence."""
    known = [field.name for field in msgspec.structs.fields(JudgeOptions)]
    unknown = next((name for name in options if name not in known), None)
    if unknown is not None:
        close = difflib.get_close_matches(str(unknown), known, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"its options: {', '.join(known)}"
        raise OptionsError(f"unknown option `{unknown}`; {hint}")
    if "api" in options and options["api"] not in {"anthropic", "openai"}:
        raise OptionsError(f"api must be anthropic or openai, not {options['api']!r}")
    try:
        return msgspec.convert(dict(options), JudgeOptions)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("`$.")[2].rstrip("`")
        if name not in _RIGHT:
            raise OptionsError(str(error)) from error
        # A key, or an address that holds one, is not repeated.
        found = "" if name in {"api_key", "base_url"} else f", not {options[name]!r}"
        raise OptionsError(f"`{name}` must be {_RIGHT[name]}{found}") from error
