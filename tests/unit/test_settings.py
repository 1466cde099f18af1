"""The defaults of the settings are the ones the configuration documents."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from gateway.config import load
from gateway.settings import LiveSettings, MeasuringSettings, RecordingSettings, Upstream


def test_settings_made_without_a_file_have_the_defaults_of_an_empty_one() -> None:
    loaded = load(None, {}, deployment_id="d")
    made = LiveSettings(
        deployment_id="d",
        upstream=Upstream(base_url="https://ezaiapi.com"),
        recording=RecordingSettings(store=loaded.measuring.store, sample_rate=0.05),
    )
    assert loaded.live == made


def test_settings_cannot_be_changed() -> None:
    settings = MeasuringSettings(store="sqlite:///x.db", deployment_id="d")
    with pytest.raises(FrozenInstanceError):
        settings.queue_size = 1  # type: ignore[misc]  # the point of the test
