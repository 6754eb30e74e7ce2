"""Names and labels can be read, and a picture can be seen from near."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image
from playwright.sync_api import expect

from tests.page.conftest import NewPage, Noise
from tests.support.local_service import LocalService

#: Whether an element shows all of its text, and whether it is inside the cell.
_END = """(end) => {
    const [inner, outer] = [end, end.closest(".cell")].map((each) => each.getBoundingClientRect());
    return end.scrollWidth <= end.clientWidth && inner.right <= outer.right;
}"""

#: Where the point of the window is in a picture, from 0 to 1, and the scale of the picture.
_IN_PICTURE = """([x, y]) => {
    const image = document.querySelector("#single-picture img");
    const box = image.getBoundingClientRect();
    const { naturalWidth: width, naturalHeight: height } = image;
    const scale = Math.min(box.width / width, box.height / height);
    const left = box.x + (box.width - width * scale) / 2;
    const top = box.y + (box.height - height * scale) / 2;
    return [(x - left) / (width * scale), (y - top) / (height * scale), scale];
}"""


def test_the_end_of_a_long_name_is_visible(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page()
    page.goto(service.base_url)
    pictures = noise(2)
    long = pictures[0].rename(pictures[0].with_name(f"{'holiday ' * 9}IMG_0123.png"))
    page.set_input_files("#pictures", [long, pictures[1]])
    names = page.locator(".cell .name")
    expect(names).to_have_text([long.name, pictures[1].name])
    end = names.first.locator("span").last
    assert end.evaluate(_END) and long.name.endswith(end.inner_text()), "the end is cut off"
    assert "IMG_0123.png" in end.inner_text()
    # A screen reader hears it as one word, and the pointer shows it.
    expect(page.get_by_role("button", name=long.name)).to_have_attribute("title", long.name)


def test_a_label_is_broken_between_words_only(
    service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    page = new_page(viewport={"width": 360, "height": 640})
    page.goto(service.base_url)
    page.set_input_files("#pictures", noise(2))
    label = page.locator(".cell[data-state=succeeded] .label").first
    for text in ("hippopotamus", "American Staffordshire terrier"):
        lines = label.evaluate(
            """(label, text) => {
                label.textContent = text;
                const [node] = label.childNodes;
                return text.split(" ").map((word) => {
                    const range = document.createRange();
                    range.setStart(node, text.indexOf(word));
                    range.setEnd(node, text.indexOf(word) + word.length);
                    return range.getClientRects().length;
                });
            }""",
            text,
        )
        assert lines == [1] * len(lines), f"a word of {text!r} is broken"
        assert label.evaluate("(label) => label.scrollHeight <= label.clientHeight"), text


def test_a_click_shows_the_pixels_of_a_photo_at_its_place(
    service: LocalService, new_page: NewPage, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.jpg"
    Image.effect_noise((4000, 3000), 80).save(photo)
    page = new_page()
    page.goto(service.base_url)
    page.set_input_files("#pictures", photo)
    expect(page.locator("#single-predictions li")).to_have_count(5)
    box = page.locator("#single-picture").bounding_box()
    assert box
    point = [box["x"] + 0.7 * box["width"], box["y"] + 0.4 * box["height"]]
    x, y, fitting = page.evaluate(_IN_PICTURE, point)
    page.mouse.click(*point)
    expect(page.locator("#single-picture")).to_have_class(re.compile("zoomed"))
    zoomed_x, zoomed_y, scale = page.evaluate(_IN_PICTURE, point)
    assert scale == 1 and fitting < 0.3
    assert abs(zoomed_x - x) < 0.001 and abs(zoomed_y - y) < 0.001, "another place is shown"
    page.mouse.click(*point)
    expect(page.locator("#single-picture")).not_to_have_class(re.compile("zoomed"))
    assert page.evaluate(_IN_PICTURE, point)[2] == fitting
