"""Large pictures of a micro-batch are read a few at a time, shortly before they are decoded."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image
from redis import Redis

from shared.jobs import Lane, NewItem, NewJob, PartRef, new_job_id
from shared.records.job_records import JobRecords
from shared.records.work import PartWork
from workers.classify.reading import PictureReader

MEGABYTE = 2**20


def padded(size: int) -> bytes:
    """A small JPEG in a file of `size` bytes."""
    file = io.BytesIO()
    Image.new("RGB", (300, 300), "olive").save(file, "JPEG")
    return file.getvalue().ljust(size, b"\0")


def submit(jobs: JobRecords, sizes: Sequence[int]) -> PartRef:
    items = [
        NewItem(name=f"{k}.jpg", digest=f"{k}", data=padded(size)) for k, size in enumerate(sizes)
    ]
    job_id = new_job_id()
    jobs.submitter.accept([NewJob(id=job_id, lane=Lane.BULK, top_k=1, items=items)])
    return PartRef(job_id, 0, len(sizes))


def start(jobs: JobRecords, *refs: PartRef) -> list[PartWork]:
    return jobs.parts.start(refs, Lane.BULK)


def test_a_few_bytes_come_with_the_record(jobs: JobRecords) -> None:
    [work] = start(jobs, submit(jobs, [20_000, 30_000]))
    assert work.sizes == {0: 20_000, 1: 30_000}
    assert {k: len(data) for k, data in work.images.items()} == work.sizes


def test_many_bytes_do_not_come_with_the_record(jobs: JobRecords) -> None:
    [work] = start(jobs, submit(jobs, [MEGABYTE, 3_000]))
    assert work.sizes == {0: MEGABYTE, 1: 3_000} and not work.images


def test_a_batch_of_many_parts_does_not_bring_more_bytes_than_one(jobs: JobRecords) -> None:
    works = start(jobs, *(submit(jobs, [MEGABYTE // 4]) for _ in range(8)))
    assert len(works) == 8 and not any(work.images for work in works)


def test_large_pictures_are_read_together_up_to_a_few_megabytes(jobs: JobRecords) -> None:
    sizes = [2 * MEGABYTE, 2 * MEGABYTE, 2 * MEGABYTE, 5 * MEGABYTE, 5 * MEGABYTE, MEGABYTE]
    [work] = start(jobs, submit(jobs, sizes))
    reads = []

    def read(places: Sequence[tuple[PartRef, int]]) -> list[bytes | None]:
        reads.append([position for _, position in places])
        return jobs.parts.images(places)

    reader = PictureReader(read)
    places = [(work, position) for position in range(len(sizes))]
    for place in places:
        data = reader.take(place, places[place[1] + 1 :])
        assert data is not None and len(data) == sizes[place[1]]
    assert reads == [[0, 1], [2], [3], [4], [5]]


def test_a_picture_is_not_kept_after_it_was_taken(jobs: JobRecords) -> None:
    [work] = start(jobs, submit(jobs, [2 * MEGABYTE]))
    reads = []

    def read(places: Sequence[tuple[PartRef, int]]) -> list[bytes | None]:
        reads.append(places)
        return jobs.parts.images(places)

    reader = PictureReader(read)
    for _ in range(2):  # a picture that is slow to decode is taken again
        assert reader.take((work, 0), [])
    assert len(reads) == 2


def test_a_large_picture_that_expires_after_the_start_is_missing(
    jobs: JobRecords, redis: Redis
) -> None:
    [work] = start(jobs, submit(jobs, [2 * MEGABYTE]))
    [key] = redis.keys("images:*")
    redis.delete(key)
    assert PictureReader(jobs.parts.images).take((work, 0), []) is None
