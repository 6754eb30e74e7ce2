"""Which requests led to which work: W3C trace context always, OpenTelemetry spans where asked for.

A trace id is taken over from who asks, or made here; it is in every log line, travels in a part's
record into the micro-batch, and goes back in the answer's `traceparent`. Spans are exported by OTLP
where OTEL_EXPORTER_OTLP_ENDPOINT is set; without it OpenTelemetry is not even loaded.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from shared.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import SpanContext

_HEADER = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1

Kind = Literal["server", "consumer", "internal"]
Attributes = Mapping[str, str | int]


class TraceContext(NamedTuple):
    """A span by name, as W3C's Trace Context spells it."""

    trace_id: str  #: 32 hex digits.
    span_id: str  #: 16 hex digits.
    sampled: bool = False

    @property
    def header(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    @classmethod
    def from_header(cls, header: str) -> TraceContext | None:
        """None for whatever is not a `traceparent`: a trace is then begun, as the standard asks."""
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
        """A new span's name, in its parent's trace or in one of its own."""
        trace_id = parent.trace_id if parent else os.urandom(16).hex()
        return cls(trace_id, os.urandom(8).hex(), parent.sampled if parent else False)


class Span:
    """A piece of work. Where nothing is exported it is only a name."""

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
        """At Unix seconds; now where nothing is said."""
        if self._recorded:
            self._recorded.end(_nanoseconds(at or time.time()))


#: The present request's span, for what is done on its behalf.
current: ContextVar[Span | None] = ContextVar("current", default=None)

_provider: TracerProvider | None = None


def configure(settings: Settings, service: str) -> None:
    """Export spans as `service` where an endpoint is set, from a thread; once in each process.

    Raises ModuleNotFoundError where requirements/tracing.txt is not installed.
    """
    global _provider
    if not settings.otel_exporter_otlp_endpoint:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    base = settings.otel_exporter_otlp_endpoint.rstrip("/")
    exporter = OTLPSpanExporter(endpoint=f"{base}/v1/traces")
    _provider = TracerProvider(resource=Resource.create({"service.name": service}))
    _provider.add_span_processor(BatchSpanProcessor(exporter))


def enabled() -> bool:
    return _provider is not None


def stop() -> None:
    """Send what has not been sent; a pool process has no other end."""
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
    """Begin a span, at Unix seconds or now. It has a parent, or a trace of its own."""
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
    """The taking in of pictures, from the request's first byte until they are stored.

    Gives the `traceparent` that travels with them; empty outside a request.
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
