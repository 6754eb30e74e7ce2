"""What tests of the page do with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.support.local_service import LocalService

Noise = Callable[[int], list[Path]]
NewPage = Callable[..., Page]


def classify(page: Page, service: LocalService, pictures: list[Path]) -> None:
    page.goto(service.base_url)
    page.set_input_files("#pictures", pictures)
    labelled = f"{len(pictures)} pictures labelled"
    expect(page.locator("#figures")).to_contain_text(labelled)
