"""How near the service comes to the limit, all in one run.

    python -m loadtest.bench PICTURES --rounds 3 --publish
    python -m loadtest.bench PICTURES --quick

PICTURES is a folder of JPEGs. The model is what MODEL and MODEL_WEIGHTS say. Prints a table in
Markdown: of every figure the median of the rounds, and their range. `--publish` writes figures,
table and plots into docs/. `--quick` takes less than two minutes, compares with the published
figures, and exits with 1 where one is worse than noise explains.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.publish import document, figures, plots
from loadtest.measure import measures
from loadtest.publish.figures import Figures
from loadtest.measure.limit import measure_limit
from loadtest.measure.pictures import read_pictures
from tests.support.local_service import LocalService, export_model, local_service
from loadtest.measure.process_table import POOL, processes
from shared.settings import Settings
from workers.engine import load_engine

_PROCESSES = 2


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long a round measures."""

    images: int
    seconds: float
    levels: Sequence[int]  #: Shares of the peak at which latency is told, in percent.
    overload: bool  #: A short one tells only how it begins: the lane fills first.


_FULL = Lengths(images=1024, seconds=15, levels=(30, 60, 90), overload=True)
_QUICK = Lengths(images=512, seconds=5, levels=(60,), overload=False)


def main() -> None:
    options = _options()
    if options.quick and not figures.STORED.exists():
        sys.exit("no figures are published yet: run with --publish first")
    pictures = read_pictures(options.pictures)
    export_model()
    found = Figures()
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            _round(Path(folder), pictures, found, _QUICK if options.quick else _FULL)
    print(found.table())
    if options.publish:
        publish(found)
    if options.quick:
        table, worse = figures.comparison(found, Figures.load())
        print(f"\n{table}")
        sys.exit("\n".join(["", "worse than noise explains:", *worse]) if worse else 0)


def _options() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--rounds", type=int, default=1)
    arguments.add_argument("--publish", action="store_true", help="write docs/")
    arguments.add_argument("--quick", action="store_true", help="compare with what is published")
    options = arguments.parse_args()
    if options.quick and options.publish:
        arguments.error("a quick run is not published")
    return options


def publish(found: Figures) -> None:
    figures.STORED.write_text(found.to_json())
    drawn = "![Shares of the limit](images/throughput.svg)\n![Times by load](images/latency.svg)"
    document.fill("bench", f"{found.table()}\n\n{drawn}")
    plots.throughput(found, document.IMAGES / "throughput.svg")
    plots.latency(found, document.IMAGES / "latency.svg")


def _round(folder: Path, pictures: list[bytes], found: Figures, lengths: Lengths) -> None:
    settings = Settings()
    environment = os.environ | {"WORKER_PROCESSES": str(_PROCESSES), "WEB_PROCESSES": "1"}

    def limit() -> float:
        return measure_limit(
            pictures, images=lengths.images, processes=_PROCESSES, settings=settings
        )

    with local_service(folder, environment, redis_socket=True) as service:
        before = limit()
        drained = measures.drain(service, pictures, settings, images=lengths.images)
        between = limit()
        found.note(drained=drained, drained_share=drained / ((before + between) / 2))
        service.start_web()
        service.await_ready()
        found.note(cold_s=measures.cold_start(service, pictures[0]))
        _one_by_one(service, pictures, found)
        rates = _loaded(service, pictures, found, lengths)
        found.note(pool_mb=_pool_memory(service))
        after = limit()
    for name, rate in rates.items():
        found.note(**{name: rate / ((between + after) / 2)})
    found.note(limit=(before + between + after) / 3)


def _one_by_one(service: LocalService, pictures: list[bytes], found: Figures) -> None:
    settings = Settings()
    idle, bare, shared = measures.idle_latency(service, pictures, load_engine(settings), settings)
    found.note(idle_ms=idle, bare_ms=bare, bare_shared_ms=shared, idle_ratio=idle / bare)
    hits = sorted(measures.cache_hits(service, pictures[0]))
    found.note(hit_ms=statistics.median(hits), hit_p99_ms=hits[int(0.99 * len(hits))])


def _loaded(
    service: LocalService, pictures: list[bytes], found: Figures, lengths: Lengths
) -> dict[str, float]:
    """Everything under load; gives the rates that are told as shares of the limit."""
    seconds = lengths.seconds
    rates = {"bulk_share": measures.bulk_through_http(service, pictures, images=lengths.images)}
    errors, cores, peak = 0, [0.0], 0.0
    for clients in (32, 128):
        level = measures.closed_loop(service, pictures, clients=clients, seconds=seconds)
        rates[f"single_share_{clients}"] = level.rate
        found.note(**{f"single_fair_{clients}": level.p99 / level.p50})
        errors += level.errors
        cores.append(level.client_core)
        peak = max(peak, level.rate)
    found.note(errors=errors)
    _by_load(service, pictures, found, lengths, peak)
    alive, health = measures.probed_under_load(
        service, pictures, ("/livez", "/api/v1/health"), clients=32, seconds=seconds
    )
    found.note(livez_p99_ms=alive, health_p99_ms=health)
    if lengths.overload:
        over = measures.open_loop(service, pictures, rate=5 * peak, seconds=seconds)
        found.note(goodput_share=over.rate / peak)
        cores.append(over.client_core)
        measures.await_drained(service)
    found.note(client_core=max(cores))
    idle = measures.open_loop(service, pictures, rate=5, seconds=2 * seconds)
    beside, rates["mixed_share"] = measures.beside_bulk(
        service, pictures, peak=peak, seconds=2 * seconds
    )
    found.note(mixed_ratio=beside / idle.p95)
    return rates


def _by_load(
    service: LocalService, pictures: list[bytes], found: Figures, lengths: Lengths, peak: float
) -> None:
    for share in lengths.levels:
        level = measures.open_loop(
            service, pictures, rate=peak * share / 100, seconds=lengths.seconds
        )
        found.note(**{f"p50_at_{share}": level.p50, f"p95_at_{share}": level.p95})
    found.note(p95_ratio_60=found.last("p95_at_60") / found.last("idle_ms"))


def _pool_memory(service: LocalService) -> float:
    """Highest resident memory that a pool process has had, in MB."""
    lines = [
        line.split()
        for process in processes(service)[POOL]
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
    ]
    return max(int(words[1]) for words in lines if words[0] == "VmHWM:") / 1024


if __name__ == "__main__":
    main()
