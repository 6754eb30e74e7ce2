"""Jobs are read, opened again, filtered and cancelled."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect

from tests.page.conftest import STATUS, NewPage, Noise
from tests.support.local_service import LocalService


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


def classify(page: Page, service: LocalService, pictures: list[Path]) -> None:
    page.goto(service.base_url)
    page.set_input_files("#pictures", pictures)
    labelled = f"{len(pictures)} pictures labelled"
    expect(page.locator("#figures")).to_contain_text(labelled)
