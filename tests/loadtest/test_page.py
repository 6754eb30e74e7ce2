"""The measurement of the page runs from end to end, with a few photos."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

_ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_the_page_is_measured_while_it_is_scrolled(tmp_path: Path) -> None:
    if not (os.environ.get("CHROMIUM") or shutil.which("chromium")):
        pytest.skip("chromium is not installed; `apt-get install chromium`, or CHROMIUM=its path")
    (tmp_path / "pictures").mkdir()
    Image.effect_noise((400, 300), 60).convert("RGB").save(tmp_path / "pictures" / "a.jpg")
    command = [sys.executable, "-m", "loadtest.page", str(tmp_path / "pictures")]
    command += ["--photos", "40", "--rounds", "1", "--seconds", "1"]
    environment = os.environ | {"DATA_DIR": str(tmp_path)}
    run = subprocess.run(
        command, cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert run.returncode == 0, run.stderr
    rows = [line.split("|")[1:-1] for line in run.stdout.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == [
        "choosing the folder",
        "scrolling, during the upload",
        "the rest of the upload",
        "scrolling the results",
        "scrolling the job, opened again",
    ]
    megabytes = [float(row[4].removesuffix("MB ").strip()) for row in rows]
    assert all(50 < each < 1000 for each in megabytes)
