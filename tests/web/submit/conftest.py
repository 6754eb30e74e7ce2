"""Admission for tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.jobs import Lane
from shared.records.job_records import JobRecords
from tests.web.submit.asking import Clock
from web.submit.admission import Admission


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(redis: Redis, jobs: JobRecords, clock: Clock) -> Callable[..., Admission]:
    """Makes admissions with limits of their own."""

    def made(*, images: int = 10, size: int = 2**30, form: int = 0) -> Admission:
        return Admission(
            redis,
            jobs.submitter,
            max_images=dict.fromkeys(Lane, images),
            max_bytes=size,
            max_request_bytes=form,
            clock=clock,
        )

    return made
