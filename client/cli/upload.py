"""`image-classifier upload FOLDER`: a table of its pictures' labels."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from .command import Exit, connect, print_json, told_of_disk
from ..errors import ImageClassifierError, UsageError
from ..upload.journal import Journal
from ..api.names import shown
from ..upload.planner import Planner
from ..upload.progress import Progress, duration, progress_for
from ..api.retries import Retries
from ..tables.rows import flat_columns
from ..api.service import CONCURRENCY
from ..tables.tables import Table, check_format, rows_path
from ..upload.upload import TooManyFailures, Upload
from ..upload.walk import PICTURES, Walk

#: How long one request may go on failing: a service that restarts, or has enough to do.
_PATIENCE_SECONDS = 900


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "upload",
        parents=[common],
        help="classify a folder into a table",
        description="Classify the pictures of a folder into a table. It can be ended at any moment"
        " and gone on with by --resume.",
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER")
    add("--recursive", action="store_true", help="with the folders inside")
    add("--include", action="append", metavar="PATTERN", help=f"default: {' '.join(PICTURES)}")
    add("--exclude", action="append", metavar="PATTERN", default=[], help="files or folders")
    add("--top-k", type=int, default=1, choices=range(1, 11), metavar="1-10")
    add("--concurrency", type=_positive, default=CONCURRENCY, help="requests side by side")
    add(
        *("--output",),
        type=Path,
        default=Path("results.csv"),
        metavar="FILE",
        help=".csv, .jsonl or .parquet; default: results.csv",
    )
    add("--resume", action="store_true", help="go on where an earlier run ended")
    add("--overwrite", action="store_true", help="replace a table that is there")
    add("--max-failures", type=int, metavar="N", help="stop when more pictures have failed")
    add("--watch", action="store_true", help="go on looking for new files, until Ctrl-C")
    add(
        *("--patience",),
        type=float,
        default=_PATIENCE_SECONDS,
        metavar="SECONDS",
        help=f"give up when the service is away for longer; default: {_PATIENCE_SECONDS}",
    )
    parser.set_defaults(run=_run)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _run(options: argparse.Namespace) -> Exit:
    _check(options)
    started = time.monotonic()
    progress = progress_for(sys.stderr, silent=options.json)
    try:
        upload, status, why = _upload(options, progress)
    finally:
        progress.close()
    seconds = time.monotonic() - started
    summary = _summary(options, upload, seconds)
    if options.json:
        print_json(summary | {"jobs": upload.job_ids, "exit": status, "error": why})
    else:
        print("\n".join(_lines(summary)))
    if why:
        print(f"image-classifier: {why}; go on with --resume", file=sys.stderr)
    return status


def _check(options: argparse.Namespace) -> None:
    """Refuse before anything is done what cannot end well."""
    check_format(options.output)
    if not Path(options.folder).is_dir():
        raise UsageError(f"{shown(options.folder)} is not a folder")
    rows, journal = rows_path(options.output), _journal_path(options.output)
    if options.overwrite and options.resume:
        raise UsageError("--overwrite starts anew and --resume goes on: give one of them")
    if options.overwrite:
        for each in (options.output, rows, journal):
            each.unlink(missing_ok=True)
    elif not options.resume and (journal.exists() or rows.exists()):
        raise UsageError(
            f"{rows} is there: --resume goes on with it, --overwrite starts anew,"
            " and another --output keeps it"
        )
    elif options.resume and rows.exists() and not journal.exists():
        raise UsageError(f"{rows} cannot be gone on with: its {journal.name} is gone")


def _upload(options: argparse.Namespace, progress: Progress) -> tuple[Upload, Exit, str | None]:
    """The run, how it ended, and why where it was before its end."""
    walk = Walk(
        folder=options.folder,
        recursive=options.recursive,
        include=options.include or PICTURES,
        exclude=options.exclude,
    )
    header = {"folder": str(Path(options.folder).resolve()), "top_k": options.top_k}
    with ExitStack() as stack:
        service = stack.enter_context(connect(options, on_retry=_Patience(progress)))
        service.check()
        service.connection.retries = Retries(total_seconds=options.patience)
        journal = stack.enter_context(Journal(_journal_path(options.output), header))
        columns = flat_columns(["path"], options.top_k)
        table = Table(options.output, columns, length=journal.past.table_length)
        stack.callback(table.close)
        planner = Planner(
            walk=walk,
            left=lambda path, why: progress.tell(f"{shown(path)}: left out: {why}"),
            threads=options.concurrency,
            number=journal.past.next_number,
            planned=journal.past.paths,
            watch=options.watch,
        )
        upload = Upload(
            service,
            planner,
            journal,
            table,
            progress,
            top_k=options.top_k,
            concurrency=options.concurrency,
            max_failures=options.max_failures,
        )
        if not options.watch:
            threading.Thread(target=_count, args=(walk, progress), daemon=True).start()
        status, why = _outcome(upload, planner, table)
        return upload, status, why


def _outcome(upload: Upload, planner: Planner, table: Table) -> tuple[Exit, str | None]:
    try:
        with _ends_watching(planner):
            upload.run()
        table.finish()
    except TooManyFailures as error:
        return Exit.TOO_MANY_FAILURES, str(error)
    except ImageClassifierError as error:
        return Exit.SERVICE, str(error)
    except OSError as error:
        return Exit.DISK, told_of_disk(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED, "interrupted"
    failed = upload.counts["failed"] + upload.counts["cancelled"]
    return (Exit.SOME_FAILED if failed else Exit.OK), None


@contextmanager
def _ends_watching(planner: Planner) -> Iterator[None]:
    """While it watches, the first Ctrl-C or SIGTERM ends the watch and what was found is finished;
    the second interrupts."""
    if not planner.watch:
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def end(number: int, frame: object) -> None:
        planner.enough.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Patience:
    """Tells once that the service is away, not at every attempt of every thread."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._told_at = -60.0

    def __call__(self, error: ImageClassifierError, pause: float) -> None:
        now = time.monotonic()
        if now - self._told_at >= 30:
            self._told_at = now
            self._progress.tell(f"{error}; trying again")


