"""What the pipeline asks of the outside: small Protocols, implemented in `adapters` and `providers`."""

from datetime import datetime
from typing import Protocol

from tidings.ports.broker import Broker, Consumer, Depth, Outgoing, Received
from tidings.ports.provider import Checkable, Outbound, Provider, Receipt, Reconciler
from tidings.ports.records import (
    LOOK_AHEAD,
    PAGE,
    Backlog,
    Changed,
    Claims,
    Held,
    Inserted,
    Overdue,
    Purged,
    Selection,
    Settlement,
    Taken,
)
from tidings.ports.store import Store

__all__ = [
    "LOOK_AHEAD",
    "PAGE",
    "Backlog",
    "Broker",
    "Changed",
    "Checkable",
    "Claims",
    "Clock",
    "Consumer",
    "Depth",
    "Held",
    "Inserted",
    "Outbound",
    "Outgoing",
    "Overdue",
    "Provider",
    "Purged",
    "Receipt",
    "Received",
    "Reconciler",
    "Selection",
    "Settlement",
    "Store",
    "Taken",
]


class Clock(Protocol):
    """The time, in UTC and aware."""

    def __call__(self) -> datetime: ...
