"""The command `image-classifier`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from enum import IntEnum

from ..api import settings
from ..api.connection import Notice
from ..errors import ImageClassifierError, NotFinished, Refused, UsageError
from ..api.names import shown
from ..api.retries import Retries
from ..api.service import ImageClassifier
from ..version import VERSION

#: A person waits: a service that is away is told of soon.
PATIENCE_SECONDS = 15.0


class Exit(IntEnum):
    """What the command ends with."""

    OK = 0
    SOME_FAILED = 1  #: All done; some pictures have errors, or the job was cancelled.
    USAGE = 2  #: Nothing was done.
    TOO_MANY_FAILURES = 3  #: Stopped by --max-failures.
    SERVICE = 4  #: The service cannot be reached, or refuses.
    DISK = 5  #: A file that the command writes or reads cannot be.
    NOT_FINISHED = 6  #: The job goes on.
    INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], Exit] = options.run
    try:
        return run(options)
    except UsageError as error:
        return _fail(Exit.USAGE, str(error))
    except NotFinished as error:
        return _fail(Exit.NOT_FINISHED, str(error))
    except ImageClassifierError as error:
        return _fail(Exit.SERVICE, _told(error))
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except OSError as error:
        return _fail(Exit.DISK, told_of_disk(error))
    except KeyboardInterrupt:
        return _fail(Exit.INTERRUPTED, "interrupted")


def entry() -> None:
    """The program's start. An interrupted one ends at once: threads may still be sending."""
    status = main()
    if status != Exit.INTERRUPTED:
        sys.exit(status)
    sys.stdout.flush()
    os._exit(status)


def connect(
    options: argparse.Namespace,
    *,
    on_retry: Notice | None = None,
) -> ImageClassifier:
    retries = Retries(total_seconds=PATIENCE_SECONDS)
    return ImageClassifier(options.url, retries=retries, on_retry=on_retry or _tell_retry)


def print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False))


def _parser() -> argparse.ArgumentParser:
    from . import classify, dead_letters, jobs, upload

    parser = argparse.ArgumentParser(
        prog="image-classifier",
        description="Labels of pictures, from a service of the image classifier.",
        epilog="The API key is taken from IMAGE_CLASSIFIER_API_KEY. Exit status: "
        + ", ".join(f"{each.value} {each.name.lower().replace('_', ' ')}" for each in Exit),
    )
    parser.add_argument("--version", action="version", version=VERSION)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--url", default=settings.url(), help="where the service is (IMAGE_CLASSIFIER_URL)"
    )
    common.add_argument("--json", action="store_true", help="for machines: JSON on standard output")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for each in (classify, upload, jobs, dead_letters):
        each.add_to(commands, common)
    return parser


def _tell_retry(error: ImageClassifierError, pause: float) -> None:
    print(f"{error}; trying again in {pause:.0f} s", file=sys.stderr, flush=True)


def _told(error: ImageClassifierError) -> str:
    request = isinstance(error, Refused) and error.request_id
    return f"{error} (request {request})" if request else str(error)


def told_of_disk(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"{shown(error.filename)}: {reason}" if isinstance(error.filename, str) else reason


def _fail(status: Exit, message: str) -> Exit:
    print(f"image-classifier: {message}", file=sys.stderr, flush=True)
    return status
