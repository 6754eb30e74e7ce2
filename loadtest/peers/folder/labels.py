"""Decoding and the model, as the service does them, for the processes of a peer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from loadtest.peers.classifier import Classifier, EngineName

#: The variable with a folder. Each process has a file in it, named after its id, and appends a byte
#: for each picture that is done.
PROGRESS = "PEER_PROGRESS"


class Labels:
    def __init__(self, engine: EngineName) -> None:
        self._classifier = Classifier(engine)
        self._progress = Path(os.environ[PROGRESS], str(os.getpid()))

    def of(self, pictures: Sequence[bytes]) -> tuple[list[str], list[float]]:
        """The best label of each picture, and its probability."""
        size = self._classifier.pictures_at_once
        runs = [pictures[first : first + size] for first in range(0, len(pictures), size)]
        best = [pair for run in runs for pair in self._classifier.best(run)]
        with self._progress.open("ab") as file:
            file.write(bytes(len(best)))
        labels, probabilities = zip(*best, strict=True)
        return list(labels), list(probabilities)
