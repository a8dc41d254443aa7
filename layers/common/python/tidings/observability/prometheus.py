"""Metrics for Prometheus. The library is imported when a meter is made.

Each process has its own registry. Where several processes share a port (`WORKERS`), the library keeps the values in
files of the folder PROMETHEUS_MULTIPROC_DIR, and the process that is scraped adds them up.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tidings.observability.metrics import METRICS, Gauge, Metric

FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class PrometheusMeter:
    """Meter."""

    def __init__(self) -> None:
        import prometheus_client

        self._library = prometheus_client
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series per metric, of no use
        self._registry = prometheus_client.CollectorRegistry()
        self._made = {metric.name: self._make(metric) for metric in METRICS if metric.kind != "gauge"}
        self._children: dict[tuple[str, tuple[str, ...]], Any] = {}

    def add(self, metric: Metric, labels: tuple[str, ...], amount: float) -> None:
        self._child(metric, labels).inc(amount)

    def record(self, metric: Metric, labels: tuple[str, ...], seconds: Sequence[float]) -> None:
        observe = self._child(metric, labels).observe
        for value in seconds:
            observe(value)

    def flush(self) -> None:
        """Nothing to send: Prometheus scrapes."""

    def exposition(self, gauges: Sequence[Gauge] = ()) -> bytes:
        """All metrics and these gauges, in the text format 0.0.4."""
        registry = self._library.CollectorRegistry()
        if os.environ.get(FOLDER):
            from prometheus_client import multiprocess

            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        else:
            registry.register(self._registry)
        registry.register(_GaugeCollector(gauges))
        return self._library.generate_latest(registry)

    def _child(self, metric: Metric, labels: tuple[str, ...]) -> Any:
        """Kept, because the library checks every label name at each lookup."""
        key = metric.name, labels
        if (child := self._children.get(key)) is None:
            made = self._made[metric.name]
            child = self._children[key] = made.labels(*labels) if labels else made
        return child

    def _make(self, metric: Metric) -> Any:
        library, given = self._library, (metric.name, metric.help, metric.labels)
        if metric.kind == "histogram":
            return library.Histogram(*given, buckets=metric.buckets, registry=self._registry)
        return library.Counter(*given, registry=self._registry)


@dataclass(frozen=True, eq=False)  # a registry compares collectors by identity
class _GaugeCollector:
    """Gives the gauges to the library."""

    gauges: Sequence[Gauge]

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        families: dict[str, Any] = {}
        for gauge in self.gauges:
            name = gauge.metric.name
            if name not in families:
                families[name] = GaugeMetricFamily(name, gauge.metric.help, labels=gauge.metric.labels)
            families[name].add_metric(gauge.labels, gauge.value)
        yield from families.values()
