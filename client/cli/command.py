"""The command `image-classifier`: its arguments, and how it ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from ..api import settings
from ..errors import ImageClassifierError, NotFinished, UsageError
from ..text import escaped
from ..version import __version__
from . import classify, dead_letters, evaluate, jobs, similar, upload, usage
from .exits import Exit
from .operator import command as operator
from .output import disk_message, print_error, service_message


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], Exit] = options.run
    try:
        return run(options)
    except UsageError as error:
        return _fail(Exit.USAGE, str(error))
    except NotFinished as error:
        return _fail(Exit.NOT_FINISHED, str(error))
    except ImageClassifierError as error:
        return _fail(Exit.SERVICE, service_message(error))
    except BrokenPipeError:
        # The reader of the output closed it. Python would write to it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except OSError as error:
        return _fail(Exit.DISK, disk_message(error))
    except KeyboardInterrupt:
        return _fail(Exit.INTERRUPTED, "interrupted")


def entry() -> None:
    """The start of the program. When interrupted it ends at once, without waiting for threads."""
    status = main()
    if status != Exit.INTERRUPTED:
        sys.exit(status)
    sys.stdout.flush()
    os._exit(status)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(escaped(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="image-classifier",
        description="Get the labels of pictures from an image classifier service.",
        epilog="Set IMAGE_CLASSIFIER_API_KEY if the service needs an API key. Exit status:"
        " 0 all is done, 1 some pictures failed, 2 wrong arguments, 3 too many failures,"
        " 4 no answer or an error of the service, 5 an error of the disk, 6 the job still runs,"
        " 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    _add_global_options(parser, url=settings.url(), json=False)
    # A command has them too. Its default must not replace what stands before the command.
    common = argparse.ArgumentParser(add_help=False)
    _add_global_options(common, url=argparse.SUPPRESS, json=argparse.SUPPRESS)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for each in (classify, upload, evaluate, similar, jobs, dead_letters, usage, operator):
        each.add_to(commands, common)
    return parser


def _add_global_options(parser: argparse.ArgumentParser, *, url: str, json: bool | str) -> None:
    parser.add_argument(
        "--url",
        default=url,
        help="address of the service; default: IMAGE_CLASSIFIER_URL, or http://127.0.0.1:8000",
    )
    parser.add_argument(
        "--json", action="store_true", default=json, help="print JSON, and no progress"
    )


def _fail(status: Exit, message: str) -> Exit:
    print_error(f"image-classifier: {message}")
    return status
