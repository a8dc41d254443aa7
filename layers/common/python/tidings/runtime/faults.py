"""Unexpected errors: logged by type and place only, because their text may hold what a user sent."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tidings.domain.errors import BrokerUnavailable, ConfigurationError, StoreUnavailable, fault_location

log = logging.getLogger(__name__)


class Fault(Exception):
    """An unexpected error. Its text is safe to show: it names a type and a line."""


@contextmanager
def faults() -> Iterator[None]:
    """Log an unexpected error and raise it as a Fault, so that neither the web framework nor Lambda logs its text.
    StoreUnavailable and BrokerUnavailable pass through."""
    try:
        yield
    except (StoreUnavailable, BrokerUnavailable):
        raise
    except ConfigurationError as error:
        log.error("configuration_invalid", extra={"error": str(error)})
        raise Fault(str(error)) from None
    except Exception as error:
        log.error("unexpected_error", extra={"error": type(error).__name__, "where": fault_location(error)})
        raise Fault(f"{type(error).__name__} at {fault_location(error)}") from None


@contextmanager
def batch_faults() -> Iterator[None]:
    """The same for a batch, which is redelivered if anything is raised: StoreUnavailable, BrokerUnavailable, Fault."""
    with faults():
        try:
            yield
        except (StoreUnavailable, BrokerUnavailable) as error:
            log.error("batch_aborted", extra={"error": str(error)})
            raise
