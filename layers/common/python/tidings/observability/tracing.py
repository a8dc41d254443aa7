"""Events as OpenTelemetry spans: one trace from the POST to the provider, across the queue and the retries.

The row keeps the trace context of its POST as `traceparent`, and every attempt is a child of it. The pipeline works in
batches, so a span is made after the work, with the event's times, and only if the trace is sampled. Names follow the
semantic conventions (https://opentelemetry.io/docs/specs/semconv/). No attribute holds a recipient, content or a
vendor's text. The library's exporter is loaded at the first span of the process, after any fork.
"""

import atexit
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tidings.domain.notification import Notification, Status
from tidings.domain.stopwatch import Elapsed
from tidings.messaging import topology
from tidings.observability.events import Accepted, Event, Queued, ReceiptsRecorded, Settled
from tidings.ports import Settlement
from tidings.ports.receipts import WITH_ENTRY, Applied

FLUSH_WITHIN = 2.0
"""Seconds that the end of an invocation or process waits for the collector."""


@dataclass
class Served:
    """A request being served: its trace context, which the rows keep, and the status of its answer."""

    traceparent: str
    status: int = 500


@dataclass(frozen=True, kw_only=True)
class Spans:
    """Observer. It also makes the spans of requests."""

    resource: Any  # see `resource`
    database: str  # db.system.name
    broker: str  # messaging.system
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def served(self, method: str, route: str, traceparent: str | None) -> Iterator[Served]:
        """A server span, a child of the caller's if the traceparent is valid."""
        otel, attributes = self._otel, {"http.request.method": method, "http.route": route, "url.scheme": "http"}
        parent = otel.parent(traceparent) if traceparent is not None else None
        span = otel.tracer.start_span(f"{method} {route}", parent, otel.SERVER, attributes)
        context = span.get_span_context()
        served = Served(f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}")
        try:
            yield served
        finally:
            span.set_attribute("http.response.status_code", served.status)
            if served.status >= 500:
                span.set_status(otel.ERROR)
            span.end()

    def observe(self, event: Event) -> None:
        ahead = _ahead()  # read once per event: two readings differ, and a span would leave its parent
        match event:
            case Accepted(notifications=rows, elapsed=elapsed):
                for traceparent in {row.traceparent for row in rows if _sampled(row)}:
                    self._database("insert", traceparent, elapsed, ahead, size=len(rows))
            case Queued(notifications=rows, elapsed=elapsed):
                for traceparent, queue in {(row.traceparent, _queue(row)) for row in rows if _sampled(row)}:
                    self._published(queue, traceparent, elapsed, ahead)
            case Settled(settlements=settlements):
                for settlement in settlements:
                    if _sampled(settlement.notification):
                        self._attempt(settlement, event, ahead)
            case ReceiptsRecorded(receipts=applied):
                for item in applied:
                    if (
                        item.notification is not None
                        and item.consequence.result in WITH_ENTRY
                        and _sampled(item.notification)
                    ):
                        self._receipt(item, item.notification, ahead)
            case _:
                pass

    def flush(self) -> None:
        if "_loaded" in self.__dict__:
            _at_most(FLUSH_WITHIN, self._loaded.provider.force_flush)

    def _attempt(self, settlement: Settlement, event: Settled, ahead: float) -> None:
        row, status, provider = settlement.notification, settlement.status, settlement.provider
        is_recorded = settlement not in event.lost
        retried = event.retries if settlement.delay is not None and is_recorded else None
        dead_lettering = event.dead_letters if status is Status.FAILED else None
        claimed = settlement.claims.elapsed
        parts = [elapsed for elapsed in (claimed, event.settling, retried) if elapsed is not None]
        attempt = self._span(
            f"deliver {_queue(row)}",
            row.traceparent,
            Elapsed(parts[0].began, parts[-1].ended - parts[0].began),
            ahead,
            kind="CONSUMER",
            attributes={
                "messaging.system": self.broker,
                "messaging.operation.name": "deliver",
                "messaging.operation.type": "process",
                "messaging.destination.name": _queue(row),
                "messaging.batch.message_count": settlement.claims.size,
                "tidings.notification.id": row.id,
                "tidings.tenant": row.tenant,
                "tidings.channel": row.channel,
                "tidings.attempt": row.attempt,
                "tidings.generation": row.generation,
                "tidings.status": status if is_recorded else "settled_late",
                "tidings.by": settlement.by,
                **_error(settlement),
            },
        )
        if claimed is not None:
            self._database("claim", attempt, claimed, ahead, size=settlement.claims.size)
        if settlement.elapsed is not None:
            outcome = settlement.error.kind if settlement.error is not None else "accepted"
            given = {"tidings.provider": provider or "", "tidings.outcome": outcome, **_error(settlement)}
            self._span(f"send {provider}", attempt, settlement.elapsed, ahead, kind="CLIENT", attributes=given)
        if dead_lettering is not None:
            self._published(topology.dead_queue(row.channel), attempt, dead_lettering, ahead)
        self._database("settle", attempt, event.settling, ahead, size=len(event.settlements))
        if retried is not None and settlement.delay is not None:
            step = topology.retry(settlement.delay, row.channel, row.priority).exchange
            self._published(step, attempt, retried, ahead)

    def _receipt(self, item: Applied, row: Notification, ahead: float) -> None:
        """A moment, hours or days after the attempt: it is a child of the POST, as that is."""
        receipt, delay = item.receipt, item.consequence.delay
        given = {
            "tidings.notification.id": row.id,
            "tidings.tenant": row.tenant,
            "tidings.channel": row.channel,
            "tidings.provider": receipt.provider,
            "tidings.receipt": receipt.kind,
            "tidings.result": item.consequence.result,
            "tidings.status": row.status,
            "tidings.doubled": item.consequence.doubled,
            **({"tidings.delay_seconds": delay.total_seconds()} if delay is not None else {}),
            **({"error.type": receipt.error.code} if receipt.error is not None else {}),
        }
        moment = Elapsed(time.monotonic(), 0)
        self._span(f"receipt {receipt.provider}", row.traceparent, moment, ahead, kind="CONSUMER", attributes=given)

    def _database(self, operation: str, parent: str | None, elapsed: Elapsed, ahead: float, *, size: int) -> None:
        given = {
            "db.system.name": self.database,
            "db.collection.name": "notifications",
            "db.operation.name": operation,
            "db.operation.batch.size": size,
        }
        self._span(f"{operation} notifications", parent, elapsed, ahead, kind="CLIENT", attributes=given)

    def _published(self, queue: str, parent: str | None, elapsed: Elapsed, ahead: float) -> None:
        given = {
            "messaging.system": self.broker,
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": queue,
        }
        self._span(f"send {queue}", parent, elapsed, ahead, kind="PRODUCER", attributes=given)

    def _span(
        self, name: str, parent: str | None, elapsed: Elapsed, ahead: float, *, kind: str, attributes: Mapping[str, Any]
    ) -> str:
        """A span that has ended. Return its context as a traceparent."""
        otel = self._otel
        begun, ended = (round((at + ahead) * 1e9) for at in (elapsed.began, elapsed.ended))
        span = otel.tracer.start_span(
            name, otel.parent(parent or ""), getattr(otel, kind), attributes, start_time=begun
        )
        if "error.type" in attributes:
            span.set_status(otel.ERROR)
        span.end(ended)
        context = span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    @property
    def _otel(self) -> "_OpenTelemetry":
        with self._lock:
            return self._loaded

    @cached_property
    def _loaded(self) -> "_OpenTelemetry":
        return _OpenTelemetry(self.resource)


