"""Metrics on Lambda: log lines in CloudWatch's embedded metric format, written by Powertools.

Powertools' default store is shared by the whole process. Here each set of labels (CloudWatch's dimensions) has its own
store, written at the end of the invocation.
"""

import threading
from collections.abc import Sequence

from tidings.observability.metrics import Gauge, Metric

NAMESPACE = "Tidings"
MOST_KEPT = 10_000
"""Values. More are written before the invocation ends."""

_AT_ONCE = 99
"""Values per line. At 100, the format's maximum, Powertools writes the line itself and drops the dimensions."""

_Dimensions = tuple[tuple[str, str], ...]


class EmfMeter:
    """Meter."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._kept: dict[_Dimensions, dict[Metric, list[float]]] = {}
        self._count = 0
        self._lock = threading.Lock()

    def add(self, metric: Metric, labels: tuple[str, ...], amount: float) -> None:
        """Zero is not written: each line costs."""
        with self._lock:
            if amount:
                values = self._values(metric, labels)
                values[:] = [sum(values) + amount]

    def record(self, metric: Metric, labels: tuple[str, ...], seconds: Sequence[float]) -> None:
        with self._lock:
            self._values(metric, labels).extend(seconds)
            self._count += len(seconds)
            is_full = self._count >= MOST_KEPT
        if is_full:
            self.flush()

    def show(self, gauges: Sequence[Gauge]) -> None:
        """Keep the present values of these gauges."""
        with self._lock:
            for gauge in gauges:
                self._values(gauge.metric, gauge.labels)[:] = [gauge.value]

    def flush(self) -> None:
        with self._lock:
            kept, self._kept, self._count = self._kept, {}, 0
        for dimensions, metrics in kept.items():
            for metric, values in metrics.items():
                for start in range(0, len(values), _AT_ONCE):
                    self._write(dimensions, metric, values[start : start + _AT_ONCE])

    def _values(self, metric: Metric, labels: tuple[str, ...]) -> list[float]:
        dimensions = tuple(zip(metric.labels, labels, strict=True))
        return self._kept.setdefault(dimensions, {}).setdefault(metric, [])

    def _write(self, dimensions: _Dimensions, metric: Metric, values: Sequence[float]) -> None:
        from aws_lambda_powertools.metrics import EphemeralMetrics

        store = EphemeralMetrics(namespace=NAMESPACE, service=self._service)
        for name, label in dimensions:
            if label:  # CloudWatch refuses an empty dimension
                store.add_dimension(name=name, value=label)
        unit = "Seconds" if metric.name.endswith("_seconds") else "Count"
        for value in values:
            store.add_metric(name=metric.name, unit=unit, value=value)
        store.flush_metrics()
