"""What the doctor looks at beneath the ports: the database's clock, and what the broker has of the topology."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pika
from pika.exceptions import ChannelClosedByBroker

from tidings.adapters.rabbitmq.broker import (
    NOT_FOUND,
    PRECONDITION_FAILED,
    BrokerSettings,
    Declare,
    declared_exchange,
    declared_queue,
    parameters,
)
from tidings.adapters.rabbitmq.publisher import as_unavailable
from tidings.adapters.sql import insert
from tidings.adapters.sql.database import Database, reading
from tidings.messaging import topology

ACCESS_REFUSED = 403  # AMQP 0-9-1's reply code


class _Asked:
    def __init__(self, database: Database) -> None:
        self.database = database

    @reading
    def largest_statement(self, connection: Any) -> int | None:
        return insert.largest_statement(connection)

    @reading
    def now(self, connection: Any) -> datetime:
        return self.database.now(connection)


def database_time(database: Database) -> datetime:
    """Its own. Raise StoreUnavailable."""
    return _Asked(database).now()


def largest_statement(database: Database) -> int | None:
    """Bytes that the database takes at once; None: no limit that matters. Raise StoreUnavailable."""
    return _Asked(database).largest_statement()


def differences(settings: BrokerSettings) -> Sequence[str]:
    """A line for each exchange and queue that is missing or was declared with other arguments. It declares none that is
    not there. The embedded broker has its topology in the code. Raise BrokerUnavailable."""
    if settings.broker_url is None:
        return []
    with as_unavailable():
        connection = pika.BlockingConnection(parameters(settings))
        try:
            return list(_differences(connection))
        finally:
            if connection.is_open:
                connection.close()


def _differences(connection: pika.BlockingConnection) -> Iterator[str]:
    for exchange in topology.exchanges():
        yield from _difference(connection, f"the exchange {exchange.name}", declared_exchange(exchange))
    for queue in topology.queues():
        yield from _difference(connection, f"the queue {queue.name}", declared_queue(queue))


def _difference(connection: pika.BlockingConnection, name: str, declare: Declare) -> Iterator[str]:
    channel = connection.channel()  # one each: a refusal closes it
    try:
        declare(channel, passive=True)
        declare(channel)  # it is there: to declare it again changes nothing, and tells whether it is the same
        channel.close()
    except ChannelClosedByBroker as refused:
        if refused.reply_code == NOT_FOUND:
            yield f"{name} is missing"
        elif refused.reply_code == PRECONDITION_FAILED:
            yield f"{name} was declared otherwise: {refused.reply_text}"
        elif refused.reply_code == ACCESS_REFUSED:
            yield f"{name} may not be declared by this user"
        else:
            raise
