"""`python -m workers.models`: make, list, change, check and remove model packages."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from pathlib import Path

from shared.errors import ModelError, TorchNeeded
from shared.settings import Settings
from workers.engine import INSTALL_TORCH
from workers.engine.onnx_engine import OnnxEngine
from workers.engine.package import (
    NAME,
    Embedding,
    Package,
    check_file,
    find_package,
    packages_folder,
    read_package,
)
from workers.engine.package_check import check

try:
    from workers.models.adding import add, add_arguments
    from workers.models.setting import set_arguments, set_package
except ModuleNotFoundError as error:
    if error.name != "onnx":
        raise
    sys.exit("`python -m workers.models` needs: pip install -r requirements/models.txt")


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except TorchNeeded as error:
        print(f"{error} {INSTALL_TORCH}", file=sys.stderr)
        return 2
    except (ModelError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.models", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    adding = commands.add_parser("add", help="make a package of a model")
    add_arguments(adding)
    adding.set_defaults(run=_add)
    listing = commands.add_parser("list", help="list the packages")
    listing.set_defaults(run=_list)
    for name, run, text in (
        ("show", _show, "describe a package"),
        ("set", _set, "change how sure a package must be of a label"),
        ("check", _check, "classify the golden pictures of a package"),
        ("remove", _remove, "delete a package"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("name", metavar="NAME", help="the name or the folder of a package")
        command.set_defaults(run=run)
        if run is _set:
            set_arguments(command)
    return parser


def _add(options: argparse.Namespace) -> None:
    if not NAME.fullmatch(options.name):
        raise ModelError(
            f"{options.name} cannot be the name of a package. Use a-z, 0-9, `.`, `-` and `_`."
        )
    folder = packages_folder(Settings()) / options.name
    _print(add(options, folder), folder)
    print(f"Start it with: make run MODEL={options.name}")


def _list(options: argparse.Namespace) -> None:
    folders = sorted(packages_folder(Settings()).glob("[!.]*/model.json"))
    damaged = []
    for path in folders:
        try:
            package = read_package(path.parent)
        except ModelError as error:
            damaged.append(str(error))
        else:
            print(f"{package.name}\t{len(package.labels)} labels\t{package.version}")
    if damaged:
        raise ModelError("\n".join(damaged))
    if not folders:
        print(f"There are no packages in {packages_folder(Settings())}.", file=sys.stderr)


def _show(options: argparse.Namespace) -> None:
    folder = _folder(options.name)
    _print(read_package(folder), folder)


def _set(options: argparse.Namespace) -> None:
    folder = _folder(options.name)
    _print(set_package(options, folder), folder)
    print("Workers that start from now on use it.")


def _check(options: argparse.Namespace) -> None:
    folder = _folder(options.name)
    package = read_package(folder)
    check(OnnxEngine.load(check_file(folder, package)), folder, package)
    print(f"{package.version}: all {len(package.golden)} golden pictures get their scores")


def _remove(options: argparse.Namespace) -> None:
    folder = _folder(options.name)
    if folder.parent != packages_folder(Settings()):
        raise ModelError(f"{folder} is not in {packages_folder(Settings())}. Delete it yourself.")
    shutil.rmtree(folder)
    print(f"removed {folder}")


def _folder(name: str) -> Path:
    settings = Settings().model_copy(
        update={"model": name, "model_weights": "DEFAULT", "model_labels": None}
    )
    folder = find_package(settings)
    if folder is None:
        raise ModelError(f"There is no package {name} in {packages_folder(settings)}.")
    return folder


def _print(package: Package, folder: Path) -> None:
    preset = package.preset
    labels = ", ".join(package.labels[:5]) + (", …" if len(package.labels) > 5 else "")
    side = {"shorter": "shorter side to", "both": "both sides to", "longer": "longer side to"}
    for title, text in (
        ("package", str(folder)),
        ("version", package.version),
        ("made of", f"{package.source.kind} {package.source.architecture} {package.source.file}"),
        ("labels", f"{len(package.labels)}: {labels}"),
        ("scores", f"{package.activation}, temperature {package.temperature:g}"),
        ("thresholds", _thresholds(package)),
        *([("embedding", _embedding(package.embedding))] if package.embedding else []),
        (
            "pictures",
            f"{side[preset.resize]} {preset.resize_size}, {preset.interpolation}, then a square of"
            f" {preset.crop_size}",
        ),
        ("normalised", f"mean {preset.mean}, deviation {preset.std}"),
    ):
        print(f"{title:<11}{text}")


def _embedding(embedding: Embedding) -> str:
    return f"{embedding.size} numbers, the output {embedding.output}"


def _thresholds(package: Package) -> str:
    """How many labels need which score."""
    counts = Counter(package.model.thresholds)
    shown = [f"{count} labels from {least:g}" for least, count in sorted(counts.items())]
    return ", ".join(shown) or "none"


if __name__ == "__main__":
    sys.exit(main())
