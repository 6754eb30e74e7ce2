"""Every object follows the schema of its kind."""

from __future__ import annotations

import functools
import json
from typing import Any

import kubernetes_validate
import yaml
from tests.ship.manifests.objects import OVERLAYS, Kustomize, Object, of_kind

_KUBERNETES = "1.37"

#: KEDA 2.17 has these. The models above are of KEDA 2.16.
_FALLBACK_BEHAVIORS = {
    *("static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"),
    "scalingModifiers",
}


def test_every_object_follows_its_schema(kustomize: Kustomize) -> None:
    distinct = {json.dumps(each): each for folder in OVERLAYS for each in kustomize(folder)}
    for each in distinct.values():
        check(each)


@functools.cache
def _custom() -> dict[str, Any]:
    """A model for each kind that Kubernetes itself does not have.

    To import them takes seconds. Only a process that compares objects does so.
    """
    from cloudcoil.models.keda.v1alpha1 import ScaledObject, TriggerAuthentication
    from cloudcoil.models.prometheus_operator import v1
    from cloudcoil.models.prometheus_operator.v1alpha1 import AlertmanagerConfig

    models = (ScaledObject, TriggerAuthentication, AlertmanagerConfig)
    models += (v1.ServiceMonitor, v1.PodMonitor, v1.PrometheusRule, v1.Probe)
    return {each.__name__: each for each in models}


def check(each: Object) -> None:
    """Compare an object with the schema of its kind."""
    if model := _custom().get(each["kind"]):
        check_custom(each, model)
    elif "." not in each["apiVersion"].partition("/")[0] or ".k8s.io/" in each["apiVersion"]:
        kubernetes_validate.validate(each, _KUBERNETES, strict=True)
    else:
        raise AssertionError(f"no schema for {each['apiVersion']} {each['kind']}")


def check_custom(each: Object, model: Any) -> None:
    """The model checks types and required fields. It drops fields that it does not know."""
    each = yaml.safe_load(yaml.safe_dump(each))
    if behavior := each["spec"].get("fallback", {}).pop("behavior", None):
        assert behavior in _FALLBACK_BEHAVIORS
    read = model.model_validate(each).model_dump(by_alias=True, exclude_unset=True, mode="json")
    assert read == each


def test_a_managed_redis_takes_the_place_of_ours(kustomize: Kustomize) -> None:
    edit = (
        "k8s/overlays/cpu/kustomization.yaml",
        "components:\n",
        "components:\n  - ../../components/managed-redis\n",
    )
    objects = kustomize("overlays/cpu", edit)
    assert not of_kind(objects, "StatefulSet") and "redis" not in of_kind(objects, "Service")
    for each in of_kind(objects, "ScaledObject").values():
        assert each["spec"]["triggers"][0]["metadata"]["enableTLS"] == "true"
        check_custom(each, _custom()["ScaledObject"])
