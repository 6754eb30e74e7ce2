"""Every Prometheus series of ours: name, help, labels, and why those buckets."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

HTTP_REQUESTS = Counter(
    "classifier_http_requests_total",
    "Answered requests.",
    ["route", "method", "status"],
)
HTTP_SECONDS = Histogram(
    "classifier_http_request_seconds",
    "From a request's first byte to its answer, waits included.",
    ["route"],
    # A cache hit takes 2-5 ms, an idle classification some 20; waits end at 55 s.
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
IMAGES_ACCEPTED = Counter("classifier_images_accepted_total", "Pictures accepted.", ["lane"])
REFUSALS = Counter("classifier_refusals_total", "Requests refused, by the error's code.", ["code"])
CACHE_HITS = Counter(
    "classifier_result_cache_hits_total", "Pictures answered from the result cache."
)
