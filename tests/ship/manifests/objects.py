"""Rendered Kubernetes objects, and what the tests need to know of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
NAMESPACE = "image-classifier"
#: The namespace of Filebeat alone, which reads files of the node.
PRIVILEGED = "image-classifier-logging"
OVERLAYS = sorted(f"overlays/{path.name}" for path in ROOT.glob("k8s/overlays/*"))

Object = dict[str, Any]
Objects = list[Object]
Kustomize = Callable[..., Objects]


def of_kind(objects: Objects, kind: str) -> dict[str, Object]:
    """The objects of a kind by name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def pods(objects: Objects) -> Iterator[tuple[str, Object]]:
    """Each Pod template of our namespace with the name of its owner."""
    for each in objects:
        if each["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield each["metadata"]["name"], each["spec"]["template"]


def labels(pod: Object) -> dict[str, str]:
    of_pod: dict[str, str] = pod["metadata"]["labels"]
    return of_pod


def selects(selector: Object, of_pod: dict[str, str]) -> bool:
    """Whether a selector selects a Pod with these labels."""
    for each in selector.get("matchExpressions", ()):
        assert each["operator"] == "In"
        if of_pod.get(each["key"]) not in each["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= of_pod.items()
