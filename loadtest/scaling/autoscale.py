"""Simulate how the shipped scalers follow a load, such as a spike or a job of a million images.

    python -m loadtest.scaling.autoscale            the table of docs/scaling.md
    python -m loadtest.scaling.autoscale --sweep    the same table for other targets
    python -m loadtest.scaling.autoscale --plots docs/images

The simulation uses measured rates. It takes seconds and needs no cluster.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtest.scaling.lane_model import History, Load, Worker, simulate
from loadtest.scaling.scaler import Scaling
from shared.jobs import PART_SIZE, Lane

_HOUR = 3600

#: Pictures of 107 KB, the median of real ones, that bulk may hold in Redis. Bulk may use four
#: fifths of MAX_BYTES_HELD in the manifests.
BULK_ACCEPTS = int(0.8 * 8 * 2**30 / 107_000)

#: Images per second from one client, which sends one gigabit per second.
UPLOAD_RATE = 1_100


@dataclass(frozen=True)
class Scenario:
    name: str
    lane: Lane
    seconds: int
    make_load: Callable[[], Load]  #: Makes a new load, because a load may count its images.
    worker: Worker = Worker()

    def run(self, scaling: Scaling) -> History:
        return simulate(
            self.make_load(),
            self.seconds,
            scaling,
            self.worker,
            images_per_part=1 if self.lane is Lane.INTERACTIVE else PART_SIZE,
            accepts=20_000 if self.lane is Lane.INTERACTIVE else BULK_ACCEPTS,
        )


def steps() -> Load:
    """Three levels of a quarter of an hour each."""
    return lambda now, _: (100.0, 1200.0, 300.0)[min(now // 900, 2)]


def spike() -> Load:
    """Twenty times the usual load for a minute."""
    return lambda now, _: 2000.0 if 607 <= now < 667 else 100.0


def day() -> Load:
    """A quiet night and two peaks. Each minute differs by about a fifth."""
    gusts = np.random.default_rng(2).lognormal(sigma=0.2, size=24 * 60)

    def load(now: int, _: float) -> float:
        hour = now / _HOUR
        peaks = math.exp(-((hour - 11) ** 2) / 6) + 0.8 * math.exp(-((hour - 20) ** 2) / 4)
        return float((20 + 2000 * peaks) * gusts[now // 60])

    return load


def night_job() -> Load:
    """A million images as fast as one client can send. It waits while submits are refused."""
    left = 1_000_000.0

    def load(now: int, room: float) -> float:
        nonlocal left
        sent = min(left, UPLOAD_RATE, room) if now >= 63 else 0.0
        left -= sent
        return sent

    return load


def folders() -> Load:
    """A folder of 500 images every five minutes. Between them the lane is empty."""
    return lambda now, _: 500.0 if now % 300 == 7 else 0.0


_SLOW = Worker(start_seconds=120)

SCENARIOS = (
    Scenario("steps", Lane.INTERACTIVE, 2700, steps),
    Scenario("spike", Lane.INTERACTIVE, 1800, spike),
    Scenario("spike, nodes must be added", Lane.INTERACTIVE, 1800, spike, _SLOW),
    Scenario("day", Lane.INTERACTIVE, 24 * _HOUR, day),
    Scenario("night job", Lane.BULK, 2400, night_job),
    Scenario("night job, nodes must be added", Lane.BULK, 2700, night_job, _SLOW),
    Scenario("folders", Lane.BULK, _HOUR, folders),
)

_COLUMNS = (
    *("wait p50 (s)", "p95", "p99", "longest", "most replicas", "Pod hours"),
    *("most outstanding", "refused"),
)


def table() -> str:
    """One row for each scenario, with the shipped settings."""
    rows = [_row(each, each.run(Scaling.shipped(f"worker-{each.lane}"))) for each in SCENARIOS]
    return "\n".join([_head("lane", "load"), *rows])


def _head(*names: str) -> str:
    alignments = ["---"] * len(names) + ["--:"] * len(_COLUMNS)
    return f"| {' | '.join((*names, *_COLUMNS))} |\n|{'|'.join(alignments)}|"


def _row(scenario: Scenario, history: History) -> str:
    waits = [history.wait(share) for share in (0.5, 0.95, 0.99, 1)]
    cells = [
        *(f"{wait:.0f}" for wait in waits),
        f"{history.replicas.max():.0f}",
        f"{history.pod_hours:.1f}",
        f"{history.outstanding.max():,.0f}",
        f"{history.refused.sum() / (history.refused + history.arrived).sum():.1%}",
    ]
    return f"| {scenario.lane} | {scenario.name} | {' | '.join(cells)} |"


def sweep(targets: Sequence[tuple[Lane, Sequence[int]]]) -> str:
    """The table of each lane's scenarios for several targets."""
    lines = [_head("lane", "target", "load")]
    for lane, values in targets:
        for target in values:
            scaling = Scaling.shipped(f"worker-{lane}").with_target(target)
            rows = (_row(each, each.run(scaling)) for each in SCENARIOS if each.lane is lane)
            lines += [row.replace(f"| {lane} |", f"| {lane} | {target} |", 1) for row in rows]
    return "\n".join(lines)


def plot(scenario: Scenario, folder: Path) -> Path:
    """Draw load, backlog, replicas and wait over time. Returns the file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    history = scenario.run(Scaling.shipped(f"worker-{scenario.lane}"))
    hours = scenario.seconds > 2 * _HOUR
    time = [now / (_HOUR if hours else 60) for now in range(scenario.seconds)]
    figure, axes = pyplot.subplots(4, 1, figsize=(7, 6), sharex=True, layout="constrained")
    panels = {
        "arriving (images/s)": [history.arrived],
        "outstanding (images)": [history.outstanding],
        "replicas: asked, ready": [history.replicas, history.ready],
        "wait for a batch (s)": [history.waits],
    }
    for axis, (label, lines) in zip(axes, panels.items(), strict=True):
        for line in lines:
            axis.plot(time, line, linewidth=1)
        axis.set_ylabel(label, fontsize=7)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
        axis.set_ylim(bottom=0)
    axes[0].set_title(f"{scenario.lane}: {scenario.name}", fontsize=9)
    axes[-1].set_xlabel("hours" if hours else "minutes", fontsize=8)
    path = folder / f"autoscale-{scenario.name.replace(',', '').replace(' ', '-')}.png"
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)
    return path


_TARGETS = (
    (Lane.INTERACTIVE, (1, 2, 4, 8, 16, 40)),
    (Lane.BULK, (10, 20, 40, 80, 160)),
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--sweep", action="store_true")
    arguments.add_argument("--plots", type=Path, metavar="FOLDER")
    options = arguments.parse_args()
    if options.plots:
        options.plots.mkdir(parents=True, exist_ok=True)
        for scenario in SCENARIOS:
            print(plot(scenario, options.plots))
    else:
        print(sweep(_TARGETS) if options.sweep else table())


if __name__ == "__main__":
    main()
