"""gunicorn's settings. Every name here is one of gunicorn's."""

import gc
import resource
import sys
from itertools import count
from typing import Any

from shared.addresses.hosts import in_url
from shared.observe import log
from shared.observe.exposition import start_over
from shared.observe.start import read_settings

_SERVICE = "classifier-web"
_settings = read_settings(_SERVICE)
_metrics = _settings.metrics_dir("web")

#: Two archives that were checked made a step of 1 ms last 15 ms, and 3 ms with this.
_SWITCH_SECONDS = 0.0005

bind = f"{in_url(_settings.host)}:{_settings.web_port}"
workers = _settings.web_processes
# A waiting client costs a greenlet. There is no preload: a connection to Redis must not be shared
# by a process and its fork.
worker_class = "web.server.gunicorn_worker.Worker"
# All submissions may wait at once. Refusals and questions need connections as well.
worker_connections = _settings.max_concurrent_submissions + 2000
backlog = 2048
keepalive = 75
# gunicorn restarts a process whose event loop is stuck for so long. Requests may take longer.
timeout = 60
# Clients that wait get their answer before the process ends.
graceful_timeout = _settings.web_grace_seconds
# Nothing uses gunicorn's control socket, and two services of one user would share its path.
control_socket_disable = True
# prometheus-client reads it in each process.
raw_env = [f"PROMETHEUS_MULTIPROC_DIR={_metrics}"]
# The application logs each request, with more fields.
accesslog = None
loglevel = "warning"


def on_starting(server: Any) -> None:
    """Forget the last run's metrics, and allow a socket for every client.

    gunicorn logs why it ends, for example that its port is in use. The log stack keeps only lines
    of our own form, so they have it from here on.
    """
    log.configure(_settings, _SERVICE)
    _metrics.mkdir(parents=True, exist_ok=True)
    start_over(_metrics)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except ValueError:  # macOS has no hard limit, and refuses more than this
        resource.setrlimit(resource.RLIMIT_NOFILE, (10_240, hard))


def pre_fork(server: Any, worker: Any) -> None:
    """Give each process the lowest number that no living process has."""
    taken = {each.number for each in server.WORKERS.values()}
    worker.number = next(number for number in count() if number not in taken)


def post_fork(server: Any, worker: Any) -> None:
    """Let a process go on counting where the one before it has stopped.

    Threads that check archives share Python's lock with the event loop, which waits for it at
    each step. By default a thread may keep it for 5 ms.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    from shared.observe import metrics  # not earlier: it counts for the process that imports it

    metrics.count_as(f"web{worker.number}")


def post_worker_init(worker: Any) -> None:
    """Leave what is loaded out of garbage collections. One of all objects takes 50 ms."""
    from web.server.fairness.rests import RESTS  # not earlier: gevent must replace things first

    RESTS.watch()
    gc.collect()
    gc.freeze()
