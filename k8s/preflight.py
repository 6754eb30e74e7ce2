"""`python3 k8s/preflight.py k8s/overlays/cpu` checks whether a cluster has what an overlay needs.

It only reads: it runs `kubectl kustomize` and `kubectl get`. It prints one line for each check, and
ends with status 1 if something is missing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

try:
    import yaml
except ImportError:
    sys.exit("preflight needs PyYAML: pip install PyYAML, or run it with .venv/bin/python.")

Object = dict[str, Any]

#: The definitions that each kind needs, and the program that brings them.
_PROGRAMS = {
    "ScaledObject": ("scaledobjects.keda.sh", "KEDA"),
    "ServiceMonitor": ("servicemonitors.monitoring.coreos.com", "the Prometheus operator"),
    "Probe": ("probes.monitoring.coreos.com", "the Prometheus operator"),
    "PrometheusRule": ("prometheusrules.monitoring.coreos.com", "the Prometheus operator"),
    "AlertmanagerConfig": ("alertmanagerconfigs.monitoring.coreos.com", "the Prometheus operator"),
    "HTTPRoute": ("httproutes.gateway.networking.k8s.io", "the Gateway API"),
}
_OLDEST_KEDA = (2, 17)
_UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9} | {
    unit: 2.0 ** (10 * power) for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti"), 1)
}


class Finding(NamedTuple):
    kind: str  #: `ok`, `MISSING` or `note`.
    text: str


def main(folder: str) -> int:
    rendered = _kubectl("kustomize", folder)
    if rendered.returncode:
        print(f"MISSING  {folder} does not render: {rendered.stderr.strip()}")
        print("         If a password is missing, run `make secrets`.")
        return 1
    if (nodes := _list("nodes")) is None:
        print("MISSING  kubectl reaches no cluster, or may not read its nodes.")
        return 1
    objects = [each for each in yaml.load_all(rendered.stdout, _Loader) if each]
    findings = [each for check in _CHECKS for each in check(objects, nodes)]
    for kind, text in findings:
        print(f"{kind:7}  {text}")
    return int(any(each.kind == "MISSING" for each in findings))


class _Loader(yaml.SafeLoader):
    """Reads `=` as a text, as YAML 1.2 and Kubernetes do."""


_Loader.add_constructor("tag:yaml.org,2002:value", yaml.SafeLoader.construct_yaml_str)


def placeholders(objects: list[Object], nodes: list[Object]) -> Iterator[Finding]:
    """The registry and the host of the examples must have been replaced."""
    images = {container["image"] for _, pod in _pods(objects) for container in pod["containers"]}
    for image in sorted(images):
        if "example.com" in image:
            yield Finding("MISSING", f"a registry for {image}: write it into your overlay.")
        elif image.startswith("image-classifier/"):
            yield Finding("note", f"{image} must be loaded on each node: it names no registry.")
    for kind in ("Ingress", "HTTPRoute", "Probe"):
        for each in _of_kind(objects, kind):
            if host := re.search(r"[\w.-]*example\.com", json.dumps(each["spec"])):
                yield Finding("MISSING", f"a host: {kind} {_name(each)} still has {host[0]}.")
    yield Finding("note", "whether the registry gives its images to the nodes cannot be read.")


def programs(objects: list[Object], nodes: list[Object]) -> Iterator[Finding]:
    """KEDA and other operators must have brought the kinds that the overlay uses."""
    for kind, (definition, program) in _PROGRAMS.items():
        if _of_kind(objects, kind):
            found = _get("customresourcedefinition", definition)
            yield _finding(found, f"{program} ({definition})")
    if operator := _get("deployment", "keda-operator", "keda"):
        image = operator["spec"]["template"]["spec"]["containers"][0]["image"]
        version = re.search(r":v?(\d+)\.(\d+)", image)
        old = version is not None and (int(version[1]), int(version[2])) < _OLDEST_KEDA
        yield Finding("MISSING" if old else "ok", f"KEDA 2.17 or newer (it is {image})")
    else:
        yield Finding(
            "note",
            "keda-operator is not in the namespace `keda`: patch the network policy `redis`.",
        )


def metrics_server(objects: list[Object], nodes: list[Object]) -> Iterator[Finding]:
    """The autoscaler of web reads the processor time of its Pods."""
    service = _get("apiservice", "v1beta1.metrics.k8s.io") or {"status": {}}
    conditions = service["status"].get("conditions", ())
    available = any(c["type"] == "Available" and c["status"] == "True" for c in conditions)
    yield _finding(available, "a metrics server (v1beta1.metrics.k8s.io)")


def storage(objects: list[Object], nodes: list[Object]) -> Iterator[Finding]:
    """Each volume needs a storage class, and should be able to grow."""
    classes = {_name(each): each for each in _list("storageclasses") or ()}
    annotation = "storageclass.kubernetes.io/is-default-class"
    default = [n for n, c in classes.items() if _annotations(c).get(annotation) == "true"]
    for owner in _of_kind(objects, "StatefulSet"):
        for claim in owner["spec"].get("volumeClaimTemplates", ()):
            name = claim["spec"].get("storageClassName") or (default[0] if default else None)
            size = claim["spec"]["resources"]["requests"]["storage"]
            text = f"a storage class for {size} of {_name(owner)}"
            yield _finding(name in classes, f"{text} ({name or 'there is no default class'})")
            if name in classes and not classes[name].get("allowVolumeExpansion"):
                yield Finding("note", f"volumes of the class {name} cannot grow later.")


def node_sizes(objects: list[Object], nodes: list[Object]) -> Iterator[Finding]:
    """The largest Pod must fit on one node."""
    for resource in ("memory", "cpu", "nvidia.com/gpu"):
        requests = {
            owner: sum(_requested(container, resource) for container in pod["containers"])
            for owner, pod in _pods(objects)
        }
        largest = max(requests, key=requests.__getitem__)
        room = [_amount(n["status"]["allocatable"].get(resource, "0")) for n in nodes]
        if requests[largest]:
            text = f"a node with {_readable(requests[largest])} of {resource} for {largest}"
            yield _finding(max(room) >= requests[largest], text)


def way_in(objects: list[Object], nodes: list[Object]) -> Iterator[Finding]:
    """The Ingress needs a class and a certificate, and the policy the controller's namespace."""
    for ingress in _of_kind(objects, "Ingress"):
        if name := ingress["spec"].get("ingressClassName"):
            yield _finding(_get("ingressclass", name), f"the ingress class {name}")
        for tls in ingress["spec"].get("tls", ()):
            secret = _get("secret", tls["secretName"], ingress["metadata"]["namespace"]) or {}
            right = secret.get("type") == "kubernetes.io/tls"
            yield _finding(right, f"the certificate: Secret {tls['secretName']}, kubernetes.io/tls")
    for policy in _of_kind(objects, "NetworkPolicy"):
        for name in _admitted(policy) if _name(policy) == "web" else ():
            yield _finding(
                _get("namespace", name), f"the namespace {name} of the ingress controller"
            )


