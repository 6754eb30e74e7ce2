"""Pages of other sites in a real browser. The origin of one is allowed, that of another is not."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser

from tests.page.conftest import NewPage
from tests.support.local_service import LocalService, local_service

#: The first bytes of a PNG, which web accepts.
_PICTURE = "new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10])"

_SEND = f"""async (address) => {{
    const headers = {{"Content-Type": "image/png", "Idempotency-Key": "one", Prefer: "wait=0"}};
    const answer = await fetch(address, {{method: "POST", headers, body: {_PICTURE}}});
    const job = await answer.json();
    const shown = ["Location", "X-Request-Id"].map((name) => answer.headers.get(name));
    return [answer.status, job.id, ...shown];
}}"""

#: A form needs no permission to be sent. Its page does not read the answer.
_SEND_FORM = f"""async (address) => {{
    const body = new FormData();
    body.append("file", new Blob([{_PICTURE}]), "a.png");
    await fetch(address, {{method: "POST", mode: "no-cors", body}}).catch(() => null);
}}"""


class Site(BaseHTTPRequestHandler):
    """Another site on this machine: an empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def sites() -> Iterator[list[str]]:
    """The origins of two other sites."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Site) for _ in range(2)]
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in servers]
    for thread in threads:
        thread.start()
    yield [f"http://localhost:{server.server_port}" for server in servers]
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def shared(sites: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service without workers, which allows the pages of the first site."""
    folder = tmp_path_factory.mktemp("shared")
    own = {"WEB_PROCESSES": "1", "DATA_DIR": str(folder), "ALLOWED_ORIGINS": sites[0]}
    with local_service(folder, os.environ | own) as running:
        running.start_web()
        running.await_web()
        yield running


def test_an_allowed_page_sends_a_picture_and_reads_the_answer(
    new_page: NewPage, shared: LocalService, sites: list[str]
) -> None:
    page = new_page()
    page.goto(sites[0])
    address = f"{shared.base_url}/api/v1/classify"
    status, job_id, location, request_id = page.evaluate(_SEND, address)
    assert (status, location) == (202, f"/api/v1/jobs/{job_id}") and request_id
    read = f"fetch('{shared.base_url}/api/v1/health').then((answer) => answer.status)"
    assert page.evaluate(read) == 200


def test_another_page_reads_and_changes_nothing(
    browser: Browser, shared: LocalService, sites: list[str]
) -> None:
    stored = shared.redis().dbsize()
    page = browser.new_page()  # its console has an error for each request that is blocked
    page.goto(sites[1])
    for path in ("/api/v1/health", "/metrics", "/openapi.json"):
        read = f"fetch('{shared.base_url}{path}').then(() => 'read', () => 'refused')"
        assert page.evaluate(read) == "refused"
    page.evaluate(_SEND_FORM, f"{shared.base_url}/api/v1/classify")
    assert shared.redis().dbsize() == stored
    page.close()
