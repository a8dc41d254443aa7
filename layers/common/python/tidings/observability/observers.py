"""The pipeline emits events; observers turn them into log lines, metrics and spans."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidings.domain.errors import fault_location
from tidings.observability.events import Event
from tidings.observability.log_observer import LogObserver
from tidings.observability.metrics import Gauge

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Thread-safe and quick: the pipeline waits for it. It sends over the network later, from a thread of its own."""

    def observe(self, event: Event) -> None: ...

    def flush(self) -> None:
        """Send what is buffered, within seconds: the process is about to be frozen or to end."""


@dataclass(frozen=True, kw_only=True)
class Observers:
    """The observers of this process. Default: log only."""

    observers: Sequence[Observer] = (LogObserver(),)
    exposition: Callable[[Sequence[Gauge]], bytes] | None = None  # the metrics for Prometheus; None: off

    def emit(self, event: Event) -> None:
        """Never raise: a failing observer must not undo what was sent."""
        for observer in self.observers:
            self._safely(observer, lambda observer=observer: observer.observe(event))  # type: ignore[misc]

    def flush(self) -> None:
        """At the end of an invocation. Never raise."""
        for observer in self.observers:
            self._safely(observer, observer.flush)

    def _safely(self, observer: Observer, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            said = {"observer": type(observer).__name__, "error": type(error).__name__, "where": fault_location(error)}
            log.error("telemetry_failed", extra=said)


LOG_ONLY = Observers()
"""Default: log only."""
