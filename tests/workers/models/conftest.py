"""What the tests of packages share."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.models import making


@pytest.fixture(autouse=True)
def one_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package is checked with ONNX Runtime only, which takes a tenth of the time.

    A test that asks for `every_engine` checks it with all, as a user does.
    """
    if "every_engine" not in request.fixturenames:
        monkeypatch.setattr(making, "check_engines", lambda folder: None)


@pytest.fixture
def every_engine() -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs in a folder of its own, which has its packages too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
