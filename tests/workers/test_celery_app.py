"""Celery and the job records use the same database of Redis."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from quickstart import redis_server
from shared.settings import Settings
from workers.celery_app import make_celery


@pytest.mark.parametrize("database", ["", "?db=0", "?db=3"])
def test_messages_go_to_the_database_in_the_url_of_a_socket(
    short_path: Path, database: str
) -> None:
    with redis_server.running(short_path / "a folder") as url:
        url += database
        make_celery(Settings(redis_url=url)).send_task("nothing", queue="bulk")
        with Redis.from_url(url) as redis:
            assert redis.llen("bulk") == 1
