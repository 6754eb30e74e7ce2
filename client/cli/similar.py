"""`image-classifier similar TABLE`: pictures that look nearly the same."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..similarity.groups import Member, similar_groups
from ..similarity.vectors import check_table, read_vectors
from ..tables.formats import guarded
from ..tables.table import check_new
from ..text import count_text, escaped, path_text
from .exits import Exit
from .output import print_json, print_line
from .upload_options import score

_Groups = Sequence[Sequence[Member]]


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "similar",
        parents=[common],
        help="find pictures that look nearly the same",
        description="Find pictures that look nearly the same in a table that `upload --embeddings`"
        " has made. Nothing is sent to the service.",
    )
    parser.set_defaults(run=_run)
    add = parser.add_argument
    add("table", type=Path, metavar="TABLE", help="it ends in .jsonl or .parquet")
    add(
        *("--min-similarity",),
        type=score,
        default=0.95,
        metavar="0-1",
        help="cosine of the embeddings of similar pictures, at least; default: 0.95",
    )
    add(
        *("--output",),
        type=Path,
        metavar="FILE",
        help="save the groups as a table that ends in .csv or .jsonl; default: print them",
    )
    add("--overwrite", action="store_true", help="replace an existing table of groups")


def _run(options: argparse.Namespace) -> Exit:
    _check(options)
    vectors = read_vectors(options.table)
    groups = similar_groups(vectors, options.min_similarity)
    if options.output:
        _save(options.output, groups)
    if options.json:
        print_json([[asdict(each) for each in group] for group in groups])
        return Exit.OK
    if not options.output:
        for line in _lines(groups):
            print_line(line)
    pictures = sum(map(len, groups))
    print_line(
        f"{count_text(len(groups), 'group')} with {pictures:,} of"
        f" {count_text(len(vectors.paths), 'picture')}"
    )
    if vectors.without:
        print_line(f"  left out: {count_text(vectors.without, 'picture')} without an embedding")
    if vectors.unusable:
        print_line(
            f"  left out: {count_text(vectors.unusable, 'picture')} with an embedding that cannot"
            " be compared, because it has only zeros, or a number is infinite or NaN"
        )
    return Exit.OK


def _check(options: argparse.Namespace) -> None:
    """Raises UsageError before anything is read, and OSError if there is no table."""
    output: Path | None = options.output
    if output and output.suffix not in (".csv", ".jsonl"):
        raise UsageError(f"{path_text(str(output))} must end in .csv or .jsonl.")
    check_table(options.table)
    if output and output.exists() and output.samefile(options.table):
        raise UsageError("--output would replace the table of the pictures. Give another name.")
    if output:
        check_new(output, overwrite=options.overwrite)
    if find_spec("usearch") is None:
        raise UsageError("`similar` needs usearch. Install it with: pip install usearch")


def _lines(groups: _Groups) -> Iterator[str]:
    for number, group in enumerate(groups, 1):
        yield f"group {number}: {count_text(len(group), 'picture')}"
        for each in group:
            yield f"  {each.similarity:.4f}  {escaped(each.path)}"


def _save(output: Path, groups: _Groups) -> None:
    rows = [
        {"group": number, **asdict(each)}
        for number, group in enumerate(groups, 1)
        for each in group
    ]
    with open(output, "w", newline="", encoding="utf-8") as file:
        if output.suffix == ".jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(("group", "path", "similarity"))
        writer.writerows((row["group"], guarded(row["path"]), row["similarity"]) for row in rows)
