"""Lua scripts: Redis runs each of them as one step.

The comment at the head of a script declares what the script takes. `Script` turns the declaration
into Lua locals, so that neither the script nor its caller counts keys and arguments:

    -- uses: holding              puts the functions of holding.lua in front, and what it uses
    -- keys: job, part            local job,part=KEYS[1],KEYS[2]
    -- arguments: now, ttl        local now,ttl=ARGV[1],ARGV[2]
    -- row keys: images           Any number of rows may follow. The script reads them in a loop:
    -- row arguments: name, size  for images, name, size in rows() do

A script also gets each of the constants below that it mentions.

    -- runs in a full Redis       This script frees memory in the end, so it must not be refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from redis import Redis

from shared import keys
from shared.jobs import PART_SIZE

_FOLDER = Path(__file__).parent

_ANY: Any = "%s"  # Lua's string.format fills it in.

_CONSTANTS: dict[str, str | int] = {
    "PART_SIZE": PART_SIZE,
    "WAITING_SECONDS": keys.WAITING_SECONDS,
    "READY_SECONDS": keys.READY_SECONDS,
    "COMMITTED": f"'{keys.COMMITTED}'",
    "CHARGES": f"'{keys.CHARGES}'",
    "HELD": f"'{keys.HELD}'",
    "WEBHOOKS_DUE": f"'{keys.WEBHOOKS_DUE}'",
    "JOB_KEY": f"'{keys.job(_ANY)}'",
    "JOBS_KEY": f"'{keys.jobs_of(_ANY)}'",
    "PART_KEY": f"'{keys.part(_ANY, _ANY)}'",
    "IMAGES_KEY": f"'{keys.images(_ANY, _ANY)}'",
    "PARTS_KEY": f"'{keys.parts(_ANY)}'",
    "WEBHOOK_HOST_KEY": f"'{keys.webhook_host(_ANY)}'",
    "WEBHOOK_CLIENT_KEY": f"'{keys.webhook_client(_ANY)}'",
    "WEBHOOK_LATER_KEY": f"'{keys.webhook_later(_ANY)}'",
    "ACCOUNT_KEY": f"'{keys.account(_ANY)}'",
    "FINISHED_KEY": f"'{keys.finished(_ANY)}'",
    "WAITING_KEY": f"'{keys.waiting(_ANY)}'",
    "CLIENTS_KEY": f"'{keys.clients(_ANY)}'",
    "ROUND_KEY": f"'{keys.current_round(_ANY)}'",
    "READY_KEY": f"'{keys.ready(_ANY)}'",
    "SLOW_CLIENT": f"'{keys.slow(_ANY)}'",
    "WORKERS_KEY": f"'{keys.workers(_ANY)}'",
    "SERVING_KEY": f"'{keys.serving(_ANY)}'",
    "OUTSTANDING_KEY": f"'{keys.outstanding(_ANY)}'",
    "OUTSTANDING_IMAGES_KEY": f"'{keys.outstanding_images(_ANY)}'",
}

#: Redis refuses a command that may need memory once it has reached `maxmemory`, but not after the
#: first write of a script: it never stops a script in the middle. This write changes nothing.
_RUN_IN_A_FULL_REDIS = "redis.call('UNLINK','')"

_Value = str | bytes | float


class Script:
    """A script that is called with its keys and arguments by name."""

    def __init__(self, name: str) -> None:
        source = _read(name)
        used = "".join(_read(each) for each in _used_by(source))
        self._name = name
        self._keys = _declared("keys", source)
        self._arguments = _declared("arguments", source)
        self._names = (*self._keys, *self._arguments)
        self._row_keys = _declared("row keys", source)
        self._row_arguments = _declared("row arguments", source)
        self._row_length = len(self._row_keys) + len(self._row_arguments)
        lines = [
            *([_RUN_IN_A_FULL_REDIS] if "-- runs in a full Redis\n" in source else []),
            *_constants(used + source),
            *_code(used),
            *_locals(self._keys, "KEYS"),
            *_locals(self._arguments, "ARGV"),
            *self._rows(),
            *_code(source),
        ]
        self.text = "\n".join(lines)

    def __call__(
        self, client: Redis, rows: Sequence[Sequence[_Value]] = (), /, **values: _Value
    ) -> Any:
        """Run the script, or add it to the pipeline `client`; gives the reply.

        A row holds values for the row keys and then for the row arguments. Raises TypeError if a
        name or a row does not fit the declaration.

        The text is sent whole each time: a kilobyte or two, so that no script has to be loaded
        again after a restart of Redis.
        """
        # `rows` is positional: a named parameter beside `**values` would make each call slower by
        # several microseconds.
        if tuple(values) != self._names:
            values = self._in_order(values)
        if not rows:
            return client.eval(self.text, len(self._keys), *values.values())
        of_rows = list(chain.from_iterable(rows))
        if len(of_rows) != len(rows) * self._row_length:
            raise TypeError(f"{self._name}.lua: a row has {self._row_length} values")
        if self._row_keys:
            return self._run_with_row_keys(client, rows, list(values.values()))
        return client.eval(self.text, len(self._keys), *values.values(), *of_rows)

    def _in_order(self, values: dict[str, _Value]) -> dict[str, _Value]:
        """The values in the order of the declaration: the keys, then the arguments."""
        if wrong := values.keys() ^ set(self._names):
            raise TypeError(f"{self._name}.lua: missing or unknown: {', '.join(sorted(wrong))}")
        return {name: values[name] for name in self._names}

    def _run_with_row_keys(
        self, client: Redis, rows: Sequence[Sequence[_Value]], values: list[_Value]
    ) -> Any:
        keys, split = len(self._keys), len(self._row_keys)
        row_keys = [value for row in rows for value in row[:split]]
        row_arguments = [value for row in rows for value in row[split:]]
        return client.eval(
            self.text,
            keys + len(row_keys),
            *values[:keys],
            *row_keys,
            *values[keys:],
            *row_arguments,
        )

    def _rows(self) -> Iterator[str]:
        """The function `rows`: an iterator that gives the values of one row at each step."""
        if not (self._row_keys or self._row_arguments):
            return
        keys_in_row, arguments_in_row = len(self._row_keys), len(self._row_arguments)
        values = [f"KEYS[k+{n}]" for n in range(1, keys_in_row + 1)]
        values += [f"ARGV[a+{n}]" for n in range(1, arguments_in_row + 1)]
        yield "local function rows()"
        yield f"local k,a={len(self._keys) - keys_in_row},{len(self._arguments) - arguments_in_row}"
        yield "return function()"
        yield f"k,a=k+{keys_in_row},a+{arguments_in_row}"
        yield f"return {','.join(values)}"
        yield "end"
        yield "end"


def _read(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text()


def _declared(what: str, source: str) -> list[str]:
    """The names that a script declares in lines like `-- keys: job, part`."""
    lines = re.findall(rf"^-- {what}: (.*)$", source, re.MULTILINE)
    return [name.strip() for line in lines for name in line.split(",")]


def _used_by(source: str) -> list[str]:
    """The names of files with functions, each behind those that it uses itself."""
    names: dict[str, None] = {}
    for name in _declared("uses", source):
        names |= dict.fromkeys([*_used_by(_read(name)), name])
    return list(names)


def _constants(source: str) -> Iterator[str]:
    for name, value in _CONSTANTS.items():
        if re.search(rf"\b{name}\b", source):
            yield f"local {name}={value}"


def _locals(names: Sequence[str], table: str) -> Iterator[str]:
    if names:
        values = ",".join(f"{table}[{n}]" for n in range(1, len(names) + 1))
        yield f"local {','.join(names)}={values}"


def _code(source: str) -> Iterator[str]:
    """The lines without comments and indentation: Redis hashes the text at each call."""
    for line in map(str.strip, source.splitlines()):
        if line and not line.startswith("--"):
            yield line
