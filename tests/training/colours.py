"""Pictures of one colour each, red or blue."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def draw_colours(folder: Path, *, train: int = 8, test: int = 2) -> Path:
    """Draw `train` and `test` pictures of each colour; returns their folder."""
    for split, pictures in (("train", train), ("test", test)):
        for label, colour in (("red", (200, 20, 30)), ("blue", (30, 20, 200))):
            of_label = folder / "colours" / split / label
            of_label.mkdir(parents=True)
            for i in range(pictures):
                Image.new("RGB", (32, 32), colour).save(of_label / f"{i:04}.jpg")
    return folder / "colours"
