"""The service with a model of several labels: each one over its threshold is in every answer."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.special import expit

from shared.jobs import Lane
from tests.support.local_service import local_service
from tests.workers.models.onnx_models import LABELS, SIDE, answer, write_model
from workers.models.__main__ import main
from workers.models.presets import NAMED

PICTURES = 12
TEMPERATURE = 16  # the logits of the small model are large


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    """Pictures of one noisy colour each, of the model's own size."""
    source = np.random.default_rng(1)
    colours = source.integers(0, 200, (PICTURES, 1, 1, 3))
    noise = source.integers(0, 56, (PICTURES, SIDE, SIDE, 3))
    return (colours + noise).astype(np.uint8)


@pytest.fixture
def scores(tmp_path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What the model's own file says, at the temperature; shape (pictures, classes)."""
    path = write_model(tmp_path / "tags.onnx")
    mean, std = (np.array(NAMED["imagenet"][name]) for name in ("mean", "std"))
    images = ((pixels / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    return np.asarray(expit(answer(path, images) / TEMPERATURE))


@pytest.fixture
def thresholds(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """By class: between two scores, so that about half of the pictures get each label."""
    ordered = np.sort(scores, axis=0)
    middle = (ordered[PICTURES // 2 - 1] + ordered[PICTURES // 2]) / 2
    assert (
        ordered[PICTURES // 2] - ordered[PICTURES // 2 - 1]
    ).min() > 0.01, "rounding decides nothing"
    return np.asarray(middle)


@pytest.fixture
def package(
    tmp_path: Path, thresholds: NDArray[np.float64], monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    for name, content in (
        ("labels.json", list(LABELS)),
        ("thresholds.json", dict(zip(LABELS, thresholds.tolist(), strict=True))),
    ):
        (tmp_path / name).write_text(json.dumps(content))
    command = ["add", "tags", f"{tmp_path}/tags.onnx", "--labels", f"{tmp_path}/labels.json"]
    assert main([*command, "--preset", "imagenet", "--activation", "sigmoid"]) == 0
    options = ["--thresholds", f"{tmp_path}/thresholds.json", "--temperature", str(TEMPERATURE)]
    assert main(["set", "tags", *options]) == 0
    return tmp_path / "data/models/packages/tags"


def test_every_label_over_its_threshold_is_in_the_answer(
    tmp_path: Path,
    package: Path,
    pixels: NDArray[np.uint8],
    scores: NDArray[np.float64],
    thresholds: NDArray[np.float64],
) -> None:
    def expected(number: int, min_score: float = 0) -> list[str]:
        limits = np.maximum(thresholds, min_score)
        ids = [k for k in np.argsort(-scores[number]) if scores[number][k] >= limits[k]]
        return [LABELS[k] for k in ids]

    counts = {len(expected(number)) for number in range(PICTURES)}
    assert {0, 1, 2} <= counts, "there are pictures with no, one and several labels"
    high = float(np.median(scores))
    files = [png(each) for each in pixels]
    environment = os.environ | {"MODEL": str(package), "MODEL_WEIGHTS": "DEFAULT"}
    environment |= {"WORKER_PROCESSES": "1", "WEB_PROCESSES": "1", "PRECISION": "fp32"}
    with local_service(tmp_path / "service", environment) as service:
        service.start_worker(Lane.INTERACTIVE)
        service.start_web()
        service.await_ready()
        with httpx.Client(base_url=service.base_url, timeout=60) as http:
            classify = "/api/v1/classify?top_k=4"
            for number, file in enumerate(files):
                first = http.post(classify, content=file).json()
                assert_is(first, expected(number))
                by_id = {each["class_id"]: each["probability"] for each in first["predictions"]}
                assert [by_id[k] for k in range(4)] == pytest.approx(list(scores[number]), abs=1e-3)
                again = http.post(f"{classify}&min_score={high}", content=file).json()
                assert again["cache_hit"] and again["predictions"] == first["predictions"]
                assert_is(again, expected(number, high))

            forms = [("files", (f"{k}.png", each)) for k, each in enumerate(files)]
            job = http.post(
                "/jobs", files=forms, data={"top_k": "2", "lane": "interactive"}
            ).json()["id"]
            http.get(f"/jobs/{job}?wait=30")
            items = http.get(f"/jobs/{job}/results").json()["items"]
            for number, item in enumerate(items):
                assert_is(item, expected(number)[:2])
            table = http.get(f"/jobs/{job}/results?format=csv").text
            rows = list(csv.DictReader(io.StringIO(table, newline="")))
            assert [int(row["label_count"]) for row in rows] == [
                len(expected(number)[:2]) for number in range(PICTURES)
            ]


def assert_is(answer: dict[str, Any], labels: list[str]) -> None:
    assert answer["labels"] == labels
    assert answer["label"] == (labels[0] if labels else None)
    assert answer["below_threshold"] == (not labels)


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
