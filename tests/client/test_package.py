"""The wheel of the client: all of its modules, and nothing of the service."""

from __future__ import annotations

import sys
from pathlib import Path
from zipfile import ZipFile

from tests.client.conftest import ROOT, Installation


def test_the_wheel_holds_every_module_but_the_demo(installation: Installation) -> None:
    client = ROOT / "client"
    sources = {path.relative_to(client).as_posix() for path in client.rglob("*.py")}
    folders = {path.partition("/")[0] for path in sources if "/" in path}
    assert folders == {"api", "cli", "evaluation", "similarity", "tables", "upload"}
    with ZipFile(installation.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = sources - {"cli/demo.py"} | {"py.typed"}
    assert names == {f"image_classifier/{name}" for name in expected}


def test_every_installed_module_can_be_imported_without_the_service(
    installation: Installation, tmp_path: Path
) -> None:
    program = (
        "import importlib, pkgutil, sys\n"
        "import image_classifier\n"
        "for module in pkgutil.walk_packages(image_classifier.__path__, 'image_classifier.'):\n"
        "    if module.name != 'image_classifier.__main__':\n"
        "        importlib.import_module(module.name)\n"
        "assert image_classifier.__file__.startswith(sys.argv[1]), image_classifier.__file__\n"
        "service = {'client', 'shared', 'web', 'workers', 'flask', 'celery', 'redis', 'numpy'}\n"
        "print(sorted(service & set(sys.modules)))"
    )
    site = str(installation.site)
    ended = installation.run(tmp_path, sys.executable, "-c", program, site)
    assert ended.stdout == "[]\n", ended.stderr


def test_the_public_names_are_imported_from_the_package(
    installation: Installation, tmp_path: Path
) -> None:
    program = (
        "from image_classifier import *\n"
        "from image_classifier import ImageClassifier, Job, Retries, Refused, errors\n"
        "from image_classifier.errors import UnsupportedFormat\n"
        "assert issubclass(errors.UnsupportedFormat, ImageClassifierError)\n"
    )
    ended = installation.run(tmp_path, sys.executable, "-c", program)
    assert ended.returncode == 0, ended.stderr


def test_the_command_is_a_program_and_a_module(installation: Installation, tmp_path: Path) -> None:
    program = installation.run(tmp_path, "image-classifier", "--version")
    module = installation.run(tmp_path, sys.executable, "-m", "image_classifier", "--version")
    assert program.stdout == module.stdout != "", program.stderr + module.stderr
