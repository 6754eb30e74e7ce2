"""Processes that die, or are overtaken by another one, between any two commands to Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.client import Pipeline

from shared.redis_client import connect


class Died(BaseException):
    """The process has died. Nothing in the code under test may catch this."""


class Process:
    """A process that uses Redis. At most one interruption of it is planned."""

    def __init__(self) -> None:
        self._commands_left: int | None = None
        self._interruption: Callable[[], None] = lambda: None

    def interrupt(self, *, after: int, by: Callable[[], None]) -> None:
        """Call `by` before the command that follows the next `after` commands."""
        self._commands_left, self._interruption = after, by

    def go_on(self) -> None:
        """Forget an interruption that did not happen."""
        self._commands_left = None

    @property
    def is_watched(self) -> bool:
        return self._commands_left is not None

    def before_command(self) -> None:
        if self._commands_left is None:
            return
        if self._commands_left:
            self._commands_left -= 1
            return
        self._commands_left = None
        self._interruption()


def die() -> None:
    raise Died


class Client(Redis):
    """A client of Redis that tells its process before each command."""

    process: Process

    @classmethod
    def of(cls, process: Process, url: str) -> Client:
        client = cls(connection_pool=connect(url, max_connections=4).connection_pool)
        client.process = process
        return client

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.process.before_command()
        return super().execute_command(*args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        pipe = _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipe.process = self.process
        return pipe


class _Pipeline(Pipeline):
    """A transaction is one command. Another pipeline may be interrupted between its commands."""

    process: Process

    def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        self._before_command()
        return super().immediate_execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        if self.transaction or self.explicit_transaction or not self.process.is_watched:
            self._before_command()
            return super().execute(raise_on_error)
        commands, replies = self.command_stack, []
        for command in commands:
            self._before_command()
            self.command_stack = [command]
            replies += super().execute(raise_on_error)
        return replies

    def _before_command(self) -> None:
        try:
            self.process.before_command()
        except Died:
            self.reset()  # Redis forgets the keys that a lost connection has watched
            raise
