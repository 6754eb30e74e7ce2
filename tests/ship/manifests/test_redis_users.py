"""The component `redis-users` gives each program a Redis user of its own, with any overlay."""

from __future__ import annotations

import base64

import pytest

from tests.ship.manifests.objects import Kustomize, Objects, of_kind, pods

#: The user of the address that a Pod gets.
USERS = {
    "web": "web",
    "worker-interactive": "worker",
    "worker-bulk": "worker",
    "webhooks": "worker",
    "flower": "watcher",
    "celery-exporter": "watcher",
}


def _read(objects: Objects, pod: str) -> dict[str, str]:
    """The files of Secrets that a Pod mounts, by name."""
    secrets = of_kind(objects, "Secret")
    files = {}
    for volume in dict(pods(objects))[pod]["spec"]["volumes"]:
        sources = [each["secret"] for each in volume.get("projected", {}).get("sources", ())]
        for source in [*sources, *([volume["secret"]] if "secret" in volume else [])]:
            data = secrets[source.get("name") or source["secretName"]]["data"]
            for item in source["items"]:
                files[item["path"]] = base64.b64decode(data[item["key"]]).decode()
    return files


@pytest.mark.parametrize("overlay", ["cpu", "gpu", "monitoring", "webhooks"])
def test_each_pod_gets_an_address_with_its_user(kustomize: Kustomize, overlay: str) -> None:
    site = "  - ../../site\n"
    edit = (
        f"k8s/overlays/{overlay}/kustomization.yaml",
        site,
        f"  - ../../components/redis-users\n{site}",
    )
    objects = kustomize(f"overlays/{overlay}", edit)
    for name, _ in pods(objects):
        files = _read(objects, name)
        address = files.get("redis_url") or files.get("watcher_url", "")
        if address:
            user = address.removeprefix("redis://").partition(":")[0]
            assert user == USERS[name], name
    assert "\nuser web on #" in _read(objects, "redis")["users.acl"]
    secrets = of_kind(objects, "Secret")
    [keda] = of_kind(objects, "TriggerAuthentication").values()
    given = {
        each["parameter"]: base64.b64decode(secrets[each["name"]]["data"][each["key"]]).decode()
        for each in keda["spec"]["secretTargetRef"]
    }
    assert given["username"] == "keda" and len(given["password"]) > 30
    if overlay == "monitoring":
        [container] = dict(pods(objects))["redis-exporter"]["spec"]["containers"]
        assert "--redis.user=exporter" in container["args"]
        assert "--redis.user=watcher" not in container["args"]
        assert "exporter@redis" in _read(objects, "redis-exporter")["redis_exporter.json"]
