"""Simulates a lane: images arrive, workers start, batches grow with the backlog.

It is deterministic and has steps of a second. docs/scaling.md lists what it leaves out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.scaling.scaler import Scaler, Scaling
from shared.jobs import PART_SIZE

Floats = NDArray[np.float64]

#: Gives the images that arrive, from the second and the number that may still be accepted.
Load = Callable[[int, float], float]


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A Pod with measured times (docs/performance.md, docs/scaling.md)."""

    processes: int = 2
    #: The part that does not depend on the size: the time of batch 1 above an eighth of batch 8.
    seconds_per_batch: float = 0.002
    #: Two processes drain 223 images per second in full batches.
    seconds_per_image: float = 2 / 223 - 0.002 / PART_SIZE
    #: From the scaler's decision to the first batch, on a node that has room and the image.
    start_seconds: int = 5
    largest_batch: int = PART_SIZE

    def batch_seconds(self, batch: float) -> float:
        return self.seconds_per_batch + batch * self.seconds_per_image


@dataclass(frozen=True, kw_only=True)
class History:
    """One value for each second."""

    arrived: Floats  #: Images accepted.
    refused: Floats  #: Images of submits that got 503.
    outstanding: Floats  #: Images.
    replicas: Floats  #: As the scaler wants them.
    ready: Floats
    waits: Floats  #: Seconds from arrival to a batch, for the images that arrived in this second.

    def wait(self, share: float) -> float:
        """The longest wait of this share of the images."""
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
    """Run a lane. Submits are refused above `accepts` outstanding images."""
    scaler = Scaler(scaling)
    # A scaler reads the number of images in batches at one moment, and this number jumps.
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
        # The images of a batch are outstanding until its commit.
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
    """Workers that are ready, and workers that start."""

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
        """Stop Pods that still start before Pods that are ready."""
        kept = []
        for at, starting in self._starting:
            gone = min(starting, count)
            count -= gone
            if starting > gone:
                kept.append((at, starting - gone))
        self._starting = kept
        self.ready -= count

    def batch(self, waiting: float) -> float:
        """The images that a free process takes."""
        each = waiting / max(self.ready * self._worker.processes, 1)
        return min(max(each, 1), self._worker.largest_batch)

    def served(self, waiting: float) -> float:
        """Images per second."""
        batch = self.batch(waiting)
        processes = self.ready * self._worker.processes
        return min(waiting, processes * batch / self._worker.batch_seconds(batch))


def _waits(arrived: Floats, served: Floats) -> Floats:
    """The wait of the images of each second, first come, first served."""
    total_arrived, total_served = np.cumsum(arrived), np.cumsum(served)
    # An image that is served in its second counts as a wait of 0.
    left = np.searchsorted(total_served, total_arrived - 1e-6)
    return np.clip(left - np.arange(len(arrived)), 0, None).astype(float)
