"""What the supervisor and its children say to one another arrives as it was said."""

from __future__ import annotations

import os

import msgspec
import pytest

from gateway import control
from gateway.control import Event, Replace, Start, Tls
from gateway.settings import LiveSettings, MeasuringSettings, RecordingSettings, RedactionRule, Upstream
from shadow.records import Candidate, Dialect, EvaluatorSpec, Price, Task, TaskMatch

LIVE = LiveSettings(
    deployment_id="d",
    upstream=Upstream(base_url="https://a.example", api_key="k"),
    routes={"/x": Upstream(base_url="https://b.example")},
    clients=("c",),
    recording=RecordingSettings(
        candidates=(Candidate(model="m", base_url="https://a.example", dialects=(Dialect.OPENAI_CHAT,)),),
        tasks=(Task(name="t", match=TaskMatch(header={"x-app": "a"})),),
    ),
)
MEASURING = MeasuringSettings(
    store="sqlite:////x.db",
    deployment_id="d",
    evaluators=(EvaluatorSpec(type="regex", options={"pattern": "a", "deep": [1, {"b": None}]}, quality=True),),
    prices={"m": Price(input=1, output=2)},
    redact=(RedactionRule(name="iban", pattern="x"),),
)


@pytest.mark.parametrize(
    "message",
    [
        Start(
            settings={"a": [1, None]}, socket_fds=(5, 6), status_fd=7, tls=Tls(cert="c", key="k"), worker=1, line="l"
        ),
        Replace(settings={"name": "é\u2028"}),
        Event(event="reload_failed", detail="line\nbreak"),
    ],
)
def test_a_message_is_one_line_and_comes_back_equal(message: Start | Replace | Event) -> None:
    line = control.encode(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert control.decode(line, type(message)) == message


@pytest.mark.parametrize("settings", [LIVE, MEASURING])
def test_settings_travel_as_plain_values_and_come_back_equal(settings: LiveSettings | MeasuringSettings) -> None:
    travelled = control.decode(control.encode(Replace(settings=control.plain(settings))), Replace)
    assert control.settings_from(travelled.settings, type(settings)) == settings


def test_a_line_of_another_kind_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        control.decode(b'{"event": "unheard"}', Event)


def test_an_event_reaches_the_parent_and_a_parent_that_is_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    control.report(writing, "ready", "now")
    assert control.decode(os.read(reading, 1000), Event) == Event(event="ready", detail="now")
    os.close(reading)
    control.report(writing, "ready")
    os.close(writing)
