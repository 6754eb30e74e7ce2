"""Everything that Redis holds at one moment."""

from __future__ import annotations

import base64
import json
from typing import Any

from redis import Redis

from shared import keys
from shared.jobs import Lane, PartRef

_READ = """
local all = {}
local read = { hash = 'HGETALL', string = 'GET' }
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  local content
  if kind == 'list' then
    content = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'zset' then
    content = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  else
    content = redis.call(read[kind], key)
  end
  all[#all + 1] = { key, kind, redis.call('TTL', key), content }
end
return all
"""


class Snapshot:
    def __init__(self, redis: Redis) -> None:
        self.contents: dict[str, Any] = {}
        self.ttl: dict[str, int] = {}  #: -1 for a key that never expires.
        for key, kind, ttl, content in redis.eval(_READ, 0):
            name = key.decode()
            self.contents[name] = _decoded(kind, content)
            self.ttl[name] = ttl
        self.refs = {lane: self._refs(lane) for lane in Lane}

    def __contains__(self, key: str) -> bool:
        return key in self.contents

    def job(self, job_id: str) -> dict[str, str]:
        return self._texts(keys.job(job_id))

    def part(self, job_id: str, number: int) -> dict[str, str]:
        return self._texts(keys.part(job_id, number))

    def images(self, job_id: str, number: int) -> dict[str, bytes]:
        return dict(self.contents.get(keys.images(job_id, number), {}))

    def held(self) -> dict[str, int]:
        return {name: int(value) for name, value in self._texts(keys.HELD).items()}

    def charges(self) -> dict[str, tuple[int, int, str, str]]:
        """Of each part: images, bytes, lane and client."""
        charges = {}
        for part, text in self._texts(keys.CHARGES).items():
            images, size, lane, client = text.split(" ", 3)
            charges[part] = int(images), int(size), lane, client
        return charges

    def account(self, client: str) -> dict[str, int]:
        return {name: int(value) for name, value in self._texts(keys.account(client)).items()}

    def outstanding(self, lane: Lane) -> dict[str, float]:
        return dict(self.contents.get(keys.outstanding(lane), {}))

    def waiting(self, lane: Lane, client: str = "") -> dict[str, float]:
        """Parts that wait for their round: all, or those of one client."""
        return dict(self.contents.get(keys.waiting_of(lane, client), {}))

    def sharing(self, lane: Lane) -> dict[str, float]:
        """Clients that share the rounds of a lane."""
        return dict(self.contents.get(keys.clients(lane), {}))

    def webhooks_due(self) -> dict[str, float]:
        return dict(self.contents.get(keys.WEBHOOKS_DUE, {}))

    def number(self, key: str) -> int:
        return int(self.contents.get(key, b"0"))

    def _refs(self, lane: Lane) -> dict[str, list[PartRef]]:
        """Parts of `outstanding:<lane>`, whole or split, by the key of the part."""
        refs: dict[str, list[PartRef]] = {}
        for member in self.outstanding(lane):
            ref = PartRef.from_member(member)
            refs.setdefault(keys.part(ref.job_id, ref.number), []).append(ref)
        return refs

    def queued(self, lane: Lane) -> set[str]:
        """Members whose message is in the queue."""
        texts = self.contents.get(keys.queue(lane), [])
        return {ref.member for text in texts for ref in refs_of(text)}

    def _texts(self, key: str) -> dict[str, str]:
        fields = self.contents.get(key, {})
        return {name: value.decode() for name, value in fields.items()}


def refs_of(message: bytes) -> list[PartRef]:
    body = json.loads(base64.b64decode(json.loads(message)["body"]))
    return [PartRef(*part) for part in body[0][0]]


def _decoded(kind: bytes, content: Any) -> Any:
    if kind == b"hash":
        return {name.decode(): value for name, value in _pairs(content)}
    if kind == b"zset":
        return {member.decode(): float(score) for member, score in _pairs(content)}
    return content


def _pairs(flat: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
