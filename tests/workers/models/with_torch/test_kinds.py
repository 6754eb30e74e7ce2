"""The service answers with a package as the library of the model does, for each kind of model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client import ImageClassifier
from client.errors import ModelNotReady
from shared.jobs import Lane
from tests.support.local_service import LocalService, local_service
from tests.support.waiting import wait_until
from tests.workers.models.with_torch import kinds
from workers.models.__main__ import main

pytestmark = [pytest.mark.torch, pytest.mark.long]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """Redis and web. Each test starts a worker with its own package."""
    folder = tmp_path_factory.mktemp("kinds")
    own = {"DATA_DIR": str(folder), "WORKER_PROCESSES": "1", "WEB_PROCESSES": "1"}
    with local_service(folder, os.environ | own) as running:
        running.start_web()
        running.await_web()
        yield running


@pytest.mark.parametrize("name", kinds.KINDS)
def test_a_package_answers_over_http_as_its_own_library(
    name: str,
    service: LocalService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATA_DIR", service.environment["DATA_DIR"])
    kind = kinds.KINDS[name](tmp_path)
    (tmp_path / "labels.txt").write_text("\n".join(kinds.LABELS), "utf-8")
    labels = () if kind.brings_labels else ("--labels", str(tmp_path / "labels.txt"))
    assert main(["add", name, str(tmp_path / kind.source), *kind.options, *labels]) == 0
    expected = kind.scores(kind.drawn)
    # A model that gives each picture the same label would prove nothing.
    assert len({*expected.argmax(1)}) == len(kinds.LABELS)
    assert np.allclose(expected.sum(1), 1, atol=1e-4) == kind.sums_to_one

    answers = answered(service, name, kind.drawn)

    assert (answers.argmax(1) == expected.argmax(1)).all()
    assert np.abs(answers - expected).max() <= 1e-3


def answered(service: LocalService, name: str, drawn: list[Image.Image]) -> np.ndarray:
    """The scores of a worker with this package, of shape (pictures, classes)."""
    service.start_worker(Lane.BULK, MODEL=name)
    scores = np.zeros((len(drawn), len(kinds.LABELS)))
    with ImageClassifier(service.base_url) as client:
        wait_until(lambda: has_model(client, name), 120, problem=lambda: service.log("bulk"))
        assert client.labels() == list(kinds.LABELS)
        job = client.submit(drawn, top_k=len(kinds.LABELS), lane="bulk")
        assert job.wait(300).counts.succeeded == len(drawn)
        for item in job.results():
            # Where several labels may be right, a picture may also have none.
            assert item.label in ("", item.predictions[0].class_name)
            for prediction in item.predictions:
                assert prediction.class_name == kinds.LABELS[prediction.class_id]
                scores[item.index, prediction.class_id] = prediction.probability
    service.stop("bulk")
    return scores


def has_model(client: ImageClassifier, name: str) -> bool:
    with suppress(ModelNotReady):
        return client.model_info().name == name
    return False
