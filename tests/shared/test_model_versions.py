"""Which model version new jobs are accepted for, while workers of several versions run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis, connection as redis_connection
from redis.exceptions import ConnectionError, RedisError

from shared import keys
from shared.errors import ModelError
from shared.jobs import Lane
from shared.serving import model_info, model_versions
from shared.serving.model_versions import CurrentModel, promote
from shared.serving.presence import Presence
from tests.conftest import Clock
from tests.support.servers.memory_limit import memory_limit
from tests.support.stored_jobs import new_model

LONG = 31  #: Seconds after which the current version counts as gone.


def announcement(version: str) -> str:
    return model_info.to_json(new_model(version))


def worker(redis: Redis, version: str, lane: Lane = Lane.INTERACTIVE, name: str = "") -> Presence:
    """A worker that has given its first sign of life."""
    text = announcement(version)
    presence = Presence(redis, lane, name or f"{version}@{lane}", lambda: text)
    presence.tick()
    return presence


def current(redis: Redis) -> str:
    return model_info.read(redis).version


def test_the_first_model_is_current_and_a_second_one_changes_nothing(redis: Redis) -> None:
    first = worker(redis, "old")
    for lane in Lane:
        second = worker(redis, "new", lane)
        first.tick()
        second.tick()
    assert current(redis) == "old"


def test_promote_makes_another_model_current_and_goes_back(redis: Redis) -> None:
    signs = [worker(redis, "old"), worker(redis, "new")]
    assert promote(redis, "new") == "old"
    for each in signs:
        each.tick()
    assert current(redis) == "new"
    assert promote(redis, "old") == "new" and current(redis) == "old"
    assert promote(redis, "old") == "old" and current(redis) == "old"


def test_a_version_without_a_worker_is_not_promoted(redis: Redis) -> None:
    worker(redis, "old")
    worker(redis, "new").leave()
    with pytest.raises(ModelError, match="Workers have: old"):
        promote(redis, "new")
    assert current(redis) == "old"


def test_a_worker_takes_over_at_its_start_if_no_worker_has_the_current_model(redis: Redis) -> None:
    """A stop with the old model and a start with the new one: one worker, or Compose."""
    worker(redis, "old").leave()
    worker(redis, "new")
    assert current(redis) == "new"


def test_a_worker_in_the_other_lane_keeps_its_model_current(redis: Redis) -> None:
    worker(redis, "old").leave()
    worker(redis, "old", Lane.BULK)
    worker(redis, "new")
    assert current(redis) == "old"


def test_a_worker_beside_others_takes_over_when_the_current_model_was_silent_for_long(
    redis: Redis, clock: Clock
) -> None:
    """A short pause is a restart of the others, and changes nothing."""
    old, new = worker(redis, "old"), worker(redis, "new")
    old.leave()
    clock.now += LONG - 2
    new.tick()
    assert current(redis) == "old"
    clock.now += 2
    new.tick()
    assert current(redis) == "new"


def test_a_late_sign_of_life_of_the_old_model_does_not_bring_it_back(
    redis: Redis, clock: Clock
) -> None:
    old, new = worker(redis, "old"), worker(redis, "new")
    clock.now += LONG
    new.tick()
    old.tick()
    assert current(redis) == "new"


def test_of_two_workers_that_take_over_together_one_wins(redis: Redis) -> None:
    worker(redis, "old").leave()
    redis.set(keys.model("b"), announcement("b"))
    redis.set(keys.model("c"), announcement("c"))
    assert model_versions._set_current(redis, "b", instead_of="old")
    assert not model_versions._set_current(redis, "c", instead_of="old")
    assert current(redis) == "b"


def test_jobs_are_accepted_for_a_version_that_a_worker_has(redis: Redis) -> None:
    model = CurrentModel(redis)
    assert model.served(Lane.BULK) == "", "before the first worker"
    alive = worker(redis, "old")
    assert CurrentModel(redis).served(Lane.BULK) == "old"
    assert CurrentModel(redis).served(Lane.BULK, "other") == ""
    alive.leave()
    assert CurrentModel(redis).served(Lane.BULK) == ""


def test_a_model_that_a_worker_of_an_earlier_release_announces_has_no_queue(redis: Redis) -> None:
    redis.set(keys.MODEL, announcement("old"))
    model = CurrentModel(redis)
    assert model.get().version == "old" and model.served(Lane.BULK) == ""


def test_forgetting_counts_every_version_as_gone(redis: Redis) -> None:
    worker(redis, "old")
    with memory_limit(redis, 1):
        model_versions.forget(redis)
    worker(redis, "new")
    versions = model_versions.read(redis, Lane.BULK)
    assert (versions.current, versions.living) == ("new", {"new"})
    assert versions.is_gone("old", 120) and not versions.is_gone("new", 120)


def test_the_current_model_is_read_whole_and_web_of_the_first_release_can_read_it(
    redis: Redis,
) -> None:
    """That web makes an object of all fields of the record, and fails at a field more."""
    text = json.dumps(json.loads(announcement("new")) | {"precision": "bf16"})
    worker(redis, "old")
    Presence(redis, Lane.BULK, "new", lambda: text).tick()
    promote(redis, "new")
    assert model_info.read(redis).precision == CurrentModel(redis).get().precision == "bf16"
    of_the_release = {"name", "version", "weights", "weights_digest", "engine", "classes"}
    stored = json.loads(redis.get(keys.MODEL) or "")
    assert stored.keys() == of_the_release | {"input_size", "notice"}


def test_a_command_that_is_killed_has_changed_the_model_or_not(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each command that it sends. The next one succeeds in any case."""
    worker(redis, "old")
    worker(redis, "new")
    sent = redis_connection.Connection.send_packed_command

    def change(to: str, commands: int) -> bool:
        """Promote with a program that is killed after so many writes to its socket."""
        left = [commands]

        def send(self: Any, *arguments: Any, **options: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise ConnectionError
            sent(self, *arguments, **options)

        with monkeypatch.context() as killed:
            killed.setattr(redis_connection.Connection, "send_packed_command", send)
            try:
                promote(redis, to)
                return True
            except (RedisError, ModelError):
                return False
            finally:
                redis.connection_pool.disconnect()

    commands = 0
    while not change("new", commands):
        assert current(redis) in ("old", "new")
        assert promote(redis, "new") in ("old", "new") and current(redis) == "new"
        promote(redis, "old")
        commands += 1
    assert commands > 3 and current(redis) == "new"


def test_a_lane_whose_workers_all_have_another_version_gets_jobs_for_that_one(
    redis: Redis,
) -> None:
    """For example, one lane runs on a graphics card, and its version names another precision."""
    worker(redis, "card")
    worker(redis, "processor", Lane.BULK)
    model = CurrentModel(redis)
    assert current(redis) == "card"
    assert [model.served(lane) for lane in Lane] == ["card", "processor"]
    assert model.served(Lane.BULK, "card") == "card"
