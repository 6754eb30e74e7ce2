"""The network policies allow exactly the connections that the programs need."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from shared.addresses import webhook_address
from shared.errors import InvalidWebhook
from tests.ship.manifests.objects import (
    NAMESPACE,
    Kustomize,
    Objects,
    labels,
    of_kind,
    pods,
    selects,
)

#: The programs that may connect to Redis. Without logging there is no other connection.
_CLIENTS = {"web", "worker-interactive", "worker-bulk", "flower", "celery-exporter"}


def test_pods_reach_exactly_the_pods_that_they_need(whole: Objects) -> None:
    policies = [
        each
        for each in of_kind(whole, "NetworkPolicy").values()
        if each["metadata"]["namespace"] == NAMESPACE
    ]
    templates = {name: labels(pod) for name, pod in pods(whole)}
    ports = {
        port["containerPort"]
        for _, pod in pods(whole)
        for port in pod["spec"]["containers"][0].get("ports", ())
    }
    allowed = {
        (source, target, port)
        for source in templates
        for target in templates
        for port in ports
        if _allowed(policies, "Egress", templates[source], templates[target], port)
        and _allowed(policies, "Ingress", templates[target], templates[source], port)
    }
    clients = _CLIENTS | {"redis-exporter", "webhooks"} & set(templates)
    needed = {(source, "redis", 6379) for source in clients}
    if "kibana" in templates:
        asking = ("kibana", "logstash", "logging-setup")
        needed |= {(source, "elasticsearch", 9200) for source in asking}
        needed |= {("logging-setup", "kibana", 5601)}
    assert allowed == needed


@pytest.mark.parametrize(
    ("peer", "port"),
    [
        ({"namespace": "kube-system", "k8s-app": "kube-dns"}, 53),
        ({"address": "169.254.20.10"}, 53),  # NodeLocal DNSCache
        ({"namespace": "openshift-dns"}, 5353),
    ],
)
def test_every_pod_may_ask_the_name_servers_of_usual_clusters(
    kustomize: Kustomize, peer: dict[str, str], port: int
) -> None:
    policies = of_kind(kustomize("overlays/logging"), "NetworkPolicy")
    for name in ("names", "filebeat"):
        spec = policies[name]["spec"]
        assert spec["podSelector"] == {}
        rules = [
            rule for rule in spec["egress"] if {"protocol": "UDP", "port": port} in rule["ports"]
        ]
        assert any(_reaches(one, peer) for rule in rules for one in rule["to"]), name
        assert all({"protocol": "TCP", "port": port} in rule["ports"] for rule in rules)


def _reaches(one: dict[str, Any], peer: dict[str, str]) -> bool:
    if "ipBlock" in one:
        return one["ipBlock"]["cidr"] == f"{peer.get('address')}/32"
    wanted = {"matchLabels": {"kubernetes.io/metadata.name": peer.get("namespace")}}
    pods_labels = one.get("podSelector", {}).get("matchLabels", {})
    return bool(one["namespaceSelector"] == wanted and pods_labels.items() <= peer.items())


def _allowed(
    policies: Objects, kind: str, of: dict[str, str], peer: dict[str, str], port: int
) -> bool:
    """Whether the policies let a Pod's traffic of this kind with another Pod pass."""
    applying = [
        each["spec"]
        for each in policies
        if kind in each["spec"]["policyTypes"] and selects(each["spec"]["podSelector"], of)
    ]
    assert applying, "without a policy everything would be allowed"
    side = {"Egress": "to", "Ingress": "from"}[kind]
    return any(
        any(each["port"] <= port <= each.get("endPort", each["port"]) for each in rule["ports"])
        and any(
            not {"namespaceSelector", "ipBlock"} & set(one)
            and selects(one.get("podSelector", {}), peer)
            for one in rule.get(side, [{}])  # without peers, every address
        )
        for spec in applying
        for rule in spec.get(kind.lower(), ())
    )


def test_webhooks_reach_the_public_addresses_that_the_worker_allows(
    with_webhooks: Objects,
) -> None:
    """For IPv4 the policy allows exactly these. For IPv6 it may allow fewer."""
    [egress] = of_kind(with_webhooks, "NetworkPolicy")["webhooks"]["spec"]["egress"]
    blocks = {}
    for each in egress["to"]:
        block = ipaddress.ip_network(each["ipBlock"]["cidr"])
        blocks[block] = [ipaddress.ip_network(text) for text in each["ipBlock"]["except"]]
        # Kubernetes refuses an exception that is outside its block.
        assert all(part.subnet_of(block) for part in blocks[block])  # type: ignore[arg-type]

    def reached(address: webhook_address.Address) -> bool:
        return any(
            address in block and not any(address in part for part in parts)
            for block, parts in blocks.items()
        )

    edges = {
        edge + step
        for part in (each for parts in blocks.values() for each in parts)
        for edge in (part.network_address, part.broadcast_address)
        for step in (-1, 0, 1)
        if int(edge) + step in range(2**part.max_prefixlen)
    }
    wide = [ipaddress.IPv4Address(upper << 16) for upper in range(2**16)]
    for address in [*edges, *wide, *map(ipaddress.ip_address, ("::1", "fd00::1", "fe80::1"))]:
        public = webhook_address.is_public(address)
        assert reached(address) <= public, address
        assert reached(address) == public or address.version == 6, address
    ports = {(each["port"], each.get("endPort", each["port"])) for each in egress["ports"]}
    for port in (22, 25, 80, 443, 1023, 1024, 8443, 65535):
        in_policy = any(first <= port <= last for first, last in ports)
        assert in_policy == _worker_allows(port), port


def _worker_allows(port: int) -> bool:
    try:
        webhook_address.target(f"https://receiver.example:{port}/")
    except InvalidWebhook:
        return False
    return True
