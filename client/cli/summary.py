"""The summary at the end of an upload."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..upload.writer import Failure
from ..upload.skipped import skipped_line
from ..text import count_text, size_text
from .progress import duration


def summary(
    output: Path,
    counts: Mapping[str, int],
    work: Mapping[str, int],
    seconds: float,
    *,
    skipped: Mapping[str, int],
    failures: Sequence[Failure] = (),
    not_written: int = 0,
) -> dict[str, Any]:
    """The contents of the table by `counts`, and what this run has done by `work`.

    `skipped` are the files that were not sent, by kind. `failures` are the first ones of this run.
    `not_written` pictures are done, and a run that ended early did not write their rows.
    """
    codes = {key.removeprefix("code:"): n for key, n in counts.items() if key.startswith("code:")}
    states = {state: counts[state] for state in ("succeeded", "failed", "cancelled")}
    names = ("added", "below_threshold", "duplicates", "known", "uploaded", "bytes", "changed")
    return {
        "output": str(output),
        "pictures": sum(states.values()),
        **states,
        "errors": codes,
        "not_written": not_written,
        "skipped": dict(skipped),
        "first_failures": [{"path": each.path, **asdict(each.error)} for each in failures],
        **{name: work[name] for name in names},
        "seconds": round(seconds, 2),
    }


def summary_lines(summary: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{summary['output']}: {count_text(summary['pictures'], 'picture')},"
        f" {summary['succeeded']:,} classified,"
        f" {summary['failed']:,} failed"
    )
    yield from _not_written(summary["not_written"])
    if summary["cancelled"]:
        yield f"  {summary['cancelled']:,} cancelled"
    for code, number in sorted(summary["errors"].items()):
        yield f"  {number:,} {code}"
    if first := summary["first_failures"]:
        yield "  the first failures of this run:"
        for each in first:
            yield f"    {each['path']}: {each['message']}"
    if states := [each for each in ("failed", "cancelled") if summary[each]]:
        yield (
            f"  their rows in {summary['output']} have the state {' or '.join(states)};"
            " --retry-failed classifies them again"
        )
    yield (
        f"  this run: {count_text(summary['added'], 'picture')} in {duration(summary['seconds'])},"
        f" {summary['uploaded']:,} sent ({size_text(summary['bytes'])}),"
        f" {summary['known']:,} from the service's cache,"
        f" {count_text(summary['duplicates'], 'duplicate')}"
    )
    yield from _below(summary["below_threshold"])
    if summary["skipped"]:
        yield f"  {skipped_line(summary['skipped'])}"
    if summary["changed"]:
        yield f"  {summary['changed']:,} changed while they were uploaded"


def _below(pictures: int) -> Iterator[str]:
    if pictures:
        yield f"  {pictures:,} of this run have no label, because none reaches its threshold"


def _not_written(pictures: int) -> Iterator[str]:
    if pictures:
        more = count_text(pictures, "more picture is", "more pictures are")
        rows, them = ("its row", "it") if pictures == 1 else ("their rows", "them")
        yield f"  at least {more} done; --resume adds {rows} and does not send {them} again"