def resource(service: str) -> Any:
    """What OpenTelemetry says of this process in each export. `OTEL_SERVICE_NAME` overrides the service.

    Call it while the process starts: the library asks its detectors in threads of a pool, which a process that is
    ending has no more, and the first span may be that of the last batch.
    """
    from opentelemetry.sdk.resources import Resource

    return Resource.create({} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service})


class _OpenTelemetry:
    """The library, loaded and started. Its thread exports spans as OTEL_EXPORTER_OTLP_... says, and drops what its
    buffer cannot hold."""

    def __init__(self, resource: Any) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        atexit.register(
            _at_most, FLUSH_WITHIN, self.provider.shutdown
        )  # a process ends even if the collector does not answer
        self.tracer = self.provider.get_tracer("tidings")
        self.SERVER, self.CLIENT = SpanKind.SERVER, SpanKind.CLIENT
        self.PRODUCER, self.CONSUMER = SpanKind.PRODUCER, SpanKind.CONSUMER
        self.ERROR = Status(StatusCode.ERROR)
        self._propagator = TraceContextTextMapPropagator()

    def parent(self, traceparent: str) -> Any:
        """The context of a W3C traceparent. An invalid one starts a new trace."""
        return self._propagator.extract({"traceparent": traceparent})


def _ahead() -> float:
    """Seconds from the monotonic clock to the wall clock. A busy machine may pause us between the two readings: the
    quickest of three counts."""

    def read() -> tuple[float, float]:
        before, wall = time.monotonic(), time.time()
        return time.monotonic() - before, wall - before

    return min(read() for _ in range(3))[1]


def _at_most(seconds: float, work: Any) -> None:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)


def _sampled(row: Notification) -> bool:
    """Decided by the caller that started the trace: the last bit of its flags."""
    return row.traceparent is not None and row.traceparent[-1:] in "13579bdf"


def _queue(row: Notification) -> str:
    return topology.work_queue(row.channel, row.priority)


def _error(settlement: Settlement) -> dict[str, str]:
    error = settlement.error
    return {"error.type": error.code, "tidings.error.class": error.kind} if error is not None else {}
