"""A label below the threshold of the page, or of its job, is unsure."""

from __future__ import annotations

import re

import httpx
from playwright.sync_api import Route, expect

from tests.page.conftest import NewPage, Noise
from tests.support.local_service import LocalService


def test_the_threshold_decides_which_labels_are_unsure_and_is_in_the_address(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#pictures", noise(12))
    expect(page.locator("#figures")).to_contain_text("12 pictures labelled")
    cells, unsure = page.locator(".cell"), page.locator(".cell.unsure")
    bars = page.locator(".cell .bar span")
    expect(bars).to_have_count(12)
    shares = bars.evaluate_all("bars => bars.map((bar) => parseFloat(bar.style.width))")
    shares.sort()
    threshold = f"{(shares[5] + shares[6]) / 2:.6f}"
    below = sum(share < float(threshold) for share in shares)
    assert 0 < below < 12

    page.fill("#unsure", threshold)
    expect(unsure).to_have_count(below)
    named = page.get_by_role("button", name=re.compile("unsure <?\\d"))
    expect(named).to_have_count(below)
    expect(page.locator("#all-unsure")).to_contain_text(f"{below} unsure (below ")
    page.click("#all-unsure")
    expect(cells).to_have_count(below)
    expect(page.locator("#state")).to_have_value("unsure")

    page.reload()
    expect(cells).to_have_count(below)
    expect(page.locator("#unsure")).to_have_value(threshold)
    page.click("#clear")  # the threshold is no filter
    expect(cells).to_have_count(12)
    expect(unsure).to_have_count(below)
    page.fill("#unsure", "0")
    expect(unsure).to_have_count(0)
    expect(page.locator("#all-unsure")).to_be_hidden()


def test_a_picture_below_the_threshold_of_its_job_is_unsure_on_the_page(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    files = [("files", (path.name, path.read_bytes())) for path in noise(3)]
    job = httpx.post(f"{service.base_url}/jobs", files=files, data={"min_score": "1"}).json()
    page = new_page()
    page.goto(f"{service.base_url}/?job={job['id']}&unsure=0")
    expect(page.locator(".cell.unsure")).to_have_count(3)
    expect(page.locator("#all-unsure")).to_have_text("3 unsure (below 100 %)")
    page.locator(".cell").first.click()
    expect(page.locator("#viewer-predictions li.unsure")).to_have_count(1)


def test_filters_wait_for_the_pictures_of_a_job_before_they_find_none(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    files = [("files", (path.name, path.read_bytes())) for path in noise(2)]
    job = httpx.post(f"{service.base_url}/jobs", files=files).json()
    page = new_page()
    held: list[Route] = []
    page.route("**/results?format=jsonl", lambda route: held.append(route))
    page.goto(f"{service.base_url}/?job={job['id']}&text=noise&unsure=0")
    expect(page.locator("#shown")).to_have_text("0 of 2 pictures")
    expect(page.locator("#nothing")).to_be_hidden()
    held[0].continue_()
    expect(page.locator(".cell")).to_have_count(2)


def test_the_label_of_a_single_picture_can_be_unsure(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#pictures", noise(1))
    labels = page.locator("#single-predictions li")
    expect(labels).to_have_count(5)
    for threshold, unsure in {"100": 1, "0": 0}.items():
        page.goto(f"{page.url.split('&')[0]}&unsure={threshold}")
        expect(labels).to_have_count(5)
        expect(page.locator("#single-predictions li.unsure")).to_have_count(unsure)
