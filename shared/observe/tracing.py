"""Connects a request with the work that it led to: a trace id always, and spans if they are on.

A trace id comes from the client (W3C Trace Context) or is made here. It is in every log line, goes
with a part's record into the micro-batch, and returns in the answer's `traceparent`. Spans are
exported by OTLP if OTEL_EXPORTER_OTLP_ENDPOINT is set.

If it is not set, OpenTelemetry is not used, because its API without its SDK makes no ids.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from shared.addresses.hosts import is_loopback
from shared.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import SpanContext

_HEADER = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1

Kind = Literal["server", "consumer", "internal"]
Attributes = Mapping[str, str | int]


class TraceContext(NamedTuple):
    """The ids of a span, as in W3C Trace Context."""

    trace_id: str  #: 32 hex digits.
    span_id: str  #: 16 hex digits.
    sampled: bool = False

    @property
    def header(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    @classmethod
    def from_header(cls, header: str) -> TraceContext | None:
        """The ids in a `traceparent`; None if it is malformed. A new trace begins then."""
        match = _HEADER.fullmatch(header)
        if not match:
            return None
        version, trace_id, span_id, flags, more = match.groups()
        if version == "ff" or (version == "00" and more):
            return None
        if not (int(trace_id, 16) and int(span_id, 16)):
            return None
        return cls(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))

    @classmethod
    def below(cls, parent: TraceContext | None) -> TraceContext:
        """The ids of a new span, in its parent's trace or in a new one."""
        trace_id = parent.trace_id if parent else os.urandom(16).hex()
        return cls(trace_id, os.urandom(8).hex(), parent.sampled if parent else False)


class Span:
    """A piece of work. If spans are not exported, it has ids and nothing else."""

    def __init__(self, context: TraceContext, began: float, recorded: Any = None) -> None:
        self.context = context
        self.began = began  #: Unix seconds.
        self._recorded = recorded

    def link(self, to: TraceContext, **attributes: str | int) -> None:
        if self._recorded:
            self._recorded.add_link(_span_context(to), attributes)

    def note(self, attributes: Attributes) -> None:
        if self._recorded:
            self._recorded.set_attributes(attributes)

    def end(self, at: float | None = None) -> None:
        """End the span, at Unix seconds or now."""
        if self._recorded:
            self._recorded.end(_nanoseconds(at or time.time()))


#: The span of the present request.
current: ContextVar[Span | None] = ContextVar("current", default=None)

_provider: TracerProvider | None = None


def configure(settings: Settings, service: str) -> None:
    """Export spans as `service` from a thread, if an endpoint is set. Call it once per process.

    Raises ModuleNotFoundError if requirements/tracing.txt is not installed.
    """
    global _provider
    if not settings.otel_exporter_otlp_endpoint:
        return
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    base = settings.otel_exporter_otlp_endpoint.rstrip("/")
    session = requests.Session()
    session.trust_env = not is_loopback(urlsplit(base).hostname or "")  # no proxy reaches it
    exporter = OTLPSpanExporter(endpoint=f"{base}/v1/traces", session=session)
    _provider = TracerProvider(resource=Resource.create({"service.name": service}))
    _provider.add_span_processor(BatchSpanProcessor(exporter))


def enabled() -> bool:
    """Whether spans are exported."""
    return _provider is not None


def stop() -> None:
    """Send the spans that have not been sent. A pool process calls it at its end."""
    if _provider:
        _provider.shutdown()


def begin(
    name: str,
    *,
    parent: TraceContext | None,
    kind: Kind = "internal",
    at: float | None = None,
    links: Iterable[TraceContext] = (),
) -> Span:
    """Begin a span, at Unix seconds or now, in its parent's trace or in a new one."""
    began = at or time.time()
    if not _provider:
        return Span(TraceContext.below(parent), began)
    from opentelemetry import trace

    above = trace.NonRecordingSpan(_span_context(parent)) if parent else trace.INVALID_SPAN
    recorded = _provider.get_tracer("image-classifier").start_span(
        name,
        context=trace.set_span_in_context(above),
        kind=trace.SpanKind[kind.upper()],
        start_time=_nanoseconds(began),
        links=[trace.Link(_span_context(each)) for each in links],
    )
    made = recorded.get_span_context()
    context = TraceContext(
        f"{made.trace_id:032x}", f"{made.span_id:016x}", made.trace_flags.sampled
    )
    return Span(context, began, recorded)


@contextmanager
def upload() -> Iterator[str]:
    """A span from the request's first byte until its pictures are stored.

    Gives the `traceparent` that goes with the pictures; empty outside a request.
    """
    request = current.get()
    if request is None:
        yield ""
        return
    span = begin("upload", parent=request.context, at=request.began)
    try:
        yield request.context.header
    finally:
        span.end()


def _span_context(context: TraceContext) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(
        trace_id=int(context.trace_id, 16),
        span_id=int(context.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(context.sampled)),
    )


def _nanoseconds(seconds: float) -> int:
    return int(1e9 * seconds)
