"""The confusion of classes as a picture (SVG)."""

from __future__ import annotations

from collections import Counter
from html import escape

#: Classes in the picture. More would be unreadable. Those with the most errors are shown.
_MOST = 40

_CELL = 18  #: Pixels.
_MARGIN = 180  #: For the names.
_LETTERS = 26  #: Of a name.


def heat_map(counts: Counter[tuple[str, str]]) -> str:
    """A row for each class and a column for each label. Dark: most pictures of the class."""
    names = _shown(counts)
    totals: Counter[str] = Counter()
    for (name, _), number in counts.items():
        totals[name] += number
    side = _MARGIN + _CELL * len(names)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" width="{side}"'
        ' font-family="sans-serif" font-size="11" role="img">',
        "<title>Confusion: a row for each class, a column for each label</title>",
    ]
    for place, name in enumerate(names):
        text, middle = escape(_short(name)), _MARGIN + _CELL * place + 13
        parts.append(f'<text x="{_MARGIN - 6}" y="{middle}" text-anchor="end">{text}</text>')
        parts.append(
            f'<text transform="translate({middle},{_MARGIN - 6}) rotate(-90)">{text}</text>'
        )
    for row, name in enumerate(names):
        for column, label in enumerate(names):
            parts.append(_cell(row, column, name, label, counts[name, label], totals[name]))
    return "\n".join([*parts, "</svg>"])


def _cell(row: int, column: int, name: str, label: str, number: int, total: int) -> str:
    share = number / total if total else 0.0
    colour = "#1a7f37" if name == label else "#b42318"
    return (
        f'<rect x="{_MARGIN + _CELL * column}" y="{_MARGIN + _CELL * row}" width="{_CELL - 1}"'
        f' height="{_CELL - 1}" fill="{colour}" fill-opacity="{0.05 + 0.95 * share:.3f}">'
        f"<title>{escape(name)} as {escape(label)}: {number} of {total}</title></rect>"
    )


def _shown(counts: Counter[tuple[str, str]]) -> list[str]:
    errors: Counter[str] = Counter()
    for (name, label), number in counts.items():
        for each in (name, label):
            errors[each] += number if name != label else 0
    order = sorted(errors, key=lambda name: (-errors[name], name))
    return sorted(order[:_MOST])


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
