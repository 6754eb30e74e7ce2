"""The client's guide and its README: their commands and programs work as they stand there."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from client import ImageClassifier, errors
from client.cli.command import main
from client.cli.exits import Exit
from tests.client.conftest import ROOT, Installation
from tests.support.local_service import LocalService

GUIDE = ROOT / "docs" / "client.md"
EVALUATION = ROOT / "docs" / "evaluation.md"
README = ROOT / "client" / "README.md"

#: The folders that the commands of EVALUATION write.
REPORTS = ("evaluation", "report", "of-photos", "of-rooms", "both")

#: The fixture `installation` does this, without a package index.
INSTALL = "pip install ./client"


@pytest.fixture
def folder(tmp_path: Path, pictures: Sequence[Path]) -> Path:
    """The pictures that the commands name, none of which is cached."""
    (tmp_path / "photos" / "inside").mkdir(parents=True)
    for k, name in enumerate(["cat.jpg", "dog.jpg", "photos/a.jpg", "photos/inside/b.jpg"]):
        (tmp_path / name).write_bytes(pictures[k].read_bytes() + os.urandom(8))
    return tmp_path


def script(document: Path) -> str:
    commands = re.findall(r"^\$ (.*)", document.read_text(), re.M)
    if INSTALL in commands:
        commands.remove(INSTALL)
    assert commands and all("image-classifier" in each for each in commands)
    return "\n".join(commands)


def test_the_programs_of_the_guide_run(
    installation: Installation, service: LocalService, folder: Path
) -> None:
    programs = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S)
    printed = []
    for program in programs:
        ended = installation.run(folder, sys.executable, "-c", program, url=service.base_url)
        assert ended.returncode == 0, ended.stderr
        printed.append(ended.stdout)
    assert "picture unsupported_format" in printed[0]
    one_by_one, *followed = printed[1].splitlines()
    cat, dog = (line.partition(" ")[2] for line in sorted(followed))
    assert one_by_one == f"{cat} {dog}" and cat and dog


def test_every_command_of_the_guide_succeeds(
    installation: Installation, service: LocalService, folder: Path
) -> None:
    ended = installation.run(folder, "bash", "-exuc", script(GUIDE), url=service.base_url)
    assert ended.returncode == 0, ended.stderr
    assert len((folder / "labels.csv").read_text().splitlines()) == 3
    assert len((folder / "job.csv").read_text().splitlines()) == 2


def test_every_command_about_evaluation_succeeds(
    installation: Installation, service: LocalService, folder: Path
) -> None:
    with ImageClassifier(service.base_url) as client:
        tabby, siamese, pug = labels = client.labels()[:3]
    for k, (label, picture) in enumerate(zip(2 * labels, 2 * list(folder.glob("*.jpg")))):
        path = folder / "animals" / label / f"{k}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture.read_bytes() + os.urandom(8))
    (folder / "truth.csv").write_text("path,label\na.jpg,cat\ninside/b.jpg,dog\n")
    names = f'name,label\ncat,"{tabby}"\ncat,"{siamese}"\ndog,"{pug}"\n'
    (folder / "names.csv").write_text(names)
    (folder / "rooms").mkdir()
    for name in ("1.jpg", "2.jpg"):
        (folder / "rooms" / name).write_bytes((folder / "cat.jpg").read_bytes() + os.urandom(8))
    several = f'path,label\n1.jpg,"{tabby}"\n1.jpg,"{siamese}"\n2.jpg,\n'
    (folder / "labels.csv").write_text(several)
    ended = installation.run(folder, "bash", "-exuc", script(EVALUATION), url=service.base_url)
    assert ended.returncode == 0, ended.stderr
    figures = [json.loads((folder / name / "figures.json").read_text()) for name in REPORTS]
    assert [each["pictures"] for each in figures] == [4, 4, 2, 2, 4]
    assert figures[-1]["comparison"]["different_labels"] == 0
    assert all((folder / name / "report.html").exists() for name in REPORTS)


def test_the_readme_of_the_package_works(
    installation: Installation, service: LocalService, folder: Path
) -> None:
    ended = installation.run(folder, "bash", "-exuc", script(README), url=service.base_url)
    assert ended.returncode == 0, ended.stderr
    [program] = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    program = program.replace("http://127.0.0.1:8000", service.base_url)
    ended = installation.run(folder, sys.executable, "-c", program)
    assert ended.returncode == 0, ended.stderr


def test_the_guide_and_the_help_list_every_exit_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    statuses = [str(status.value) for status in Exit]
    assert re.findall(r"^\| (\d+) \|", GUIDE.read_text(), re.M) == statuses
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert re.findall(r"(\d+) \w", text.partition("Exit status: ")[2]) == statuses


def test_the_tree_of_errors_names_every_exception() -> None:
    def below(top: type[Exception]) -> set[str]:
        return {top.__name__}.union(*map(below, top.__subclasses__()))

    names = below(errors.ImageClassifierError)
    names -= {"TooManyFailures"}  # an exception of the command
    assert set(re.findall(r"\b[A-Z]\w+", (errors.__doc__ or "").partition("\n")[2])) == names
