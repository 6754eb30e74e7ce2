"""A busy service, a model with a notice, and a service that asks for keys."""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path

import httpx
from playwright.sync_api import expect

from shared.jobs import Lane
from shared.serving import model_info, model_versions
from shared.serving.model_info import ModelInfo
from tests.page.conftest import STATUS, NewPage, Noise
from tests.support.local_service import LocalService, local_service


def test_a_request_to_a_busy_service_is_repeated(
    idle_service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    first, second = noise(2)
    page = new_page(refusals=(STATUS.format(503),))
    page.clock.install()
    page.goto(idle_service.base_url)
    page.set_input_files("#pictures", first)
    expect(page.locator("#single-state")).to_contain_text("waiting")
    waiting = page.url
    page.set_input_files("#pictures", second)
    busy = page.locator("#busy-text")
    expect(busy).to_have_text(re.compile(r"The service is busy, retrying in \d+ s"))
    seconds = int(busy.inner_text().split()[-2])
    page.clock.run_for(5000)
    expect(busy).not_to_contain_text(f"in {seconds} s")
    # Make room, and move the clock of the page on. The service, with its own clock, checks for room
    # ten times a second.
    httpx.delete(f"{idle_service.base_url}/jobs/{waiting.rpartition('=')[2]}").raise_for_status()
    time.sleep(0.2)
    page.clock.run_for(1000 * seconds)
    expect(page.locator("#busy")).to_be_hidden()
    expect(page.locator("#single-state")).to_contain_text("waiting")
    page.click("#cancel")


def test_the_notice_of_the_model_is_on_the_page(
    idle_service: LocalService, new_page: NewPage
) -> None:
    redis = idle_service.redis()
    page = new_page()
    page.clock.install()
    page.goto(idle_service.base_url)
    expect(page.locator("#status")).to_have_text(
        "The service is starting. You can send pictures now, and they are labelled as soon as it is"
        " ready."
    )
    expect(page.locator("#model-notice")).to_be_hidden()
    words = {"name": "m", "weights": "w", "weights_digest": "d", "engine": "e"}
    model = ModelInfo(**words, version="m-demonstration-1", classes=10, input_size=32, notice="ten")
    model_info.announce(redis, model)
    try:
        page.clock.run_for(10_000)  # the page asks again every few seconds
        expect(page.locator("#model-notice")).to_have_text("ten")
        expect(page.locator("#status")).to_contain_text("m-demonstration-1")
    finally:
        model_versions.forget(redis)
    page.close()


def test_the_status_line_shows_the_backlog_and_the_model(
    service: LocalService, new_page: NewPage
) -> None:
    page = new_page()
    page.goto(service.base_url)
    health = httpx.get(f"{service.base_url}/api/v1/health").json()
    model = f"model {health['model_version']} on onnxruntime in fp32"
    expect(page.locator("#status")).to_have_text(f"Ready · no pictures waiting · {model}")
    # The time of a lane without a speed is unknown, so the line gives none.
    bulk = health["lanes"]["bulk"] | {"outstanding_images": 71, "estimated_seconds": None}
    health["lanes"]["bulk"] = bulk
    page.route("**/api/v1/health", lambda route: route.fulfill(json=health))
    page.reload()
    expect(page.locator("#status")).to_have_text(f"Ready · 71 pictures waiting · {model}")
    bulk |= {"workers": 0}
    page.reload()
    expect(page.locator("#status")).to_contain_text(
        "large jobs wait until a worker for them has started · 71 pictures waiting"
    )
    bulk |= {"state": "paused"}
    page.reload()
    expect(page.locator("#status")).to_contain_text("large jobs are paused · 71 pictures waiting")


def test_the_page_asks_for_an_api_key_and_continues(
    new_page: NewPage, noise: Noise, tmp_path: Path, model_environment: dict[str, str]
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"alice:{hashlib.sha256(b'imgc_secret').hexdigest()}\n")
    with local_service(tmp_path, model_environment | {"API_KEYS_FILE": str(keys)}) as locked:
        locked.start_web()
        locked.await_web()
        locked.start_worker(Lane.INTERACTIVE)
        page = new_page(refusals=(STATUS.format(401),))
        page.goto(locked.base_url)
        expect(page.locator("#key")).to_be_focused()  # before anything is chosen
        expect(page.locator("#key")).to_be_in_viewport()
        page.set_input_files("#pictures", noise(3))
        expect(page.locator("#job-title")).to_have_text("3 pictures")
        page.fill("#key", "imgc_wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-note")).to_contain_text("not valid")
        expect(page.locator("#key")).to_have_attribute("aria-invalid", "true")
        page.fill("#key", "imgc_secret")
        page.keyboard.press("Enter")
        expect(page.locator("#figures")).to_contain_text("3 pictures labelled")
        with page.expect_download() as download:
            page.click("#csv")
        assert len(Path(download.value.path()).read_text().splitlines()) == 4
        page.reload()
        expect(page.locator("#figures")).to_contain_text("3 pictures labelled")
        page.close()  # before the service stops, which would be an error in its console
