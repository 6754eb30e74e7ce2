"""Reading scrapes."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.waiting import wait_until


def value(text: str, name: str, /, **labels: str) -> float | None:
    """The value of a sample in a scrape; None where there is none with these labels."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return float(sample.value)
    return None


def scrape(port: int) -> str:
    """The metrics, once the program answers."""
    answers: list[str] = []

    def answered() -> bool:
        try:
            answers.append(httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=20).text)
        except httpx.TransportError:
            return False
        return True

    wait_until(answered, 30, problem="the exporter does not answer")
    return answers[0]
