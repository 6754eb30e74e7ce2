"""Jobs are read, opened again, filtered and cancelled."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import STATUS, NewPage, Noise
from tests.support.local_service import LocalService


def test_the_address_opens_the_job_again_here_and_elsewhere(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    classify(page, service, noise(40))
    page.reload()
    elsewhere = new_page()
    elsewhere.goto(page.url)
    for each in (page, elsewhere):
        first = each.locator(".cell").first
        expect(each.locator("#figures")).to_contain_text("40 pictures labelled")
        expect(first).to_contain_text("noise 0000.png")
        expect(first).to_have_attribute("data-state", "succeeded")
        expect(first.locator("img")).to_be_visible()  # the thumbnail that the service has kept
    elsewhere.locator(".cell").first.click()
    expect(elsewhere.locator("#viewer-picture img")).to_be_visible()
    words = "A small preview. The picture itself is not kept."
    expect(elsewhere.locator("#viewer-picture")).to_have_text(words)
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
    files = [("files", (f"broken {n}.jpg", b"no picture")) for n in range(2)]
    job = httpx.post(f"{service.base_url}/jobs", files=files).raise_for_status().json()
    page = new_page()
    page.goto(f"{service.base_url}/?job={job['id']}")
    cell = page.locator('.cell[data-state="failed"]').first
    expect(cell.locator(".label")).to_contain_text("not a JPEG")
    outer, name = cell.bounding_box(), cell.locator(".name").bounding_box()
    assert outer and name, "both are visible"
    assert name["y"] + name["height"] <= outer["y"] + outer["height"], "the name is pushed out"


def test_an_unknown_job_in_the_address_is_reported(
    service: LocalService, new_page: NewPage
) -> None:
    page = new_page(refusals=(STATUS.format(404),))
    page.goto(f"{service.base_url}/?job=0123")
    notice, drop = page.locator("#notice"), page.locator("#drop")
    expect(notice).to_contain_text("This job does not exist")
    top = "(each) => each.getBoundingClientRect().top"
    assert notice.evaluate(top) < drop.evaluate(top), "the notice may be below the window"


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


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_a_download_has_the_name_of_the_job_and_the_rows_that_the_filters_show(
    service: LocalService, new_page: NewPage, noise: Noise, format: str
) -> None:
    page = new_page()
    classify(page, service, noise(12))
    page.fill("#text", "noise 001")
    page.select_option("#sort", "certain")
    expect(page.locator("#shown")).to_have_text("2 of 12 pictures")
    expect(page.locator("#csv")).to_have_text("CSV (2)")
    shown = page.locator(".cell .name").all_text_contents()
    with page.expect_download() as download:
        page.click(f"#{format}")
    assert download.value.suggested_filename == f"12 pictures.{format}"
    text = Path(download.value.path()).read_text()
    if format == "csv":
        names = [row["name"] for row in csv.DictReader(io.StringIO(text))]
    else:
        names = [json.loads(line)["name"] for line in text.splitlines()]
    assert names == shown and len(names) == 2


def test_a_finished_job_shows_its_most_frequent_labels(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    classify(page, service, noise(8))
    expect(page.locator("#progress")).to_be_hidden()
    first = page.locator("#frequent button").first
    label = first.locator(".label").inner_text()
    count = int(first.locator(".share").inner_text())
    first.click()
    expect(page.locator(".cell")).to_have_count(count)
    assert set(page.locator(".cell .label").all_inner_texts()) == {label}


def test_recent_jobs_have_a_picture_and_counts(
    service: LocalService, new_page: NewPage, noise: Noise, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("bad")
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#pictures", [*noise(3), bad])
    expect(page.locator("#figures")).to_contain_text("1 failed")
    page.click("#home")
    job = page.locator("#recent li").first
    expect(job).to_contain_text("4 pictures · 1 failed")
    expect(job.locator("img")).to_be_visible()


def test_the_text_filter_finds_whole_words(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    """The last word may be incomplete only where no picture has it as a whole."""
    names = ("grey owl", "owlet", "howler monkey")
    files = [
        {"name": f"{name}.jpg", "mimeType": "image/jpeg", "buffer": picture.read_bytes()}
        for name, picture in zip(names, noise(3), strict=True)
    ]
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#pictures", files)
    expect(page.locator("#figures")).to_contain_text("3 pictures labelled")
    for text, shown in {"ow": 2, "owl": 1, "owle": 1, "monkey": 1, "": 3}.items():
        page.fill("#text", text)
        expect(page.locator(".cell")).to_have_count(shown)


def test_pictures_are_filtered_by_label_state_and_probability_and_sorted(
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
    bars = page.locator("[data-state=succeeded] .bar span")
    expect(bars).to_have_count(20)
    shares = bars.evaluate_all("bars => bars.map((bar) => parseFloat(bar.style.width))")
    assert shares == sorted(shares)
    page.select_option("#sort", "certain")
    middle = sum(sorted(shares)[10:12]) / 2
    page.fill("#least", f"{middle:.6f}")
    expect(page.locator("#shown")).to_contain_text("of 21 pictures")
    assert 9 <= cells.count() <= 11
    # A range whose ends are exchanged is the same range.
    page.fill("#most", "0")
    expect(cells).to_have_count(sum(share < middle for share in shares))
    page.locator("#most").blur()
    expect(page.locator("#least")).to_have_value("0")
    expect(page.locator("#most")).to_have_value(f"{middle:.6f}")
    page.fill("#most", "100")
    page.select_option("#state", "failed")
    expect(cells).to_have_count(1)
    page.select_option("#state", "")
    label = page.locator("[data-state=succeeded] .label").first.inner_text()
    page.fill("#text", label.upper())
    expect(page.locator("#shown")).to_be_visible()
    assert set(page.locator(".cell .label").all_inner_texts()) == {label}
    page.fill("#text", "noise 0007")
    expect(cells).to_have_count(1)
    for absent in ("oise 0007", "null"):  # only at the start of a word; `bad` has no label
        page.fill("#text", absent)
        expect(page.locator("#nothing")).to_be_visible()
    page.click("#clear-all")
    expect(page.locator("#nothing")).to_be_hidden()
    page.click("#figures button")
    expect(cells).to_have_count(1)
    expect(cells).to_have_attribute("data-state", "failed")
    page.reload()  # the filters are in the address
    expect(cells).to_have_count(1)
    expect(page.locator("#shown")).to_have_text("1 of 21 pictures")


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
