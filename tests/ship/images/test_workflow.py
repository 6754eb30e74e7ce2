"""The workflow that publishes images follows its schema and builds every image."""

from __future__ import annotations

import subprocess
import sys

import yaml

from tests.ship.images.dockerfile import ROOT, stages

FILE = ROOT / ".github/workflows/images.yml"


def test_the_workflow_follows_githubs_schema() -> None:
    check = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
    ]
    run = subprocess.run([*check, FILE], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_it_builds_every_image_for_both_architectures() -> None:
    job = yaml.safe_load(FILE.read_text())["jobs"]["image"]
    matrix = {each["image"]: each for each in job["strategy"]["matrix"]["include"]}
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    built = {
        service["image"].partition("/")[2].partition(":")[0]: service["build"]
        for service in compose.values()
        if "build" in service
    }
    assert set(matrix) == set(built)
    for name, each in matrix.items():
        build = built[name]
        assert (each["file"], each["target"]) == (build["dockerfile"], build.get("target", ""))
        assert not each["target"] or each["target"] in stages(each["file"])
        platforms = set(each["platforms"].split(","))
        assert "linux/amd64" in platforms and ("linux/arm64" in platforms or name == "worker-gpu")


def test_each_image_gets_labels_a_list_of_contents_and_a_signature() -> None:
    job = yaml.safe_load(FILE.read_text())["jobs"]["image"]
    steps = {each.get("uses", each.get("run", "")).partition("@")[0]: each for each in job["steps"]}
    build = steps["docker/build-push-action"]["with"]
    assert build["sbom"] is True and build["provenance"] and "labels" in build["labels"]
    assert any(name.startswith("cosign sign") for name in steps)
    assert job["permissions"]["id-token"] == "write"