def _admitted(policy: Object) -> Iterator[str]:
    """The namespaces that a policy names."""
    for rule in policy["spec"]["ingress"]:
        for peer in rule["from"]:
            for each in peer.get("namespaceSelector", {}).get("matchExpressions", ()):
                yield from each["values"]


def secrets(objects: list[Object], nodes: list[Object]) -> Iterator[Finding]:
    """Secrets that the overlay does not make must exist."""
    made = {_name(each) for each in _of_kind(objects, "Secret")}
    needed = {
        (each["metadata"]["namespace"], name)
        for each in objects
        if "template" in each.get("spec", {})
        for volume in each["spec"]["template"]["spec"].get("volumes", ())
        for name in _secrets_of(volume)
    }
    for namespace, name in sorted(needed):
        if name not in made:
            yield _finding(_get("secret", name, namespace), f"the Secret {name} in {namespace}")


def _secrets_of(volume: Object) -> Iterator[str]:
    if "secret" in volume:
        yield volume["secret"]["secretName"]
    for source in volume.get("projected", {}).get("sources", ()):
        if "secret" in source:
            yield source["secret"]["name"]


def name_servers(objects: list[Object], nodes: list[Object]) -> Iterator[Finding]:
    """With NodeLocal DNSCache, Pods may ask the address of kube-dns on their own node."""
    if not _get("daemonset", "node-local-dns", "kube-system"):
        return
    address = (_get("service", "kube-dns", "kube-system") or {"spec": {}})["spec"].get("clusterIP")
    if address and address not in json.dumps(_of_kind(objects, "NetworkPolicy")):
        text = f"if names do not resolve, add {address}/32 to the policy `names`"
        text = f"NodeLocal DNSCache runs: {text}."
        yield Finding("note", text)


_CHECKS = (
    *(placeholders, programs, metrics_server, storage),
    *(node_sizes, way_in, secrets, name_servers),
)


def _finding(found: object, text: str) -> Finding:
    return Finding("ok" if found else "MISSING", text)


def _of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def _pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """The Pods that the objects make, each with its owner's name."""
    for each in objects:
        if "template" in each.get("spec", {}) and "containers" in each["spec"]["template"]["spec"]:
            yield _name(each), each["spec"]["template"]["spec"]


def _name(each: Object) -> str:
    return str(each["metadata"]["name"])


def _annotations(each: Object) -> dict[str, str]:
    return each["metadata"].get("annotations") or {}


def _requested(container: Object, resource: str) -> float:
    resources = container.get("resources", {})
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    return _amount(requests.get(resource) or limits.get(resource, "0"))


def _amount(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", str(text)).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS[unit]


def _readable(amount: float) -> str:
    return f"{amount / 2**30:.1f}Gi" if amount > 2**20 else f"{amount:g}"


def _get(kind: str, name: str, namespace: str | None = None) -> Object | None:
    where = ("-n", namespace) if namespace else ()
    answer = _kubectl("get", kind, name, *where, "-o", "json")
    return None if answer.returncode else dict(json.loads(answer.stdout))


def _list(kind: str) -> list[Object] | None:
    answer = _kubectl("get", kind, "-o", "json")
    return None if answer.returncode else list(json.loads(answer.stdout)["items"])


def _kubectl(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        sys.exit("preflight needs kubectl.")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 k8s/preflight.py k8s/overlays/cpu")
    sys.exit(main(sys.argv[1]))
