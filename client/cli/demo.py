"""Classify a folder of pictures with a running service, and print a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from ..api import settings
from ..api.transport.retries import Retries
from ..api.service import ImageClassifier
from ..errors import ImageClassifierError, Refused
from ..text import escaped, path_text

#: Pictures that come with scikit-image.
SAMPLES = ("chelsea.png", "coffee.png", "rocket.jpg")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One picture's result. If `classified` is false, `label` is an error's code and message."""

    file: str
    classified: bool
    label: str
    probability: float | None = None
    #: Milliseconds in the queue, in preprocessing and in inference. None from the cache.
    durations: tuple[float, float, float] | None = None
    model_version: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 if at least one picture was classified."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="default: three sample pictures")
    parser.add_argument("--url", default=settings.url(), help="address of the service")
    options = parser.parse_args(arguments)
    try:
        pictures = sample_pictures() if options.folder is None else pictures_in(options.folder)
    except OSError as error:
        parser.error(f"{error.strerror}: {error.filename}")
    console = Console()
    try:
        rows = classify_all(pictures, options.url, console)
    except ImageClassifierError as error:
        parser.error(escaped(str(error)))
    except KeyboardInterrupt:
        return 130
    console.print(table(rows))
    console.print(Text(notice(options.url), style="bold"), end="")
    return 0 if any(row.classified for row in rows) else 1


def classify_all(pictures: Sequence[Path], url: str, console: Console) -> list[Row]:
    # Without retries: the table shows the errors.
    with ImageClassifier(url, retries=Retries(total_seconds=0)) as service:
        progress = track(pictures, "Classifying", console=console, transient=True)
        return [classify(service, picture) for picture in progress]


def notice(url: str) -> str:
    """The model's notice as a line. Empty if there is none, or if it cannot be read."""
    try:
        with ImageClassifier(url, retries=Retries(total_seconds=0)) as service:
            text = service.model_info().notice
    except ImageClassifierError:
        return ""
    return text and f"{escaped(text)}\n"


def sample_pictures() -> list[Path]:
    """Raises FileNotFoundError if scikit-image is not installed."""
    # Not imported: scikit-image takes seconds to import.
    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise FileNotFoundError(2, "give a folder, or install scikit-image for samples", "skimage")
    return [Path(package.origin).parent / "data" / name for name in SAMPLES]


def pictures_in(folder: Path) -> list[Path]:
    """Every file that is not hidden. The service recognises pictures by their content."""
    return sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))


def classify(service: ImageClassifier, picture: Path) -> Row:
    """Never raises: an error becomes the picture's row."""
    name = path_text(picture.name)
    try:
        answer = service.classify(picture)
    except OSError as error:
        return Row(file=name, classified=False, label=f"{type(error).__name__}: {error}")
    except Refused as error:
        return Row(file=name, classified=False, label=f"{error.code}: {error.message}")
    except ImageClassifierError as error:
        return Row(file=name, classified=False, label=str(error))
    best, spent = answer.predictions[0], answer.durations
    return Row(
        file=name,
        classified=True,
        label=best.class_name,
        probability=best.probability,
        durations=(spent.queue_ms, spent.preprocess_ms, spent.inference_ms) if spent else None,
        model_version=answer.model_version,
    )


def table(rows: Iterable[Row]) -> Table:
    rows = list(rows)
    # The version stands below the table. It is the only sign of random weights.
    versions = sorted({row.model_version for row in rows if row.model_version})
    caption = Text(", ".join(versions)) if versions else None
    result = Table(box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False, caption=caption)
    result.add_column("file", overflow="fold")
    result.add_column("label", overflow="fold")
    for name in ("probability", "queue\nms", "preprocess\nms", "inference\nms"):
        result.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        # As Text, because file names and messages may contain rich's markup.
        label = Text(escaped(row.label), style="" if row.classified else "red")
        probability = "" if row.probability is None else f"{row.probability:.1%}"
        result.add_row(Text(escaped(row.file)), label, probability, *_milliseconds(row))
    return result


def _milliseconds(row: Row) -> tuple[str, ...]:
    if row.durations:
        return tuple(f"{duration:.1f}" for duration in row.durations)
    return ("cached",) * 3 if row.classified else ("",) * 3


if __name__ == "__main__":
    sys.exit(main())
