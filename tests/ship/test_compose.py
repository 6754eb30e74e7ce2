"""docker-compose.yml follows its specification, and its names are the code's. What can be run
without containers is run: the passwords, Redis's command, Flower's."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis as redis_client
import yaml

from tests.support.ports import free_port
from quickstart import redis_server
from quickstart.programs import programs
from shared.jobs import Lane
from shared.redis_client import connect
from shared.settings import Settings
from web.http.api_keys import ApiKeys
from web.app import VERSION

_ROOT = Path(__file__).parents[2]
_FILE = _ROOT / "docker-compose.yml"
_OURS = "image-classifier/"
_ONCE = {"locust", "kibana-user", "logging-setup"}  #: They do their work and end.

Services = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    file: dict[str, Any] = yaml.safe_load(_FILE.read_text())
    return file


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> Services:
    found: Services = compose["services"]
    return found


def _default(text: str) -> str:
    """What Compose puts for ${NAME:-default} where nobody says otherwise."""
    return re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", str(text)).replace("$$", "$")


def _bytes(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)([kmg])b?", _default(text)).groups()  # type: ignore
    return float(number) * {"k": 2**10, "m": 2**20, "g": 2**30}[unit]


def _seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_the_file_follows_the_compose_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    run = subprocess.run([*check, _FILE], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_every_service_restarts_is_bounded_and_can_do_little(services: Services) -> None:
    for name, service in services.items():
        assert service["restart"] == ("no" if name in _ONCE else "unless-stopped"), name
        limits = service["deploy"]["resources"]["limits"]
        assert float(_default(limits["cpus"])) > 0 and _bytes(limits["memory"]) > 0, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["cap_drop"] == ["ALL"], name
        # Elastic's programs write beside their code.
        elastic = re.match(r"(elasticsearch|kibana|logstash):", service["image"])
        assert service["read_only"] is not bool(elastic), name


def test_every_image_is_pinned(services: Services) -> None:
    for name, service in services.items():
        image, _, tag = service["image"].rpartition(":")
        assert re.match(r"v?\d+\.\d+\.\d+", tag), f"{name}: {tag}"
        if image.startswith(_OURS):
            assert tag == VERSION and service["build"]["context"] == ".", name
            assert (_ROOT / service["build"]["dockerfile"]).is_file(), name


def test_our_images_are_built_from_stages_that_exist(services: Services) -> None:
    for name, service in services.items():
        if target := service.get("build", {}).get("target"):
            text = (_ROOT / service["build"]["dockerfile"]).read_text()
            assert f" AS {target}\n" in text, name
            for argument in service["build"].get("args", {}):
                assert re.search(rf"(?m)^ARG {argument}\b", text), argument


def test_only_nginx_is_published_and_the_consoles_to_this_machine_alone(
    services: Services,
) -> None:
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]
    published = [_default(each).rsplit(":", 2) for each in services["nginx"]["ports"]]
    assert published[0] == ["80", "8080"]
    assert all(each[0] == "127.0.0.1" and each[1] == each[2] for each in published[1:])
    listening = set(re.findall(r"listen (\d+)", _nginx()))
    assert {each[-1] for each in published} <= listening


def test_nginx_finds_every_service_that_it_names(services: Services) -> None:
    """Those of profiles that this file has; a network that both are in."""
    named = re.findall(r"(?:server (\w+):\d+ resolve|http://(\w[\w-]*):\d+;)", _nginx())
    names = {left or right for left, right in named} & set(services)
    assert {"web", "flower"} <= names
    for name in names:
        assert set(services[name]["networks"]) & set(services["nginx"]["networks"]), name


def _nginx() -> str:
    return "".join(path.read_text() for path in (_ROOT / "nginx").glob("*.conf"))


def test_settings_are_settings(services: Services) -> None:
    ours = {name.upper() for name in Settings.model_fields}
    for name, service in services.items():
        if service["image"].startswith(_OURS):
            assert set(service.get("environment", {})) <= ours, name
            values = {k.lower(): _default(v) for k, v in service.get("environment", {}).items()}
            Settings(**values)


def test_secrets_are_files_that_are_made(compose: dict[str, Any], services: Services) -> None:
    made = set(re.findall(r"(?m)^make (\S+)", (_ROOT / "secrets/create").read_text()))
    assert {each["file"] for each in compose["secrets"].values()} <= {f"secrets/{m}" for m in made}
    for name, service in services.items():
        mounted = {
            each if isinstance(each, str) else each["target"]: each
            for each in service.get("secrets", ())
        }
        sources = {e if isinstance(e, str) else e["source"] for e in mounted.values()}
        assert sources <= set(compose["secrets"]), name
        for read in re.findall(r"/run/secrets/([\w.]+)", str(service)):
            assert read in mounted, name
    assert "redis_url" in Settings.model_fields


def test_each_lane_has_workers_of_its_own(services: Services) -> None:
    for image in ("image-classifier/worker:", "image-classifier/worker-gpu:"):
        lanes = [
            s["environment"]["LANE"]
            for name, s in services.items()
            if s["image"].startswith(image) and name != "webhooks"
        ]
        assert sorted(lanes) == sorted(Lane)


def test_what_not_everybody_needs_runs_where_it_is_asked_for(services: Services) -> None:
    by_profile: dict[str | None, set[str]] = {}
    for name, service in services.items():
        [profile] = service.get("profiles", [None])
        by_profile.setdefault(profile, set()).add(name)
    exporters = {"celery-exporter", "redis-exporter", "node-exporter"}
    assert by_profile == {
        None: {"nginx", "web", "redis", "worker-interactive", "worker-bulk", "flower"},
        "gpu": {"worker-gpu-interactive", "worker-gpu-bulk"},
        "monitoring": {"prometheus", "grafana"} | exporters,
        "loadtest": {"locust"},
        "webhooks": {"webhooks"},
        "logging": {"filebeat", "logstash", "elasticsearch", "kibana"} | _ONCE - {"locust"},
    }


def test_prometheus_finds_every_program_that_it_scrapes(services: Services) -> None:
    config = yaml.safe_load((_ROOT / "monitoring/prometheus/prometheus.yml").read_text())
    asked: set[tuple[str, int]] = set()
    for job in config["scrape_configs"]:
        for found in job.get("dns_sd_configs", ()):
            asked |= {(name, found["port"]) for name in found["names"]}
        for listed in job.get("static_configs", ()):
            asked |= {(h, int(p)) for h, p in (each.split(":") for each in listed["targets"])}
    ports = {name: _listening(service) for name, service in services.items()}
    for name, port in asked - {("localhost", 9090)}:
        assert port in ports[name], (name, port)
        assert set(services[name]["networks"]) & set(services["prometheus"]["networks"])


def _listening(service: dict[str, Any]) -> set[int]:
    """Ports of an image: of ours what it exposes, of others what they are known for."""
    known = {"celery-exporter": 9808, "redis_exporter": 9121, "node-exporter": 9100}
    image = service["image"].rpartition(":")[0]
    if not image.startswith(_OURS):
        return {port for name, port in known.items() if image.endswith(name)}
    text = (_ROOT / service["build"]["dockerfile"]).read_text()
    if target := service["build"].get("target"):
        stages = {part.split()[2]: part for part in text.split("\nFROM ")[1:] if " AS " in part}
        text = stages[target] + stages["worker" if target in ("cpu", "gpu") else target]
    return {int(port) for port in re.findall(r"(?m)^EXPOSE (\d+)", text)}


def test_the_watchers_are_started_as_the_runbook_says(services: Services) -> None:
    text = (_ROOT / "docs/operations.md").read_text()
    told = dict(re.findall(r"(?m)^\| `([\w-]+)` \| `(-[^`]+)` \|", text))
    assert told["celery-exporter"] in services["celery-exporter"]["entrypoint"][-1]
    assert told["redis_exporter"] in services["redis-exporter"]["command"]
    assert told["flower"] in (_ROOT / "Dockerfile.worker").read_text()
    [rights] = re.findall(r"(?m)^    ACL SETUSER watcher on >PASSWORD ((?:.*\n      ?)*.*)", text)
    for file in ("docker-compose.yml", "k8s/base/redis.yaml"):
        given = " ".join((_ROOT / file).read_text().replace("'", "").split())
        assert " ".join(rights.split()) in given, file


def test_the_log_stack_finds_its_parts(services: Services) -> None:
    """The names and passwords that the files in logging/ go by."""
    text = "".join(path.read_text() for path in (_ROOT / "logging").rglob("*") if path.is_file())
    named = set(re.findall(r"\b(elasticsearch|kibana|logstash):(\d+)", text))
    assert {name for name, _ in named} == {"elasticsearch", "kibana", "logstash"}
    for name, _ in named:
        assert "logs" in services[name]["networks"]
    for name in ("logstash", "logging-setup"):
        assert "export ELASTIC_PASSWORD" in services[name]["entrypoint"][-1]
    [paths] = re.findall(r"paths: \[(/[\w/]+)/\*", (_ROOT / "logging/filebeat.yml").read_text())
    assert f"{paths}:{paths}:ro" in services["filebeat"]["volumes"]


def test_grafana_finds_its_dashboards(services: Services) -> None:
    mounted = {v.split(":")[1] for v in services["grafana"]["volumes"]}
    folder = _ROOT / "monitoring/grafana/provisioning"
    provider = yaml.safe_load((folder / "dashboards/dashboards.yml").read_text())
    source = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())
    assert provider["providers"][0]["options"]["path"] in mounted
    assert source["datasources"][0]["url"] == "http://prometheus:9090"


def test_programs_are_given_the_time_that_they_need_to_stop(services: Services) -> None:
    gunicorn = runpy.run_path(str(_ROOT / "web/server/gunicorn.conf.py"))
    settings = Settings()
    for name, service in services.items():
        if name.startswith("worker"):
            assert _seconds(service["stop_grace_period"]) > settings.batch_time_limit_seconds
    pause = _seconds(services["webhooks"]["stop_grace_period"])
    assert pause > settings.webhook_timeout_seconds
    assert _seconds(services["web"]["stop_grace_period"]) >= gunicorn["graceful_timeout"] + 5
    assert _seconds(services["nginx"]["stop_grace_period"]) > settings.max_wait_seconds


def test_nothing_but_webhooks_and_nginx_has_a_way_out(
    compose: dict[str, Any], services: Services
) -> None:
    out = {name for name, each in compose["networks"].items() if not each.get("internal")}
    reaching = {name for name, each in services.items() if out & set(each["networks"])}
    assert reaching == {"nginx", "webhooks"}
    assert not set(services["nginx"]["networks"]) & set(services["webhooks"]["networks"])


def test_the_links_that_are_suggested_are_where_the_consoles_are() -> None:
    text = _FILE.read_text()
    told = dict(re.findall(r"(?m)^#     ((?:FLOWER|GRAFANA|KIBANA)_URL)=(\S+)$", text))
    assert len(told) == 3
    Settings(**{name.lower(): address for name, address in told.items()})
    for name, address in told.items():
        port = address.removeprefix("http://localhost:")
        console = name.removesuffix("_URL").lower()
        assert re.search(rf"set \$console http://{console}:{port};", _nginx()), name


def test_nothing_starts_before_what_it_needs_is_well(services: Services) -> None:
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            well = services[needed]
            if needed in _ONCE:
                assert how["condition"] == "service_completed_successfully", name
                continue
            assert how["condition"] == "service_healthy", name
            assert "healthcheck" in well or well["image"].startswith(_OURS), needed


def test_every_mounted_file_is_there(services: Services) -> None:
    for name, service in services.items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0] if isinstance(volume, str) else ""
            if source.startswith("./"):
                assert (_ROOT / source).exists(), f"{name}: {source}"


def test_redis_has_room_for_the_pictures_that_may_wait(services: Services) -> None:
    command = _default(services["redis"]["command"][-1])
    [limit] = re.findall(r"--maxmemory (\S+)", command)
    assert Settings().max_bytes_held < 0.9 * _bytes(limit)
    memory = services["redis"]["deploy"]["resources"]["limits"]["memory"]
    assert _bytes(limit) < 0.75 * _bytes(memory)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The passwords as `make secrets` makes them, in a folder of this run's own."""
    folder = tmp_path_factory.mktemp("secrets")
    shutil.copy(_ROOT / "secrets/create", folder)
    subprocess.run([folder / "create"], check=True)
    return folder


