"""For `tidings doctor`: compare the broker's exchanges and queues with the topology."""

from collections.abc import Iterator, Sequence

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
from tidings.adapters.rabbitmq.errors import as_unavailable
from tidings.messaging import topology

ACCESS_REFUSED = 403  # AMQP 0-9-1's reply code


def differences(settings: BrokerSettings) -> Sequence[str]:
    """A line for each exchange and queue that is missing or was declared with other arguments. Nothing is created. The
    embedded broker has its topology in the code. Raise BrokerUnavailable."""
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
    channel = connection.channel()  # one for each: a refusal closes the channel
    try:
        declare(channel, passive=True)
        declare(channel)  # it exists: declaring it again changes nothing, and fails if the arguments differ
        channel.close()
    except ChannelClosedByBroker as refused:
        if refused.reply_code == NOT_FOUND:
            yield f"{name} is missing"
        elif refused.reply_code == PRECONDITION_FAILED:
            yield f"{name} was declared with other arguments: {refused.reply_text}"
        elif refused.reply_code == ACCESS_REFUSED:
            yield f"{name}: this user may not declare it"
        else:
            raise
