"""celery-exporter, Flower and the Redis exporter, with a real Redis and real workers."""

from __future__ import annotations

import httpx
import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from quickstart.programs import programs
from shared import keys
from shared.jobs import Lane
from shared.settings import Settings
from tests.monitoring.scrapes import value
from tests.monitoring.watched import Watched
from tests.monitoring.watchers import Watchers, documented_options
from tests.support.waiting import wait_until


def test_celery_exporter_sees_messages_workers_and_queues(
    watched: Watched, watchers: Watchers
) -> None:
    def succeeded() -> bool:
        text = watchers.scrape("celery")
        return bool(value(text, "celery_task_succeeded_total", name="workers.classify"))

    watchers.scrape("celery")  # it is ready and receives the events that follow
    watched.run_job(3)
    wait_until(succeeded)
    expected = {
        (name, lane): number
        for name, number in {
            "active_worker_count": 1,
            "active_process_count": 2,  # one is for slow pictures
            "queue_length": 0,
        }.items()
        for lane in Lane
    }

    def counts() -> dict[tuple[str, Lane], float | None]:
        text = watchers.scrape("celery")
        return {(n, lane): value(text, f"celery_{n}", queue_name=lane) for n, lane in expected}

    # A worker that is slow to answer the exporter is missing in one scrape.
    wait_until(lambda: counts() == expected, problem=counts)


def test_flower_sees_tasks_and_asks_workers_without_an_error(
    watched: Watched, watchers: Watchers
) -> None:
    watchers.scrape("flower")
    watched.run_job(3)
    wait_until(lambda: 'type="task-succeeded"' in watchers.scrape("flower"))
    page = f"{watchers.url('flower')}/worker/bulk@{_host(watchers)}"
    wait_until(lambda: "prefork" in httpx.get(page, timeout=20).text)
    for lane in Lane:
        assert "Control command error" not in watched.service.log(lane)


def _host(watchers: Watchers) -> str:
    text = watchers.scrape("celery")
    return text.partition('hostname="')[2].partition('"')[0]


def test_the_quick_start_runs_flower_as_documented() -> None:
    [flower] = [each for each in programs(Settings()) if each.name == "flower"]
    assert set(documented_options()["flower"]) <= set(flower.command)


def test_flowers_api_is_closed_without_a_password(watchers: Watchers) -> None:
    watchers.scrape("flower")
    url = watchers.url("flower")
    assert httpx.get(f"{url}/api/tasks").status_code == 401
    assert httpx.post(f"{url}/api/worker/shutdown/bulk@x").status_code in (401, 403, 405)


def test_flower_changes_no_message_when_it_stops(watched: Watched, watchers: Watchers) -> None:
    redis = watched.service.redis()
    watchers.scrape("flower")
    watched.service.stop("bulk")
    try:
        redis.lpush(Lane.BULK, "waits")
        # A message that a worker received long ago. A Celery program would restore it to its queue.
        redis.hset("unacked", "tag", "[]")
        redis.zadd("unacked_index", {"tag": 1})
        watchers.stop_flower()
        assert redis.lrange(Lane.BULK, 0, -1) == [b"waits"]
        assert redis.hexists("unacked", "tag")  # beside messages that workers have now
    finally:
        redis.delete(Lane.BULK, "unacked", "unacked_index")
        watched.start_worker(Lane.BULK)
        watchers.flower = watchers.start_flower()


def test_the_redis_exporter_shows_memory_and_its_limit(watchers: Watchers) -> None:
    text = watchers.scrape("redis")
    used, limit = (value(text, f"redis_memory_{name}_bytes") for name in ("used", "max"))
    assert used and limit and used < limit


def test_the_watchers_user_may_read_no_picture_and_change_no_record(watchers: Watchers) -> None:
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
