"""The results of a job: downloads, filters, orders, the grid and the large view."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

from playwright.sync_api import expect

from tests.page.actions import NewPage, Noise, classify
from tests.support.local_service import LocalService


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
