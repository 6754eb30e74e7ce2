"""Each image has the files and packages that its program imports.

No engine builds the images here. The files that a stage copies are copied to a folder, and a
Python that has only the packages of the image imports the program.
"""

from __future__ import annotations

from pathlib import Path

from shared.settings import Settings
from tests.ship.images.dockerfile import stages
from tests.ship.images.python import run_with_only
from shared.version import VERSION


def test_the_web_image_has_everything_that_web_imports(tmp_path: Path) -> None:
    final = stages("Dockerfile.web")["final"]
    final.lay_out(tmp_path)
    code = "import gunicorn.app.wsgiapp, gevent, web.app; print(web.app.VERSION)"
    assert run_with_only("web", code, tmp_path).strip() == VERSION
    assert final.all("EXPOSE") == [str(Settings.model_fields["web_port"].default)]
    assert f":{final.all('EXPOSE')[0]}/readyz" in final.all("HEALTHCHECK")[0]
    assert (tmp_path / final.command()[2]).is_file()


def test_the_worker_image_has_everything_that_a_worker_imports(tmp_path: Path) -> None:
    by_name = stages("Dockerfile.worker")
    by_name["cpu"].lay_out(tmp_path)
    code = "import celery.bin.celery, onnxruntime, workers.app, workers.webhooks.app, sys"
    answer = run_with_only("worker", f"{code}; print('torch' in sys.modules)", tmp_path)
    assert answer.strip() == "False"
    defaults = dict(each.split("=") for each in by_name["worker"].all("ENV")[0].split())
    assert defaults["METRICS_PORT"] == by_name["worker"].all("EXPOSE")[0]
    assert "workers.upkeep.health" in by_name["worker"].all("HEALTHCHECK")[0]


def test_the_flower_image_has_everything_that_flower_imports(tmp_path: Path) -> None:
    stages("Dockerfile.worker")["flower"].lay_out(tmp_path)
    code = "import celery.bin.celery, flower, workers.flower; print(workers.flower.app.main)"
    assert run_with_only("flower", code, tmp_path).strip() == "classifier"


def test_the_loadtest_image_has_everything_that_locust_imports_and_no_more(tmp_path: Path) -> None:
    stages("Dockerfile.worker")["loadtest"].lay_out(tmp_path)
    code = "import gevent.monkey; gevent.monkey.patch_all(); import loadtest.people.locustfile"
    run_with_only("locust", code, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"loadtest"}
