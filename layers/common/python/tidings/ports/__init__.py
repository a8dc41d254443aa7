"""What the pipeline needs from outside: small Protocols, implemented in `adapters` and `providers`."""

from datetime import datetime
from typing import Protocol

from tidings.ports.broker import Broker, Consumer, Depth, Outgoing, Received
from tidings.ports.provider import Acceptance, AcceptanceLookup, Checkable, Provider, SendRequest
from tidings.ports.records import (
    LOOK_AHEAD,
    PAGE,
    Changed,
    Claims,
    Deferred,
    Inserted,
    InsertResult,
    Overdue,
    Purged,
    Selection,
    Settlement,
    SuppressedBy,
    Suppression,
    SuppressionEntry,
    SuppressionSelection,
)
from tidings.ports.store import Store

__all__ = [
    "LOOK_AHEAD",
    "PAGE",
    "Acceptance",
    "AcceptanceLookup",
    "Broker",
    "Changed",
    "Checkable",
    "Claims",
    "Clock",
    "Consumer",
    "Deferred",
    "Depth",
    "InsertResult",
    "Inserted",
    "Outgoing",
    "Overdue",
    "Provider",
    "Purged",
    "Received",
    "Selection",
    "SendRequest",
    "Settlement",
    "Store",
    "SuppressedBy",
    "Suppression",
    "SuppressionEntry",
    "SuppressionSelection",
]


class Clock(Protocol):
    """The time, in UTC and aware."""

    def __call__(self) -> datetime: ...
