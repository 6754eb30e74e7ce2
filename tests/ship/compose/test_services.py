"""Each service of the Compose file is bounded, pinned, and given what it reads."""

from __future__ import annotations

import re
import runpy
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from quickstart import redis_server
from quickstart.programs import programs
from shared.jobs import Lane
from shared.settings import Settings
from tests.ship.compose.file import (
    FILE,
    ONCE,
    OURS,
    ROOT,
    USERS,
    Services,
    default,
    in_bytes,
    in_seconds,
)
from web.app import VERSION
from web.http.api_keys import ApiKeys, Scope


@pytest.mark.parametrize("file", [FILE, USERS], ids=lambda file: file.name)
def test_the_file_follows_the_compose_specification(file: Path) -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    run = subprocess.run([*check, file], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_every_service_restarts_and_has_limits_and_few_rights(services: Services) -> None:
    for name, service in services.items():
        assert service["restart"] == ("no" if name in ONCE else "unless-stopped"), name
        limits = service["deploy"]["resources"]["limits"]
        assert float(default(limits["cpus"])) > 0 and in_bytes(limits["memory"]) > 0, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["cap_drop"] == ["ALL"], name
        # Elastic's programs write beside their code.
        elastic = re.match(r"(elasticsearch|kibana|logstash):", service["image"])
        assert service["read_only"] is not bool(elastic), name


def test_a_machine_with_one_core_can_run_all_but_the_log_stack(services: Services) -> None:
    """Docker starts no container with more cores than the machine has."""
    for name, service in services.items():
        cpus = service["deploy"]["resources"]["limits"]["cpus"]
        assert float(default(cpus)) <= 1 or "$" in cpus or name == "elasticsearch", name


def test_each_image_has_a_version(services: Services) -> None:
    for name, service in services.items():
        image, _, tag = service["image"].rpartition(":")
        assert re.match(r"v?\d+\.\d+\.\d+", tag), f"{name}: {tag}"
        if image.startswith(OURS):
            assert tag == VERSION and service["build"]["context"] == ".", name
            assert (ROOT / service["build"]["dockerfile"]).is_file(), name


def test_the_document_lists_the_version_of_each_image_of_others(services: Services) -> None:
    table = (ROOT / "docs/deploy.md").read_text().partition("| program | image | tested |")[2]
    listed = set(re.findall(r"^\| [^|]+ \| ([\d.]+) \|", table, re.MULTILINE))
    tags = [each["image"].rpartition(":")[2] for each in services.values() if "build" not in each]
    assert listed == {tag.removeprefix("v").partition("-")[0] for tag in tags}


def test_each_image_is_built_from_a_stage_and_arguments_that_exist(services: Services) -> None:
    for service in services.values():
        if target := service.get("build", {}).get("target"):
            text = (ROOT / service["build"]["dockerfile"]).read_text()
            assert f" AS {target}\n" in text
            for argument in service["build"].get("args", {}):
                assert re.search(rf"(?m)^ARG {argument}\b", text), argument


def test_each_variable_is_a_setting_with_a_valid_value(services: Services) -> None:
    settings = {name.upper() for name in Settings.model_fields}
    for name, service in services.items():
        if service["image"].startswith(OURS):
            assert set(service.get("environment", {})) <= settings, name
            Settings(**{k.lower(): default(v) for k, v in service.get("environment", {}).items()})


def test_each_secret_is_made_and_mounted_where_it_is_read(
    compose: dict[str, Any], users: dict[str, Any], services: Services
) -> None:
    made = set(re.findall(r"(?m)^make (\S+)", (ROOT / "secrets/create").read_text()))
    files = {each["file"] for file in (compose, users) for each in file["secrets"].values()}
    assert files <= {f"secrets/{m}" for m in made}
    for name, service in services.items():
        mounted = {
            each if isinstance(each, str) else each["target"]: each
            for each in service.get("secrets", ())
        }
        sources = {e if isinstance(e, str) else e["source"] for e in mounted.values()}
        assert sources <= set(compose["secrets"]), name
        # Redis reads its users if the other file mounts them.
        more = users["services"].get(name, {}).get("secrets", ())
        for read in re.findall(r"/run/secrets/([\w.]+)", str(service)):
            assert read in mounted or read in more, name
    assert "redis_url" in Settings.model_fields


def test_secrets_are_made_once_in_a_private_folder(secrets: Path) -> None:
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    subprocess.run([ROOT / "secrets/create", secrets], check=True)
    assert before == {path.name: path.read_text() for path in secrets.iterdir()}
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert len(before["redis_password"]) == 48
    assert before["redis_url"] == f"redis://:{before['redis_password']}@redis:6379/0"


def test_web_asks_for_the_api_key_that_was_made(services: Services, secrets: Path) -> None:
    web = services["web"]
    file = Path(default(web["environment"]["API_KEYS_FILE"]))
    assert file.parent == Path("/run/secrets") and file.name in web["secrets"]
    keys = ApiKeys(secrets / file.name)
    key = keys.find((secrets / "api_key").read_text())
    assert key and (key.name, key.scopes) == ("operator", {Scope.CLASSIFY, Scope.OPERATE})
    assert keys.find("imgc_another") is None
    # Operators add a key with `>>`.
    assert (secrets / file.name).read_text().endswith("\n")
    # The load test sends this key too.
    assert "--api-key-file=/run/secrets/api_key" in services["locust"]["command"]


def test_each_lane_has_its_own_workers(services: Services) -> None:
    for image in ("image-classifier/worker:", "image-classifier/worker-gpu:"):
        lanes = [
            s["environment"]["LANE"]
            for name, s in services.items()
            if s["image"].startswith(image) and name != "webhooks"
        ]
        assert sorted(lanes) == sorted(Lane)


def test_the_webhooks_worker_is_the_one_of_the_quick_start(services: Services) -> None:
    [started] = [each for each in programs(Settings(webhooks=True)) if each.name == "webhooks"]
    assert services["webhooks"]["command"] == started.command


def test_optional_services_belong_to_a_profile(services: Services) -> None:
    by_profile: dict[str | None, set[str]] = {}
    for name, service in services.items():
        [profile] = service.get("profiles", [None])
        by_profile.setdefault(profile, set()).add(name)
    exporters = {f"{name}-exporter" for name in ("celery", "redis", "node", "blackbox")}
    assert by_profile == {
        None: {"nginx", "web", "redis", "flower", "console-flower"}
        | {"worker-interactive", "worker-bulk"},
        "gpu": {"worker-gpu-interactive", "worker-gpu-bulk"},
        "monitoring": {"prometheus", "grafana", "alertmanager", "console-monitoring"} | exporters,
        "loadtest": {"locust"},
        "webhooks": {"webhooks"},
        "logging": {"filebeat", "logstash", "elasticsearch", "kibana", "console-logging"}
        | ONCE - {"locust"},
    }


def test_each_dependency_is_healthy_or_done_before_a_service_starts(services: Services) -> None:
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            if needed in ONCE:
                assert how["condition"] == "service_completed_successfully", name
                continue
            assert how["condition"] == "service_healthy", name
            checked = services[needed]
            assert "healthcheck" in checked or checked["image"].startswith(OURS), needed


def test_programs_get_enough_time_to_stop(services: Services) -> None:
    gunicorn = runpy.run_path(str(ROOT / "web/server/gunicorn.conf.py"))
    settings = Settings()
    grace = {
        name: in_seconds(service["stop_grace_period"])
        for name, service in services.items()
        if "stop_grace_period" in service
    }
    for name in ("worker-interactive", "worker-bulk", "worker-gpu-interactive", "worker-gpu-bulk"):
        assert grace[name] > settings.batch_time_limit_seconds
    assert grace["webhooks"] > settings.webhook_timeout_seconds
    assert grace["web"] >= gunicorn["graceful_timeout"] + 5
    assert grace["nginx"] > settings.max_wait_seconds


def test_each_mounted_file_exists(services: Services) -> None:
    for name, service in services.items():
        for volume in service.get("volumes", ()):
            source = default(volume).split(":")[0] if isinstance(volume, str) else ""
            if source.startswith("./"):
                assert (ROOT / source).exists(), f"{name}: {source}"


def test_redis_keeps_the_memory_of_a_picture_for_the_next_one(services: Services) -> None:
    assert services["redis"]["environment"] == redis_server.ALLOCATOR


def test_redis_has_room_for_the_pictures_that_may_wait(services: Services) -> None:
    command = default(services["redis"]["command"][-1])
    [limit] = re.findall(r"--maxmemory (\S+)", command)
    assert Settings().max_bytes_held < 0.9 * in_bytes(limit)
    memory = services["redis"]["deploy"]["resources"]["limits"]["memory"]
    assert in_bytes(limit) < 0.75 * in_bytes(memory)
