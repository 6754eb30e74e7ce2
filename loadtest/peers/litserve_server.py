"""LitServe with two workers."""

# No `from __future__ import annotations`: LitServe reads the annotation of `decode_request`.

import sys
from typing import Annotated

import litserve
from fastapi import Body

from loadtest.peers.classifier import Classifier


class Labels(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self._classifier = Classifier()

    def decode_request(self, request: Annotated[bytes, Body()]) -> bytes:
        return request

    def predict(self, picture: bytes) -> str:
        return self._classifier.label(picture)

    def encode_response(self, label: str) -> dict[str, str]:
        return {"label": label}


if __name__ == "__main__":
    server = litserve.LitServer(Labels(), accelerator="cpu", workers_per_device=2, timeout=60)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