def test_passwords_are_made_once_and_hidden_by_their_folder(secrets: Path) -> None:
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    subprocess.run([secrets / "create"], check=True)
    assert before == {path.name: path.read_text() for path in secrets.iterdir()}
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert len(before["redis_password"]) == 48
    assert before["redis_url"] == f"redis://:{before['redis_password']}@redis:6379/0"


def test_web_asks_for_the_key_that_was_made(services: Services, secrets: Path) -> None:
    web = services["web"]
    asked = Path(_default(web["environment"]["API_KEYS_FILE"]))
    assert asked.parent == Path("/run/secrets") and asked.name in web["secrets"]
    keys = ApiKeys(secrets / asked.name)
    assert keys.name_of((secrets / "api_key").read_text()) == "operator"
    assert keys.name_of("imgc_another") is None
    # Another key is added by `>>`.
    assert (secrets / asked.name).read_text().endswith("\n")
    # Whoever measures has it, too.
    assert "--api-key-file=/run/secrets/api_key" in services["locust"]["command"]


@contextmanager
def _program(
    command: list[str], folder: Path, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    path = f"{Path(sys.executable).parent}:{redis_server.find().parent}:{os.environ['PATH']}"
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={"PATH": path, **environment},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def shipped_redis(
    services: Services, secrets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The command of the compose file, run as it is, on a port of this run's own."""
    *shell, line = services["redis"]["command"]
    port = free_port()
    line = _default(line).replace("/run/secrets", str(secrets)) + f" --port {port}"
    folder = tmp_path_factory.mktemp("redis")
    with _program([*shell, line], folder):
        url = f"redis://:{(secrets / 'redis_password').read_text()}@127.0.0.1:{port}/0"
        client = connect(url, max_connections=1)
        for _ in range(100):
            with suppress(redis_client.ConnectionError):
                client.ping()
                break
            time.sleep(0.05)
        yield url


def test_the_shipped_redis_asks_for_a_password_and_forgets_nothing(shipped_redis: str) -> None:
    with connect(shipped_redis, max_connections=1) as client:
        kept = client.config_get("*")
    expected = {"appendonly": "yes", "appendfsync": "no", "save": ""}
    expected |= {"maxmemory-policy": "noeviction", "rdbcompression": "no"}
    expected["auto-aof-rewrite-min-size"] = str(256 * 2**20)
    assert {name: kept[name] for name in expected} == expected
    stranger = re.sub(r":[^:@/]+@", "", shipped_redis)
    with pytest.raises(redis_client.AuthenticationError):
        connect(stranger, max_connections=1).ping()


def test_the_shipped_redis_lets_a_watcher_see_no_picture(shipped_redis: str, secrets: Path) -> None:
    with connect(_watcher(shipped_redis, secrets), max_connections=1) as watcher:
        watcher.llen("bulk")
        for refused in (["ZCARD", "outstanding:bulk"], ["HGETALL", "job:x"], ["FLUSHALL"]):
            with pytest.raises(redis_client.exceptions.NoPermissionError):
                watcher.execute_command(*refused)


def _watcher(url: str, secrets: Path) -> str:
    """The address that Flower and the exporters get, with this run's port."""
    made = (secrets / "watcher_url").read_text()
    return made.replace("redis:6379", url.rpartition("@")[2].partition("/")[0])


def test_the_shipped_flower_asks_for_a_password(shipped_redis: str, secrets: Path) -> None:
    line, default = _flower()
    port = free_port()
    line = line.replace("/run/secrets", str(secrets)).replace(f"--port={default}", f"--port={port}")
    user, password = (secrets / "flower_basic_auth").read_text().split(":")
    with _program(["sh", "-ec", line], _ROOT, REDIS_URL=_watcher(shipped_redis, secrets)):
        _await(f"http://127.0.0.1:{port}/healthcheck")
        page = f"http://127.0.0.1:{port}/workers"
        assert httpx.get(page).status_code == 401
        assert httpx.get(page, auth=(user, password)).is_success


def test_flower_does_not_start_without_a_password(shipped_redis: str, tmp_path: Path) -> None:
    line, _ = _flower()
    line = line.replace("/run/secrets", str(tmp_path))
    with _program(["sh", "-ec", line], _ROOT, REDIS_URL=shipped_redis) as flower:
        assert flower.wait(30) != 0


def test_the_shipped_webhooks_worker_is_well_once_its_loop_turns(
    services: Services, shipped_redis: str, secrets: Path, tmp_path: Path
) -> None:
    """Its command with the secret that was made, and the question that is put to it."""
    service = services["webhooks"]
    program, *question = service["healthcheck"]["test"][1:]
    assert program == "python"
    mounted = {"WEBHOOK_SECRET": (secrets / "webhook_secret").read_text()}
    own = {"DATA_DIR": str(tmp_path), "REDIS_URL": shipped_redis}

    def is_well() -> bool:
        command = [sys.executable, *question]
        asked = subprocess.run(command, cwd=_ROOT, env=own, capture_output=True, check=False)
        return asked.returncode == 0

    assert not is_well()
    with _program(service["command"], _ROOT, **own, **mounted) as worker:
        assert any(is_well() for _ in range(100)) and worker.poll() is None


def test_the_webhooks_worker_does_not_start_without_a_secret(
    services: Services, shipped_redis: str, tmp_path: Path
) -> None:
    own = {"DATA_DIR": str(tmp_path), "REDIS_URL": shipped_redis}
    with _program(services["webhooks"]["command"], _ROOT, **own) as worker:
        assert worker.wait(30) != 0


def test_the_webhooks_worker_is_the_one_of_the_quick_start(services: Services) -> None:
    [started] = [each for each in programs(Settings(webhooks=True)) if each.name == "webhooks"]
    assert services["webhooks"]["command"] == started.command


def _flower() -> tuple[str, int]:
    """The image's command, and the port in it."""
    text = (_ROOT / "Dockerfile.worker").read_text()
    [line] = re.findall(r'(?m)^CMD \["sh", "-ec", "(.*)"\]', text)
    port: int = Settings.model_fields["flower_port"].default
    assert f"--port={port} " in line and f"EXPOSE {port}\n" in text
    return line, port


def _await(url: str) -> None:
    for _ in range(600):
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=30).is_success:
                return
        time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")
