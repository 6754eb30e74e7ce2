"""Follows each runbook of docs/operations.md: its commands, against a running service."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shared.jobs import Lane, PartRef
from shared.records.job_records import JobRecords
from shared.records.overdue.dead_letters import DeadLetter
from shared.redis_client import connect
from tests.support.local_service import LocalService
from tests.support.waiting import wait_until

_ROOT = Path(__file__).parents[2]
_DOCUMENT = (_ROOT / "docs/operations.md").read_text()
_BLOCK = re.compile(r"^( *)```console\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def sections() -> dict[str, list[str]]:
    """The commands of each section that has any, by its heading."""
    found: dict[str, list[str]] = {}
    for section in re.split(r"^##+ ", _DOCUMENT, flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        blocks = "".join(block for _, block in _BLOCK.findall(text))
        if commands := re.findall(r"^ *\$ (.*)$", blocks, re.MULTILINE):
            found[heading] = commands
    return found


#: These need programs of others: tests/monitoring/test_alertmanager.py checks them.
_ELSEWHERE = {"Get messages of alerts"}
_RUNBOOKS = {name: commands for name, commands in sections().items() if name not in _ELSEWHERE}


def test_every_alert_but_two_has_commands() -> None:
    alerts = set(re.findall(r"^### (Classifier\w+)$", _DOCUMENT, re.MULTILINE))
    # These two are about programs that the operator's commands do not see.
    assert alerts - _RUNBOOKS.keys() == {"ClassifierTargetMissing", "ClassifierClockDiffers"}
    assert {"Operate the service", "What to do"} <= _RUNBOOKS.keys()


def test_the_table_names_every_action_and_no_other() -> None:
    command = [sys.executable, "-m", "client", "operator", "--help"]
    text = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True).stdout
    actions = set(re.findall(r"^    ([a-z-]+)\b", text, re.MULTILINE))
    table = _DOCUMENT.partition("## Operate the service")[2].partition("For example")[0]
    assert actions == set(re.findall(r"`operator ([a-z-]+)", table))
    used = re.findall(
        r"image-classifier operator ([a-z-]+)", "\n".join(sum(_RUNBOOKS.values(), []))
    )
    assert set(used) <= actions


class Operator:
    """A shell in which `image-classifier` is the command of this checkout."""

    def __init__(self, service: LocalService, folder: Path) -> None:
        self.folder = folder
        program = folder / "image-classifier"
        program.write_text(f'#!/bin/sh\nPYTHONPATH={_ROOT} exec {sys.executable} -m client "$@"\n')
        program.chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "IMAGE_CLASSIFIER_URL": service.base_url,
            "REDIS_URL": service.redis_url,
            "LANE": "bulk",
        }
        self.address = service.base_url.removeprefix("http://")

    def run(self, commands: list[str], **variables: str) -> str:
        script = "\n".join(commands).replace("localhost:8000", self.address)
        shell = subprocess.run(
            ["bash", "-euxc", script],
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert shell.returncode == 0, shell.stdout + shell.stderr
        return shell.stdout


@pytest.fixture
def operator(service: LocalService, tmp_path: Path) -> Iterator[Operator]:
    for program in ("curl", "redis-cli"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    yield Operator(service, tmp_path)
    for lane in Lane:
        httpx.put(
            f"{service.base_url}/api/v1/operator/lanes/{lane}", json={"state": "open"}, timeout=60
        )


@pytest.fixture
def job(service: LocalService, pictures: list[Path]) -> str:
    """The id of a job of two pictures, of which no worker has seen the bytes."""
    files = [("files", (f"{k}.jpg", pictures[k].read_bytes() + os.urandom(8))) for k in range(2)]
    answer = httpx.post(f"{service.base_url}/jobs", files=files, timeout=60)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


@pytest.fixture
def letter(service: LocalService, pictures: list[Path], job: str) -> Iterator[str]:
    """The id of a dead letter, as recovery stores it."""
    redis = connect(service.redis_url, max_connections=1)
    letters = JobRecords(redis, result_ttl_seconds=3600, part_deadline_seconds=60).dead_letters
    httpx.get(f"{service.base_url}/jobs/{job}?wait=30", timeout=60)
    dead = DeadLetter(
        member=PartRef(job, 0, 1, 1).member,
        lane=Lane.BULK,
        job_id=job,
        index=1,
        name="bomb.jpg",
        owner="",
        at=time.time(),
    )
    pipe = redis.pipeline()
    letters.add(pipe, dead, pictures[1].read_bytes())
    pipe.execute()
    yield dead.member
    letters.remove(dead.member)
    redis.close()


@pytest.mark.parametrize("name", sorted(_RUNBOOKS.keys() - {"ClassifierDeadLettersGrowing"}))
def test_the_commands_of_a_section_work(operator: Operator, job: str, name: str) -> None:
    operator.run(_RUNBOOKS[name], JOB=job)


def test_the_commands_about_dead_letters_work(operator: Operator, job: str, letter: str) -> None:
    commands = _RUNBOOKS["ClassifierDeadLettersGrowing"]
    [retry] = [each for each in commands if " retry " in each]
    # One would retry all letters, or delete one. The picture of this letter has an outcome already.
    printed = operator.run([each for each in commands if each != retry], JOB=job, LETTER=letter)
    assert f"{letter}  -" in printed and f"{letter}: deleted" in printed
    assert (operator.folder / "dead_image").read_bytes().startswith(b"\xff\xd8")
    assert operator.run([retry, "image-classifier operator dead-letters"]).endswith(
        "There are no dead letters.\n"
    )


def test_a_runbook_does_what_it_says(
    operator: Operator, service: LocalService, pictures: list[Path]
) -> None:
    """A lane is full: it is drained, and opened again. Then a paused lane is purged."""

    def submit() -> httpx.Response:
        picture = pictures[0].read_bytes() + os.urandom(8)
        return httpx.post(
            f"{service.base_url}/jobs?lane=bulk", files={"files": ("a.jpg", picture)}, timeout=60
        )

    drain, resume, _, purge = _RUNBOOKS["ClassifierRedisMemory"][2:]
    assert "drain" in drain and "resume" in resume and "purge" in purge
    operator.run([drain])
    assert submit().json()["code"] == "lane_closed"
    operator.run([resume])
    obeyed = "the lane bulk is paused: this worker takes no parts"
    before = service.log("bulk").count(obeyed)
    operator.run(["image-classifier operator pause bulk"])
    wait_until(lambda: service.log("bulk").count(obeyed) > before)
    jobs = [submit().json()["id"] for _ in range(3)]
    assert "bulk         paused" in operator.run(["image-classifier operator lanes"])
    operator.run([purge])
    listed = operator.run(["image-classifier operator jobs --state cancelled"])
    assert all(each in listed for each in jobs)
    workers = operator.run(["image-classifier operator workers"])
    assert re.search(r"^bulk@\S+ +bulk +\S+ +onnxruntime +\S+-p\d", workers, re.MULTILINE), workers
