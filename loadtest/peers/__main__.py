"""Measure the service and its peers, one after the other, with the same client.

    python -m loadtest.peers PICTURES --seconds 15 --publish
    python -m loadtest.peers PICTURES mosec_server litserve_server --engine openvino

A peer needs an environment, see `loadtest.peers.environments`. Peers without one are left out.
The table has for each peer:

- the answers per second, as a share of the limit just before and after
- the times at 32 and 128 clients
- the fairness: p50 times rate, divided by the number of clients. It is 1 where all clients wait
  equally long. It is less where some clients starve and are missing in the percentiles.
- the p95 of pictures at random moments at 60 % of its best rate, in ms and in multiples of the time
  of one client alone
- answers other than 200, wrong labels, and the memory of all its processes

`--engine openvino` gives the faster engine to all that do not use torch.

`--publish` writes table and plot into docs/.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil
from redis import Redis

from loadtest.publish import document, plots
from loadtest.measure import load_client
from loadtest.measure.limit import measure_limit
from loadtest.measure.pictures import read_pictures
from tests.support.local_service import export_model, free_port, local_service
from loadtest.measure.measures import Level, level_of
from loadtest.peers.environments import python
from loadtest.peers.peer import PEERS
from loadtest.measure.request_stream import CLASSIFY, Stream
from quickstart import redis_server
from shared.jobs import Lane
from shared.settings import Settings
from workers.engine import load_engine
from workers.decode.preprocessing import decode

_LEVELS = (1, 8, 32, 128)
_PACED_SHARE = 0.6
_PROCESSES = 2
_START_SECONDS = 90

OURS = "this service"


class NotAnswering(Exception):
    """A peer has ended or is not ready in time. The message has its last output."""


@dataclass(frozen=True, kw_only=True)
class Row:
    title: str
    limit: float
    levels: dict[int, Level]  #: By number of clients.
    paced: Level
    wrong: int
    megabytes: float

    @property
    def shares(self) -> list[float]:
        return [level.rate / self.limit for level in self.levels.values()]


def main() -> None:
    options = _options()
    os.environ |= {"ENGINE": options.engine, "PRECISION": "auto"}
    pictures = read_pictures(options.pictures)
    export_model()
    right = _right(pictures)
    rows = []
    limit = _limit(pictures)
    for name in [OURS, *options.names]:
        if name != OURS and not python(name).exists():
            print(f"{name} is left out because it has no environment", file=sys.stderr)
            continue
        print(name, file=sys.stderr)
        try:
            with tempfile.TemporaryDirectory() as folder:
                row = _measure(name, Path(folder), pictures, right, options.seconds)
        except NotAnswering as error:
            print(f"{name} is left out because it does not answer: {error}", file=sys.stderr)
            continue
        after = _limit(pictures)
        rows.append(replace(row, limit=(limit + after) / 2))
        limit = after
    rows.sort(key=lambda row: -max(row.shares))
    print(table(rows))
    if options.publish:
        name = "peers" if options.engine == "onnxruntime" else f"peers-{options.engine}"
        document.fill(name, f"{table(rows)}\n\n![Peers](images/{name}.svg)")
        shares = [[max(row.shares)] for row in rows]
        plots.bars(
            [row.title for row in rows],
            shares,
            "best share of the limit",
            document.IMAGES / f"{name}.svg",
        )


def _options() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("names", nargs="*", metavar="peer", help=", ".join(PEERS))
    arguments.add_argument("--seconds", type=float, default=15, help="of each level")
    arguments.add_argument("--engine", choices=["onnxruntime", "openvino"], default="onnxruntime")
    arguments.add_argument("--publish", action="store_true", help="write docs/")
    options = arguments.parse_args()
    if unknown := set(options.names) - set(PEERS):
        arguments.error(f"no such peer: {', '.join(sorted(unknown))}")
    options.names = options.names or list(PEERS)
    return options


def _limit(pictures: list[bytes]) -> float:
    return measure_limit(pictures, images=600, processes=_PROCESSES, settings=Settings())


def _right(pictures: Sequence[bytes]) -> list[str]:
    settings = Settings()
    engine = load_engine(settings)
    labels = []
    for picture in pictures:
        pixels = decode(picture, engine.model.preset, max_pixels=settings.max_image_pixels)
        labels.append(engine.model.labels[int(engine.predict(pixels[None])[0].argmax())])
    return labels


def _measure(
    name: str, folder: Path, pictures: list[bytes], right: Sequence[str], seconds: float
) -> Row:
    """Measure all levels of one peer. The caller fills in the limit."""
    stream = CLASSIFY
    if name != OURS:
        stream = replace(CLASSIFY, path=PEERS[name].path, form=PEERS[name].form)
    with _running(name, folder) as (url, processes):
        _await_answer(url, stream, pictures[0], processes, folder)
        levels, megabytes = {}, 0.0
        wrong = _wrong(url, stream, pictures, right)
        for clients in _LEVELS:
            asked = replace(stream, clients=clients)
            report = load_client.run(url, pictures, [asked], seconds=seconds)
            levels[clients] = level_of(report, seconds)
            megabytes = max(megabytes, _megabytes(processes))
        best = max(level.rate for level in levels.values())
        report = load_client.run(
            url, pictures, [replace(stream, rate=_PACED_SHARE * best)], seconds=seconds
        )
    return Row(
        title=OURS if name == OURS else PEERS[name].title,
        limit=0,
        levels=levels,
        paced=level_of(report, seconds),
        wrong=wrong,
        megabytes=megabytes,
    )


@contextmanager
def _running(name: str, folder: Path) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Run a peer. Gives its address and its main processes."""
    if name == OURS:
        own = {"WORKER_PROCESSES": str(_PROCESSES), "WEB_PROCESSES": "1"}
        with local_service(folder, os.environ | own, redis_socket=True) as service:
            service.start_worker(Lane.INTERACTIVE)
            service.start_web()
            service.await_ready()
            ids = [service.redis_process(), *(each.pid for each in service.processes.values())]
            yield service.base_url, [psutil.Process(pid) for pid in ids]
        return
    with ExitStack() as stack:
        redis_url, started = "", []
        if PEERS[name].needs_redis:
            redis_url = stack.enter_context(redis_server.running(folder / "redis", free_port()))
            with Redis.from_url(redis_url) as redis:
                started.append(psutil.Process(redis.info("server")["process_id"]))
        port = free_port()
        started += [
            stack.enter_context(_process(name, command, port, redis_url, folder))
            for command in PEERS[name].commands
        ]
        yield f"http://127.0.0.1:{port}", started


