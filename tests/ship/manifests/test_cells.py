"""Cells: several services side by side in one cluster, each in its own namespace."""

from __future__ import annotations

import re

import pytest

from tests.ship.manifests.objects import Kustomize, Object, Objects, of_kind, pods
from tests.ship.manifests.test_schemas import check

_FILE = "k8s/cells/one/kustomization.yaml"


@pytest.fixture
def one(kustomize: Kustomize) -> Objects:
    return kustomize("cells/one")


@pytest.fixture
def two(kustomize: Kustomize) -> Objects:
    """A copy of the cell for which only its name has been changed, as its file says."""
    renamed = kustomize("cells/one", (_FILE, "image-classifier-one", "image-classifier-two"))
    return renamed


@pytest.fixture
def shared(kustomize: Kustomize) -> Objects:
    return kustomize("cells/shared")


def _identity(each: Object) -> tuple[str, str, str]:
    return each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]


def test_cells_share_no_object_with_each_other_or_with_what_all_share(
    one: Objects, two: Objects, shared: Objects
) -> None:
    """So an `apply` or a `delete` of one cell changes no other."""
    identities = [{_identity(each) for each in objects} for objects in (one, two, shared)]
    assert len(set.union(*identities)) == sum(map(len, identities))
    for objects, name in ((one, "image-classifier-one"), (two, "image-classifier-two")):
        assert list(of_kind(objects, "Namespace")) == [name]
        elsewhere = {each["metadata"].get("namespace", "") for each in objects} - {name}
        assert elsewhere == {""}
        assert [each["kind"] for each in objects if "namespace" not in each["metadata"]] == [
            "Namespace"
        ]


def test_no_address_of_a_cell_leads_to_another(one: Objects, two: Objects) -> None:
    for objects, name in ((one, "image-classifier-one"), (two, "image-classifier-two")):
        scalers = of_kind(objects, "ScaledObject").values()
        addresses = [each["spec"]["triggers"][0]["metadata"]["address"] for each in scalers]
        assert addresses == [f"redis.{name}.svc.cluster.local:6379"] * 2
        text = str([each for each in objects if each["kind"] != "ConfigMap"])
        named = set(re.findall(r"[\w-]+\.([\w-]+)\.svc\b", text))
        assert named == {name}


def test_a_cell_has_everything_that_it_uses(one: Objects, shared: Objects) -> None:
    classes = of_kind(shared, "PriorityClass")
    configs = of_kind(one, "ConfigMap")
    for name, pod in pods(one):
        assert pod["spec"]["priorityClassName"] in classes, name
        for volume in pod["spec"].get("volumes", ()):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in configs, name
    assert not of_kind(one, "PrometheusRule") and of_kind(shared, "PrometheusRule")
    dashboards = [name for name in of_kind(shared, "ConfigMap") if name.startswith("dashboards")]
    assert len(dashboards) == 1 and not [name for name in configs if name.startswith("dashboards")]


def test_a_cell_follows_its_schemas(one: Objects, shared: Objects) -> None:
    for each in [*one, *shared]:
        check(each)


def test_the_front_door_of_a_cell_is_its_own_host(one: Objects) -> None:
    host = of_kind(one, "Ingress")["web"]["spec"]["rules"][0]["host"]
    [probe] = of_kind(one, "Probe").values()
    assert probe["spec"]["targets"]["staticConfig"]["static"] == [f"https://{host}/api/v1/health"]
