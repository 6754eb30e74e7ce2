"""mosec: an HTTP server in Rust that batches before Python processes."""

from __future__ import annotations

from mosec import Server, Worker

from loadtest.peers.classifier import Classifier


class Labels(Worker):
    def __init__(self) -> None:
        self._classifier = Classifier()

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes]) -> list[dict[str, str]]:
        return [{"label": label} for label in self._classifier.labels(data)]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Labels, num=2, max_batch_size=16, max_wait_time=5)
    server.run()
