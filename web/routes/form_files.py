"""The files of a form stay in memory if its body holds memory for them, and are on disk otherwise.

Werkzeug writes each file of more than 500 KB to disk. Writing and reading a photo takes longer than
all else that is done with it here. A form on disk is a part of a job, so more than a part's files
are refused: each of them may have 500 KB in memory.
"""

from __future__ import annotations

import io
from typing import IO, Any

from flask import Request

from shared.errors import TooManyFiles
from shared.jobs import PART_SIZE
from web.submit.bodies import BODY


class FormRequest(Request):
    _files_on_disk = 0

    def _get_file_stream(self, *described: Any, **more: Any) -> IO[bytes]:
        """Called by Werkzeug for each file of a form."""
        body = self.environ.get(BODY)
        if body and body.in_memory:
            return io.BytesIO()
        self._files_on_disk += 1
        if self._files_on_disk > PART_SIZE:
            raise TooManyFiles(f"A part has up to {PART_SIZE} pictures.")
        return super()._get_file_stream(*described, **more)
