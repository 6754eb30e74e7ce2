"""Makes a key: prints it to standard error, and its line of the file to standard output."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable

from web.http.api_keys.keys import line, new_key
from web.http.api_keys.line import FIELDS, NAME, read

_EXAMPLES = {
    "scopes": "classify,operate",
    "expires": "2027-01-31",
    "images": "20000",
    "bytes": "2GB",
    "images-per-day": "100000",
    "weight": "2",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m web.http.api_keys",
        description="Make an API key. Append the standard output to the file API_KEYS_FILE.",
    )
    parser.add_argument("name", metavar="NAME", type=_name, help="the name of the client")
    for field, (_, allowed) in FIELDS.items():
        example = _EXAMPLES[field]
        parser.add_argument(
            f"--{field}", metavar=example, type=_checked(field), help=allowed.replace("`", "")
        )
    return parser


def _name(text: str) -> str:
    if not re.fullmatch(NAME, text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a name. Use up to 64 letters, digits, dots, hyphens and underscores."
        )
    return text


def _checked(field: str) -> Callable[[str], str]:
    """Takes a value as it stands in the file."""

    def check(value: str) -> str:
        try:
            read(field, value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{value!r} is not {FIELDS[field][1]}") from None
        return value

    return check


def main() -> None:
    options = vars(_parser().parse_args())
    name = options.pop("name")
    fields = [f"{field.replace('_', '-')}={value}" for field, value in options.items() if value]
    key = new_key()
    print(f"The key, which is shown only once: {key}", file=sys.stderr, flush=True)
    print(line(name, key, *fields), flush=True)
    if os.isatty(sys.stdout.fileno()):
        print("Add the second line to API_KEYS_FILE. No restart is needed.", file=sys.stderr)


if __name__ == "__main__":
    main()
