"""`image-classifier status JOB`, `results JOB`, `cancel JOB`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from .command import Exit, connect, print_json
from ..api.job import Job
from ..upload.progress import duration
from ..api.records import JobStatus
from ..tables.rows import Row, flat_columns, row, row_format
from ..tables.tables import Table, check_format, rows_path

_LEADING = ("index", "name", "custom_id")

#: Rows that are written at a time.
_ROWS = 1000


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    status = commands.add_parser("status", parents=[common], help="state and counts of a job")
    status.add_argument("--wait", type=float, metavar="SECONDS", help="wait for its end")
    status.set_defaults(run=_status)
    results = commands.add_parser("results", parents=[common], help="results of a job as a table")
    results.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help=".csv, .jsonl or .parquet; default: CSV, printed",
    )
    results.set_defaults(run=_results)
    cancel = commands.add_parser("cancel", parents=[common], help="end a job; what is done stays")
    cancel.set_defaults(run=_cancel)
    for parser in (status, results, cancel):
        parser.add_argument("job", metavar="JOB")


def _status(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        job = service.job(options.job)
        status = job.status() if options.wait is None else job.wait(options.wait)
    return _tell(status, options)


def _cancel(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        status = service.job(options.job).cancel()
    _tell(status, options)
    return Exit.OK


def _results(options: argparse.Namespace) -> Exit:
    """The rows as they are now, also while the job runs."""
    if options.output:
        check_format(options.output)
    with connect(options) as service:
        job = service.job(options.job)
        status = job.status()
        columns = flat_columns(_LEADING, status.top_k)
        rows = _rows(job)
        if options.output:
            _write(options.output, columns, rows)
        else:
            _print(rows, columns, ".jsonl" if options.json else ".csv")
    if not status.ended:
        print(f"job {job.id} is {status.state}: not all is done", file=sys.stderr)
        return Exit.NOT_FINISHED
    return _exit_status(status)


def _rows(job: Job) -> Iterator[Row]:
    for item in job.results():
        yield row(item, index=item.index, name=item.name, custom_id=item.custom_id)


def _print(rows: Iterator[Row], columns: list[str], suffix: str) -> None:
    # As they are: print() would turn the line ends of CSV into others.
    out = sys.stdout.buffer
    lines = row_format(suffix, columns)
    out.write(lines.head().encode())
    while some := list(islice(rows, _ROWS)):
        out.write(lines.text(some).encode())
    out.flush()


def _write(output: Path, columns: list[str], rows: Iterator[Row]) -> None:
    """Under another name first: a file that is there is whole."""
    unfinished = output.with_name(f".{output.name}.{os.getpid()}{output.suffix}")
    table = Table(unfinished, columns)
    try:
        while some := list(islice(rows, _ROWS)):
            table.append(some)
        table.commit()
        table.finish()
        os.replace(unfinished, output)
    finally:
        table.close()
        for left in (unfinished, rows_path(unfinished)):
            left.unlink(missing_ok=True)


def _tell(status: JobStatus, options: argparse.Namespace) -> Exit:
    if options.json:
        print_json(asdict(status))
    else:
        print("\n".join(_lines(status)))
    return _exit_status(status)


def _exit_status(status: JobStatus) -> Exit:
    fine = status.state != "cancelled" and not status.counts.failed
    return Exit.OK if fine else Exit.SOME_FAILED


def _lines(status: JobStatus) -> Iterable[str]:
    counts = status.counts
    yield f"{status.id}: {status.state}"
    yield f"{counts.succeeded:,} of {counts.total:,} pictures classified, {counts.failed:,} failed"
    if counts.cancelled:
        yield f"{counts.cancelled:,} cancelled"
    if counts.received is not None and counts.received < counts.total and not status.ended:
        yield f"{counts.received:,} received"
    if status.position:
        yield f"{status.position:,} pictures are ahead of it"
    if status.estimated_seconds is not None:
        yield f"about {duration(status.estimated_seconds)} left"
