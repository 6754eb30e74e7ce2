"""The Prometheus series that our processes count: name, help, labels and buckets.

Values that are read at a scrape (backlogs, the model, the pool of a worker) are in
`web/routes/metrics.py` and `workers/upkeep/metrics.py`. A label has few values: lanes, routes,
codes, stages; never a job, a picture or a client. Each bucket is a series per label. So they lie
around the times that were measured on two cores, and close together where a change would be felt.

The label `route` is the rule of the call under `/api/v1`, also for a client that used `/jobs…`.
"""

from __future__ import annotations

import os

from prometheus_client import Counter, Histogram, values

from shared.settings import share_metrics

#: In it the processes of this program count together. None if the program is one process.
FOLDER = share_metrics()

_process = ""


def count_as(process: str) -> None:
    """Count in the files of `process` from now on, and go on with the values that they have.

    No other living process may have that name.
    """
    global _process
    _process = process


def _name() -> str:
    return _process or str(os.getpid())


# prometheus-client chooses this class when it is imported, by the environment. That is too early:
# where Flower is installed, Celery's command line imports it before this module.
if FOLDER:
    values.ValueClass = values.MultiProcessValue(_name)  # type: ignore[no-untyped-call]


# Web processes

HTTP_REQUESTS = Counter(
    "classifier_http_requests_total",
    "Answered requests.",
    ["route", "method", "status"],
)
HTTP_DURATION = Histogram(
    "classifier_http_request_duration_seconds",
    "From a request's first byte to the end of its answer, waits included.",
    ["route"],
    # A cache hit takes 1.4 ms, a classification 16 ms in an idle service and some 100 ms in a busy
    # one. The objective is 1 s, the default wait 30 s, the longest 55 s.
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
IMAGES_ACCEPTED = Counter("classifier_images_accepted_total", "Pictures accepted.", ["lane"])
REFUSALS = Counter(
    "classifier_refusals_total", "Requests refused, by the error's code.", ["code", "route"]
)
CACHE_REQUESTS = Counter(
    "classifier_result_cache_requests_total",
    "Pictures that the result cache was asked for: `hit` or `miss`.",
    ["result"],
)

# Pool processes

IMAGES_FINISHED = Counter(
    "classifier_images_finished_total",
    "Pictures committed by a worker: `succeeded`, or the code of their error.",
    ["lane", "outcome"],
)
PART_STARTS = Counter(
    "classifier_part_starts_total",
    "Parts that a worker started, by attempt. More than 1 means that a worker was lost.",
    ["lane", "attempt"],
)
BATCH_IMAGES = Histogram(
    "classifier_batch_images",
    "Pictures in a micro-batch.",
    ["lane"],
    # An idle service has batches of 1. A full part has 32 pictures. MAX_BATCH_SIZE allows more.
    buckets=(1, 2, 4, 8, 16, 24, 32, 64, 128),
)
QUEUE_DURATION = Histogram(
    "classifier_queue_duration_seconds",
    "For each picture, from its acceptance until its micro-batch was formed.",
    ["lane"],
    # 2 ms in an idle service, 0.3 s behind another batch, and hours in the lane `bulk`.
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
)
PREPROCESS_DURATION = Histogram(
    "classifier_preprocess_duration_seconds",
    "For each picture, decoding and resizing.",
    ["lane"],
    # A photo of 100 KB takes 2.7 ms. MAX_DECODE_SECONDS ends it at 3 s.
    buckets=(0.001, 0.002, 0.003, 0.004, 0.006, 0.01, 0.025, 0.1, 0.5, 3),
)
INFERENCE_DURATION = Histogram(
    "classifier_inference_duration_seconds",
    "For each micro-batch, the run of the model.",
    ["lane"],
    # One thread of a CPU takes 6.9 ms for one picture, and some 170 ms for 32. A GPU takes less.
    buckets=(0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 5),
)
FETCH_DURATION = Histogram(
    "classifier_fetch_duration_seconds",
    "For each micro-batch, reading records and bytes from Redis.",
    ["lane"],
    # One picture takes 0.55 ms, and 32 take a few. The Redis client gives up after 1 s.
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1),
)
COMMIT_DURATION = Histogram(
    "classifier_commit_duration_seconds",
    "For each micro-batch, writing outcomes to Redis.",
    ["lane"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1),  # as for FETCH_DURATION
)
POOL_PROCESSES_STARTED = Counter(
    "classifier_pool_processes_started_total",
    "Pool processes that loaded the engine. If there are fewer now, some were lost.",
    ["lane"],
)

# A worker's main process

PARTS_RECOVERED = Counter(
    "classifier_parts_recovered_total",
    "Overdue parts: `requeued`, `split` into single pictures, or `buried` as a dead letter.",
    ["lane", "how"],
)
