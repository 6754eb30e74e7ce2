"""A pool, its requests and its consumer, as far as the batcher needs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shared.message import CLIENT, IMAGES
from workers.batching.micro_batch import MicroBatch


@dataclass
class Message:
    """A Celery request."""

    id: str
    images: int = 1
    gone: bool = False  #: Revoked or expired.
    client: str = ""

    @property
    def request_dict(self) -> dict[str, Any]:
        return {IMAGES: self.images, CLIENT: self.client}

    @property
    def args(self) -> list[Any]:
        return [[self.id]]

    def revoked(self) -> bool:
        return self.gone

    def on_accepted(self, pid: int, time_accepted: float) -> None: ...

    def on_success(self, result: Any) -> None: ...


@dataclass
class Pool:
    """Records the batches that it gets, and ends them when the test says so."""

    num_processes: int = 2
    closing: bool = False
    batches: list[tuple[list[str], bool]] = field(default_factory=list)
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    slow: list[bool] = field(default_factory=list)  #: Of each batch: whether it may be slow.

    def apply_async(self, _: Any, arguments: tuple[Any, ...], **callbacks: Any) -> object | None:
        if self.closing:
            return None
        number, _, lists, _, alone, slow, _ = arguments
        self.numbers.append(number)
        self.slow.append(slow)
        self.batches.append(([name for each in lists for name in each], alone))
        self.callbacks.append(callbacks)
        return object()

    def accept(self, batch: int) -> None:
        self.callbacks[batch]["accept_callback"](1, 0.0)

    def end(self, batch: int) -> None:
        self.callbacks[batch]["callback"]((1, 0.0))


class Task(MicroBatch):
    name = "batch"
    max_batch_size = 8


class Consumer:
    """Celery's consumer, as far as the batcher needs it."""

    initial_prefetch_count = 16

    def __init__(self) -> None:
        self.qos = QoS(self.initial_prefetch_count)


@dataclass
class QoS:
    value: int  #: Messages that the consumer may hold.
