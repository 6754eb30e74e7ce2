"""`image-classifier jobs`, `status JOB`, `results JOB` and `cancel JOB`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from ..api.job import Job
from ..api.records import JobStatus
from ..errors import UsageError
from ..tables.formats import row_format
from ..tables.rows import EMBEDDING, Row, flat_columns, row
from ..tables.table import Table, check_new, check_table_path, rows_path
from ..text import count_text, escaped
from .connect import connect
from .exits import Exit
from .operator.table import moment, print_table
from .output import print_error, print_json, print_line
from .progress import duration
from .upload_options import add_embeddings, positive, seconds

_HEAD = ("JOB", "LANE", "STATE", "MADE", "PICTURES", "DONE", "FAILED")

_LEADING_COLUMNS = ("index", "name", "custom_id")

#: Rows that are written at a time.
_BATCH = 1000


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    listing = commands.add_parser("jobs", parents=[common], help="list your jobs, newest first")
    listing.add_argument(
        "--limit", type=positive, default=20, metavar="N", help="most jobs to list; default: 20"
    )
    listing.set_defaults(run=_list)
    status = commands.add_parser(
        "status", parents=[common], help="print the state and the counts of a job"
    )
    status.add_argument(
        "--wait", type=seconds, metavar="SECONDS", help="wait for the job's end, at most so long"
    )
    status.set_defaults(run=_status)
    results = commands.add_parser(
        "results", parents=[common], help="print or save the results of a job"
    )
    results.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="save a table that ends in .csv, .jsonl or .parquet; default: print CSV",
    )
    results.add_argument("--overwrite", action="store_true", help="replace an existing table")
    add_embeddings(results)
    results.set_defaults(run=_results)
    cancel = commands.add_parser(
        "cancel", parents=[common], help="cancel a job; finished results stay readable"
    )
    cancel.set_defaults(run=_cancel)
    for parser in (status, results, cancel):
        parser.add_argument("job", metavar="JOB", help="the id of a job")


def _list(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        first = list(islice(service.jobs(), options.limit + 1))
    jobs = first[: options.limit]
    if options.json:
        print_json([asdict(each) for each in jobs])
    else:
        print_table(_HEAD, [_line(each) for each in jobs], empty="There are no jobs.")
        if len(first) > len(jobs):
            print_error(f"There are more jobs than these {options.limit:,}. Use --limit N.")
    return Exit.OK


def _line(job: JobStatus) -> Sequence[object]:
    counts = job.counts
    done = counts.succeeded + counts.failed
    return (job.id, job.lane, job.state, moment(job.created_at), counts.total, done, counts.failed)


def _status(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        job = service.job(options.job)
        status = job.status() if options.wait is None else job.wait(options.wait)
    _print_status(status, options)
    return _exit_status(status)


def _cancel(options: argparse.Namespace) -> Exit:
    with connect(options) as service:
        status = service.job(options.job).cancel()
    _print_status(status, options)
    if status.state == "completed":
        print_error("Nothing was cancelled: the job had ended.")
    return Exit.OK


def _results(options: argparse.Namespace) -> Exit:
    if options.embeddings and not (options.output or options.json):
        raise UsageError("--embeddings needs --output FILE, or --json.")
    if options.output:
        check_table_path(options.output, embeddings=options.embeddings)
        check_new(options.output, overwrite=options.overwrite)
    with connect(options) as service:
        job = service.job(options.job)
        status = job.status()
        columns = flat_columns(_LEADING_COLUMNS, status.top_k, with_threshold=True)
        columns += [EMBEDDING] if options.embeddings else []
        rows = _rows(job, embeddings=options.embeddings)
        if options.output:
            _save(options.output, columns, rows)
        else:
            _print(rows, columns, ".jsonl" if options.json else ".csv")
    if not status.ended:
        print_error(f"Job {job.id} is {status.state}, so some results are missing.")
        return Exit.NOT_FINISHED
    if status.counts.failed:
        failed = count_text(status.counts.failed, "picture")
        print_error(f"{failed} of job {job.id} failed. The rows say why.")
    return _exit_status(status)


def _rows(job: Job, *, embeddings: bool) -> Iterator[Row]:
    for item in job.results(embeddings=embeddings):
        yield row(item, index=item.index, name=item.name, custom_id=item.custom_id)


def _print(rows: Iterator[Row], columns: list[str], suffix: str) -> None:
    # Bytes, because print() would change the line ends of CSV.
    out = sys.stdout.buffer
    lines = row_format(suffix, columns)
    out.write(lines.head().encode())
    is_terminal = sys.stdout.isatty()
    while batch := list(islice(rows, _BATCH)):
        out.write(lines.text(map(_escaped, batch) if is_terminal else batch).encode())
    out.flush()


def _escaped(value: Any) -> Any:
    """A row whose text cannot steer a terminal. A file or a pipe gets the text as it is."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, dict):
        return {name: _escaped(each) for name, each in value.items()}
    return [_escaped(each) for each in value] if isinstance(value, list) else value


def _save(output: Path, columns: list[str], rows: Iterator[Row]) -> None:
    """Write under another name first, so that a file named `output` is complete."""
    unfinished = output.with_name(f".{output.name}.{os.getpid()}{output.suffix}")
    table = Table(unfinished, columns)
    try:
        while batch := list(islice(rows, _BATCH)):
            table.append(batch)
        table.commit()
        table.finish()
        os.replace(unfinished, output)
    finally:
        table.close()
        for path in (unfinished, rows_path(unfinished)):
            path.unlink(missing_ok=True)


def _print_status(status: JobStatus, options: argparse.Namespace) -> None:
    if options.json:
        return print_json(asdict(status))
    for line in _lines(status):
        print_line(line)


def _exit_status(status: JobStatus) -> Exit:
    fine = status.state != "cancelled" and not status.counts.failed
    return Exit.OK if fine else Exit.SOME_FAILED


def _lines(status: JobStatus) -> Iterable[str]:
    counts = status.counts
    yield f"{status.id}: {status.state}"
    total = count_text(counts.total, "picture")
    yield f"{counts.succeeded:,} of {total} classified, {counts.failed:,} failed"
    if counts.cancelled:
        yield f"{counts.cancelled:,} cancelled"
    if counts.received is not None and counts.received < counts.total and not status.ended:
        yield f"{counts.received:,} received"
    if status.position:
        yield count_text(
            status.position,
            "picture of another job comes first",
            "pictures of other jobs come first",
        )
    if status.estimated_seconds is not None:
        yield f"about {duration(status.estimated_seconds)} left"