def _count(walk: Walk, progress: Progress) -> None:
    """Beside the upload: how much is to come."""
    with suppress(OSError):  # the upload tells
        progress.total = walk.count()


def _journal_path(output: Path) -> Path:
    return output.with_name(output.name + ".journal")


def _summary(options: argparse.Namespace, upload: Upload, seconds: float) -> dict[str, Any]:
    """What the table holds, and what this run has done for it."""
    counts, done = upload.counts, upload.done
    codes = {key.removeprefix("code:"): n for key, n in counts.items() if key.startswith("code:")}
    states = {state: counts[state] for state in ("succeeded", "failed", "cancelled")}
    work = ("added", "duplicates", "known", "uploaded", "bytes", "changed")
    return {
        "output": str(options.output),
        "pictures": sum(states.values()),
        **states,
        "errors": codes,
        **{name: done[name] for name in work},
        "seconds": round(seconds, 2),
    }


def _lines(summary: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{summary['output']}: {summary['pictures']:,} pictures,"
        f" {summary['succeeded']:,} classified,"
        f" {summary['failed']:,} failed"
    )
    if summary["cancelled"]:
        yield f"  {summary['cancelled']:,} cancelled"
    for code, number in sorted(summary["errors"].items()):
        yield f"  {number:,} {code}"
    yield (
        f"  this run: {summary['added']:,} pictures in {duration(summary['seconds'])},"
        f" sent {summary['uploaded']:,} ({summary['bytes'] / 1e6:,.1f} MB),"
        f" {summary['known']:,} known to the service, {summary['duplicates']:,} duplicates"
    )
    if summary["changed"]:
        yield f"  {summary['changed']:,} changed while they were uploaded"
