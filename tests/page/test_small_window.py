"""The filters in a small window are one row that stays, and the focus is never below what stays."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import NewPage, Noise
from tests.page.test_access import violations
from tests.support.local_service import LocalService

_PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}

_TOP = "(each) => each.getBoundingClientRect().top"
_BOTTOM = "(each) => each.getBoundingClientRect().bottom"


@pytest.fixture
def job(service: LocalService, noise: Noise) -> str:
    """The address of a job of 20 pictures and a failed one."""
    files = [("files", (path.name, path.read_bytes())) for path in noise(20)]
    files.append(("files", ("broken.jpg", b"no picture")))
    # Without thumbnails each picture is a low cell of text.
    address = f"{service.base_url}/jobs?thumbnails=true"
    answer = httpx.post(address, files=files).raise_for_status()
    return f"{service.base_url}/?job={answer.json()['id']}"


def test_on_a_phone_a_row_of_filters_stays_and_shows_the_first_pictures_that_fit(
    new_page: NewPage, job: str, axe: str, noise: Noise
) -> None:
    page = new_page(**_PHONE, reduced_motion="reduce")
    opened(page, job)
    row, cells = page.locator("#open-fields"), page.locator(".cell")
    expect(page.locator("#fields")).to_be_hidden()
    expect(page.locator("#shown")).to_have_text("21 pictures")
    cells.last.scroll_into_view_if_needed()
    expect(row).to_be_in_viewport(ratio=1)
    assert page.locator("#filters").evaluate(_BOTTOM) < 844 / 10

    row.tap()
    page.select_option("#state", "cancelled")
    expect(page.locator("#close-fields")).to_have_text("No picture fits")
    page.select_option("#state", "failed")
    expect(row).to_have_text("Filter: failed")
    expect(page.locator("#shown")).to_have_text("1 of 21 pictures")
    assert violations(page, axe) == []
    page.get_by_role("button", name="Show 1 picture").tap()
    expect(page.locator("#fields")).to_be_hidden()
    expect(cells).to_have_count(1)
    gap = cells.first.evaluate(_TOP) - page.locator("#filters").evaluate(_BOTTOM)
    assert 0 <= gap < 20, "the picture is not at the top"
    assert page.locator("#filters").evaluate(_TOP) == 0
    assert violations(page, axe) == []
    page.locator("#clear").tap()
    expect(row).to_have_text("Filter")

    row.tap()
    page.fill("#text", "noise 0007 or another picture")
    page.select_option("#sort", "uncertain")
    expect(row).to_contain_text("another picture")
    assert row.evaluate("(each) => each.scrollWidth <= each.clientWidth"), "the filters are cut off"
    page.locator("#close-fields").tap()
    expect(page.locator("#nothing")).to_be_visible()
    bottom = page.locator("#filters").evaluate(_BOTTOM)
    assert bottom < 844 / 4 and page.locator("#nothing").evaluate(_TOP) >= bottom
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("scrollY") > 0
    page.set_input_files("#pictures", noise(1))
    expect(page.locator("#single-predictions li")).to_have_count(5)
    assert page.evaluate("scrollY") == 0, "the new job is not in the window"


def test_the_keyboard_opens_the_fields_of_a_small_window_and_closes_them(
    new_page: NewPage, job: str
) -> None:
    page = new_page(viewport={"width": 844, "height": 390})  # a phone on its side
    opened(page, job)
    row, fields = page.locator("#open-fields"), page.locator("#fields")
    row.focus()
    page.keyboard.press("Enter")
    expect(row).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Tab")
    page.keyboard.type("noise 0007")
    expect(row).to_have_text("Filter: noise 0007")
    expect(page.locator(".cell")).to_have_count(1)
    page.keyboard.press("Escape")  # clears the text first
    expect(page.locator(".cell")).not_to_have_count(1)
    expect(fields).to_be_in_viewport(ratio=1)
    page.keyboard.press("Escape")
    expect(fields).to_be_hidden()
    expect(row).to_be_focused()


@pytest.mark.parametrize("width", [390, 1200])
def test_a_picture_with_the_focus_is_not_below_what_stays(
    new_page: NewPage, job: str, width: int
) -> None:
    page = new_page(viewport={"width": width, "height": 600})
    opened(page, job)
    page.locator(".cell").first.focus()
    page.keyboard.press("End")
    stays = "#filters" if width < 720 else ".sticky"
    for _ in range(6):
        page.keyboard.press("ArrowUp")
        top = page.locator(".cell:focus").evaluate(_TOP)
        assert top >= page.locator(stays).evaluate(_BOTTOM) - 1


def test_the_long_name_of_a_single_picture_is_read_on_a_phone(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page(**_PHONE)
    page.goto(service.base_url)
    expect(page.get_by_role("button", name="Choose pictures")).to_be_visible()
    for words in page.get_by_text("drop").all():
        expect(words).to_be_hidden()
    [picture] = noise(1)
    long: Path = picture.rename(picture.with_name(f"{'A holiday in the mountains ' * 6}0123.png"))
    page.set_input_files("#pictures", long)
    expect(page.locator("#single-predictions li")).to_have_count(5)
    title = page.locator("#job-title")
    expect(title).to_have_text(re.compile("0123.png$"))
    assert title.evaluate("(each) => each.scrollHeight <= each.clientHeight")


def opened(page: Page, job: str) -> None:
    page.goto(job)
    expect(page.locator("#figures")).to_contain_text("20 pictures labelled")
    expect(page.locator(".cell[data-state=succeeded]").first).to_be_visible()
