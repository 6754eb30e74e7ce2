"""Jobs are read, opened again and cancelled, and a busy service is waited for."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from playwright.sync_api import Page, Route, expect

from tests.support.local_service import LocalService, local_service
from shared import model_info
from shared.jobs import Lane
from shared.model_info import ModelInfo

Noise = Callable[[int], list[Path]]
NewPage = Callable[..., Page]

#: The console message of a browser after a refusal.
STATUS = "the server responded with a status of {}"


def test_the_address_opens_the_job_again_here_and_elsewhere(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    classify(page, service, noise(40))
    page.reload()
    expect(page.locator("#figures")).to_contain_text("40 pictures labelled")
    expect(page.locator(".cell").first).to_contain_text("noise 0000.png")
    expect(page.locator(".cell").first).to_have_attribute("data-state", "succeeded")
    elsewhere = new_page()
    elsewhere.goto(page.url)
    expect(elsewhere.locator("#figures")).to_contain_text("40 pictures labelled")
    # Back to the empty page, and to the job in the list of recent jobs.
    page.click("#home")
    expect(page.locator("#job")).to_be_hidden()
    page.click("#recent a")
    expect(page.locator("#figures")).to_contain_text("40 pictures labelled")
    page.go_back()
    expect(page.locator("#job")).to_be_hidden()


def test_a_failed_picture_without_a_thumbnail_shows_its_name(
    service: LocalService, new_page: NewPage
) -> None:
    files = {"files": ("broken.jpg", b"no picture")}
    job = httpx.post(f"{service.base_url}/jobs", files=files).raise_for_status().json()
    page = new_page()
    page.goto(f"{service.base_url}/?job={job['id']}")
    expect(page.locator('.cell[data-state="failed"] .label')).to_contain_text("not a JPEG")
    box = page.locator('.cell[data-state="failed"] .picture').bounding_box()
    assert box and box["height"] >= 20, "the error has pushed out the name"


def test_an_unknown_job_in_the_address_is_reported(
    service: LocalService, new_page: NewPage
) -> None:
    page = new_page(refusals=(STATUS.format(404),))
    page.goto(f"{service.base_url}/?job=0123")
    expect(page.locator("#notice")).to_contain_text("This job does not exist")


def test_a_job_that_runs_is_followed_from_another_browser(
    idle_service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    page.goto(idle_service.base_url)
    page.set_input_files("#pictures", noise(40))
    expect(page.locator("#figures")).to_contain_text("0 of 40 done")
    page.wait_for_url("**/?job=*")
    elsewhere = new_page()
    elsewhere.goto(page.url)
    expect(elsewhere.locator(".cell").first).to_contain_text("noise 0000.png")
    expect(elsewhere.locator(".cell").first).to_contain_text("waiting")
    # It is cancelled here, and the other browser shows it.
    page.click("#cancel")
    for each in (page, elsewhere):
        expect(each.locator("#figures")).to_contain_text("Cancelled: 0 pictures labelled, 40 not")
        expect(each.locator(".cell").first).to_contain_text("cancelled")
        expect(each.locator("#cancel")).to_be_hidden()
    job = httpx.get(f"{idle_service.base_url}/jobs/{page.url.rpartition('=')[2]}").json()
    assert job["state"] == "cancelled"


def test_an_upload_continues_after_a_lost_connection(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page(refusals=("net::ERR_FAILED",))
    cuts = iter(range(2))

    def cut(route: Route) -> None:
        if next(cuts, None) is None:
            route.continue_()
        else:
            route.abort()

    page.route("**/parts/*", cut)
    page.goto(service.base_url)
    page.set_input_files("#pictures", noise(3))
    expect(page.locator("#busy-text")).to_contain_text("The service cannot be reached, retrying")
    page.click("#try-now")
    expect(page.locator("#figures")).to_contain_text("3 pictures labelled")
    expect(page.locator("#busy")).to_be_hidden()


def test_a_file_that_is_removed_before_it_is_sent_does_not_stop_the_others(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page(refusals=("net::ERR_FILE_NOT_FOUND", "net::ERR_UPLOAD_FILE_CHANGED"))
    first, second = noise(2)
    page.goto(service.base_url)
    page.route("**/api/v1/jobs", lambda route: (second.unlink(), route.continue_())[1])
    page.set_input_files("#pictures", [first, second])
    expect(page.locator("#figures")).to_contain_text(re.compile("1 picture labelled.* · 1 failed"))
    expect(page.locator(f"[title='{second.name}']")).to_contain_text("changed or removed")


def test_an_interrupted_upload_shows_how_many_pictures_are_missing(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    with httpx.Client(base_url=service.base_url) as http:
        job = http.post("/jobs", json={"total": 40}).json()["job"]["id"]
        files = [("files", (each.name, each.read_bytes())) for each in noise(32)]
        http.put(f"/jobs/{job}/parts/0", files=files).raise_for_status()
    page.goto(f"{service.base_url}/?job={job}")
    expect(page.locator("#figures")).to_contain_text("32 of 40 done · 8 pictures were not sent")
    page.click("#cancel")
    expect(page.locator("#figures")).to_contain_text("Cancelled: 32 pictures labelled, 8 not")


def test_results_are_downloaded_as_csv_and_json_lines(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    classify(page, service, noise(33))
    texts = {}
    for format in ("csv", "jsonl"):
        with page.expect_download() as download:
            page.click(f"#{format}")
        assert download.value.suggested_filename.endswith(f".{format}")
        texts[format] = Path(download.value.path()).read_text()
    rows = list(csv.DictReader(io.StringIO(texts["csv"])))
    lines = [json.loads(line) for line in texts["jsonl"].splitlines()]
    assert [row["name"] for row in rows] == [line["name"] for line in lines]
    assert len(rows) == 33 and all(row["label"] for row in rows)


def test_pictures_are_filtered_by_label_state_and_confidence_and_sorted(
    service: LocalService, new_page: NewPage, noise: Noise, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("bad")
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#pictures", [*noise(20), bad])
    expect(page.locator("#figures")).to_contain_text(
        re.compile("20 pictures labelled.* · 1 failed")
    )
    cells = page.locator(".cell")

    page.select_option("#sort", "uncertain")
    shares = page.locator("[data-state=succeeded] .bar span").evaluate_all(
        "bars => bars.map((bar) => parseFloat(bar.style.width))"
    )
    assert len(shares) == 20 and shares == sorted(shares)
    page.select_option("#sort", "certain")
    middle = sorted(shares)[10]
    page.fill("#least", f"{middle:.6f}")
    expect(page.locator("#shown")).to_contain_text("of 21 pictures")
    assert 9 <= cells.count() <= 11
    page.fill("#least", "0")
    page.select_option("#state", "failed")
    expect(cells).to_have_count(1)
    page.select_option("#state", "")
    label = page.locator("[data-state=succeeded] .label").first.inner_text()
    page.fill("#text", label.upper())
    expect(page.locator("#shown")).to_be_visible()
    assert set(page.locator(".cell .label").all_inner_texts()) == {label}
    page.fill("#text", "noise 0007")
    expect(cells).to_have_count(1)


def test_the_keyboard_opens_the_large_view_with_all_labels_and_durations(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    classify(page, service, noise(12))
    page.locator(".cell").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#viewer-title")).to_have_text("noise 0001.png")
    expect(page.locator("#viewer-predictions li")).to_have_count(5)
    for term in ("Waited", "Decoded in", "Classified in", "Model"):
        expect(page.locator("#viewer-facts")).to_contain_text(term)
    expect(page.locator("#viewer-picture img")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-title")).to_have_text("noise 0002.png")
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator("[title='noise 0002.png']")).to_be_focused()
    page.keyboard.press("End")
    expect(page.locator("[title='noise 0011.png']")).to_be_focused()


def test_only_visible_pictures_are_in_the_document(
    idle_service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    page.goto(idle_service.base_url)
    page.set_input_files("#pictures", noise(3000))
    expect(page.locator("#job-title")).to_have_text("3,000 pictures")
    expect(page.locator(".cell img").first).to_be_visible()
    assert page.locator(".cell").count() < 100
    page.locator(".cell").first.focus()
    page.keyboard.press("End")
    last = page.locator("[title='noise 2999.png']")
    expect(last).to_be_focused()
    expect(last.locator("img")).to_be_visible()
    assert page.locator(".cell").count() < 100
    page.click("#cancel")
    expect(page.locator("#figures")).to_contain_text("Cancelled")


def test_the_sizes_of_few_files_are_read_at_a_time(
    idle_service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    """A browser blocks while it reads the size of a file from the disk."""
    page = new_page()
    page.add_init_script("""
      window.asked = new Set();
      const { get } = Object.getOwnPropertyDescriptor(Blob.prototype, "size");
      Object.defineProperty(Blob.prototype, "size", {
        get() { asked.add(this.name); return get.call(this); },
      });
    """)
    page.route("**/parts/*", lambda route: None)  # held, so no more parts are sent
    page.goto(idle_service.base_url)
    page.set_input_files("#pictures", noise(300))
    expect(page.locator("#figures")).to_contain_text("0 of 300 done")
    expect(page.locator(".cell img").first).to_be_visible()
    assert 32 <= page.evaluate("asked.size") <= 4 * 32
    page.click("#cancel")
    expect(page.locator("#figures")).to_contain_text("Cancelled")


def test_a_request_to_a_busy_service_is_repeated(
    idle_service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    first, second = noise(2)
    page = new_page(refusals=(STATUS.format(503),))
    page.clock.install()
    page.goto(idle_service.base_url)
    page.set_input_files("#pictures", first)
    expect(page.locator(".cell")).to_contain_text("waiting")
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
    expect(page.locator(".cell")).to_contain_text("waiting")
    page.click("#cancel")


def test_the_notice_of_the_model_is_on_the_page(
    idle_service: LocalService, new_page: NewPage
) -> None:
    redis = idle_service.redis()
    page = new_page()
    page.goto(idle_service.base_url)
    expect(page.locator("#status")).to_contain_text("No worker has loaded a model yet")
    expect(page.locator("#model-notice")).to_be_hidden()
    words = {"name": "m", "weights": "w", "weights_digest": "d", "engine": "e"}
    model = ModelInfo(**words, version="m-demonstration-1", classes=10, input_size=32, notice="ten")
    model_info.announce(redis, model)
    try:
        expect(page.locator("#model-notice")).to_have_text("ten", timeout=10_000)
        expect(page.locator("#status")).to_contain_text("m-demonstration-1")
    finally:
        model_info.forget(redis)
    page.close()


def test_the_page_asks_for_an_api_key_and_continues(
    new_page: NewPage, noise: Noise, tmp_path: Path, model_environment: dict[str, str]
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"alice:{hashlib.sha256(b'imgc_secret').hexdigest()}\n")
    with local_service(tmp_path, model_environment | {"API_KEYS_FILE": str(keys)}) as locked:
        locked.start_web()
        locked.start_worker(Lane.INTERACTIVE)
        locked.await_web()
        page = new_page(refusals=(STATUS.format(401),))
        page.goto(locked.base_url)
        page.set_input_files("#pictures", noise(3))
        page.fill("#key", "imgc_wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-note")).to_contain_text("not valid")
        page.fill("#key", "imgc_secret")
        page.keyboard.press("Enter")
        expect(page.locator("#figures")).to_contain_text("3 pictures labelled")
        with page.expect_download() as download:
            page.click("#csv")
        assert len(Path(download.value.path()).read_text().splitlines()) == 4
        page.reload()
        expect(page.locator("#figures")).to_contain_text("3 pictures labelled")
        page.close()  # before the service stops, which would be an error in its console


def classify(page: Page, service: LocalService, pictures: list[Path]) -> None:
    page.goto(service.base_url)
    page.set_input_files("#pictures", pictures)
    labelled = f"{len(pictures)} pictures labelled"
    expect(page.locator("#figures")).to_contain_text(labelled)
