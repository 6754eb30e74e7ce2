"""Simulates KEDA's polling and the algorithm of the horizontal Pod autoscaler (HPA).

It follows the documentation and the source of both, for one external metric of type AverageValue.
Sources: pkg/scaling/executor in KEDA 2.20, pkg/controller/podautoscaler in Kubernetes.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import yaml

MANIFEST = Path(__file__).parents[2] / "k8s/base/scaled-objects.yaml"

#: Defaults of Kubernetes: the time between decisions, and the tolerated share off the target.
SYNC_SECONDS = 15
TOLERANCE = 0.1


@dataclass(frozen=True, kw_only=True)
class Policy:
    kind: Literal["Pods", "Percent"]
    value: int
    seconds: int


@dataclass(frozen=True, kw_only=True)
class Rules:
    """One direction of an HPA's `behavior`. The policy that allows the largest change counts."""

    window_seconds: int
    policies: tuple[Policy, ...]

    @classmethod
    def read(cls, behavior: dict[str, Any]) -> Self:
        policies = tuple(
            Policy(kind=each["type"], value=each["value"], seconds=each["periodSeconds"])
            for each in behavior["policies"]
        )
        return cls(window_seconds=behavior["stabilizationWindowSeconds"], policies=policies)


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """The settings of a ScaledObject."""

    minimum: int
    maximum: int
    target: int  #: Outstanding parts for each replica.
    up: Rules
    down: Rules
    poll_seconds: int = 30
    cooldown_seconds: int = 300

    @classmethod
    def shipped(cls, name: str) -> Self:
        """The settings of the ScaledObject `name` in the manifests."""
        objects = yaml.safe_load_all(MANIFEST.read_text())
        [spec] = [each["spec"] for each in objects if each["metadata"]["name"] == name]
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        return cls(
            minimum=spec["minReplicaCount"],
            maximum=spec["maxReplicaCount"],
            target=int(spec["triggers"][0]["metadata"]["listLength"]),
            up=Rules.read(behavior["scaleUp"]),
            down=Rules.read(behavior["scaleDown"]),
            poll_seconds=spec["pollingInterval"],
            cooldown_seconds=spec.get("cooldownPeriod", 300),
        )

    def with_target(self, target: int) -> Self:
        return replace(self, target=target)


class Scaler:
    """Decides the number of replicas. Times are in seconds and must not go back."""

    def __init__(self, scaling: Scaling) -> None:
        self.replicas = scaling.minimum
        self._scaling = scaling
        self._active_at = -math.inf
        self._wanted: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()

    def tick(self, now: int, outstanding: float) -> int:
        """Poll and decide where it is time to. Returns the replicas from now on."""
        if now % self._scaling.poll_seconds == 0:
            self._poll(now, outstanding)
        if now % SYNC_SECONDS == 0 and self.replicas:
            self._sync(now, outstanding)
        return self.replicas

    def _poll(self, now: int, outstanding: float) -> None:
        """KEDA's part: it goes from zero to one, and back to zero."""
        if outstanding > 0:
            self._active_at = now
            if self.replicas == 0:
                self.replicas = 1
        elif self._scaling.minimum == 0 and now > self._active_at + self._scaling.cooldown_seconds:
            self.replicas = 0
            self._wanted.clear()

    def _sync(self, now: int, outstanding: float) -> None:
        wanted = self._bounded(self._recommended(outstanding))
        self._wanted.append((now, wanted))
        settled = self._limited(now, self._stabilised(now))
        if settled != self.replicas:
            self._changes.append((now, settled - self.replicas))
            self.replicas = settled

    def _recommended(self, outstanding: float) -> int:
        ratio = outstanding / (self._scaling.target * self.replicas)
        if abs(1 - ratio) <= TOLERANCE:
            return self.replicas
        return math.ceil(outstanding / self._scaling.target)

    def _bounded(self, replicas: int) -> int:
        return min(max(replicas, self._scaling.minimum, 1), self._scaling.maximum)

    def _stabilised(self, now: int) -> int:
        """Go up to the lowest wish of the window at most, and down to the highest of its window."""
        up, down = self._scaling.up, self._scaling.down
        longest = max(up.window_seconds, down.window_seconds)
        while self._wanted[0][0] < now - longest:
            self._wanted.popleft()
        lowest = min(n for at, n in self._wanted if at >= now - up.window_seconds)
        highest = max(n for at, n in self._wanted if at >= now - down.window_seconds)
        return min(max(self.replicas, lowest), highest)

    def _limited(self, now: int, wanted: int) -> int:
        if wanted > self.replicas:
            return min(wanted, max(self._reach(now, each, 1) for each in self._scaling.up.policies))
        if wanted < self.replicas:
            policies = self._scaling.down.policies
            return max(wanted, min(self._reach(now, each, -1) for each in policies))
        return wanted

    def _reach(self, now: int, policy: Policy, sign: int) -> int:
        """The replicas that a policy allows, counted from the start of its period."""
        longest = max(each.seconds for each in (*self._scaling.up.policies, policy))
        longest = max(longest, *(each.seconds for each in self._scaling.down.policies))
        while self._changes and self._changes[0][0] <= now - longest:
            self._changes.popleft()
        changed = sum(by for at, by in self._changes if at > now - policy.seconds)
        began = self.replicas - changed
        if policy.kind == "Pods":
            return began + sign * policy.value
        share = began * (1 + sign * policy.value / 100)
        return math.ceil(share) if sign > 0 else int(share)
