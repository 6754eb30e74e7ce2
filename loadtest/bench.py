"""Measure the whole service, as shares of what a bare loop does on the same machine.

    python -m loadtest.bench PICTURES --rounds 3 --publish
    python -m loadtest.bench PICTURES --quick

PICTURES is a folder of JPEGs. They are one set; photos of 12 megapixels, made of them, are another
(loadtest.measure.photos). MODEL and MODEL_WEIGHTS choose the model. It prints a table in Markdown
with the median and the range of each figure over the rounds, for each set. `--publish` writes
figures, table and plots into docs/. `--quick` takes about three minutes and compares with the
published figures of the same engine. It exits with 1 where a figure is worse by more than its
noise. `--only` measures one set.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.publish import document, figures, plots
from loadtest.measure import bulk_load, measures
from loadtest.publish.figures import Figures, Sets
from loadtest.measure.limit import measure_limit
from loadtest.measure.pictures import PHOTOS, SMALL, TITLES, read_sets
from tests.support.local_service import LocalService, export_model, local_service
from loadtest.measure.process_table import POOL, processes
from shared.settings import Settings
from workers.engine import load_engine

_PROCESSES = 2


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How much a round measures."""

    images: int
    seconds: float
    levels: Sequence[int]  #: Loads at which latency is measured, in percent of the peak.
    overload: bool  #: A short overload would measure only how the lane fills.


#: The service lets one client have about 430 MB waiting, and refuses more photos than these.
_PHOTOS = 128

_FULL = {
    SMALL: Lengths(images=1024, seconds=15, levels=(30, 60, 90), overload=True),
    PHOTOS: Lengths(images=_PHOTOS, seconds=15, levels=(30, 60, 90), overload=True),
}
_QUICK = {
    SMALL: Lengths(images=512, seconds=5, levels=(60,), overload=False),
    PHOTOS: Lengths(images=_PHOTOS, seconds=5, levels=(60,), overload=False),
}


def main() -> None:
    options = _options()
    sets = read_sets(options.pictures, options.only)
    export_model()
    engine = _engine()
    stored = figures.stored(engine)
    if options.quick and not stored.exists():
        sys.exit(f"No figures are published for {engine}. Run with --publish first.")
    results = _measure(sets, _QUICK if options.quick else _FULL, options.rounds)
    print(results.table())
    if options.publish:
        publish(results, engine)
    if options.quick:
        table, worse = figures.comparison(results, Sets.load(stored))
        print(f"\n{table}")
        sys.exit(
            "\n".join(["", "These figures are worse by more than their noise:", *worse])
            if worse
            else 0
        )


def _measure(sets: Mapping[str, list[bytes]], lengths: Mapping[str, Lengths], rounds: int) -> Sets:
    results = Sets()
    for number in range(rounds):
        for name, pictures in sets.items():
            print(f"round {number + 1} of {rounds}: {TITLES[name]}", file=sys.stderr)
            with tempfile.TemporaryDirectory() as folder:
                _round(Path(folder), pictures, results[name], lengths[name])
    return results


def _options() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--rounds", type=int, default=1)
    arguments.add_argument("--publish", action="store_true", help="write docs/")
    arguments.add_argument(
        "--quick", action="store_true", help="compare with the published figures"
    )
    arguments.add_argument("--only", choices=list(TITLES), help="measure one set of pictures")
    options = arguments.parse_args()
    if options.publish and options.only:
        arguments.error("--publish needs both sets")
    if options.quick and options.publish:
        arguments.error("--quick and --publish exclude each other")
    return options


def _engine() -> str:
    engine = load_engine(Settings())
    return f"{engine.name}-{engine.precision}"


def publish(results: Sets, engine: str) -> None:
    figures.stored(engine).write_text(results.to_json())
    shares, times = f"throughput-{engine}.svg", f"latency-{engine}.svg"
    drawn = f"![Shares of the limit](images/{shares})\n![Times by load](images/{times})"
    document.fill(f"bench-{engine}", f"{results.table()}\n\n{drawn}")
    plots.throughput(results, document.IMAGES / shares)
    plots.latency(results[SMALL], document.IMAGES / times)


