"""Recognises files that are no model at all, by how they begin."""

from __future__ import annotations

from pathlib import Path

from shared.errors import ModelError

#: What Git LFS puts in the place of a large file that it has not downloaded.
_POINTER = b"version https://git-lfs.github.com/"

#: Of a zip file, and of a pickle, which earlier releases of PyTorch wrote.
_CHECKPOINT = (b"PK", b"\x80")

#: Of the first field of an ONNX file.
_ONNX = b"\x08"

_SHOWN = 24  # Bytes of a file that a message shows.


def refuse_pointer(path: Path) -> None:
    """Raises ModelError if the file is a pointer of Git LFS."""
    if _head(path).startswith(_POINTER):
        raise ModelError(
            f"{path} is a pointer of Git LFS, not the file itself. Run `git lfs pull` beside it."
        )


def refuse_no_checkpoint(path: Path) -> None:
    """Raises ModelError if the file is none that `torch.save` writes.

    PyTorch takes any bytes for a pickle, and its error then speaks of Python objects.
    """
    refuse_pointer(path)
    head = _head(path)
    if head.startswith(_CHECKPOINT):
        return
    line = head[:_SHOWN].decode("latin-1").strip().partition("\n")[0].rstrip()
    begins = f"begins with {line!r}" if head else "is empty"
    advice = " If it is an ONNX file, let its name end with .onnx." if head[:1] == _ONNX else ""
    raise ModelError(f"{path} is no checkpoint of PyTorch: it {begins}.{advice}")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_POINTER))
