"""The settings and secrets in the manifests are those that the programs read."""

from __future__ import annotations

import base64
import re

from shared.settings import Settings
from tests.ship.manifests.objects import ROOT, Kustomize, Objects, of_kind, pods


def test_each_variable_is_a_setting_with_a_valid_value(whole: Objects) -> None:
    configs = of_kind(whole, "ConfigMap")
    for name, pod in pods(whole):
        [container] = pod["spec"]["containers"]
        if not re.match(r".*image-classifier/(web|worker)", container["image"]):
            continue
        [source] = container["envFrom"]
        values = dict(configs[source["configMapRef"]["name"]]["data"])
        values |= {each["name"]: each["value"] for each in container.get("env", ())}
        assert {each.lower() for each in values} <= set(Settings.model_fields), name
        settings = Settings(**{key.lower(): value for key, value in values.items()})
        if name.startswith("worker"):
            assert settings.lane == name.removeprefix("worker-")
            ports = {"metrics": _image_setting("METRICS_PORT")}
        else:
            ports = {"http": settings.web_port} if name == "web" else {}
        assert {p["name"]: p["containerPort"] for p in container.get("ports", ())} == ports


def _image_setting(name: str) -> int:
    """A variable of the workers' image."""
    [value] = re.findall(rf"{name}=(\d+)", (ROOT / "Dockerfile.worker").read_text())
    return int(value)


def test_each_suggested_setting_is_valid() -> None:
    text = (ROOT / "k8s/base/settings.env").read_text()
    suggested = dict(re.findall(r"(?m)^# ([A-Z_]+)=(.*)", text))
    assert {"FLOWER_URL", "GRAFANA_URL", "KIBANA_URL"} == set(suggested)
    Settings(**{name.lower(): value for name, value in suggested.items()})


def test_web_asks_for_an_api_key(whole: Objects) -> None:
    web = dict(pods(whole))["web"]["spec"]
    file = {each["name"]: each["value"] for each in web["containers"][0]["env"]}["API_KEYS_FILE"]
    [volume] = [each["projected"] for each in web["volumes"] if each["name"] == "secrets"]
    mounted = {
        f"/run/secrets/{item['path']}": of_kind(whole, "Secret")[source["secret"]["name"]]["data"]
        for source in volume["sources"]
        for item in source["secret"]["items"]
    }
    assert base64.b64decode(mounted[file]["api_keys"]).startswith(b"operator:")


def test_a_change_of_the_settings_restarts_the_pods(kustomize: Kustomize) -> None:
    def template(objects: Objects) -> object:
        return of_kind(objects, "Deployment")["web"]["spec"]["template"]

    edit = ("k8s/base/settings.env", "TRUSTED_PROXIES=1", "TRUSTED_PROXIES=2")
    assert template(kustomize("overlays/cpu")) != template(kustomize("overlays/cpu", edit))


def test_each_secret_exists_under_its_generated_name(cpu: Objects) -> None:
    """The name has a digest, so a new password restarts the Pods."""
    secrets = of_kind(cpu, "Secret")
    for _, pod in pods(cpu):
        for volume in pod["spec"]["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["secretName"] in secrets
    [authentication] = of_kind(cpu, "TriggerAuthentication").values()
    assert authentication["spec"]["secretTargetRef"][0]["name"] in secrets