def _round(folder: Path, pictures: list[bytes], results: Figures, lengths: Lengths) -> None:
    settings = Settings()
    environment = os.environ | {"WORKER_PROCESSES": str(_PROCESSES), "WEB_PROCESSES": "1"}

    def limit(settings: Settings = settings) -> float:
        return measure_limit(
            pictures, images=lengths.images, processes=_PROCESSES, settings=settings
        )

    # The same engine on every machine, so that a faster one shows.
    fixed = settings.model_copy(update={"engine": "onnxruntime", "precision": "fp32"})
    reference = limit(fixed)
    with local_service(folder, environment, redis_socket=True) as service:
        before = limit()
        drained = measures.drain(service, pictures, settings, images=lengths.images)
        between = limit()
        results.note(drained=drained, drained_share=drained / ((before + between) / 2))
        service.start_web()
        service.await_ready()
        results.note(cold_s=measures.cold_start(service, pictures[0]))
        _one_by_one(service, pictures, results)
        rates = _loaded(service, pictures, results, lengths)
        results.note(pool_mb=_pool_memory(service))
        after = limit()
    reference = (reference + limit(fixed)) / 2
    for name, rate in rates.items():
        results.note(**{name: rate / ((between + after) / 2)})
    of_limits = (before + between + after) / 3
    results.note(reference=reference, limit=of_limits, limit_multiple=of_limits / reference)
    results.note(drained_multiple=drained / reference)
    for name in ("bulk_share", "parts_share", "single_share_32", "single_share_128"):
        rate = rates[name]
        results.note(**{name.replace("share", "rate"): rate})
        results.note(**{name.replace("share", "multiple"): rate / reference})


def _one_by_one(service: LocalService, pictures: list[bytes], results: Figures) -> None:
    settings = Settings()
    idle, bare, shared = measures.idle_latency(service, pictures, load_engine(settings), settings)
    results.note(idle_ms=idle, bare_ms=bare, bare_shared_ms=shared, idle_ratio=idle / bare)
    hits = sorted(measures.cache_hits(service, pictures[0]))
    results.note(hit_ms=statistics.median(hits), hit_p99_ms=hits[int(0.99 * len(hits))])


def _loaded(
    service: LocalService, pictures: list[bytes], results: Figures, lengths: Lengths
) -> dict[str, float]:
    """Measure everything under load. Returns the rates that become shares of the limit."""
    seconds = lengths.seconds
    rates = {
        "bulk_share": bulk_load.as_forms(service, pictures, images=lengths.images),
        "parts_share": bulk_load.as_parts(service, pictures, images=lengths.images),
    }
    errors, cores, peak = 0, [0.0], 0.0
    for clients in (32, 128):
        level = measures.closed_loop(service, pictures, clients=clients, seconds=seconds)
        rates[f"single_share_{clients}"] = level.rate
        results.note(**{f"single_fair_{clients}": level.p99 / level.p50})
        errors += level.errors
        cores.append(level.client_core)
        peak = max(peak, level.rate)
    results.note(errors=errors)
    _by_load(service, pictures, results, lengths, peak)
    alive, health = measures.probed_under_load(
        service, pictures, ("/livez", "/api/v1/health"), clients=32, seconds=seconds
    )
    results.note(livez_p99_ms=alive, health_p99_ms=health)
    if lengths.overload:
        over = measures.open_loop(service, pictures, rate=5 * peak, seconds=seconds)
        results.note(goodput_share=over.rate / peak)
        cores.append(over.client_core)
        measures.await_drained(service)
    results.note(client_core=max(cores))
    idle = measures.open_loop(service, pictures, rate=5, seconds=2 * seconds)
    beside, rates["mixed_share"] = measures.beside_bulk(
        service, pictures, peak=peak, seconds=2 * seconds
    )
    results.note(mixed_ratio=beside / idle.p95)
    return rates


def _by_load(
    service: LocalService, pictures: list[bytes], results: Figures, lengths: Lengths, peak: float
) -> None:
    for share in lengths.levels:
        level = measures.open_loop(
            service, pictures, rate=peak * share / 100, seconds=lengths.seconds
        )
        results.note(**{f"p50_at_{share}": level.p50, f"p95_at_{share}": level.p95})
    results.note(p95_ratio_60=results.last("p95_at_60") / results.last("idle_ms"))


def _pool_memory(service: LocalService) -> float:
    """The highest resident memory of a pool process so far, in MB."""
    lines = [
        line.split()
        for process in processes(service)[POOL]
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
    ]
    return max(int(words[1]) for words in lines if words[0] == "VmHWM:") / 1024


if __name__ == "__main__":
    main()
