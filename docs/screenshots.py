"""`python -m docs.screenshots`: makes the README's pictures of the page.

It starts a service, opens the page in Chromium and uploads sample pictures of scikit-image. The
labels are those of the model that MODEL_WEIGHTS names.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from skimage import data

from tests.support.local_service import local_service

_IMAGES = Path(__file__).parent / "images"
_SAMPLES = Path(data.__file__).parent
_NAMES = """
    astronaut.png camera.png cell.png chelsea.png coffee.png grass.png
    horse.png motorcycle_left.png motorcycle_right.png retina.jpg rocket.jpg
""".split()

#: A palette makes the files four times smaller, and the difference is not visible in a README.
_COLOURS = 256


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, _service(Path(folder)) as url:
        pictures = Path(folder) / "samples"
        pictures.mkdir()
        for name in _NAMES:
            shutil.copy(_SAMPLES / name, pictures)
        (pictures / "broken.jpg").write_bytes((_SAMPLES / "rocket.jpg").read_bytes()[:20_000])
        with sync_playwright() as playwright:
            chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = _classified(browser, url, pictures)
            _save(page, "page")
            page.set_input_files("#pictures", pictures / "chelsea.png")
            expect(page.locator("#single-predictions li")).to_have_count(5)
            _save(page, "picture")
            _save(_classified(browser, url, pictures, color_scheme="dark"), "page-dark")
            size = {"width": 390, "height": 780}
            phone = {"viewport": size, "is_mobile": True, "has_touch": True}
            _save(_classified(browser, url, pictures, **phone), "phone")
            browser.close()


@contextmanager
def _service(folder: Path) -> Iterator[str]:
    own = {"DATA_DIR": str(folder / "data"), "WEB_PROCESSES": "1", "WORKER_PROCESSES": "1"}
    own["FLOWER_URL"] = "http://127.0.0.1:5555"
    with local_service(folder, os.environ | own) as service:
        service.start_all()
        yield service.base_url


def _classified(browser: Browser, url: str, pictures: Path, **look: object) -> Page:
    wide = {"viewport": {"width": 1120, "height": 800}}
    page = browser.new_context(**{**wide, **look}).new_page()  # type: ignore[arg-type]
    page.goto(url)
    page.set_input_files("#folder", pictures)
    expect(page.locator("#figures")).to_contain_text(f"{len(_NAMES)} pictures labelled")
    expect(page.locator("#status")).to_contain_text("Ready")
    return page


def _save(page: Page, name: str) -> None:
    page.wait_for_timeout(1000)  # until the animations have ended
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    small = image.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT)
    small.save(_IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
