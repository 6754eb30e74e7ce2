"""Workers with different model versions side by side: which version answers new jobs, who is left.

One model is current: a job is accepted for its version, and workers of this version answer the
whole job. `promote` makes another model current, in one step. Without it the current model stays,
unless no worker has it any more.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import WatchError

from shared import clock, keys
from shared.errors import ModelError, ModelNotReady, NoEmbedding
from shared.jobs import Lane
from shared.serving import model_info
from shared.serving.model_info import ModelInfo

#: A worker that was silent for longer is not counted. It gives a sign of life every five seconds.
SILENCE_SECONDS = 20

#: A worker makes its own model the current one if no worker had the current one for so long.
_TAKE_OVER_SECONDS = 30

#: Another current model is noticed after this time. To ask at each request costs a round trip.
_FRESH_SECONDS = 1.0


#: Deletes the first keys, so many as the argument says. In the others no version has been seen
#: lately. Because it deletes first, it runs in a full Redis, too (shared.records.scripts).
_FORGET = """
local gone = tonumber(ARGV[1])
redis.call('UNLINK', unpack(KEYS, 1, gone))
for k = gone + 1, #KEYS do
  for _, version in ipairs(redis.call('ZRANGE', KEYS[k], 0, -1)) do
    redis.call('ZADD', KEYS[k], 0, version)
  end
