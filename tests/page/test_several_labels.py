"""A picture with several labels: the page shows all of them, finds each and counts each."""

from __future__ import annotations

import hashlib

import httpx
from playwright.sync_api import expect

from shared.jobs import ItemState, Outcome, Prediction
from shared.result_cache import ResultCache
from tests.page.conftest import NewPage, Noise
from tests.support.local_service import LocalService

PREDICTIONS = (Prediction(0, "cat", 0.9), Prediction(1, "owl", 0.8), Prediction(2, "dog", 0.7))

#: How many of the predictions are labels, by picture.
REACHING = (2, 1, 0)


def test_several_labels_on_the_page(service: LocalService, new_page: NewPage, noise: Noise) -> None:
    version = httpx.get(f"{service.base_url}/api/v1/model/info").json()["version"]
    contents = [path.read_bytes() for path in noise(len(REACHING))]
    pipe = service.redis().pipeline()
    for reaching, content in zip(REACHING, contents, strict=True):
        outcome = Outcome(
            state=ItemState.SUCCEEDED,
            predictions=PREDICTIONS,
            model_version=version,
            reaching=reaching,
        )
        digest = hashlib.sha256(content).hexdigest()
        ResultCache(service.redis(), ttl_seconds=600).put(pipe, {digest: outcome})
    pipe.execute()
    files = [("files", (f"{k}.png", content)) for k, content in enumerate(contents)]
    job = httpx.post(f"{service.base_url}/jobs", files=files).json()
    page = new_page()
    page.goto(f"{service.base_url}/?job={job['id']}")
    expect(page.locator(".cell .label")).to_have_text(["cat, owl", "cat", "cat"])
    expect(page.locator(".cell.unsure")).to_have_count(1)
    expect(page.locator("#frequent .label")).to_have_text(["cat", "owl"])
    expect(page.locator("#frequent .share")).to_have_text(["3", "1"])  # an unsure one counts, too
    page.fill("#text", "owl")
    expect(page.locator(".cell")).to_have_count(1)
