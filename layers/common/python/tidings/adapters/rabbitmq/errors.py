"""How publishing and consuming fail, as the pipeline knows it: every error is a BrokerUnavailable."""

from collections.abc import Iterator
from contextlib import contextmanager

from pika.exceptions import AMQPError

from tidings.domain.errors import BrokerUnavailable


class Unroutable(BrokerUnavailable):
    """No queue took a mandatory message, or its exchange does not exist."""


class Blocked(BrokerUnavailable):
    """A memory or disk alarm: the broker reads no published message until the alarm clears."""


class Unconfirmed(BrokerUnavailable):
    """The broker takes messages and does not confirm them in time, like a node that is cut off from its cluster."""


class ConnectionLost(BrokerUnavailable):
    """The connection was open and has closed. A new one may work at once."""


def unavailable(error: BaseException) -> BrokerUnavailable:
    if isinstance(error, BrokerUnavailable):
        return error
    return BrokerUnavailable(f"{type(error).__name__}: {error}"[:300])


@contextmanager
def as_unavailable() -> Iterator[None]:
    try:
        yield
    except (AMQPError, OSError) as error:
        raise unavailable(error) from error
