"""The pipeline tells what happened to notifications; whoever watches makes log lines, metrics or spans of it."""

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
    """Thread-safe, and quick: the pipeline waits for it. What it has to send anywhere, it sends later."""

    def observe(self, fact: Event) -> None: ...

    def flush(self) -> None:
        """Give away what is kept, within seconds: the process is about to be frozen or to end."""


@dataclass(frozen=True, kw_only=True)
class Observers:
    """What watches this process. By itself, the log."""

    observers: Sequence[Observer] = (LogObserver(),)
    exposition: Callable[[Sequence[Gauge]], bytes] | None = None  # the metrics as Prometheus reads them, if it is to

    def emit(self, fact: Event) -> None:
        """Never raise: what was sent stays sent, whoever fails to hear of it."""
        for observer in self.observers:
            self._safely(observer, lambda observer=observer: observer.observe(fact))  # type: ignore[misc]

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
"""What a part is told to that nobody wired."""
