"""The observers of a process: the log always, metrics and traces if a setting says so. What is off is not imported."""

import asyncio
import importlib.util
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from pydantic import Field

from tidings.api.api_keys import Scope
from tidings.api.app import METRICS_TYPE, AuthenticatedRequest, Problem, Response, Route
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
from tidings.observability.tracing import Served, Spans


class TelemetrySettings(Settings):
    """Observers besides the log. Prefix TIDINGS_."""

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
    """The observers of a process."""

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
        """At the end of a scheduled invocation, which no scraper reads."""
        if isinstance(self.meter, EmfMeter):
            self.meter.show(gauges())


def build_telemetry(settings: TelemetrySettings, *, database: str, broker: str) -> Telemetry:
    """`database`, `broker`: their kinds, in OpenTelemetry's names. Raise ConfigurationError if a package is missing, or
    if several workers would each show only their own metrics."""
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
        return Telemetry(meter=meter, spans=Spans(service=service, database=database, broker=broker))
    return Telemetry(meter=meter, spans=None)


def _need(module: str, setting: str, extra: str) -> None:
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parent package
        found = False
    if not found:
        raise ConfigurationError(f"{setting}: a package is missing; install tidings[{extra}]")


# --- HTTP functions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Observed:
    """An HTTP function's routes, with whoever watches."""

    telemetry: Telemetry
    observers: Observers

    def routes(self, routes: Sequence[Route], *, gauges: Gauges | None = None) -> Sequence[Route]:
        """The route that hands in is timed and traced; `GET /metrics` comes, with these gauges if there are any."""
        found = [self._timed(route) if (route.method, route.path) == HANDS_IN else route for route in routes]
        if (exposition := self.observers.exposition) is None:
            return found

        async def metrics(_call: AuthenticatedRequest) -> Response:
            body = await asyncio.to_thread(lambda: exposition(gauges() if gauges is not None else ()))
            return Response(status=200, body=body, headers={"content-type": METRICS_TYPE})

        return [*found, Route(method="GET", path="/metrics", scope=Scope.ADMIN, handle=metrics)]

    def _timed(self, route: Route) -> Route:
        spans = self.telemetry.spans
        if spans is None and self.telemetry.meter is None:
            return route

        async def handle(call: AuthenticatedRequest) -> Response:
            stopwatch, given = Stopwatch(), call.request.headers.get("traceparent")
            kept = nullcontext(Served(given or "")) if spans is None else spans.served(route.method, route.path, given)
            with kept as served:
                try:
                    response = await route.handle(_with(call, served.traceparent))
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

        return replace(route, handle=handle)


HANDS_IN = ("POST", "/v1/notifications")


def _with(call: AuthenticatedRequest, traceparent: str) -> AuthenticatedRequest:
    headers = {**call.request.headers, "traceparent": traceparent}
    return replace(call, request=replace(call.request, headers=headers))
