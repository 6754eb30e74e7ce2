"""Files of a form are in memory if their body holds memory for all of them, else on disk."""

from __future__ import annotations

import io
from typing import Any

import pytest

from shared.errors import TooManyFiles
from shared.jobs import PART_SIZE
from shared.settings import Settings
from web.intake.uploads import contents
from web.submit.bodies import BODY, SPOOLED_BYTES, Bodies, Size
from web.routes.form_files import FormRequest

MB = 2**20


@pytest.mark.parametrize(
    ("size", "in_memory"), [(Size(5 * MB), True), (Size(16 * MB, 100 * MB), False)]
)
def test_a_large_file_is_in_memory_if_its_body_holds_memory(size: Size, in_memory: bool) -> None:
    with Bodies.from_settings(Settings()).of("client") as body:
        body.take(size)
        request = FormRequest({"REQUEST_METHOD": "PUT", BODY: body})
        with request._get_file_stream(size.memory, "image/jpeg", "photo.jpg") as opened:
            file: Any = opened
            file.write(bytes(2 * SPOOLED_BYTES))
            assert isinstance(file, io.BytesIO) is in_memory
            assert contents(file) == bytes(2 * SPOOLED_BYTES)


def test_a_body_that_holds_nothing_yet_is_no_reason_for_memory() -> None:
    with Bodies.from_settings(Settings()).of("client") as body:
        request = FormRequest({"REQUEST_METHOD": "PUT", BODY: body})
        with request._get_file_stream(10, "image/jpeg", "photo.jpg") as file:
            assert not isinstance(file, io.BytesIO)


def test_a_form_on_disk_has_no_more_files_than_a_part() -> None:
    """Each may have 500 KB in memory, and the memory for those of a part is counted."""
    with Bodies.from_settings(Settings()).of("client") as body:
        body.take(Size(16 * MB, 100 * MB))
        request = FormRequest({"REQUEST_METHOD": "PUT", BODY: body})
        for _ in range(PART_SIZE):
            request._get_file_stream(10, "image/jpeg", "photo.jpg").close()
        with pytest.raises(TooManyFiles):
            request._get_file_stream(10, "image/jpeg", "photo.jpg")
