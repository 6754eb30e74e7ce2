"""The labelled pictures: `train/<class>/*.jpg` and `test/<class>/*.jpg`."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image


class Labelled(NamedTuple):
    label: str
    content: bytes  #: Of the file.


@dataclass(frozen=True, kw_only=True)
class Pictures:
    pixels: torch.Tensor  #: uint8 RGB of shape (n, 3, side, side).
    classes: torch.Tensor  #: int64 of shape (n,).


def read_files(data: Path) -> dict[str, list[Labelled]]:
    """The files of each split, `train` and `test`, sorted by class and name.

    `data` is a folder or a tar archive of it. Raises OSError or tarfile.TarError if it cannot be
    read, ValueError if a split has no pictures.
    """
    # A folder lists its files in another order than an archive.
    members = sorted(_members(data), key=lambda each: each[0])
    splits: dict[str, list[Labelled]] = {"train": [], "test": []}
    for path, content in members:
        splits[path.parts[-3]].append(Labelled(path.parts[-2], content))
    for split, files in splits.items():
        if not files:
            raise ValueError(f"{data} has no pictures named {split}/<class>/<name>.jpg")
    return splits


def decoded(files: Sequence[Labelled], labels: Sequence[str]) -> Pictures:
    """All pictures in one tensor. Raises ValueError if sizes differ or a label is unknown."""
    pixels = [np.asarray(Image.open(io.BytesIO(each.content)).convert("RGB")) for each in files]
    return Pictures(
        pixels=torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(),
        classes=torch.tensor([labels.index(each.label) for each in files]),
    )


def _members(data: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    if data.is_dir():
        for split in ("train", "test"):
            for path in data.glob(f"{split}/*/*.jpg"):
                yield PurePosixPath(*path.parts[-3:]), path.read_bytes()
        return
    with tarfile.open(data) as archive:
        for member in archive:
            if member.name.endswith(".jpg") and (file := archive.extractfile(member)):
                yield PurePosixPath(member.name), file.read()
