"""Redis has the memory and the disk that it needs, and accepts its configuration."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from quickstart import redis_server
from tests.ship.manifests.objects import ROOT, Objects, of_kind
from tests.support.ports import free_port


def _bytes(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"Gi": 2**30, "gb": 2**30, "Mi": 2**20}[unit]


def test_redis_has_room_for_the_pictures_that_may_wait(whole: Objects) -> None:
    spec = of_kind(whole, "StatefulSet")["redis"]["spec"]
    configs = of_kind(whole, "ConfigMap")
    [volume] = [v for v in spec["template"]["spec"]["volumes"] if v["name"] == "config"]
    conf = configs[volume["configMap"]["name"]]["data"]["redis.conf"]
    limit = _bytes(re.findall(r"(?m)^maxmemory (\S+)", conf)[0])
    memory = spec["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
    storage = spec["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
    assert limit <= 0.75 * _bytes(memory) and 3 * limit <= _bytes(storage)
    [held] = [c["data"]["MAX_BYTES_HELD"] for n, c in configs.items() if n.startswith("settings")]
    assert int(held) < 0.9 * limit


def test_redis_keeps_the_memory_of_a_picture_for_the_next_one(whole: Objects) -> None:
    [container] = of_kind(whole, "StatefulSet")["redis"]["spec"]["template"]["spec"]["containers"]
    assert {each["name"]: each["value"] for each in container["env"]} == redis_server.ALLOCATOR


@pytest.mark.parametrize("file", ["base/redis.conf", "overlays/local/redis.conf"])
def test_a_real_redis_accepts_the_configuration(file: str, tmp_path: Path) -> None:
    text = (ROOT / "k8s" / file).read_text()
    assert "noeviction" in text and re.search(r"(?m)^appendonly yes$", text)
    # With `everysec`, Redis answers before it has written.
    assert re.findall(r"(?m)^appendfsync (\w+)", text)[0] in ("always", "no")
    (tmp_path / "redis.conf").write_text(text.replace("dir /data", f"dir {tmp_path}"))
    command = [redis_server.find(), tmp_path / "redis.conf", "--port", str(free_port())]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        started = any("Ready to accept connections" in line for line in server.stdout)
        server.terminate()
    assert started
