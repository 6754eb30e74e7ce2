"""`image-classifier upload FOLDER`: the labels of a folder's pictures as a table."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import Any

from ..api.transport.retries import Retries
from ..errors import ImageClassifierError, TooManyOutstanding, UsageError
from ..tables.rows import EMBEDDING, flat_columns
from ..tables.table import Table, check_table_path
from ..text import path_text
from ..upload.files import Files
from ..upload.journal import Journal
from ..upload.planner import Planner
from ..upload.progress import Progress
from ..upload.skipped import FOLDERS, Skipped
from ..upload.retry import Retry
from ..upload.upload import TooManyFailures, Upload
from ..upload.walk import PICTURES, Walk
from . import first_questions, upload_options
from .connect import connect
from .exits import Exit
from .output import disk_message, print_error, print_json, print_line, service_message
from .progress import duration, progress_for
from .summary import summary, summary_lines

_NOTHING_SENT = "No picture was sent, and no table was made."

#: Time between two reports that the service does not answer.
_REPORT_SECONDS = 30


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    upload_options.add_to(commands, common, _run)


def _run(options: argparse.Namespace) -> Exit:
    options.resume = options.resume or options.retry_failed
    result, status, error, advice = run(options)
    if options.json:
        print_json(result | {"exit": status, "error": error})
    elif not error or result["jobs"] or result["pictures"]:
        for line in summary_lines(result):
            print_line(line)
    if sentences := [each.removesuffix(".") + "." for each in (error, advice) if each]:
        print_error(f"image-classifier: {' '.join(sentences)}")
    return status


def run(options: argparse.Namespace) -> tuple[dict[str, Any], Exit, str | None, str | None]:
    """Upload the folder. Returns the summary, the exit status, and why it ended early if it did.
    The last one is what the user may do next.

    Raises UsageError, and errors of the service and the disk before the first picture.
    """
    files = Files(options.output)
    _check(options, files)
    had_table = files.exist() and not options.overwrite
    started = time.monotonic()
    progress = progress_for(sys.stderr, silent=options.json)
    skipped = Skipped(
        lambda path, why: progress.report(f"{path_text(path)}: skipped: {why}"),
        show=options.show_skipped,
    )
    try:
        upload, status, error = _upload(options, files, progress, skipped)
    finally:
        progress.close()
    sent_nothing = error and not had_table and not upload.job_ids and not upload.counts
    if sent_nothing:
        files.remove()
    result = summary(
        options.output,
        upload.counts,
        upload.work,
        time.monotonic() - started,
        skipped=skipped.kinds,
        failures=upload.failures,
        not_written=upload.not_written,
    )
    return (
        result | {"jobs": upload.job_ids},
        status,
        error,
        _NOTHING_SENT if sent_nothing else _advice(options, upload, error, skipped),
    )


def _advice(
    options: argparse.Namespace, upload: Upload, error: str | None, skipped: Skipped
) -> str | None:
    """What the user may do after this run, if there is anything."""
    if error and error == str(upload.too_many):
        left = "Some pictures are left. Continue with --resume."
        return "All pictures are done." if upload.is_done else left
    if error:
        return "Continue with --resume."
    return None if upload.counts else _no_pictures(options, skipped)


def _no_pictures(options: argparse.Namespace, skipped: Skipped) -> str:
    """Why a table is empty."""
    folder = path_text(options.folder)
    chosen = options.include or options.exclude
    text = f"{folder} has no file that you chose." if chosen else f"{folder} has no pictures."
    if skipped.kinds[FOLDERS]:
        text += " --recursive reads the folders inside."
    return text


def _check(options: argparse.Namespace, files: Files) -> None:
    """Raises UsageError before anything is done, if the arguments cannot work."""
    check_table_path(options.output, embeddings=options.embeddings)
    _check_folder(options.folder)
    files.check(
        resume=options.resume, overwrite=options.overwrite, retry_failed=options.retry_failed
    )


def _check_folder(folder: str) -> None:
    shown = path_text(folder)
    if Path(folder).is_file():
        raise UsageError(
            f"{shown} is a file. If it is an archive, unpack it first. Classify a picture with:"
            f" image-classifier classify {quote(shown)}"
        )
    if not Path(folder).is_dir():
        raise UsageError(f"{shown} is not a folder.")


def _upload(
    options: argparse.Namespace, files: Files, progress: Progress, skipped: Skipped
) -> tuple[Upload, Exit, str | None]:
    """Returns the run, its exit status, and an error message if it ended early."""
    walk = Walk(
        folder=options.folder,
        recursive=options.recursive,
        include=options.include or PICTURES,
        exclude=options.exclude,
    )
    header = {
        "folder": str(Path(options.folder).resolve()),
        "top_k": options.top_k,
        "raw_path": options.raw_path,
        "min_score": options.min_score,
        "embeddings": options.embeddings,
    }
    with ExitStack() as stack:
        service = stack.enter_context(
            connect(
                options,
                on_retry=_RetryReports(progress),
                retries=first_questions.retries(options.patience),
            )
        )
        first_questions.check_key(service)
        if options.embeddings:
            first_questions.check_embedding(service)
        if options.overwrite:
            files.remove()
        journal = stack.enter_context(Journal(files.journal, header))
        if (begun := journal.past.model_version) and not options.any_model:
            first_questions.check_model(service, begun, str(options.output))
        service.connection.retries = Retries(total_seconds=options.patience)
        leading = ["path", "raw_path"] if options.raw_path else ["path"]
        # An earlier release may have begun this table with fewer columns.
        with_threshold = journal.past.columns > 1
        columns = flat_columns(leading, options.top_k, with_threshold=with_threshold)
        columns += [EMBEDDING] if options.embeddings else []
        retry = Retry(journal, files.rows)
        retry.finish()
        if options.retry_failed:
            retry.begin()
        table = Table(options.output, columns, length=journal.past.table_length)
        stack.callback(table.close)
        planner = Planner(
            walk=walk,
            on_skip=skipped,
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
            min_score=options.min_score,
            embeddings=options.embeddings,
            concurrency=options.concurrency,
            max_failures=options.max_failures,
            raw_path=options.raw_path,
        )
        if not options.watch:
            threading.Thread(target=_count, args=(planner, progress), daemon=True).start()
        status, error = _outcome(upload, planner, table)
        return upload, status, error


def _outcome(upload: Upload, planner: Planner, table: Table) -> tuple[Exit, str | None]:
    try:
        with _watch_ended_by_signals(planner):
            upload.run()
        table.finish()
    except TooManyFailures as error:
        return Exit.TOO_MANY_FAILURES, str(error)
    except ImageClassifierError as error:
        return Exit.SERVICE, service_message(error)
    except OSError as error:
        return Exit.DISK, disk_message(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED, "interrupted"
    if upload.too_many:
        return Exit.TOO_MANY_FAILURES, str(upload.too_many)
    failed = upload.counts["failed"] + upload.counts["cancelled"]
    return (Exit.SOME_FAILED if failed else Exit.OK), None


@contextmanager
def _watch_ended_by_signals(planner: Planner) -> Iterator[None]:
    """When watching, the first Ctrl-C or SIGTERM ends the watch and the files found so far are
    finished. The second Ctrl-C interrupts the upload."""
    if not planner.watch:
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def end_watch(number: int, frame: object) -> None:
        planner.stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in before:
        signal.signal(number, end_watch)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _RetryReports:
    """Reports that the service does not answer, but not every attempt of every thread."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._next = time.monotonic()

    def __call__(self, error: ImageClassifierError, pause: float) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _REPORT_SECONDS
            if isinstance(error, TooManyOutstanding):
                self._progress.report("The upload goes on when more pictures are classified.")
            else:
                self._progress.report(f"{error} Trying again in {duration(pause)}.")


def _count(planner: Planner, progress: Progress) -> None:
    """Count the files beside the upload. Those of earlier runs may be in no folder of this one."""
    earlier = planner.planned
    with suppress(OSError):  # the upload reports it
        progress.total = len(earlier) + planner.walk.count(besides=earlier)
