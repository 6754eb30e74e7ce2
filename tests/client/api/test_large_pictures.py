"""A client sends a folder of photos without having them in memory."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from client.api.parts import PART_SIZE, Picture, parts_at_once
from tests.client.scripted_jobs import ScriptedJob, ScriptedJobs
from tests.client.scripted_server import Answer, Cut, refusal, scripted_server
from tests.client.api.test_both_clients import Run, run

__all__ = ["run"]  # a fixture

MEGABYTE = 2**20


def photos(folder: Path, count: int, size: int) -> list[Path]:
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(b"%d" % number)
        os.truncate(path, size)
    return paths


def test_a_part_of_photos_is_never_in_memory(run: Run, tmp_path: Path) -> None:
    paths = photos(tmp_path, PART_SIZE + 3, 3 * MEGABYTE)
    with scripted_server(ScriptedJobs(), kept=10_000) as server:
        tracemalloc.start()
        try:
            run(server.url, lambda service: service.submit(paths))
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    lengths = [int(each.headers["Content-Length"]) for each in server.requests]
    assert sum(lengths) > len(paths) * 3 * MEGABYTE
    assert most < 12 * MEGABYTE


def test_a_file_that_changes_its_size_while_it_is_sent_is_an_error(
    run: Run, tmp_path: Path
) -> None:
    class Shrinking(ScriptedJobs):
        def put(self, job: ScriptedJob, number: int, body: bytes) -> Answer | Cut:
            os.truncate(paths[1], 10)
            return refusal(503, "overloaded", Retry_After="0")

    paths = photos(tmp_path, 2, 1000)
    with scripted_server(Shrinking()) as server:
        with pytest.raises(OSError, match="1.jpg was changed while it was sent"):
            run(server.url, lambda service: service.submit(paths))


@pytest.mark.parametrize(
    "sizes, at_once",
    [([1000], 4), ([500_000], 4), ([MEGABYTE], 2), ([4 * MEGABYTE], 1), ([0], 4), ([], 4)],
)
def test_few_parts_are_sent_at_the_same_time_if_they_are_large(
    sizes: list[int], at_once: int
) -> None:
    pictures = [Picture(name="", digest="", size=size, content=bytes) for size in sizes]
    assert parts_at_once([[each] * PART_SIZE for each in pictures]) == at_once
