"""`image-classifier evaluate FOLDER`: how often the labels are right."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..api.service import ImageClassifier
from ..errors import ModelNotReady, UsageError
from ..evaluation import several_labels
from ..evaluation.answers import Answer, read_table
from ..evaluation.comparison import Comparison, compare
from ..evaluation.figures import figures, write_classes, write_figures, write_tables
from ..evaluation.judged import Pictures, judge
from ..evaluation.report import (
    no_temperature_text,
    share_text,
    write_report,
    write_report_of_several,
)
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
        *("--several-labels",),
        action="store_true",
        help="a picture may have several right labels: a line of --truth for each of them",
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
    answers = read_table(options.table or _results(options))
    if options.several_labels:
        return _write_several(options, truth, answers, names)
    pictures = judge(truth, answers, names)
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
    if options.several_labels and (options.compare or not options.truth):
        raise UsageError(
            "--several-labels needs --truth FILE, and cannot be combined with --compare."
        )
    if options.truth:
        return of_list(options.folder, options.truth, several=options.several_labels)
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


def _write_several(
    options: argparse.Namespace, truth: Truth, answers: Mapping[str, Answer], names: Names
) -> Exit:
    pictures = several_labels.judge(truth, answers, names, min_score=options.min_score)
    if not pictures.labelled:
        raise UsageError("No picture of the list has an answer.")
    result = several_labels.figures(pictures)
    write_classes(options.output, several_labels.classes(pictures.labelled))
    write_report_of_several(
        options.output,
        result,
        pictures.labelled,
        images=Path(options.folder),
        files=truth.files,
    )
    write_figures(options.output, result)
    if options.json:
        print_json(result)
    else:
        for line in _lines_of_several(options, result):
            print_line(line)
    return Exit.SOME_FAILED if pictures.failed else Exit.OK


def _lines_of_several(options: argparse.Namespace, result: dict[str, Any]) -> Iterator[str]:
    yield _head(result)
    yield f"  all labels right, and none missing: {share_text(result['exact'])}"
    for mean, of in (("micro", "all labels together"), ("macro", "mean of the classes")):
        precision, recall, f1 = (f"{100 * each:.1f} %" for each in result[mean].values())
        yield f"  {of}: precision {precision}, recall {recall}, F1 {f1}"
    if result["one_label_at_most"]:
        yield (
            "  The scores look like those of softmax: each picture got one label at most. To find"
            " several labels, serve a model with sigmoid."
        )
    yield from _left_out_lines(result)
    if result["full"]:
        number = count_text(result["full"], "picture")
        yield f"  {number} may have more labels than the ten of the table"
    yield f"  see {options.output / 'report.html'}"


def _head(result: dict[str, Any]) -> str:
    versions = " and ".join(result["model_versions"])
    return f"{count_text(result['pictures'], 'picture')}, model {versions}"


def _left_out_lines(result: dict[str, Any]) -> Iterator[str]:
    for number, what in (
        (result["failed"], "failed"),
        (result["missing"], "of the list not in the table"),
        (result.get("without_label"), "in no folder, so without a right label"),
    ):
        if number:
            yield f"  left out: {count_text(number, 'picture')} {what}"
    if len(result["model_versions"]) > 1:
        yield "  The pictures were classified by several models. --overwrite starts again."


def _lines(options: argparse.Namespace, result: dict[str, Any]) -> Iterator[str]:
    yield _head(result)
    yield f"  top-1: {share_text(result['top_1'])} are right"
    yield f"  top-5: {share_text(result['top_5'])} have the right label among five"
    yield f"  calibration error: {100 * result['calibration_error']:.1f} %"
    yield from _confidence_lines(result, options.min_score)
    yield from _left_out_lines(result)
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
    elif best:
        yield f"  temperature: {no_temperature_text(best)}"


def _comparison_lines(comparison: dict[str, Any]) -> Iterator[str]:
    first, second = comparison["only_first"], comparison["only_second"]
    yield f"  compared on {count_text(comparison['pictures'], 'picture')}:"
    yield f"    only this model is right: {first:,}; only the other: {second:,}"
    yield (
        "    chance alone makes such a difference in"
        f" {_of_100(comparison['p_value'])} of 100 cases (McNemar's test)"
    )
    different = count_text(comparison["different_labels"], "different label")
    yield f"    {different}; see differences.csv"


def _of_100(p_value: float) -> str:
    cases = 100 * p_value
    if cases < 0.01:
        return "less than 0.01"
    return f"{cases:.0f}" if cases >= 9.95 else f"{cases:.2g}"
