"""Pictures are given to the page and get their labels."""

from __future__ import annotations

import base64
import re
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Route, expect
from skimage import data

from tests.page.conftest import NewPage, Noise
from tests.support.local_service import LocalService

_SAMPLES = Path(data.__file__).parent


def test_thumbnails_come_at_once_and_labels_follow(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#pictures", noise(70))
    expect(page.locator("#job-title")).to_have_text("70 pictures")
    expect(page.locator(".cell img").first).to_be_visible()
    expect(page.locator("#figures")).to_contain_text("70 pictures labelled")
    expect(page.locator("#progress")).to_have_attribute("aria-valuenow", "100")
    expect(page.locator(".cell").first).to_have_attribute("data-state", "succeeded")
    assert re.fullmatch(r"<?\d+ %", page.locator(".cell .share").first.inner_text())
    assert re.search(r"\?job=[0-9a-f]{32}$", page.url)
    expect(page.locator("#cancel")).to_be_hidden()


def test_labels_are_shown_while_the_job_runs(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    page.goto(service.base_url)
    # Two of three parts are held, so the job cannot end before them.
    held: list[Route] = []
    page.route(re.compile("/parts/[12]$"), lambda route: held.append(route))
    page.set_input_files("#pictures", noise(70))
    figures = page.locator("#figures")
    expect(figures).to_contain_text("32 of 70 done")
    expect(page.locator(".cell").first).to_have_attribute("data-state", "succeeded")
    expect(page.locator("#progress")).to_have_attribute("aria-valuenow", "45")
    held[0].continue_()
    expect(figures).to_contain_text(re.compile("(38|64) of 70 done"))
    expect(page.locator("#cancel")).to_be_visible()
    held[1].continue_()
    expect(figures).to_contain_text("70 pictures labelled")
    expect(page.locator("#figures")).to_contain_text("pictures per second")


def test_a_cat_is_called_a_cat(service: LocalService, new_page: NewPage, cats_label: str) -> None:
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#pictures", _SAMPLES / "chelsea.png")
    # A single picture is shown large, with all its labels at once.
    expect(page.locator("#single-predictions .label").first).to_have_text(cats_label)
    expect(page.locator("#single-predictions li")).to_have_count(5)
    expect(page.locator("#single-picture img")).to_be_visible()
    expect(page.locator("#filters")).to_be_hidden()
    expect(page.locator("#job-title")).to_have_text("chelsea.png")


@pytest.mark.parametrize("window", [(1200, 800), (390, 844)], ids=["desktop", "phone"])
def test_a_tall_picture_is_shown_whole(
    service: LocalService,
    new_page: NewPage,
    noise: Noise,
    tmp_path: Path,
    window: tuple[int, int],
) -> None:
    with Image.open(noise(1)[0]) as picture:
        picture.convert("RGB").resize((600, 1800)).save(tmp_path / "tall.png")
    width, height = window
    page = new_page(viewport={"width": width, "height": height})
    page.goto(service.base_url)
    page.set_input_files("#pictures", tmp_path / "tall.png")
    expect(page.locator("#single-predictions li")).to_have_count(5)
    frame, shown = (
        page.locator(f"#single-picture{each}").evaluate("(each) => each.clientHeight")
        for each in ("", " img")
    )
    assert shown == frame < 0.65 * height


def test_the_large_view_on_a_phone_can_be_closed_without_scrolling(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page(viewport={"width": 390, "height": 667})
    page.goto(service.base_url)
    page.set_input_files("#pictures", noise(2))
    expect(page.locator("#figures")).to_contain_text("2 pictures labelled")
    page.locator(".cell").first.click()
    expect(page.locator("#viewer-predictions li")).to_have_count(5)
    expect(page.locator("#viewer-close")).to_be_in_viewport(ratio=1)


def test_a_bad_picture_says_why_and_its_neighbours_get_their_labels(
    service: LocalService, new_page: NewPage, noise: Noise, tmp_path: Path
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes((_SAMPLES / "rocket.jpg").read_bytes()[:5000])
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#pictures", [*noise(2), text, cut])
    expect(page.locator("#figures")).to_contain_text(re.compile("2 pictures labelled.* · 2 failed"))
    expect(page.locator("[title='notes.txt']")).to_contain_text("not a JPEG, PNG")
    expect(page.locator("[title='cut.jpg']")).to_contain_text("The end of the picture is missing")


def test_a_file_that_is_too_large_is_refused_without_sending_all_of_it(
    service: LocalService, new_page: NewPage, tmp_path: Path
) -> None:
    large = tmp_path / "large.bmp"
    with large.open("wb") as file:
        file.write(b"BM")
        file.truncate(300 * 2**20)
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#pictures", large)
    expect(page.locator("#single-state")).to_contain_text("allowed")


def test_a_folder_is_read_with_its_inner_folders_and_other_files_are_skipped(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    first, second = noise(2)
    deep = first.parent / "deep"
    deep.mkdir()
    second.rename(deep / "10.png")
    first.rename(deep / "9.png")
    for name in ("Thumbs.db", ".DS_Store", "._9.png", "a.txt", "b.TXT", "film.mp4"):
        (deep.parent / name).write_text("")
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#folder", deep.parent)
    expect(page.locator("#job-title")).to_have_text("noise-2, 2 pictures")
    expect(page.locator("#notice")).to_contain_text("3 files were skipped: 2 .txt, 1 .mp4.")
    expect(page.locator("#figures")).to_contain_text("2 pictures labelled")
    expect(page.locator(".cell")).to_have_count(2)
    titles = page.locator(".cell").evaluate_all("cells => cells.map((cell) => cell.title)")
    assert titles == ["noise-2/deep/9.png", "noise-2/deep/10.png"]


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_pictures_are_dropped_or_pasted(
    service: LocalService, new_page: NewPage, noise: Noise, way: str
) -> None:
    page = new_page()
    page.goto(service.base_url)
    [picture] = noise(1)
    page.evaluate(
        """([way, name, text]) => {
          const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], name, { type: "image/png" }));
          const options = { bubbles: true, cancelable: true };
          document.body.dispatchEvent(way === "drop"
            ? new DragEvent("drop", { ...options, dataTransfer: transfer })
            : new ClipboardEvent("paste", { ...options, clipboardData: transfer }));
        }""",
        [way, picture.name, base64.b64encode(picture.read_bytes()).decode()],
    )
    expect(page.locator("#job-title")).to_have_text(picture.name)
    expect(page.locator("#single")).to_have_attribute("data-state", "succeeded")


def test_an_archive_becomes_a_job_of_its_members(
    service: LocalService, new_page: NewPage, noise: Noise, tmp_path: Path
) -> None:
    archive = tmp_path / "holiday.zip"
    with zipfile.ZipFile(archive, "w") as members:
        for picture in noise(3):
            members.write(picture, picture.name)
    page = new_page()
    page.goto(service.base_url)
    with zipfile.ZipFile(archive, "a") as members:
        for name in ("a.txt", "b.mp4", "c.txt", "__MACOSX/._a.txt"):
            members.writestr(name, "")
    page.set_input_files("#pictures", archive)
    expect(page.locator("#job-title")).to_have_text("holiday.zip")
    expect(page.locator("#notice")).to_contain_text("3 files were skipped: 2 .txt, 1 .mp4.")
    expect(page.locator("#figures")).to_contain_text("3 pictures labelled")
    expect(page.locator(".cell")).to_have_count(3)
    expect(page.locator(".cell").nth(2)).to_contain_text("noise 0002.png")


def test_an_archive_and_a_picture_that_are_chosen_together_are_both_shown(
    service: LocalService, new_page: NewPage, noise: Noise, tmp_path: Path
) -> None:
    archive = tmp_path / "holiday.zip"
    first, *others = noise(4)
    with zipfile.ZipFile(archive, "w") as members:
        for picture in others:
            members.write(picture, picture.name)
        members.writestr("notes.txt", "")
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#pictures", [first, archive])
    expect(page.locator("#job-title")).to_have_text(first.name)
    words = "holiday.zip is a job of its own. 1 file was skipped: 1 .txt."
    expect(page.locator("#notice-text")).to_have_text(words)
    expect(page.locator("#single")).to_have_attribute("data-state", "succeeded")
    page.click("#notice-action")
    expect(page.locator("#job-title")).to_have_text("holiday.zip")
    expect(page.locator("#figures")).to_contain_text("3 pictures labelled")


def test_a_sample_picture_can_be_tried(service: LocalService, new_page: NewPage) -> None:
    page = new_page()
    page.goto(service.base_url)
    page.get_by_role("button", name="Try the picture of a rocket").click()
    expect(page.locator("#job-title")).to_have_text("rocket.jpg")
    expect(page.locator("#single")).to_have_attribute("data-state", "succeeded")


def test_a_broken_archive_shows_the_reason(
    service: LocalService, new_page: NewPage, tmp_path: Path
) -> None:
    archive = tmp_path / "broken.zip"
    archive.write_bytes(b"PK\x03\x04 and nothing more")
    page = new_page(refusals=("the server responded with a status of 422",))
    page.goto(service.base_url)
    page.set_input_files("#pictures", archive)
    expect(page.locator("#notice")).to_contain_text("broken.zip: ")
    expect(page.locator("#job")).to_be_hidden()


def test_the_same_pictures_are_answered_from_the_cache_the_second_time(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    page.goto(service.base_url)
    pictures = noise(5)
    for cached in ("", "5 were classified before"):
        page.set_input_files("#pictures", pictures)
        expect(page.locator("#figures")).to_contain_text(
            re.compile(f"5 pictures labelled.*{cached}")
        )
    # An answer from the cache says nothing about the speed.
    expect(page.locator("#figures")).not_to_contain_text("per second")