@contextmanager
def _process(
    name: str, command: Sequence[str], port: int, redis_url: str, folder: Path
) -> Iterator[psutil.Process]:
    """Run one program of a peer. It ends with all its children."""
    words = [str(python(name)), *(word.format(port=port) for word in command)]
    environment = os.environ | ({"REDIS_URL": redis_url} if redis_url else {})
    with (folder / "log").open("ab") as log:
        process = psutil.Popen(
            words,
            env=environment,
            cwd=document.ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            family = [process, *_below(process)]
            process.send_signal(signal.SIGTERM)
            psutil.wait_procs(family, timeout=10)
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.kill()


def _below(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        children: list[psutil.Process] = process.children(recursive=True)
        return children
    return []


def _await_answer(
    url: str, stream: Stream, picture: bytes, processes: Sequence[psutil.Process], folder: Path
) -> None:
    give_up = time.monotonic() + _START_SECONDS
    while time.monotonic() < give_up:
        if any(process.status() == psutil.STATUS_ZOMBIE for process in processes):
            break
        with suppress(httpx.TransportError):
            if _ask(url, stream, picture).status_code == 200:
                return
        time.sleep(0.2)
    raise NotAnswering((folder / "log").read_text()[-1000:])


def _ask(url: str, stream: Stream, picture: bytes) -> httpx.Response:
    if stream.form:
        files = {stream.form: ("0.jpg", picture, "image/jpeg")}
        return httpx.post(url + stream.path, files=files, timeout=60, trust_env=False)
    return httpx.post(url + stream.path, content=picture, timeout=60, trust_env=False)


def _wrong(url: str, stream: Stream, pictures: Sequence[bytes], right: Sequence[str]) -> int:
    """The number of pictures whose best label is not in the answer."""
    answers = [_ask(url, stream, picture).text for picture in pictures]
    return sum(json.dumps(label) not in text for label, text in zip(right, answers, strict=True))


def _megabytes(processes: Sequence[psutil.Process]) -> float:
    """The memory of all processes. Shared pages count once."""
    family = [member for process in processes for member in (process, *_below(process))]
    total = 0
    for member in family:
        with suppress(psutil.Error):
            total += member.memory_full_info().pss
    return total / 2**20


def table(rows: Sequence[Row]) -> str:
    levels = " | ".join(f"{clients} clients" for clients in _LEVELS)
    times = "p50 / p99 at 32 (ms) | at 128"
    lines = [
        f"| | limit (images/s) | {levels} | {times} | fair | p95 at {_PACED_SHARE:.0%} (ms) "
        "| errors | wrong | MB |",
        "|---|--:|" + "--:|" * (len(_LEVELS) + 7),
    ]
    for row in rows:
        shares = " | ".join(f"{share:.2f}" for share in row.shares)
        times = " | ".join(f"{row.levels[c].p50:.0f} / {row.levels[c].p99:.0f}" for c in (32, 128))
        most = row.levels[128]
        fair = most.p50 / 1000 * most.rate / 128
        errors = sum(level.errors for level in (*row.levels.values(), row.paced))
        paced = f"{row.paced.p95:.0f}, {row.paced.p95 / row.levels[1].p50:.1f} times"
        end = f"{fair:.2f} | {paced} | {errors} | {row.wrong} | {row.megabytes:.0f}"
        lines.append(f"| {row.title} | {row.limit:.0f} | {shares} | {times} | {end} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
