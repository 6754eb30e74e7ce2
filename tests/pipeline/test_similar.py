"""docs/similar.md on a running service: its commands make a package, a table and groups."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from PIL import Image
from pyarrow import parquet

from client import ImageClassifier
from client.cli.command import main as client
from shared.jobs import Lane
from tests.support.local_service import local_service
from tests.workers.models.onnx_models import LABELS, SIDE, write_model
from workers.models.__main__ import main as models

GUIDE = (Path(__file__).parents[2] / "docs/similar.md").read_text()
COMMANDS = [shlex.split(line) for line in re.findall(r"^\$ (.*)", GUIDE, re.M)]


def of(program: str) -> list[list[str]]:
    return [each for each in COMMANDS if each[0] == program]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, with the files that the commands name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    model = onnx.load(write_model(tmp_path / "pets.onnx", second="Flatten"))
    for each in [*model.graph.output, *model.graph.node]:
        names = [each.output, each.input] if isinstance(each, onnx.NodeProto) else []
        for of_node in names:
            of_node[:] = ["features" if name == "Flatten3" else name for name in of_node]
        if not names and each.name == "Flatten3":
            each.name = "features"
    onnx.save(model, tmp_path / "pets.onnx")
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    source = np.random.default_rng(2)
    (tmp_path / "photos/copies").mkdir(parents=True)
    for name, colour in (("a", (250, 0, 0)), ("b", (0, 250, 0)), ("c", (0, 0, 250))):
        pixels = np.full((SIDE, SIDE, 3), colour) + source.integers(0, 5, (SIDE, SIDE, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"photos/{name}.png")
    with Image.open(tmp_path / "photos/a.png") as picture:
        picture.save(tmp_path / "photos/copies/a.png", compress_level=0)
    return tmp_path


def test_the_guide_works(folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    [adding] = of("python")
    assert models(adding[3:]) == 0
    assert "embedding  8 numbers, the output features" in capsys.readouterr().out
    package = folder / "data/models/packages/pets"
    environment = os.environ | {"MODEL": str(package), "MODEL_WEIGHTS": "DEFAULT"}
    environment |= {"WORKER_PROCESSES": "1", "WEB_PROCESSES": "1", "PRECISION": "fp32"}
    with local_service(folder / "service", environment) as service:
        for lane in Lane:
            service.start_worker(lane)
        service.start_web()
        service.await_ready()
        monkeypatch.setenv("IMAGE_CLASSIFIER_URL", service.base_url)
        uploading, *finding = (command[1:] for command in of("image-classifier"))
        assert client(uploading) == 0
        capsys.readouterr()
        assert client(finding[0]) == 0
        shown = GUIDE.partition(f"$ image-classifier {shlex.join(finding[0])}\n")[2]
        assert capsys.readouterr().out == shown.partition("```")[0]
        for command in finding[1:]:
            assert client(command) == 0
        assert Path("groups.csv").read_text().splitlines()[1].startswith("1,")
        [program] = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
        exec(program, {})
        assert capsys.readouterr().out.endswith("float16 4\n")
        same_everywhere(folder, service.base_url, capsys)


def same_everywhere(folder: Path, address: str, capsys: Any) -> None:
    """Each way to an embedding gives the same numbers, also from the cache."""
    rows = parquet.read_table("photos.parquet").to_pylist()
    of_table = {row["path"]: [float(each) for each in row["embedding"]] for row in rows}
    picture = folder / "photos/b.png"
    with ImageClassifier(address) as service:
        assert service.model_info().embedding == 8
        job = service.submit([picture, b"no picture"], embeddings=True)
        job.wait()
        good, bad = job.results(embeddings=True)
        assert np.array(good.embedding, np.float16).tolist() == of_table["b.png"]
        assert good.cache_hit and bad.embedding == ()
        assert not any(item.embedding for item in job.results())
        assert service.classify(picture, embeddings=True).embedding == good.embedding
        assert service.classify(picture).embedding == ()
    assert client(["classify", str(picture), "--embeddings", "--json"]) == 0
    [line] = [each for each in capsys.readouterr().out.splitlines() if each.startswith("{")]
    assert json.loads(line)["embedding"] == list(good.embedding)
    assert client(["results", job.id, "--embeddings", "--output", "job.jsonl"]) == 1
    capsys.readouterr()
    first, second = map(json.loads, Path("job.jsonl").read_text().splitlines())
    assert first["embedding"] == list(good.embedding) and "embedding" not in second
    picture.write_bytes(picture.read_bytes() + b" ")
    new = httpx.post(f"{address}/api/v1/classify?embeddings=true", content=picture.read_bytes())
    assert not new.json()["cache_hit"] and len(new.json()["embedding"]) > 16
