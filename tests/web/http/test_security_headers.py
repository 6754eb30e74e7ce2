"""Every answer limits what browsers may do with it."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from flask.testing import FlaskClient


@pytest.mark.parametrize(
    "path", ["/livez", "/metrics", "/openapi.json", "/jobs/nothing", "/nope", "/docs"]
)
def test_every_answer_has_the_headers(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';") and "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_documentation_may_run_only_its_own_scripts(client: FlaskClient, path: str) -> None:
    page = client.get(path, follow_redirects=True)
    [allowed] = re.findall(r"script-src ([^;]+);", page.headers["Content-Security-Policy"])
    [inline] = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert allowed == f"'self' 'sha256-{digest}'"
    for address in re.findall(r' src="([^"]+)"', page.text):
        with client.get(f"/openapi/{address}") as part:
            assert part.status_code == 200
