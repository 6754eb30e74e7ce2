"""The client's guide: its commands and its program, as they stand there."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.client.conftest import ROOT, Installation
from tests.support.local_service import LocalService


def test_what_the_guide_shows_works_as_it_stands_there(
    installation: Installation,
    service: LocalService,
    tmp_path: Path,
    pictures: Sequence[Path],
) -> None:
    (tmp_path / "photos" / "inside").mkdir(parents=True)
    for k, name in enumerate(["cat.jpg", "dog.jpg", "photos/a.jpg", "photos/inside/b.jpg"]):
        (tmp_path / name).write_bytes(pictures[k].read_bytes() + os.urandom(8))
    guide = (ROOT / "docs" / "client.md").read_text()
    [program] = re.findall(r"```python\n(.*?)```", guide, re.S)
    ended = installation.run(tmp_path, sys.executable, "-c", program, url=service.base_url)
    assert ended.returncode == 0, ended.stderr
    assert "picture unsupported_format" in ended.stdout

    commands = [line[2:] for line in guide.splitlines() if line.startswith("$ ")]
    script = "\n".join(each for each in commands if "image-classifier" in each)
    ended = installation.run(tmp_path, "bash", "-exuc", script, url=service.base_url)
    assert ended.returncode == 0, ended.stderr
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 3
    assert len((tmp_path / "job.csv").read_text().splitlines()) == 2
