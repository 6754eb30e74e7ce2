"""These tests import torch. pytest leaves the folder out where torch is not installed.

The exports that several tests use are made once for a whole run.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from shared.settings import Settings

collect_ignore_glob = [] if find_spec("torch") else ["test_*.py"]


@pytest.fixture(scope="session")
def random_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A small model with random weights, exported."""
    from workers.engine.export import export

    settings = Settings(
        model="mobilenet_v3_small",
        model_weights="random",
        model_labels=None,
        engine="onnxruntime",
        data_dir=tmp_path_factory.mktemp("random"),
    )
    export(settings)
    return settings


@pytest.fixture(scope="session")
def real_settings(model_environment: dict[str, str], real_weights: Path) -> Settings:
    """The default model with real weights, exported."""
    return Settings(
        model="mobilenet_v3_large",
        model_weights=str(real_weights),
        model_labels=None,
        engine="onnxruntime",
        models_dir=model_environment["MODELS_DIR"],
    )
