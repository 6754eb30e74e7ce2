"""The page works on a phone, in the dark, by keyboard and with a screen reader."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import NewPage, Noise
from tests.support.local_service import LocalService

_PHONE = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}
_LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": _PHONE,
}


@pytest.mark.parametrize("look", _LOOKS)
def test_axe_finds_no_serious_violation(
    service: LocalService, new_page: NewPage, noise: Noise, tmp_path: Path, axe: str, look: str
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("bad")
    page = new_page(**_LOOKS[look], reduced_motion="reduce")
    page.goto(service.base_url)
    expect(page.locator("#status")).to_contain_text("Ready")
    assert violations(page, axe) == []
    page.set_input_files("#pictures", [*noise(5), bad])
    expect(page.locator("#figures")).to_contain_text("5 pictures labelled")
    assert violations(page, axe) == []
    page.locator(".cell").first.click()
    expect(page.locator("#viewer-predictions li")).to_have_count(5)
    assert violations(page, axe) == []
    page.click("#viewer-close")
    page.click("#home")
    expect(page.locator("#recent")).to_be_visible()
    assert violations(page, axe) == []


def violations(page: Page, axe: str) -> list[str]:
    page.evaluate(axe)
    report = page.evaluate("axe.run()")
    return [
        f"{each['id']}: {node['html']}"
        for each in report["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def test_a_phone_shows_the_page_without_horizontal_scrolling(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page(**_PHONE)
    page.goto(service.base_url)
    page.set_input_files("#pictures", noise(6))
    expect(page.locator("#figures")).to_contain_text("6 pictures labelled")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.locator(".cell").nth(1).tap()
    expect(page.locator("#viewer-predictions li")).to_have_count(5)
    dialog = page.locator("#viewer").bounding_box()
    assert dialog and dialog["x"] >= 0 and dialog["x"] + dialog["width"] <= 320


def test_the_page_is_dark_where_the_system_is(service: LocalService, new_page: NewPage) -> None:
    look = "getComputedStyle(document.documentElement).backgroundColor"
    light, dark = new_page(), new_page(color_scheme="dark")
    light.goto(service.base_url)
    dark.goto(service.base_url)
    assert light.evaluate(look) == "rgb(255, 255, 255)"
    assert dark.evaluate(look) == "rgb(20, 23, 28)"


def test_a_screen_reader_hears_the_beginning_and_the_end(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#pictures", noise(3))
    live = page.locator("#live")
    expect(live).to_contain_text("3 pictures: 3 pictures labelled")
    assert live.get_attribute("role") == "status"
    picture = page.locator("#grid").get_by_role("listitem").first.get_by_role("button")
    # The job's end may be shown before the last labels.
    expect(picture).to_have_attribute("data-state", "succeeded")
    label = picture.locator(".label").inner_text()
    expect(picture).to_have_accessible_name(
        re.compile(rf"noise 0000.png {label}\?? (unsure )?<?\d+ %")
    )


def test_tab_reaches_every_control_in_the_order_of_the_page(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#pictures", noise(8))
    expect(page.locator("#figures")).to_contain_text("8 pictures labelled")
    page.locator("#choose").focus()
    reached = ["choose"]
    for _ in range(10):
        page.keyboard.press("Tab")
        name = "document.activeElement.id || document.activeElement.className"
        reached.append(page.evaluate(name))
    controls = "choose choose-folder csv jsonl text state least most sort unsure".split()
    assert reached == [*controls, "link"]
