"""Measure the page with thousands of photos of 12 megapixels, in Chromium.

    python -m loadtest.page PICTURES --photos 2000 --rounds 3

PICTURES is a folder of JPEGs; the photos are made of them (loadtest.measure.photos), and each file
has bytes of its own. The browser has no GPU. Web and Redis share its machine. No worker does: the
result cache has the answers, so the pictures are sent and accepted as usual. The page is scrolled
while it sends, when all labels are there, and again as a job that is opened from its address. It
prints a table in Markdown: the time between two frames, and the most memory that the tab had.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import shutil
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from loadtest.measure.photos import photos
from shared.jobs import ItemState, Outcome, Prediction
from shared.result_cache import ResultCache
from shared.thumbnails import Thumbnails
from tests.support.local_service import LocalService, local_service
from tests.support.stored_jobs import announce_model

#: Pixels per second: a fast turn of the wheel.
_SPEED = 3000

_SAMPLE_SECONDS = 0.1

#: Scrolls for so long, down and up again. Returns the times between frames in milliseconds.
_SCROLL = """async ([speed, seconds]) => {
    const times = [];
    let [direction, last] = [1, performance.now()];
    for (const end = last + 1000 * seconds; last < end; ) {
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        times.push(now - last);
        const before = scrollY;
        scrollBy(0, (direction * speed * Math.min(now - last, 100)) / 1000);
        if (scrollY === before) direction = -direction;
        last = now;
    }
    scrollTo(0, 0);
    return times;
}"""

#: Starts to note the times between frames, as `frames`.
_WATCH = """() => {
    window.frames_ = [];
    let last = performance.now();
    const note = () => {
        const now = performance.now();
        frames_.push(now - last);
        last = now;
        requestAnimationFrame(note);
    };
    requestAnimationFrame(note);
}"""


class Memory:
    """The most memory that a renderer below this process had since `reset`, in MB."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._most = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def reset(self) -> None:
        self._most = 0

    @property
    def most(self) -> float:
        self._look()  # a phase may be shorter than the time between two samples
        return self._most / 1e6

    def close(self) -> None:
        self._end.set()

    def _watch(self) -> None:
        while not self._end.wait(_SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        self._most = max([self._most, *_renderers()])


def _renderers() -> Iterator[int]:
    """The resident bytes of each renderer of this process's browser."""
    below = {os.getpid()}
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda each: int(each.name)):
        try:
            status = dict(
                line.split(":", 1) for line in (folder / "status").read_text().splitlines()
            )
            if int(status["PPid"]) not in below:
                continue
            below.add(int(folder.name))
            if b"--type=renderer" in (folder / "cmdline").read_bytes():
                yield 1024 * int(status["VmRSS"].split()[0])
        except (OSError, KeyError, ValueError):
            continue  # it has ended


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--photos", type=int, default=2000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=20, help="of each scrolling")
    options = arguments.parse_args()
    results: dict[str, list[tuple[float, float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = _files(Path(folder) / "photos", options)
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            for name, times, memory in _round(Path(folder) / f"round-{number}", files, options):
                # An upload of few pictures may end before the next frame.
                times = sorted(times) or [0.0]
                p95 = times[int(0.95 * len(times))]
                figures = statistics.median(times), p95, times[-1], memory
                print(name, [round(each) for each in figures], file=sys.stderr)
                results.setdefault(name, []).append(figures)
    print("| while | frame, median | p95 | worst | most memory of the tab |")
    print("|---|--:|--:|--:|--:|")
    for name, rounds in results.items():
        median, p95, worst, memory = (_spread(each) for each in zip(*rounds, strict=True))
        print(f"| {name} | {median} ms | {p95} ms | {worst} ms | {memory} MB |")


def _spread(values: tuple[float, ...]) -> str:
    middle = f"{statistics.median(values):.0f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.0f}–{max(values):.0f})"


def _round(
    folder: Path, files: Path, options: argparse.Namespace
) -> Iterator[tuple[str, list[float], float]]:
    """The phases of one round: name, times between frames, most memory."""
    folder.mkdir()
    memory = Memory()
    own = os.environ | {"DATA_DIR": str(folder), "WEB_PROCESSES": "1"}
    with local_service(folder, own) as service, _browser() as page:
        service.start_web()
        service.await_web()
        _answer(service, files)
        page.goto(service.base_url)
        page.evaluate(_WATCH)
        memory.reset()
        page.set_input_files("#folder", files)
        expect(page.locator(".cell img").first).to_be_visible(timeout=60_000)
        yield "choosing the folder", page.evaluate("frames_.splice(0)"), memory.most
        memory.reset()
        times = page.evaluate(_SCROLL, [_SPEED, options.seconds])
        yield "scrolling, during the upload", times, memory.most
        memory.reset()
        page.evaluate("frames_.splice(0)")
        done = f"{options.photos:,} pictures labelled"
        expect(page.locator("#figures")).to_contain_text(done, timeout=1_800_000)
        yield "the rest of the upload", page.evaluate("frames_.splice(0)"), memory.most
        memory.reset()
        times = page.evaluate(_SCROLL, [_SPEED, options.seconds])
        yield "scrolling the results", times, memory.most
        page.reload()
        expect(page.locator("#figures")).to_contain_text(done, timeout=60_000)
        memory.reset()
        times = page.evaluate(_SCROLL, [_SPEED, options.seconds])
        yield "scrolling the job, opened again", times, memory.most
    memory.close()


def _files(folder: Path, options: argparse.Namespace) -> Path:
    """A folder of photos. A decoder ignores the bytes at their end."""
    folder.mkdir()
    distinct = photos(options.pictures)
    for k in range(options.photos):
        (folder / f"photo {k:04}.jpg").write_bytes(distinct[k % len(distinct)] + f"{k}".encode())
    return folder


def _answer(service: LocalService, files: Path) -> None:
    """Put an answer and a thumbnail of each file into Redis, as a worker does."""
    redis = service.redis()
    announce_model(redis)
    thumbnail = io.BytesIO()
    Image.effect_noise((160, 160), 60).convert("RGB").save(thumbnail, "JPEG", quality=60)
    pipe = redis.pipeline(transaction=False)
    cache, kept = ResultCache(redis, ttl_seconds=3600), Thumbnails(redis, ttl_seconds=3600)
    for number, path in enumerate(sorted(files.iterdir())):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        names = [Prediction(k, f"label {number % 40}-{k}", 0.9 / (k + 1)) for k in range(10)]
        outcome = Outcome(state=ItemState.SUCCEEDED, predictions=tuple(names), model_version="m-1")
        cache.put(pipe, {digest: outcome})
        kept.put(pipe, {digest: thumbnail.getvalue()})
    pipe.execute()


@contextmanager
def _browser() -> Iterator[Page]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1200, "height": 800})
        browser.close()


if __name__ == "__main__":
    main()
