"""Uploads of many pictures, and uploads that are interrupted."""

from __future__ import annotations

import os
import re

import httpx
import pytest
from playwright.sync_api import Route, expect

from loadtest.page import Memory
from tests.page.conftest import STATUS, NewPage, Noise
from tests.support.local_service import LocalService


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

    page.goto(service.base_url)
    expect(page.locator("#status")).to_contain_text("Ready")
    page.route("**/parts/*", cut)
    page.route("**/health", lambda route: route.abort())
    page.set_input_files("#pictures", noise(3))
    expect(page.locator("#busy-text")).to_contain_text("The service cannot be reached, retrying")
    page.click("#try-now")
    expect(page.locator("#figures")).to_contain_text("3 pictures labelled")
    expect(page.locator("#busy")).to_be_hidden()


def test_the_notice_of_a_lost_connection_ends_when_the_service_answers(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page(refusals=("net::ERR_FAILED",))
    with page.expect_response("**/shrink.js"):  # it makes the small pictures
        page.goto(service.base_url)
    expect(page.locator("#status")).to_contain_text("Ready")
    page.clock.install()
    lost = re.compile("/(api/v1|page)/")
    page.route(lost, lambda route: route.abort())
    page.set_input_files("#pictures", noise(2))
    busy = page.locator("#busy-text")
    for _ in range(4):  # the pauses get longer
        expect(busy).to_contain_text("The service cannot be reached, retrying")
        page.clock.run_for(9_000)
    page.unroute(lost)
    page.clock.run_for(5_000)  # less than the pause; the page reads the health every four seconds
    expect(page.locator("#busy")).to_be_hidden()
    expect(page.locator("#figures")).to_contain_text("2 pictures labelled")
    expect(page.locator(".cell .picture img")).to_have_count(2)


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


@pytest.mark.long
def test_a_tab_does_not_hold_the_photos_that_it_sends(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    """The browser reads files while it sends them, also the 32 of a part."""
    size, paths = 5 * 2**20, noise(33)
    for path in paths:
        os.truncate(path, size)
    page, memory = new_page(), Memory()
    page.goto(service.base_url)
    expect(page.locator("#status")).to_contain_text("Ready")
    page.wait_for_timeout(500)
    before = memory.most
    page.set_input_files("#pictures", paths)
    expect(page.locator("#figures")).to_contain_text("33 pictures labelled", timeout=120_000)
    grown = memory.most - before
    memory.close()
    print(grown)
    assert grown < 100


def test_an_upload_does_not_wait_for_the_next_day(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page(refusals=(STATUS.format(429),))
    words = "Your API key may send 2 pictures a day, and has sent 2."
    page.goto(service.base_url)
    expect(page.locator("#status")).to_contain_text("Ready")
    page.route(
        "**/parts/*",
        lambda route: route.fulfill(
            status=429,
            headers={"Retry-After": "40000"},
            json={"code": "daily_limit_reached", "detail": words},
        ),
    )
    page.set_input_files("#pictures", noise(3))
    expect(page.locator("body")).to_contain_text(words)
    expect(page.locator("#busy")).to_be_hidden()
