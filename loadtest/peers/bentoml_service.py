"""BentoML with its adaptive batching."""

from __future__ import annotations

from pathlib import Path

import bentoml

from loadtest.peers.classifier import Classifier


@bentoml.service(workers=2, traffic={"timeout": 60, "max_concurrency": 1000})
class Peer:
    def __init__(self) -> None:
        self._classifier = Classifier()

    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=10_000)
    def classify(self, files: list[Path]) -> list[str]:
        return self._classifier.labels([file.read_bytes() for file in files])
