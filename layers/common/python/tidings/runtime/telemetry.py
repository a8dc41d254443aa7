"""A process's observers: the log always, metrics and traces if a setting turns them on. What is off is not imported."""

import asyncio
import importlib.util
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from pydantic import Field

from tidings.api.api_keys import Scope
from tidings.api.endpoint import BoundEndpoint, Endpoint
from tidings.api.http import METRICS_TYPE, AuthenticatedRequest, Response
from tidings.api.problems import Problem
from tidings.config.settings import Settings
from tidings.domain.errors import BrokerUnavailable, ConfigurationError, StoreUnavailable
from tidings.domain.stopwatch import Stopwatch
from tidings.observability.cloudwatch import EmfMeter
from tidings.observability.events import Answered
from tidings.observability.gauges import Gauges
from tidings.observability.log_observer import LogObserver
from tidings.observability.metrics_observer import MetricsObserver
from tidings.observability.observers import Observer, Observers
from tidings.observability.prometheus import FOLDER, PrometheusMeter
from tidings.observability.tracing import Served, Spans, resource


class TelemetrySettings(Settings):
    """Metrics and traces. Prefix TIDINGS_."""

    metrics: str = Field(
        default="off",
        pattern="^(off|prometheus|emf)$",
        description="off; prometheus: GET /metrics; emf: CloudWatch's lines in the log, on Lambda",
    )
    tracing: str = Field(
        default="off",
        pattern="^(off|otlp)$",
        description="off; otlp: OpenTelemetry by OTLP/HTTP, see OTEL_EXPORTER_OTLP_ENDPOINT and its like",
    )


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """The meter and the spans of a process."""

    meter: PrometheusMeter | EmfMeter | None
    spans: Spans | None

    @property
    def observers(self) -> Observers:
        observers: list[Observer] = [LogObserver()]
        if self.meter is not None:
            observers.append(MetricsObserver(self.meter))
        if self.spans is not None:
            observers.append(self.spans)
        exposition = self.meter.exposition if isinstance(self.meter, PrometheusMeter) else None
        return Observers(observers=observers, exposition=exposition)

    def show(self, gauges: Gauges) -> None:
        """Write the gauges to CloudWatch, at the end of a scheduled invocation."""
        if isinstance(self.meter, EmfMeter):
            self.meter.show(gauges())


def build_telemetry(settings: TelemetrySettings, *, database: str, broker: str) -> Telemetry:
    """`database`, `broker`: their names in OpenTelemetry. Raise ConfigurationError if a package is missing, or if
    several workers have no folder to share their metrics."""
    service = os.environ.get("AWS_LAMBDA_FUNCTION_NAME") or f"tidings-{os.environ.get('FUNCTION_TARGET', 'function')}"
    meter: PrometheusMeter | EmfMeter | None = None
    if settings.metrics == "prometheus":
        _need("prometheus_client", "TIDINGS_METRICS", "metrics")
        if os.environ.get("WORKERS", "1") != "1" and not os.environ.get(FOLDER):
            raise ConfigurationError(
                f"TIDINGS_METRICS: several WORKERS need {FOLDER}, an empty folder of this function's"
            )
        meter = PrometheusMeter()
    elif settings.metrics == "emf":
        meter = EmfMeter(service)
    if settings.tracing == "otlp":
        _need("opentelemetry.sdk", "TIDINGS_TRACING", "tracing")
        _need("opentelemetry.exporter.otlp.proto.http", "TIDINGS_TRACING", "tracing")
        return Telemetry(meter=meter, spans=Spans(resource=resource(service), database=database, broker=broker))
    return Telemetry(meter=meter, spans=None)


def _need(module: str, setting: str, extra: str) -> None:
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing too
        found = False
    if not found:
        raise ConfigurationError(f"{setting}: a package is missing; install tidings[{extra}]")


# --- HTTP functions ---------------------------------------------------------------------------------------------------


METRICS = Endpoint(method="GET", path="/metrics", scope=Scope.ADMIN)


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Times and traces an HTTP function's endpoints, as each declares."""

    telemetry: Telemetry
    observers: Observers

    def endpoints(self, endpoints: Sequence[BoundEndpoint], *, gauges: Gauges | None = None) -> Sequence[BoundEndpoint]:
        """`GET /metrics` is added where metrics are exposed, with these gauges if there are any."""
        is_on = self.telemetry.spans is not None or self.telemetry.meter is not None
        found = [self._traced(bound) if is_on and bound.endpoint.is_traced else bound for bound in endpoints]
        if (exposition := self.observers.exposition) is None:
            return found

        async def metrics(_request: AuthenticatedRequest) -> Response:
            body = await asyncio.to_thread(lambda: exposition(gauges() if gauges is not None else ()))
            return Response(status=200, body=body, headers={"content-type": METRICS_TYPE})

        return [*found, BoundEndpoint(endpoint=METRICS, handle=metrics)]

    def _traced(self, bound: BoundEndpoint) -> BoundEndpoint:
        endpoint, spans = bound.endpoint, self.telemetry.spans

        async def handle(request: AuthenticatedRequest) -> Response:
            stopwatch, given = Stopwatch(), request.headers.get("traceparent")
            span = (
                nullcontext(Served(given or ""))
                if spans is None
                else spans.served(endpoint.method, endpoint.path, given)
            )
            with span as served:
                headers = {**request.headers, "traceparent": served.traceparent}
                try:
                    response = await bound.handle(replace(request, headers=headers))
                    served.status = response.status
                except Problem as problem:
                    served.status = problem.status
                    raise
                except (StoreUnavailable, BrokerUnavailable):
                    served.status = 503
                    raise
                finally:
                    self.observers.emit(Answered(status=served.status, elapsed=stopwatch.elapsed()))
            return response

        return replace(bound, handle=handle)
