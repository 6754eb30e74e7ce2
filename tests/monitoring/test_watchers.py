"""celery-exporter, Flower and the Redis exporter against our Redis and workers, for real."""

from __future__ import annotations

import httpx
import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from quickstart.processes import PROCFILE
from shared import keys
from shared.jobs import Lane
from tests.monitoring.conftest import Watched, Watchers, documented_options
from tests.monitoring.scrapes import value, wait_until


def test_celery_exporter_sees_messages_workers_and_queues(
    watched: Watched, watchers: Watchers
) -> None:
    def succeeded() -> bool:
        text = watchers.scrape("celery")
        return bool(value(text, "celery_task_succeeded_total", name="workers.classify"))

    watchers.scrape("celery")  # it listens
    watched.run_job(3)
    wait_until(succeeded)
    text = watchers.scrape("celery")  # asks the workers, and takes two seconds for it
    for lane in Lane:
        assert value(text, "celery_active_worker_count", queue_name=lane) == 1
        assert value(text, "celery_active_process_count", queue_name=lane) == 1
        assert value(text, "celery_queue_length", queue_name=lane) == 0


def test_flower_sees_tasks_and_asks_workers_without_an_error(
    watched: Watched, watchers: Watchers
) -> None:
    watchers.scrape("flower")
    watched.run_job(3)
    wait_until(lambda: 'type="task-succeeded"' in watchers.scrape("flower"))
    page = f"http://127.0.0.1:{watchers.ports['flower']}/worker/bulk@{_host(watchers)}"
    wait_until(lambda: "prefork" in httpx.get(page, timeout=20).text)
    for lane in Lane:
        assert "Control command error" not in watched.service.log(lane)


def _host(watchers: Watchers) -> str:
    text = watchers.scrape("celery")
    return text.partition('hostname="')[2].partition('"')[0]


def test_the_quick_start_runs_flower_as_documented() -> None:
    [line] = [each for each in PROCFILE.read_text().splitlines() if each.startswith("flower:")]
    assert set(documented_options()["flower"]) <= set(line.split())


def test_flowers_api_is_closed_without_a_password(watchers: Watchers) -> None:
    watchers.scrape("flower")
    url = f"http://127.0.0.1:{watchers.ports['flower']}"
    assert httpx.get(f"{url}/api/tasks").status_code == 401
    assert httpx.post(f"{url}/api/worker/shutdown/bulk@x").status_code in (401, 403, 405)


def test_flower_puts_nothing_back_when_it_stops(watched: Watched, watchers: Watchers) -> None:
    redis = watched.service.redis()
    watchers.scrape("flower")
    watched.service.stop("bulk")
    try:
        redis.lpush(Lane.BULK, "waits")
        # As of a worker that is at work on it for longer than any program would wait.
        redis.hset("unacked", "tag", "[]")
        redis.zadd("unacked_index", {"tag": 1})
        flower = watchers.flower
        flower.terminate()
        flower.wait(20)
        assert redis.lrange(Lane.BULK, 0, -1) == [b"waits"]
        assert redis.hkeys("unacked") == [b"tag"]
    finally:
        redis.delete(Lane.BULK, "unacked", "unacked_index")
        watched.start_worker(Lane.BULK)
        watchers.flower = watchers.start_flower()


def test_the_redis_exporter_tells_memory_and_its_limit(watchers: Watchers) -> None:
    text = watchers.scrape("redis")
    used, limit = (value(text, f"redis_memory_{name}_bytes") for name in ("used", "max"))
    assert used and limit and used < limit


def test_who_watches_may_read_no_picture_and_change_no_record(watchers: Watchers) -> None:
    redis = Redis.from_url(watchers.redis_url)
    for forbidden in (
        ["HGETALL", keys.images("j", 0)],
        ["HGETALL", keys.job("j")],
        ["LPUSH", keys.queue(Lane.BULK), "message"],
        ["DEL", keys.outstanding(Lane.BULK)],
        ["EVAL", "return redis.call('DEL', 'model')", "0"],
        ["ZADD", keys.outstanding(Lane.BULK), "1", "x"],
        ["GET", keys.MODEL],
        ["KEYS", "*"],
        ["FLUSHALL"],
        ["CONFIG", "SET", "maxmemory", "1"],
    ):
        with pytest.raises(NoPermissionError):
            redis.execute_command(*forbidden)
