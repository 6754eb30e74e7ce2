"""Settings: where they come from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.settings import Settings


def test_an_address_with_a_password_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "redis_url").write_text("redis://:secret@redis:6379/0\n")
    settings = Settings(_secrets_dir=tmp_path)
    assert settings.redis_url == "redis://:secret@redis:6379/0"


def test_the_environment_wins_over_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "redis_url").write_text("redis://from-a-file/0")
    monkeypatch.setenv("REDIS_URL", "redis://from-the-environment/0")
    assert Settings(_secrets_dir=tmp_path).redis_url == "redis://from-the-environment/0"


def test_models_are_in_the_data_folder_by_default(tmp_path: Path) -> None:
    assert Settings(data_dir=tmp_path).models_dir == tmp_path / "models"
    assert Settings(data_dir=tmp_path, models_dir="/models").models_dir == Path("/models")


def test_a_variable_of_an_earlier_release_does_not_stop_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JPEG_DECODER", "nvjpeg")
    assert not hasattr(Settings(), "jpeg_decoder")


def test_the_address_of_a_kubernetes_service_is_ignored_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING")  # An app of another test may log errors only.
    monkeypatch.setenv("WEB_PORT", "tcp://10.96.3.4:8000")
    monkeypatch.setenv("METRICS_PORT", "udp://10.96.3.5:9101")
    settings = Settings()
    assert (settings.web_port, settings.metrics_port) == (8000, None)
    assert Settings() == settings
    warned = [record.getMessage().partition(" ")[0] for record in caplog.records]
    assert sorted(warned) == ["METRICS_PORT=udp://10.96.3.5:9101", "WEB_PORT=tcp://10.96.3.4:8000"]
    assert not settings.model_fields_set & {"web_port", "metrics_port"}


def test_other_text_in_a_port_is_an_error_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WEB_PORT", "http://10.96.3.4:8000")
    with pytest.raises(ValidationError, match="web_port"):
        Settings()


@pytest.mark.parametrize("name", ["host", "web_port", "data_dir", "redis_url", "api_keys_file"])
def test_an_empty_value_means_not_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # An empty HOST would listen on every address.
    monkeypatch.setenv(name.upper(), "")
    assert Settings() == Settings(_env_prefix="OTHER_", precision="fp32")
    assert name not in Settings().model_fields_set


@pytest.mark.parametrize(
    ("text", "host"),
    [("[::1]", "::1"), ("::", "::"), (" 0.0.0.0 ", "0.0.0.0"), ("my-laptop.local", None)],
)
def test_the_host_is_an_address_or_a_name(text: str, host: str | None) -> None:
    assert Settings(host=text).host == (host or text)


@pytest.mark.parametrize("text", ["localhost:8000", "http://localhost", "*", "a b", "::1:x"])
def test_a_host_with_anything_else_is_an_error_that_says_so(text: str) -> None:
    with pytest.raises(ValidationError, match="host\n.*without a scheme, a port or a path"):
        Settings(host=text)
