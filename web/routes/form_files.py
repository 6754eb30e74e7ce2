"""The files of a form stay in memory if its body holds memory for them, and are on disk otherwise.

Werkzeug writes each file of more than 500 KB to disk. Writing and reading a photo takes longer than
all else that is done with it here.
"""

from __future__ import annotations

import io
from typing import IO, Any

from flask import Request

from web.submit.bodies import BODY


class FormRequest(Request):
    def _get_file_stream(self, *described: Any, **more: Any) -> IO[bytes]:
        """Called by Werkzeug for each file of a form."""
        body = self.environ.get(BODY)
        if body and body.in_memory:
            return io.BytesIO()
        return super()._get_file_stream(*described, **more)
