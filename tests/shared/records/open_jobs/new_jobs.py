"""Jobs that are filled in parts."""

from __future__ import annotations

from collections.abc import Mapping

from shared.jobs import PART_SIZE, Job, NewItem, OpenJob, Outcome, PartRef, new_job_id, part_size
from shared.records.job_records import JobRecords
from shared.records.submit import PutPart
from tests.shared.records.parts import LANE


def open_job(jobs: JobRecords, total: int) -> Job:
    job_id = new_job_id()
    jobs.submitter.open(OpenJob(id=job_id, lane=LANE, top_k=5, total=total))
    return jobs.reader.get(job_id)


def part(
    job: Job, number: int, outcomes: Mapping[int, Outcome] | None = None, content: str = ""
) -> list[NewItem]:
    """The items of a part; some have an outcome already. `content` changes their digests."""
    first = number * PART_SIZE
    return [
        NewItem(
            name=f"{first + k}.jpg",
            digest=f"digest {first + k}{content}",
            data=b"data %d" % (first + k),
            outcome=(outcomes or {}).get(k),
        )
        for k in range(part_size(job.total, number))
    ]


def put(
    jobs: JobRecords, job: Job, number: int, outcomes: Mapping[int, Outcome] | None = None
) -> PutPart:
    return jobs.submitter.put_part(job, number, part(job, number, outcomes))


def ref(job: Job, number: int, images: int | None = None) -> PartRef:
    return PartRef(job.id, number, images or part_size(job.total, number))