end
"""


class Versions(NamedTuple):
    """The model versions of a lane at one moment."""

    current: str  #: New jobs are accepted for it; empty before the first worker.
    living: frozenset[str]  #: Those that a worker has, in any lane.
    here: frozenset[str]  #: Those that a worker of this lane has.
    seen: Mapping[str, float]  #: The last sign of life of a worker of this lane; Unix seconds.
    now: float

    def is_gone(self, version: str, seconds: float) -> bool:
        """Whether parts for this version wait in vain: no worker of the lane had it for so long.

        The current version is not gone in a lane without workers, because a scaler may start some.
        """
        silent = self.now - self.seen.get(version, 0)
        return self.successor not in ("", version) and silent > seconds

    @property
    def successor(self) -> str:
        """The version that new jobs of this lane get, and the parts of one that is gone."""
        return _choose(self.current, self.here)

    def route(self, version: str) -> str:
        """The version whose queue gets a part for `version`; empty for the queue of all workers.

        Workers of an earlier release read only that one. They name no version.
        """
        known = version in self.living or (version in self.seen and version != self.current)
        return version if known else ""


def read(redis: Redis, lane: Lane) -> Versions:
    """The present versions; one round trip."""
    now = clock.now(redis)
    pipe = redis.pipeline(transaction=False)
    _ask(pipe, now)
    pipe.zrange(keys.versions(lane), 0, -1, withscores=True)
    current, *serving, seen = pipe.execute()
    return Versions(
        model_info.version_of(current),
        _living(serving),
        _living([serving[list(Lane).index(lane)]]),
        {version.decode(): at for version, at in seen},
        now,
    )


def workers(redis: Redis, lane: Lane) -> Counter[str]:
    """The number of workers of a lane that have each model version."""
    now = clock.now(redis)
    members: Any = redis.zrangebyscore(keys.serving(lane), now - SILENCE_SECONDS, "+inf")
    return Counter(member.decode().partition(" ")[0] for member in members)


def waiting(redis: Redis, lane: Lane) -> Counter[str]:
    """The messages and parts of a lane that no worker has taken, by model version.

    Those of jobs without a version are under the empty name.
    """
    known: Any = redis.zrange(keys.versions(lane), 0, -1)
    versions = ["", *(each.decode() for each in known)]
    pipe = redis.pipeline(transaction=False)
    for version in versions:
        pipe.llen(keys.queue(lane, version))
        pipe.zcard(keys.waiting(lane, version))
    replies = pipe.execute()
    queued, later = replies[::2], replies[1::2]
    return Counter({each: sum(of) for each, *of in zip(versions, queued, later, strict=True)})


def give_sign(pipe: Pipeline, lane: Lane, worker: str, announcement: str, now: float) -> None:
    """Add to a pipeline: this worker of the lane lives, and has the model of the announcement."""
    version = model_info.version_of(announcement)
    pipe.zadd(keys.serving(lane), {_member(version, worker): now})
    pipe.zremrangebyscore(keys.serving(lane), 0, now - SILENCE_SECONDS)
    for each in Lane:
        # In another lane it only becomes known, so that parts may wait for a first worker there.
        pipe.zadd(keys.versions(each), {version: now}, nx=each is not lane)
    pipe.persist(keys.queue(lane, version))  # `leave` lets it expire
    pipe.set(keys.model(version), announcement, ex=model_info.TTL_SECONDS)
    # A Redis that was emptied has no model any more, and no worker starts for that.
    pipe.set(keys.MODEL, model_info.as_current(announcement), nx=True)


def leave(redis: Redis, lane: Lane, worker: str, announcement: str) -> None:
    """This worker accepts no more parts.

    If it was the last one of its version, the queue of the version expires after a day. Recovery
    queues the parts in it again before that, also that of an earlier release, which leaves the
    messages there.
    """
    version = model_info.version_of(announcement)
    redis.zrem(keys.serving(lane), _member(version, worker))
    if not workers(redis, lane)[version]:
        redis.expire(keys.queue(lane, version), model_info.TTL_SECONDS)


def take_over(redis: Redis, version: str, *, at_once: bool) -> str:
    """Make a worker's own version the current one, if no worker has the current one any more.

    That is so after some time without a sign of life in both lanes, or `at_once` if no worker lives
    that has it. Returns the version that it replaced; empty if it replaced none.
    """
    versions = [read(redis, lane) for lane in Lane]
    current, living = versions[0].current, versions[0].living
    if current in living or not current:
        return ""
    last = max(each.seen.get(current, 0) for each in versions)
    if not at_once and versions[0].now - last < _TAKE_OVER_SECONDS:
        return ""
    return current if _set_current(redis, version, instead_of=current) else ""


def promote(redis: Redis, version: str) -> str:
    """Make a version the current one; gives the version that was current.

    Raises ModelError if no worker has it.
    """
    versions = read(redis, Lane.INTERACTIVE)
    if version not in versions.living:
        raise ModelError(
            f"No worker has the model version {version}. Workers have: "
            f"{', '.join(sorted(versions.living)) or 'none'}."
        )
    if version != versions.current and not _set_current(redis, version):
        raise ModelError("The current model was changed by another program at this moment.")
    return versions.current


def _set_current(redis: Redis, version: str, *, instead_of: str | None = None) -> bool:
    """One transaction; False if another program changed the current model in this moment."""
    now = clock.now(redis)
    with redis.pipeline() as pipe:
        pipe.watch(keys.MODEL)  # type: ignore[no-untyped-call]
        before = model_info.version_of(pipe.get(keys.MODEL))
        announcement = pipe.get(keys.model(version))
        if not announcement or instead_of not in (None, before):
            return False
        pipe.multi()
        pipe.set(keys.MODEL, model_info.as_current(announcement))
        if instead_of is None and before:
            # Its parts may wait in a lane where its workers have still to start.
            for lane in Lane:
                pipe.zadd(keys.versions(lane), {before: now})
        try:
            pipe.execute()
        except WatchError:
            return False
    return True


def forget(redis: Redis) -> None:
    """Remove the current model, and count all versions as gone. No worker may be running."""
    gone = [keys.MODEL, *(keys.serving(lane) for lane in Lane)]
    versions = [keys.versions(lane) for lane in Lane]
    redis.eval(_FORGET, len(gone) + len(versions), *gone, *versions, len(gone))


class CurrentModel:
    """The current model, and which versions have workers; read about once a second."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._info: ModelInfo | None = None
        self._living: dict[Lane, frozenset[str]] = {}
        self._read_at = 0.0

    def get(self) -> ModelInfo:
        """Raises ModelNotReady before a worker has announced one, and RedisError in an outage."""
        if self._info is None or time.monotonic() - self._read_at > _FRESH_SECONDS:
            now = clock.now(self._redis)
            pipe = self._redis.pipeline(transaction=False)
            _ask(pipe, now)
            current, *serving = pipe.execute()
            self._info = model_info.whole(self._redis, current)
            self._living = {
                lane: _living([of_lane]) for lane, of_lane in zip(Lane, serving, strict=True)
            }
            self._read_at = time.monotonic()
        return self._info

    def embedding(self, version: str) -> int:
        """Numbers of the embedding that a model version has. Raises NoEmbedding if it has none.

        `version` is what `served` gives. Raises ModelNotReady if it is empty: the workers of that
        moment, which may be of an earlier release, would not know of embeddings. Raises RedisError
        in an outage.
        """
        info = self.get()
        if version and version != info.version:
            info = model_info.from_json(self._redis.get(keys.model(version)))
        if not info.embedding:
            raise NoEmbedding(
                f"The model {info.version} has no embedding. Leave `embeddings` out, or make the"
                " model with `python -m workers.models add NAME SOURCE --embedding OUTPUT`."
            )
        if not version:
            raise ModelNotReady("No worker that can give embeddings is running. Try again later.")
        return info.embedding

    def served(self, lane: Lane, version: str | None = None) -> str:
        """`version`, or else the one for new jobs of this lane; empty if no worker has it.

        Workers of an earlier release do not say what they have. Raises RedisError in an outage.
        """
        try:
            current = self.get().version
        except ModelNotReady:
            return ""
        wanted = version or _choose(current, self._living[lane])
        return wanted if wanted in frozenset().union(*self._living.values()) else ""


def _choose(current: str, in_lane: frozenset[str]) -> str:
    """The current version, unless all workers of the lane have others.

    So a lane on a graphics card and one on processors may have a version each.
    """
    return current if current in in_lane or not in_lane else min(in_lane)


def _ask(pipe: Pipeline, now: float) -> None:
    pipe.get(keys.MODEL)
    for lane in Lane:
        pipe.zrangebyscore(keys.serving(lane), now - SILENCE_SECONDS, "+inf")


def _living(serving: list[list[bytes]]) -> frozenset[str]:
    return frozenset(member.decode().partition(" ")[0] for lane in serving for member in lane)


def _member(version: str, worker: str) -> str:
    return f"{version} {worker}"
