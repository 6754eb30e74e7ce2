"""`image-classifier evaluate FOLDER`: how often the labels are right."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..api.service import ImageClassifier
from ..errors import ModelNotReady, UsageError
from ..evaluation.answers import read_table
from ..evaluation.comparison import Comparison, compare
from ..evaluation.figures import figures, write_figures, write_tables
from ..evaluation.judged import Pictures, judge
from ..evaluation.report import share_text, write_report
from ..evaluation.truth import Names, Truth, of_folders, of_list
from ..text import count_text, path_text
from ..upload.walk import PICTURES, Walk
from . import upload, upload_options
from .connect import connect
from .exits import Exit
from .output import print_error, print_json, print_line

#: Labels of each picture. It is the most that the service gives.
_TOP_K = 10


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "evaluate",
        parents=[common],
        help="compare the labels of pictures with the right ones",
        description="Classify pictures whose right labels are known, and report how often the"
        " service is right. A picture's right label is the name of its folder inside FOLDER, or"
        " stands in a list. The same command continues an interrupted evaluation.",
    )
    parser.set_defaults(run=_run)
    add = parser.add_argument
    add("folder", metavar="FOLDER")
    add(
        *("--truth",),
        type=Path,
        metavar="FILE",
        help="CSV file with the columns path and label, instead of folders",
    )
    add(
        *("--names",),
        type=Path,
        metavar="FILE",
        help="CSV file with the columns name and label, where the names of folders are not labels"
        " of the model; a name may have several labels",
    )
    add(
        *("--output",),
        type=Path,
        default=Path("evaluation"),
        metavar="FOLDER",
        help="where the report and the tables are written; default: evaluation",
    )
    add(
        *("--table",),
        type=Path,
        metavar="FILE",
        help="a table of `upload`; nothing is sent to the service",
    )
    add(
        *("--compare",),
        type=Path,
        metavar="FILE",
        help="a table of another model for the same pictures",
    )
    add("--overwrite", action="store_true", help="classify all pictures again")
    upload_options.add_min_score(parser)
    upload_options.add_files(parser)
    upload_options.add_sending(parser)


def _run(options: argparse.Namespace) -> Exit:
    truth = _truth(options)
    names = Names.read(options.names) if options.names else Names()
    other = read_table(options.compare) if options.compare else None
    if options.table is None:
        with connect(options) as service:
            _check_names(service, names, truth)
    options.output.mkdir(parents=True, exist_ok=True)
    if options.table is None:
        status, error = _upload(options)
        if error:
            print_error(f"image-classifier: {error.removesuffix('.')}. The same command continues.")
            return status
    pictures = judge(truth, read_table(options.table or _results(options)), names)
    if not pictures.judged:
        raise UsageError("No picture has both a right label and an answer.")
    comparison = None
    if other is not None:
        comparison = compare(pictures.judged, judge(truth, other, names).judged)
    _write(options, pictures, comparison, truth)
    return Exit.SOME_FAILED if pictures.failed else Exit.OK


def _truth(options: argparse.Namespace) -> Truth:
    if not Path(options.folder).is_dir():
        raise UsageError(f"{path_text(options.folder)} is not a folder.")
    if options.truth:
        return of_list(options.folder, options.truth)
    include = options.include or PICTURES
    walk = Walk(folder=options.folder, recursive=True, include=include, exclude=options.exclude)
    return of_folders(walk)


def _check_names(service: ImageClassifier, names: Names, truth: Truth) -> None:
    try:
        names.check(truth, service.labels())
    except ModelNotReady:
        pass  # No worker is there now. The upload goes on, and its pictures wait for one.


def _upload(options: argparse.Namespace) -> tuple[Exit, str | None]:
    results = _results(options)
    own = {
        "output": results,
        "recursive": True,
        "top_k": _TOP_K,
        "min_score": 0,
        "embeddings": False,
        "resume": results.exists() and not options.overwrite,
        "retry_failed": False,
        "max_failures": None,
        "raw_path": False,
        "watch": False,
    }
    _, status, error, _ = upload.run(argparse.Namespace(**(vars(options) | own)))
    return status, error


def _results(options: argparse.Namespace) -> Path:
    folder: Path = options.output
    return folder / "results.jsonl"


def _write(
    options: argparse.Namespace,
    pictures: Pictures,
    comparison: Comparison | None,
    truth: Truth,
) -> None:
    result = figures(pictures, comparison, min_score=options.min_score)
    result |= {"without_label": truth.without}
    write_tables(options.output, pictures, comparison)
    write_report(options.output, result, pictures, images=Path(options.folder), files=truth.files)
    write_figures(options.output, result)
    if options.json:
        print_json(result)
        return
    for line in _lines(options, result):
        print_line(line)


def _lines(options: argparse.Namespace, result: dict[str, Any]) -> Iterator[str]:
    versions = " and ".join(result["model_versions"])
    yield f"{count_text(result['pictures'], 'picture')}, model {versions}"
    yield f"  top-1: {share_text(result['top_1'])} are right"
    yield f"  top-5: {share_text(result['top_5'])} have the right label among five"
    yield f"  calibration error: {100 * result['calibration_error']:.1f} %"
    yield from _confidence_lines(result, options.min_score)
    for number, what in (
        (result["failed"], "failed"),
        (result["missing"], "of the list not in the table"),
        (result["without_label"], "in no folder, so without a right label"),
    ):
        if number:
            yield f"  left out: {count_text(number, 'picture')} {what}"
    if len(result["model_versions"]) > 1:
        yield "  The pictures were classified by several models. --overwrite starts again."
    if result["confusions"]:
        yield "  most frequent confusions:"
    for each in result["confusions"]:
        yield f"    {each['pictures']:,} × {each['class']} as {each['label']}"
    if result["likely_label_errors"]:
        number = count_text(result["likely_label_errors"], "picture")
        yield f"  the given label of {number} is likely wrong; label-errors.csv lists them"
    if result["comparison"]:
        yield from _comparison_lines(result["comparison"])
    yield f"  see {options.output / 'report.html'}"


def _confidence_lines(result: dict[str, Any], min_score: float) -> Iterator[str]:
    left, best = result["labelled"], result["temperature"]
    if left["answered"] < 1 or min_score:
        right = "" if left["right"] is None else f"; {100 * left['right']:.1f} % of these are right"
        yield f"  a label reaches its threshold for {100 * left['answered']:.1f} %{right}"
    if best and best["helps"]:
        yield (
            f"  temperature: {best['temperature']:.2f} ({best['low']:.2f} to {best['high']:.2f})."
            " It lowers the calibration error of the table's labels from"
            f" {100 * best['error_before']:.1f} to {100 * best['error_after']:.1f} %:"
        )
        yield f"    python -m workers.models set NAME --temperature {best['temperature']:.2f}"
        yield "  If the package has a temperature already, set the product of both."


def _comparison_lines(comparison: dict[str, Any]) -> Iterator[str]:
    first, second = comparison["only_first"], comparison["only_second"]
    yield f"  compared on {count_text(comparison['pictures'], 'picture')}:"
    yield f"    only this model is right: {first:,}; only the other: {second:,}"
    yield (
        "    chance alone makes such a difference in"
        f" {100 * comparison['p_value']:.2g} of 100 cases (McNemar's test)"
    )
    different = count_text(comparison["different_labels"], "different label")
    yield f"    {different}; see differences.csv"
