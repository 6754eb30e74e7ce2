"""The files of a form stay in memory if its body holds memory for them, and are on disk otherwise.

Werkzeug writes each file of more than 500 KB to disk. Writing and reading a photo takes longer than
all else that is done with it here. A form on disk is a part of a job, so more than a part's files
are refused: each of them may have 500 KB in memory.
"""

from __future__ import annotations

import io
import math
from typing import IO, Any

from flask import Request

from shared.errors import ClassifierError, TooManyFiles
from shared.jobs import PART_SIZE
from web.submit.bodies import BODY


class FormRequest(Request):
    _files = 0
    _most_files: float = math.inf
    _refusal: ClassifierError

    def limit_files(self, most: int, refusal: ClassifierError) -> None:
        """Refuse a form with more files, as soon as the next one begins."""
        self._most_files, self._refusal = most, refusal

    def _get_file_stream(self, *described: Any, **more: Any) -> IO[bytes]:
        """Called by Werkzeug for each file of a form."""
        self._files += 1
        if self._files > self._most_files:
            raise self._refusal
        body = self.environ.get(BODY)
        if body and body.in_memory:
            return io.BytesIO()
        if self._files > PART_SIZE:
            raise TooManyFiles(f"A part has up to {PART_SIZE} pictures.")
        return super()._get_file_stream(*described, **more)
