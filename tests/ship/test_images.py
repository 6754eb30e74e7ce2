"""The images hold what they need and no more. No engine builds them here: the files that a stage
copies are laid out as it would, and its commands run."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from quickstart.programs import programs
from shared.settings import Settings
from web.app import VERSION

_ROOT = Path(__file__).parents[2]
_FILES = ("Dockerfile.web", "Dockerfile.worker")


class Stage:
    """One stage of a Dockerfile: its instructions, without those of the stage it starts from."""

    def __init__(self, text: str) -> None:
        joined = re.sub(r"(?m)^\s*#.*\n", "", text).replace("\\\n", " ")
        lines = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
        self.instructions = [(name, rest) for name, rest in lines]

    def all(self, name: str) -> list[str]:
        return [rest for each, rest in self.instructions if each == name]

    def command(self) -> list[str]:
        command: list[str] = json.loads(self.all("CMD")[-1])
        return command

    def lay_out(self, folder: Path) -> None:
        """Copy from the project what the stage copies from its context."""
        for copy in self.all("COPY"):
            if not copy.startswith("--"):
                *sources, target = copy.split()
                for source in sources:
                    _copy(_ROOT / source, folder / target.lstrip("/"))


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=ignored)
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _stages(file: str) -> dict[str, Stage]:
    _, *parts = re.split(r"(?m)^FROM ", (_ROOT / file).read_text())
    found = {}
    for part in parts:
        first, _, rest = part.partition("\n")
        found[first.partition(" AS ")[2] or "final"] = Stage(rest)
    return found


def _installed(wanted: list[str]) -> set[str]:
    """Every distribution that these requirements bring, by normal name."""
    names: set[str] = set()
    todo = list(wanted)
    while todo:
        found = re.match(r"([\w.-]+)(?:\[([\w,]+)\])?", todo.pop())
        assert found
        name, extras = _normal(found[1]), (found[2] or "").split(",")
        if name in names and not any(extras):
            continue
        names.add(name)
        for required in importlib.metadata.requires(name) or ():
            needed, _, marker = required.partition(";")
            if _holds(marker, extras):
                todo.append(needed)
    return names


def _lines(path: Path) -> list[str]:
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    included = [line[3:] for line in lines if line.startswith("-r ")]
    own = [line for line in lines if line and not line.startswith("-r ")]
    return own + [each for name in included for each in _lines(path.with_name(name))]


def _holds(marker: str, extras: list[str]) -> bool:
    from packaging.markers import Marker

    return not marker or any(Marker(marker).evaluate({"extra": each}) for each in extras or [""])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


_ONLY = """
import importlib.abc, sys
allowed = set({allowed!r})
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {known!r} - allowed:
            raise ModuleNotFoundError(f"the image has no {{name}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def _run_with_only(requirements: str, code: str, folder: Path) -> str:
    """Run code in `folder` by a Python that finds no package but those required."""
    installed = _installed(_lines(_ROOT / "requirements" / f"{requirements}.txt"))
    by_module = importlib.metadata.packages_distributions()
    allowed = {m for m, names in by_module.items() if {_normal(n) for n in names} & installed}
    preamble = _ONLY.format(allowed=allowed, known=set(by_module))
    run = subprocess.run(
        [sys.executable, "-I", "-c", f"{preamble}\nsys.path.insert(0, '.')\n{code}"],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


@pytest.mark.parametrize("file", _FILES)
def test_hadolint_has_nothing_to_say(file: str) -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert program
    lint = subprocess.run([program, _ROOT / file], capture_output=True, text=True, check=False)
    assert lint.returncode == 0 and not lint.stdout, lint.stdout


@pytest.mark.parametrize("file", _FILES)
def test_bases_are_pinned_and_nobody_is_root(file: str) -> None:
    text = (_ROOT / file).read_text()
    assert re.findall(r"(?m)^ARG PYTHON_IMAGE=(.*)", text) == ["python:3.11.16-slim-bookworm"]
    assert set(re.findall(r"(?m)^FROM (\S+)", text)) <= {
        *("${PYTHON_IMAGE}", "scratch"),
        *_stages(file),
    }
    for name, stage in _stages(file).items():
        if stage.all("USER"):
            assert stage.all("USER") == ["10001:10001"] and stage.instructions[-1][0] != "RUN", name
    # With a name, and a home that can be written to.
    named = r"groupadd --gid 10001 .*\n *useradd .*--uid 10001 --gid 10001 --home-dir /tmp "
    assert re.search(named, text)


def test_settings_in_the_images_are_settings() -> None:
    ours = {name.upper() for name in Settings.model_fields}
    programs = {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "TORCH_HOME"}
    card = {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"}
    for file in _FILES:
        for stage in _stages(file).values():
            for line in stage.all("ENV"):
                names = set(re.findall(r"(\w+)=", line))
                assert names <= ours | programs | card, names


def test_the_web_image_holds_all_that_web_imports(tmp_path: Path) -> None:
    final = _stages("Dockerfile.web")["final"]
    final.lay_out(tmp_path)
    code = "import gunicorn.app.wsgiapp, gevent, web.app; print(web.app.VERSION)"
    assert _run_with_only("web", code, tmp_path).strip() == VERSION
    assert final.all("EXPOSE") == [str(Settings.model_fields["web_port"].default)]
    assert f":{final.all('EXPOSE')[0]}/readyz" in final.all("HEALTHCHECK")[0]
    assert (tmp_path / final.command()[2]).is_file()


def test_the_worker_image_holds_all_that_a_worker_imports(tmp_path: Path) -> None:
    stages = _stages("Dockerfile.worker")
    stages["cpu"].lay_out(tmp_path)
    code = "import celery.bin.celery, onnxruntime, workers.app, workers.webhooks.app, sys"
    answer = _run_with_only("worker", f"{code}; print('torch' in sys.modules)", tmp_path)
    assert answer.strip() == "False"
    defaults = dict(each.split("=") for each in stages["worker"].all("ENV")[0].split())
    assert defaults["METRICS_PORT"] == stages["worker"].all("EXPOSE")[0]
    assert "workers.upkeep.health" in stages["worker"].all("HEALTHCHECK")[0]


@pytest.mark.parametrize("file", _FILES)
@pytest.mark.parametrize("more", ["", "tracing"])
def test_what_traces_need_is_installed_where_it_is_asked_for(file: str, more: str) -> None:
    stage = _stages(file)["dependencies"]
    [install] = [each for each in stage.all("RUN") if "install" in each]
    [options] = re.findall(r"install (.*)", " ".join(install.split()))
    environment = {"MORE_REQUIREMENTS": more}
    said = subprocess.run(
        ["sh", "-c", f"echo {options}"], env=environment, capture_output=True, text=True, check=True
    )
    asked = set(re.findall(r"/requirements/(\S+)", said.stdout))
    assert asked == {f"{file.rpartition('.')[2]}.txt"} | ({f"{more}.txt"} if more else set())
    copied = stage.all("COPY")[0]
    assert all((_ROOT / "requirements" / each).is_file() and each in copied for each in asked)


def test_flowers_image_holds_all_that_flower_imports(tmp_path: Path) -> None:
    _stages("Dockerfile.worker")["flower"].lay_out(tmp_path)
    code = "import celery.bin.celery, flower, workers.flower; print(workers.flower.app.main)"
    assert _run_with_only("flower", code, tmp_path).strip() == "classifier"


def test_the_loadtest_image_has_all_that_locust_imports_and_no_more(tmp_path: Path) -> None:
    _stages("Dockerfile.worker")["loadtest"].lay_out(tmp_path)
    code = "import gevent.monkey; gevent.monkey.patch_all(); import loadtest.people.locustfile"
    _run_with_only("locust", code, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"loadtest"}


def test_the_worker_is_the_one_of_the_quick_start() -> None:
    """The same program with the same options, but for the lane in its name."""
    shell, option, line = _stages("Dockerfile.worker")["worker"].command()
    assert (shell, option) == ("sh", "-c")
    [started] = [each for each in programs(Settings()) if each.name == "interactive"]
    command = " ".join(started.command)
    _, _, run = line.partition("; ")
    assert run == "exec " + command.replace("interactive@%h", '"${LANE:-interactive}@%h"')


@pytest.fixture
def build_model(tmp_path: Path) -> Callable[[str, str], subprocess.CompletedProcess[str]]:
    """Runs the model's stage on what it copies: of these weights, to be of this digest."""
    stage = _stages("Dockerfile.worker")["model"]
    stage.lay_out(tmp_path / "app")
    [run] = [each for each in stage.all("RUN") if "workers.engine.export" in each]

    def build(weights: str, digest: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", run.replace("/model", f"{tmp_path}/model")],
            cwd=tmp_path / "app",
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "MODEL_WEIGHTS": weights,
                "MODELS_DIR": f"{tmp_path}/model/exports",
                "WEIGHTS_SHA256": digest,
                "TORCH_HOME": f"{tmp_path}/model/torch",
                "https_proxy": "http://127.0.0.1:9",  # a network that brings nothing
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return build


@pytest.mark.torch
def test_the_models_layer_is_made_of_what_its_stage_copies(
    build_model: Callable[[str, str], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    made = build_model("random", "")
    assert made.returncode == 0, made.stderr[-2000:]
    [export] = (tmp_path / "model/exports").glob("*.onnx")
    digest = export.name.split("-")[2]
    whole = digest + "0" * 52
    assert build_model("random", whole).returncode == 0, "the whole digest may be given"
    other = build_model("random", "0123456789ab")
    assert other.returncode, "other weights than those named must not be shipped"


@pytest.mark.torch
def test_the_demonstration_model_is_built_into_an_image_by_its_name_alone(
    build_model: Callable[[str, str], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    stages = _stages("Dockerfile.worker")
    [digest] = [each.partition("=")[2] for each in stages["model"].all("ARG")[-1:]]
    made = build_model("demonstration", digest)
    assert made.returncode == 0, made.stderr[-2000:]
    stages["cpu"].lay_out(tmp_path / "image")
    code = (
        "from shared.settings import Settings; from workers.engine import load_engine\n"
        "settings = Settings(model_weights='demonstration', engine='onnxruntime', "
        f"models_dir={str(tmp_path / 'model/exports')!r})\n"
        "print(load_engine(settings).model.name)"
    )
    name = _run_with_only("worker", code, tmp_path / "image")
    assert name.strip().endswith(" (demonstration model)")


@pytest.mark.torch
def test_where_no_weights_are_named_and_none_come_an_image_has_the_demonstration_model(
    build_model: Callable[[str, str], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    named = build_model("DEFAULT", "5c1a4163")
    assert named.returncode and "cannot be downloaded" in named.stderr
    made = build_model("", "5c1a4163")
    assert made.returncode == 0, made.stderr[-2000:]
    assert "cannot be downloaded" in made.stderr and "MODEL_WEIGHTS=<file>" in made.stderr

    line = _stages("Dockerfile.worker")["worker"].command()[-1]
    told, _, _ = line.partition("; exec")
    for weights, said in ("", "demonstration"), ("/mine.pth", "/mine.pth"):
        environment = {"MODELS_DIR": f"{tmp_path}/model/exports", "MODEL_WEIGHTS": weights}
        run = subprocess.run(
            ["sh", "-c", f"{told}; printenv MODEL_WEIGHTS"],
            env=environment | {"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == said


@pytest.mark.torch
def test_torchvisions_weights_carry_the_digest_that_is_checked() -> None:
    from workers.engine.torchvision_model import torchvision

    [named] = _stages("Dockerfile.worker")["model"].all("ARG")[-1:]
    url = torchvision.models.get_model_weights(Settings.model_fields["model"].default).DEFAULT.url
    assert named == f"WEIGHTS_SHA256={url.rpartition('-')[2].removesuffix('.pth')}"


def test_nothing_but_the_programs_can_get_into_an_image() -> None:
    first, *others = [
        line
        for line in (_ROOT / ".dockerignore").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert first == "*"
    allowed = {line[1:].rstrip("/") for line in others if line.startswith("!")}
    assert allowed == {"loadtest", "requirements", "shared", "web", "workers"}
