"""The report of an evaluation: one HTML page, without scripts, that shows the worst pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import accuracy, label_errors
from .figures import shown
from .heat_map import heat_map
from .judged import Judged, Pictures
from .several_labels import Labelled, classes

#: Pictures in each gallery.
_GALLERY = 60

_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; img-src file: http: https:">
<title>Evaluation</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse } th, td { padding: .2rem .8rem .2rem 0; text-align: right }
th:first-child, td:first-child { text-align: left } .scroll { overflow: auto; max-height: 30rem }
ul { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)) }
ul { list-style: none; padding: 0 } li { overflow-wrap: anywhere } small { color: #667085 }
img { width: 100%; height: 9rem; object-fit: contain; background: #f2f4f7 }
</style>
"""


_MARGIN = (
    "<p>The margin is the probability of the likely label less that of the label that the picture"
    " has.</p>"
)


def write_report(
    folder: Path,
    figures: Mapping[str, Any],
    pictures: Pictures,
    *,
    images: Path,
    files: Mapping[str, str],
) -> None:
    """Write `report.html` and `confusion.svg` into `folder`. Raises OSError.

    `images` is the folder of the pictures, and `files` has the path of each picture in it.
    """
    judged = pictures.judged
    svg = heat_map(accuracy.confusion(judged))
    gallery = _Gallery(os.path.relpath(images, folder), files)
    wrong = sorted((each for each in judged if not each.is_right), key=lambda p: -p.probability)
    suspects = label_errors.suspects(judged)
    parts = [
        _HEAD,
        "<h1>Evaluation</h1>",
        _summary(figures),
        f"<h2>Wrong, and sure of it</h2>{gallery.of_wrong(wrong)}",
        f"<h2>Likely label errors</h2>{_MARGIN}{gallery.of_suspects(suspects)}",
        "<h2>Confusion</h2><p>A row for each class, a column for each label.</p>",
        f'<div class="scroll">{svg}</div>',
        _table(
            "Thresholds",
            ("a label with at least", "pictures that have one", "of these right"),
            (
                (f"{each['threshold']:.2f}", _percent(each["answered"]), _percent(each["right"]))
                for each in figures["thresholds"]
            ),
        ),
        _classes(accuracy.classes(judged)),
    ]
    (folder / "confusion.svg").write_text(svg, encoding="utf-8")
    (folder / "report.html").write_text("\n".join(parts), encoding="utf-8")


def write_report_of_several(
    folder: Path,
    figures: Mapping[str, Any],
    pictures: Sequence[Labelled],
    *,
    images: Path,
    files: Mapping[str, str],
) -> None:
    """The same for pictures with several labels. Raises OSError."""
    gallery = _Gallery(os.path.relpath(images, folder), files)
    different = [each for each in pictures if each.wrong or each.missing]
    worst = sorted(different, key=lambda each: -len(each.wrong | each.missing))
    rows = [
        ("model", ", ".join(figures["model_versions"])),
        ("pictures", f"{figures['pictures']:,}"),
        ("failed", f"{figures['failed']:,}"),
        ("all labels right, and none missing", share_text(figures["exact"])),
    ]
    rows += [
        (f"{mean} {name}", _percent(value))
        for mean in ("micro", "macro")
        for name, value in figures[mean].items()
    ]
    parts = [
        _HEAD,
        "<h1>Evaluation</h1>",
        _table("", (), rows),
        f"<h2>Most wrong and missing labels</h2>{gallery.of_several(worst)}",
        _classes(classes(pictures)),
    ]
    (folder / "report.html").write_text("\n".join(parts), encoding="utf-8")


def _classes(each_class: Iterable[accuracy.ClassFigures]) -> str:
    return _table(
        "Classes",
        ("class", "pictures", "precision", "recall", "F1"),
        (
            (
                each.name,
                f"{each.pictures:,}",
                *(_percent(share) or "-" for share in shown(each)),
            )
            for each in each_class
        ),
    )


class _Gallery:
    def __init__(self, folder: str, files: Mapping[str, str]) -> None:
        self._folder = folder
        self._files = files

    def of_wrong(self, pictures: Sequence[Judged]) -> str:
        return self._list(
            (each.path, f"{each.label}, {_percent(each.probability)}", f"right: {each.truth}")
            for each in pictures[:_GALLERY]
        )

    def of_suspects(self, suspects: Sequence[label_errors.Suspect]) -> str:
        return self._list(
            (
                each.picture.path,
                f"likely {each.label}, margin {each.margin:.2f}",
                f"labelled: {each.picture.truth}",
            )
            for each in suspects[:_GALLERY]
        )

    def of_several(self, pictures: Sequence[Labelled]) -> str:
        return self._list(
            (each.path, f"wrong: {_names(each.wrong)}", f"missing: {_names(each.missing)}")
            for each in pictures[:_GALLERY]
        )

    def _list(self, items: Iterable[tuple[str, str, str]]) -> str:
        shown = [
            f'<li><img loading="lazy" alt="" src="{self._source(path)}">'
            f"<br>{escape(first)}<br>{escape(second)}<br><small>{escape(path)}</small></li>"
            for path, first, second in items
        ]
        return f"<ul>{''.join(shown)}</ul>" if shown else "<p>None.</p>"

    def _source(self, path: str) -> str:
        return quote(os.fsencode(os.path.join(self._folder, self._files.get(path, path))))


def _names(labels: Iterable[str]) -> str:
    return ", ".join(sorted(labels)) or "none"


def _summary(figures: Mapping[str, Any]) -> str:
    rows = [
        ("model", ", ".join(figures["model_versions"])),
        ("pictures", f"{figures['pictures']:,}"),
        ("failed", f"{figures['failed']:,}"),
        ("top-1", share_text(figures["top_1"])),
        ("top-5", share_text(figures["top_5"])),
        ("calibration error", _percent(figures["calibration_error"])),
        ("a label reaches its threshold", _percent(figures["labelled"]["answered"])),
        ("of these right", _percent(figures["labelled"]["right"])),
    ]
    best = figures["temperature"]
    if best and best["helps"]:
        rows += [
            ("best temperature", f"{best['temperature']:.2f}"),
            ("calibration error of the table's labels", _percent(best["error_before"])),
            ("the same with this temperature", _percent(best["error_after"])),
        ]
    elif best:
        rows.append(("temperature", no_temperature_text(best)))
    return _table("", (), rows)


def share_text(share: Mapping[str, Any]) -> str:
    """`81.5 % (79.7 to 83.1 %)`."""
    return f"{_percent(share['share'])} ({100 * share['low']:.1f} to {100 * share['high']:.1f} %)"


def no_temperature_text(best: Mapping[str, Any]) -> str:
    """Why the best temperature is not advised."""
    return (
        "none makes the probabilities surely better (the best is between"
        f" {best['low']:.2f} and {best['high']:.2f})"
    )


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows
    )
    heading = f"<h2>{escape(title)}</h2>" if title else ""
    return f'{heading}<div class="scroll"><table><tr>{head}</tr>\n{body}</table></div>'


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
