"""Small pictures: made by the browser, or by the service where the browser cannot."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pillow_heif
import pytest
from PIL import ExifTags, Image
from playwright.sync_api import Locator, Page, Route, expect

from tests.page.conftest import NewPage, Noise
from tests.support.local_service import LocalService

_RED, _BLUE = (200, 0, 0), (0, 0, 200)

#: The mean colour of a picture's upper and lower half.
_HALVES = """(image) => {
    const canvas = new OffscreenCanvas(1, 2);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0, 1, 2);
    return Array.from(context.getImageData(0, 0, 1, 2).data);
}"""


@pytest.fixture
def formats(tmp_path: Path, noise: Noise) -> dict[str, Path]:
    """The same new picture as HEIC and as AVIF."""
    with Image.open(noise(1)[0]) as picture:
        large = picture.convert("RGB").resize((400, 300))
    paths = {kind: tmp_path / f"photo.{kind}" for kind in ("heic", "avif")}
    pillow_heif.from_pillow(large).save(paths["heic"])
    large.save(paths["avif"])
    return paths


def with_events(page: Page, true: Callable[[], object]) -> None:
    """Return when `true()` is. Playwright handles what happens on the page meanwhile."""
    for _ in range(400):
        if true():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not happen in 20 s")


def test_avif_is_drawn_at_once_and_heic_when_the_service_has_a_thumbnail(
    service: LocalService, new_page: NewPage, formats: dict[str, Path]
) -> None:
    page = new_page()
    page.goto(service.base_url)
    held: list[Route] = []
    page.route("**/parts/*", lambda route: held.append(route))
    page.set_input_files("#pictures", list(formats.values()))
    heic, avif = cell(page, "photo.heic"), cell(page, "photo.avif")
    expect(avif.locator("img")).to_be_visible()
    expect(heic.locator(".picture")).to_have_text("HEICno preview")
    heic.click()
    expect(page.locator("#viewer-picture")).to_have_text("This browser cannot show HEIC files.")
    with_events(page, lambda: held)
    held[0].continue_()
    expect(page.locator("#viewer-picture img")).to_be_visible()
    page.click("#viewer-close")
    expect(heic.locator("img")).to_be_visible()
    expect(page.locator("#figures")).to_contain_text("2 pictures labelled")


def test_a_single_heic_picture_is_shown_large(
    service: LocalService, new_page: NewPage, formats: dict[str, Path]
) -> None:
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#pictures", formats["heic"])
    expect(page.locator("#single-predictions li")).to_have_count(5)
    expect(page.locator("#single-picture img")).to_be_visible()
    words = "A small preview. This browser cannot show HEIC files."
    expect(page.locator("#single-picture")).to_have_text(words)
    page.click("#single-picture")  # a thumbnail has no more to show
    expect(page.locator("#single-picture")).not_to_have_class(re.compile("zoomed"))


def test_a_photo_is_decoded_at_a_part_of_its_size_and_stands_upright(
    idle_service: LocalService, new_page: NewPage, tmp_path: Path
) -> None:
    """Its pixels lie on their side, as a camera stores them that was held upright."""
    stored = Image.new("RGB", (1600, 1200), _RED)
    stored.paste(_BLUE, (800, 0, 1600, 1200))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    stored.save(tmp_path / "photo.jpg", exif=exif)
    page = new_page()
    page.route("**/parts/*", lambda route: None)
    page.goto(idle_service.base_url)
    page.set_input_files("#pictures", [tmp_path / "photo.jpg", tmp_path / "photo.jpg"])
    image = page.locator(".cell img").first
    expect(image).to_have_js_property("complete", True)
    assert image.evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [224, 224]
    red, green, blue, _, *lower = image.evaluate(_HALVES)
    assert red > 150 > blue and lower[2] > 150 > lower[0]
    page.click("#cancel")


@pytest.mark.long
@pytest.mark.alone  # The page takes a pause of the machine for one of the reader.
def test_a_window_that_moves_fast_decodes_no_pictures(
    idle_service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    page.add_init_script("""
      window.sent = 0;
      const { postMessage } = Worker.prototype;
      Worker.prototype.postMessage = function (data) { sent++; postMessage.call(this, data); };
    """)
    page.route("**/parts/*", lambda route: None)
    page.goto(idle_service.base_url)
    page.set_input_files("#pictures", noise(1000))
    expect(page.locator(".cell img").first).to_be_visible()
    sent = page.evaluate("""async () => {
      const frame = () => new Promise(requestAnimationFrame);
      let [before, last] = [null, performance.now()];
      for (let frames = 0; frames < 60; frames++) {
        await frame();
        const now = performance.now();
        scrollBy(0, 4 * (now - last));
        last = now;
        if (frames === 5) before = window.sent;
      }
      return window.sent - before;
    }""")
    assert sent <= 1  # the one that began before
    expect(page.locator(".cell img").last).to_be_visible()
    page.click("#cancel")


@pytest.mark.parametrize("kind", ["archive", "first file is damaged"])
def test_a_recent_job_has_a_picture(
    service: LocalService, new_page: NewPage, noise: Noise, tmp_path: Path, kind: str
) -> None:
    pictures = noise(3)
    damaged = tmp_path / "0.jpg"
    damaged.write_bytes(b"\xff\xd8\xff")
    chosen = [damaged, *pictures]
    if kind == "archive":
        chosen = [tmp_path / "holiday.zip"]
        with zipfile.ZipFile(chosen[0], "w") as members:
            for picture in pictures:
                members.write(picture, picture.name)
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#pictures", chosen)
    expect(page.locator("#figures")).to_contain_text("3 pictures labelled")
    page.click("#home")
    expect(page.locator("#recent li").first.locator("img")).to_be_visible()


def test_a_single_picture_that_fails_says_so(
    service: LocalService, new_page: NewPage, tmp_path: Path
) -> None:
    (tmp_path / "notes.jpg").write_text("no picture")
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#pictures", tmp_path / "notes.jpg")
    expect(page.locator("#figures")).to_have_text("This picture could not be labelled")
    expect(page.locator("#single-state")).to_contain_text("not a JPEG")
    expect(page.locator("#single-picture")).to_have_text("There is no preview of this picture.")


def cell(page: Page, name: str) -> Locator:
    return page.locator(f".cell[title='{name}']")
