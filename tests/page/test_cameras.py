"""A folder that was copied from a phone and from a camera is dropped onto the page."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.page.conftest import NewPage
from tests.support.copied_folder import COUNT, Labels, enlarged, fill
from tests.support.local_service import LocalService

#: One of the pictures has 60 megapixels, and the machine may be busy.
_LONG_MS = 90_000


def test_each_picture_of_a_phone_and_a_camera_gets_its_label(
    service: LocalService, new_page: NewPage, pictures: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "copied"
    folder.mkdir()
    upright = enlarged(pictures[9])
    fill(folder, upright)
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#folder", folder)
    expect(page.locator("#notice")).to_contain_text("2 files were skipped: 1 .mov, 1 .txt.")
    expect(page.locator("#figures")).to_contain_text(f"{COUNT} pictures labelled", timeout=_LONG_MS)
    expect(page.locator(".cell .bar span")).to_have_count(COUNT)
    shown = page.locator(".cell").evaluate_all(
        "cells => cells.map((cell) => [cell.title, cell.querySelector('.label').textContent])"
    )
    expected = Labels(service.base_url, upright)
    assert len(shown) == COUNT
    assert shown == [[name, expected.of(name)] for name, _ in shown]
    # A browser draws neither HEIC nor TIFF nor RAW; the service has small pictures of them.
    expect(page.locator(".cell img")).to_have_count(COUNT, timeout=_LONG_MS)
