"""The figures of the benchmark. Each has a name, a title, an aim and an expected noise."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from loadtest.measure.pictures import PHOTOS, TITLES
from loadtest.publish.document import ROOT

_FOLDER = ROOT / "docs/performance"


def stored(engine: str) -> Path:
    """The file with the figures of the last full run on a quiet machine.

    Each engine has its own, because the shares depend on it: a faster one leaves less time for all
    the rest. `engine` is a name such as "openvino-bf16".
    """
    return _FOLDER / f"{engine}.json"


@dataclass(frozen=True, kw_only=True)
class Figure:
    name: str
    title: str
    aim: float | None = None
    photo_aim: float | None = None  #: Where large photos have another aim.
    more_is_better: bool = False
    #: A short run may be worse than the stored median by this share. None: it is not compared,
    #: because it depends on the machine more than on the service.
    noise: float | None = None


def _rate(name: str, title: str, *, aim: float, photo_aim: float) -> list[Figure]:
    """A rate through HTTP, alone and as a multiple and a share. `name` has a place for its kind."""
    share = Figure(
        name=name.format("share"),
        title=f"{title} / limit",
        aim=aim,
        photo_aim=photo_aim,
        more_is_better=True,
        noise=0.12,
    )
    rate = Figure(name=name.format("rate"), title=f"{title} (images/s)")
    multiple = Figure(name=name.format("multiple"), title="the same / reference")
    return [rate, multiple, share]


FIGURES = [
    Figure(name="reference", title="reference: bare loop with ONNX Runtime in fp32 (images/s)"),
    Figure(name="limit", title="limit: bare loop, one process per core (images/s)"),
    Figure(name="limit_multiple", title="the same / reference"),
    Figure(name="drained", title="drained from the queue (images/s)"),
    Figure(name="drained_multiple", title="the same / reference"),
    Figure(
        name="drained_share",
        title="drained / limit",
        aim=0.92,
        photo_aim=0.95,
        more_is_better=True,
        noise=0.10,
    ),
    *_rate("bulk_{}", "bulk through HTTP, client included", aim=0.80, photo_aim=0.85),
    *_rate(
        "parts_{}",
        "bulk without forms, a job for each part, client included",
        aim=0.80,
        photo_aim=0.85,
    ),
    *_rate("single_{}_32", "one picture per request, 32 clients", aim=0.85, photo_aim=0.75),
    Figure(name="single_fair_32", title="the same, p99 / p50", aim=2.0, noise=0.5),
    *_rate("single_{}_128", "one picture per request, 128 clients", aim=0.85, photo_aim=0.75),
    Figure(name="single_fair_128", title="the same, p99 / p50", aim=2.0, noise=0.5),
    Figure(name="errors", title="answers other than 200, of both", aim=0),
    Figure(name="idle_ms", title="one picture through the idle service (ms)"),
    Figure(name="bare_ms", title="decode + batch-1 inference (ms)"),
    Figure(name="bare_shared_ms", title="the same, inference on all cores (ms)"),
    Figure(name="idle_ratio", title="idle / bare", aim=1.4, noise=0.15),
    Figure(name="p50_at_30", title="at 30 % of the peak: p50 (ms)"),
    Figure(name="p95_at_30", title="at 30 % of the peak: p95 (ms)"),
    Figure(name="p50_at_60", title="at 60 % of the peak: p50 (ms)"),
    Figure(name="p95_at_60", title="at 60 % of the peak: p95 (ms)"),
    Figure(name="p95_ratio_60", title="p95 at 60 % / idle median", aim=3.0, noise=0.5),
    Figure(name="p50_at_90", title="at 90 % of the peak: p50 (ms)"),
    Figure(name="p95_at_90", title="at 90 % of the peak: p95 (ms)"),
    Figure(name="hit_ms", title="cache hit, median (ms)"),
    Figure(name="hit_p99_ms", title="cache hit, p99 (ms)", aim=5.0, noise=1.0),
    Figure(name="livez_p99_ms", title="`/livez`, p99 under full load (ms)", aim=10.0, noise=1.0),
    Figure(
        name="health_p99_ms",
        title="`/api/v1/health`, p99 under full load (ms)",
        aim=10.0,
        noise=1.0,
    ),
    Figure(
        name="goodput_share",
        title="goodput at 5 times the peak / peak",
        aim=0.90,
        photo_aim=0.70,
        more_is_better=True,
    ),
    Figure(
        name="mixed_ratio",
        title="p95 of one picture beside a full bulk lane / idle p95",
        aim=3.0,
        noise=1.0,  # Two 95th percentiles, each of a few dozen pictures.
    ),
    Figure(name="mixed_share", title="bulk classified meanwhile / limit"),
    Figure(name="cold_s", title="worker: start to first result (s)", aim=4.0, noise=0.5),
    Figure(
        name="pool_mb", title="resident memory of a pool process, highest (MB)", aim=350, noise=0.15
    ),
    Figure(name="upload", title="upload by command, to the written table (images/s)"),
    Figure(
        name="upload_share",
        title="upload by command, client included / limit",
        aim=0.75,
        more_is_better=True,
        noise=0.12,
    ),
    Figure(name="upload_known", title="the same folder again, all results cached (images/s)"),
    Figure(name="upload_client_ms", title="the command's processor time for each image (ms)"),
    Figure(name="client_core", title="load generator, share of one core, highest"),
]


@dataclass
class Figures:
    """The values of each figure, one for each round."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def note(self, **values: float) -> None:
        for name, value in values.items():
            self.values[name].append(value)

    def median(self, name: str) -> float:
        return statistics.median(self.values[name])

    def last(self, name: str) -> float:
        return self.values[name][-1]


