"""A lane as a simulation: images arrive, workers start, batches grow with the backlog.

Deterministic, in steps of a second. What it leaves out is said in docs/scaling.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.scaling.scaler import Scaler, Scaling
from shared.jobs import PART_SIZE

Floats = NDArray[np.float64]

#: Images that arrive in each second; given what may still be accepted, for a client that waits.
Load = Callable[[int, float], float]


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A Pod, as measured (docs/performance.md, docs/scaling.md)."""

    processes: int = 2
    #: Of a micro-batch, whatever its size: what batch 1 costs above a share of batch 8.
    seconds_per_batch: float = 0.002
    #: Two processes drain 223 images/s in full batches.
    seconds_per_image: float = 2 / 223 - 0.002 / PART_SIZE
    #: From being wanted to the first batch: a node has room and the image.
    start_seconds: int = 5
    largest_batch: int = PART_SIZE

    def batch_seconds(self, batch: float) -> float:
        return self.seconds_per_batch + batch * self.seconds_per_image


@dataclass(frozen=True, kw_only=True)
class History:
    """One value for each second, but for `waits`, one for each image-weighted second of arrival."""

    arrived: Floats  #: Images accepted.
    refused: Floats  #: Images of submits that were answered 503.
    outstanding: Floats  #: Images.
    replicas: Floats  #: Asked for.
    ready: Floats
    waits: Floats  #: Seconds that what arrived then waited for its batch.

    def wait(self, share: float) -> float:
        """The wait that this share of the images did not exceed."""
        order = np.argsort(self.waits)
        reached = np.cumsum(self.arrived[order])
        index = np.searchsorted(reached, share * reached[-1])
        return float(self.waits[order][min(index, len(order) - 1)])

    @property
    def pod_hours(self) -> float:
        return float(self.replicas.sum() / 3600)


def simulate(
    load: Load,
    seconds: int,
    scaling: Scaling,
    worker: Worker,
    *,
    images_per_part: int,
    accepts: float = np.inf,
) -> History:
    """Run a lane. `accepts`: images that may be outstanding before submits are refused."""
    scaler = Scaler(scaling)
    # One reading of a number that jumps: how many are in a batch just then.
    chance = np.random.default_rng(1)
    pods = Pods(worker, scaling.minimum)
    waiting = working = 0.0
    rows = []
    for now in range(seconds):
        read = waiting + chance.poisson(working)
        pods.scale(now, scaler.tick(now, read / images_per_part))
        room = max(0.0, accepts - waiting - working)
        sent = load(now, room)
        arrived = min(sent, room)
        waiting += arrived
        served = pods.served(waiting)
        waiting -= served
        # Those in a batch are outstanding until it is committed.
        working = served * worker.batch_seconds(pods.batch(waiting))
        rows.append((arrived, sent - arrived, served, waiting + working, pods.wanted, pods.ready))
    arrived_, refused, served_, outstanding, wanted, ready = np.array(rows).T
    return History(
        arrived=arrived_,
        refused=refused,
        outstanding=outstanding,
        replicas=wanted,
        ready=ready,
        waits=_waits(arrived_, served_),
    )


class Pods:
    """Workers that are ready, and those that will be."""

    def __init__(self, worker: Worker, count: int) -> None:
        self.ready = self.wanted = count
        self._worker = worker
        self._starting: list[tuple[int, int]] = []

    def scale(self, now: int, wanted: int) -> None:
        if wanted > self.wanted:
            self._starting.append((now + self._worker.start_seconds, wanted - self.wanted))
        elif wanted < self.wanted:
            self._stop(self.wanted - wanted)
        self.wanted = wanted
        self.ready += sum(count for at, count in self._starting if at <= now)
        self._starting = [(at, count) for at, count in self._starting if at > now]

    def _stop(self, count: int) -> None:
        """Those that have not started yet go first."""
        kept = []
        for at, starting in self._starting:
            gone = min(starting, count)
            count -= gone
            if starting > gone:
                kept.append((at, starting - gone))
        self._starting = kept
        self.ready -= count

    def batch(self, waiting: float) -> float:
        """Images that a process which gets free takes."""
        each = waiting / max(self.ready * self._worker.processes, 1)
        return min(max(each, 1), self._worker.largest_batch)

    def served(self, waiting: float) -> float:
        """Images in a second."""
        batch = self.batch(waiting)
        processes = self.ready * self._worker.processes
        return min(waiting, processes * batch / self._worker.batch_seconds(batch))


def _waits(arrived: Floats, served: Floats) -> Floats:
    """First come, first served: when as many had been served as had arrived by each second."""
    total_arrived, total_served = np.cumsum(arrived), np.cumsum(served)
    # Served within its second waits for a fraction of it, which steps of a second cannot tell.
    left = np.searchsorted(total_served, total_arrived - 1e-6)
    return np.clip(left - np.arange(len(arrived)), 0, None).astype(float)
