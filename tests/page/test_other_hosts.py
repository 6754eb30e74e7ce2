"""Every page is served from here: no request to another host, and no error in the console."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.page.conftest import NewPage
from tests.support.local_service import LocalService

#: Each page, and a part of it that is there when the page has been drawn.
_PAGES = {
    "/": "#samples img",
    "/docs": ".opblock-summary",
    "/redoc": "[data-role='search:input'], input[type='text']",
}


@pytest.mark.parametrize("path", _PAGES)
def test_a_page_asks_no_other_host(
    idle_service: LocalService, new_page: NewPage, path: str
) -> None:
    page = new_page()  # an error in its console fails the test
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    page.goto(f"{idle_service.base_url}{path}")
    expect(page.locator(_PAGES[path]).first).to_be_visible()
    if path == "/redoc":
        logo = page.get_by_alt_text("redocly logo")
        expect(logo).to_have_js_property("complete", True)
        assert logo.evaluate("(image) => image.naturalWidth") > 0
    page.wait_for_load_state("networkidle")
    assert asked - {""} == {urlsplit(idle_service.base_url).netloc}