@dataclass
class Sets:
    """The figures of each set of pictures, by its name."""

    figures: dict[str, Figures] = field(default_factory=lambda: defaultdict(Figures))

    def __getitem__(self, name: str) -> Figures:
        return self.figures[name]

    def table(self) -> str:
        """Median and aim of each figure, and its range if a set has several rounds."""
        head, line = ["measured"], ["---"]
        for name in self.figures:
            head += [TITLES[name], *(["range"] if self._has_rounds(name) else []), "aim"]
            line += ["--:"] * (3 if self._has_rounds(name) else 2)
        rows = [
            [figure.title, *(cell for name in self.figures for cell in self._cells(figure, name))]
            for figure in FIGURES
            if any(each.values.get(figure.name) for each in self.figures.values())
        ]
        return "\n".join(
            f"| {' | '.join(row)} |".replace("| ---", "|---") for row in [head, line, *rows]
        )

    def _has_rounds(self, name: str) -> bool:
        return any(len(values) > 1 for values in self[name].values.values())

    def _cells(self, figure: Figure, name: str) -> list[str]:
        """The cells of a figure in the columns of a set."""
        median = spread = aim = ""
        if values := self[name].values.get(figure.name):
            median, aim = f"{self[name].median(figure.name):.3g}", _aim(figure, name)
            spread = f"{min(values):.3g} to {max(values):.3g}"
        return [median, spread, aim] if self._has_rounds(name) else [median, aim]

    def to_json(self) -> str:
        rounded = {
            name: {key: [float(f"{v:.4g}") for v in values] for key, values in each.values.items()}
            for name, each in self.figures.items()
        }
        return json.dumps(rounded, indent=1) + "\n"

    @classmethod
    def load(cls, path: Path) -> Sets:
        sets = json.loads(path.read_text())
        return cls({name: Figures(values) for name, values in sets.items()})


def comparison(now: Sets, stored: Sets) -> tuple[str, list[str]]:
    """A table of the figures that have a noise, and a line for each that is worse by more."""
    lines = ["| measured | set | now | stored | worse by | of noise |", "|---|---|--:|--:|--:|--:|"]
    worse = []
    for figure, name in product(FIGURES, now.figures):
        values = [
            each.figures[name].values.get(figure.name)
            for each in (now, stored)
            if name in each.figures
        ]
        if figure.noise is None or len(values) < 2 or not all(values):
            continue
        new, before = now[name].median(figure.name), stored[name].median(figure.name)
        change = (before / new if figure.more_is_better else new / before) - 1
        row = f"{new:.3g} | {before:.3g} | {change:+.0%} | {figure.noise:.0%}"
        lines.append(f"| {figure.title} | {TITLES[name]} | {row} |")
        if change > figure.noise:
            worse.append(f"{figure.title}, {TITLES[name]}: {new:.3g}, stored {before:.3g}")
    return "\n".join(lines), worse


def _aim(figure: Figure, name: str) -> str:
    aim = figure.aim
    if name == PHOTOS and figure.photo_aim is not None:
        aim = figure.photo_aim
    return "" if aim is None else f"{'≥' if figure.more_is_better else '≤'} {aim:g}"
