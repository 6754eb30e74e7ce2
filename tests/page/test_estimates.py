"""The page says how long a job will take when it knows it, and not before."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
from playwright.sync_api import Route, expect

from tests.page.conftest import NewPage, Noise
from tests.support.local_service import LocalService


def test_the_time_left_comes_with_a_measured_speed(
    idle_service: LocalService, new_page: NewPage, noise: Noise
) -> None:
    """The estimate of the service is the speed of a lane, which had nothing to do until now."""
    labelled, position = 0, 500

    def report(route: Route) -> None:
        id = route.request.url.split("/")[-2]
        job: dict[str, Any] = httpx.get(f"{idle_service.base_url}/jobs/{id}").json()
        job |= {"state": "running", "position": position, "estimated_seconds": 600}
        job["counts"] |= {"received": 40, "succeeded": labelled, "queued": 40 - labelled}
        body = f"event: progress\ndata: {json.dumps(job)}\n\n"
        route.fulfill(content_type="text/event-stream", body=body)

    page = new_page()
    page.clock.install()
    page.goto(idle_service.base_url)
    page.route("**/events", report)
    page.set_input_files("#pictures", noise(40))
    figures = page.locator("#figures")
    expect(figures).to_contain_text("about 10 min left · 500 pictures ahead of these")
    labelled, position = 10, 0
    page.clock.run_for(2000)  # the page asks again after two seconds
    expect(figures).to_have_text("10 of 40 done")
    labelled = 30
    page.clock.run_for(2000)
    # Twenty in two seconds or more; ten are left.
    expect(figures).to_contain_text(
        re.compile(r"30 of 40 done · \d.* per second · about \d+ s left")
    )
    expect(figures).not_to_contain_text("min left")
    page.click("#cancel")
