"""Ray Serve with its batching decorator."""

from __future__ import annotations

import sys
import time

from ray import serve
from starlette.requests import Request

from loadtest.peers.classifier import Classifier


@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 0.5}, max_ongoing_requests=200)
class Peer:
    def __init__(self) -> None:
        self._classifier = Classifier()

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.005)
    async def labels(self, pictures: list[bytes]) -> list[str]:
        return self._classifier.labels(pictures)

    async def __call__(self, request: Request) -> dict[str, str]:
        return {"label": await self.labels(await request.body())}


if __name__ == "__main__":
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Peer.bind(), route_prefix="/")
    while True:
        time.sleep(60)
