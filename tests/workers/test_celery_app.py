"""Celery's address of Redis is the one that the records have."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from quickstart import redis_server
from shared.settings import Settings
from workers.celery_app import make_celery


@pytest.mark.parametrize("database", ["", "?db=0", "?db=3"])
def test_messages_are_where_a_socket_s_address_says(tmp_path: Path, database: str) -> None:
    with redis_server.running(tmp_path / "a folder") as url:
        there = url + database
        make_celery(Settings(redis_url=there)).send_task("nothing", queue="bulk")
        with Redis.from_url(there) as redis:
            assert redis.llen("bulk") == 1
