"""What every Broker and its Consumer promise."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from urllib.parse import urlsplit

import pika
import pytest
from tidings.adapters.rabbitmq import publisher
from tidings.adapters.rabbitmq.broker import HEARTBEAT, BrokerSettings, RabbitBroker
from tidings.adapters.rabbitmq.consumer import RabbitConsumer
from tidings.domain import timing
from tidings.domain.errors import BrokerUnavailable
from tidings.domain.notification import Priority
from tidings.messaging import topology
from tidings.messaging.envelope import Message, parse
from tidings.messaging.topology import Destination
from tidings.ports import Broker, Consumer, Outgoing, Received

from tests.contracts.conftest import rabbit
from tests.faults.proxy import Cut, Proxy, loop, proxy
from tests.faults.wire import Confirms

WAIT = timedelta(seconds=60)  # everything is far quicker, unless the machine is busy
EMAIL = topology.work_queues("email")


def message(number: int = 0, channel: str = "email") -> Message:
    return Message(id=f"01930b6c-4a5e-7c3b-9d2e-{number:012d}", channel=channel, generation=1)


def to_work(number: int = 0, channel: str = "email", priority: Priority = Priority.NORMAL) -> Outgoing:
    return Outgoing(message=message(number, channel), to=topology.work(channel, priority))


@contextmanager
def consuming(broker: Broker, queues: Sequence[str] = EMAIL) -> Iterator[Consumer]:
    consumer = broker.consume(queues)
    yield consumer
    consumer.close()


def all_arrived(consumer: Consumer) -> None:
    """Wait until of each queue something lies ready to be received. The embedded broker's always does; RabbitMQ sends
    what it has, and each queue in its own time."""
    deadline = time.monotonic() + WAIT.total_seconds()
    while isinstance(consumer, RabbitConsumer) and not all(consumer._arrived.values()):
        assert time.monotonic() < deadline, "of some queue nothing came"
        assert consumer.receive(100, timedelta(seconds=0.1), first=0) == []


def received(consumer: Consumer, count: int, *, acknowledge: bool = True) -> list[Received]:
    """Receive until there are so many; fail at the deadline."""
    found: list[Received] = []
    deadline = time.monotonic() + WAIT.total_seconds()
    while len(found) < count and time.monotonic() < deadline:
        part = consumer.receive(100, timedelta(seconds=1))
        found += part
        if acknowledge and part:
            consumer.acknowledge(part)
    assert len(found) >= count, f"{len(found)} of {count} came"
    return found


def test_a_published_message_is_received_unchanged(broker: Broker) -> None:
    sent = Message(id=message().id, channel="email", generation=3, attempt=2, traceparent="00-" + "a" * 52)
    broker.publish([Outgoing(message=sent, to=topology.work("email", Priority.NORMAL))])
    with consuming(broker) as consumer:
        (item,) = received(consumer, 1)
    assert parse(item.body, item.headers, "email") == sent
    assert (item.queue, item.message_id, item.redelivered) == ("tidings.email", sent.message_id, False)


def test_a_wave_is_received_whole(broker: Broker) -> None:
    broker.publish([to_work(number) for number in range(500)])
    with consuming(broker) as consumer:
        items = received(consumer, 500)
    assert {item.message_id for item in items} == {message(number).message_id for number in range(500)}


def test_publishing_an_empty_wave_does_nothing(broker: Broker) -> None:
    broker.publish([])


def test_a_batch_holds_no_more_than_the_limit(broker: Broker) -> None:
    broker.publish([to_work(number) for number in range(20)])
    with consuming(broker) as consumer:
        while not (batch := consumer.receive(7, timedelta(seconds=1))):
            pass
        assert len(batch) <= 7


def test_an_acknowledged_message_is_not_redelivered(broker: Broker) -> None:
    broker.publish([to_work(number) for number in range(5)])
    with consuming(broker) as consumer:
        received(consumer, 5)
    with consuming(broker) as consumer:
        assert consumer.receive(10, timedelta(seconds=3)) == []


def test_an_unacknowledged_message_is_redelivered_to_another_consumer(broker: Broker) -> None:
    broker.publish([to_work()])
    with consuming(broker) as consumer:
        received(consumer, 1, acknowledge=False)
    with consuming(broker) as consumer:
        (item,) = received(consumer, 1)
    assert item.redelivered
    assert item.deliveries == 2


def test_batches_are_acknowledged_in_any_order_and_each_message_for_itself(broker: Broker) -> None:
    broker.publish([to_work(number) for number in range(30)])
    with consuming(broker) as consumer:
        items = received(consumer, 30, acknowledge=False)
        first, second, third = items[:10], items[10:20], items[20:]
        consumer.acknowledge(second)
        consumer.acknowledge(first[:5])
        consumer.acknowledge([*first[7:], *third[:2]])
        consumer.give_back(third[2:3])
        consumer.acknowledge(third[3:])
    left = {item.message_id for item in (*first[5:7], third[2])}
    with consuming(broker) as consumer:
        assert {item.message_id for item in received(consumer, 3)} == left
        assert not consumer.receive(100, timedelta(seconds=0.5))


def test_a_message_given_back_is_redelivered_and_counted(broker: Broker) -> None:
    broker.publish([to_work()])
    with consuming(broker) as consumer:
        for delivery in (1, 2, 3):
            (item,) = received(consumer, 1, acknowledge=False)
            assert item.deliveries == delivery
            consumer.give_back([item])


def test_high_priority_is_drained_first(broker: Broker) -> None:
    broker.publish([to_work(number) for number in range(50)])
    broker.publish([to_work(99, priority=Priority.HIGH)])
    deadline = time.monotonic() + WAIT.total_seconds()
    while broker.depth(topology.work_queue("email", Priority.NORMAL)) < 50 and time.monotonic() < deadline:
        time.sleep(0.05)
    with consuming(broker) as consumer:
        all_arrived(consumer)
        assert consumer.receive(100, timedelta(0), first=0) == []  # of none of the queues
        first = consumer.receive(100, WAIT)
    assert [item.message_id for item in first] == [message(99).message_id]


def test_first_limits_a_receive_to_the_first_queues(broker: Broker) -> None:
    broker.publish([to_work(1)])
    with consuming(broker) as consumer:
        assert consumer.receive(100, timedelta(seconds=1), first=1) == []
        broker.publish([to_work(2, priority=Priority.HIGH)])
        (high,) = consumer.receive(100, WAIT, first=1)
        assert high.message_id == message(2).message_id
        consumer.acknowledge([high])  # else it comes again, where two seconds pass before the next line
        assert [item.message_id for item in consumer.receive(100, WAIT)] == [message(1).message_id]


def test_channels_do_not_mix(broker: Broker) -> None:
    broker.publish([to_work(1), to_work(2, "sms")])
    with consuming(broker, topology.work_queues("sms")) as consumer:
        (item,) = received(consumer, 1)
    assert item.message_id == message(2).message_id


@pytest.mark.parametrize("priority", list(Priority))
def test_a_retry_comes_back_to_its_queue_after_its_step_and_not_before(broker: Broker, priority: Priority) -> None:
    step = timedelta(seconds=1)
    begun = time.monotonic()
    broker.publish([Outgoing(message=message(), to=topology.retry(step, "email", priority))])
    with consuming(broker) as consumer:
        (item,) = received(consumer, 1)
    assert time.monotonic() - begun >= 0.95
    assert item.queue == topology.work_queue("email", priority)


def test_a_dead_letter_keeps_its_reason(broker: Broker) -> None:
    letter = Outgoing(message=message(), to=topology.dead("email"), headers={"tidings-code": "550"})
    broker.publish([letter])
    with consuming(broker, [topology.dead_queue("email")]) as consumer:
        (item,) = received(consumer, 1)
    assert item.headers["tidings-code"] == "550"


def test_an_invalid_message_is_parked_unchanged(broker: Broker) -> None:
    broker.publish(
        [Outgoing(to=topology.parking(), raw=b"\x00\xff garbage", headers={"tidings-reason": "none of ours"})]
    )
    with consuming(broker, [topology.PARKING]) as consumer:
        (item,) = received(consumer, 1)
    assert item.body == b"\x00\xff garbage"


def test_a_wave_is_written_at_once(rabbitmq_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """pika by itself writes three times a message, and messages then reach the consumers one by one."""
    writes, write = list[int](), pika.SelectConnection._adapter_emit_data

    def counted(self: object, data: bytes) -> None:
        writes.append(len(data))
        write(self, data)

    broker = rabbit(rabbitmq_url)
    broker.declare()
    broker.publish([to_work()])
    monkeypatch.setattr(pika.SelectConnection, "_adapter_emit_data", counted)
    broker.publish([to_work(number) for number in range(100)])
    broker.close()
    assert len([size for size in writes if size > 100]) == 1  # a heartbeat and the goodbye are smaller


def test_publishing_without_a_queue_is_an_error(broker: Broker) -> None:
    with pytest.raises(BrokerUnavailable, match="no queue for fax"):
        broker.publish([to_work(), Outgoing(message=message(), to=Destination(topology.EXCHANGE, "fax"))])


def test_a_message_at_its_delivery_limit_is_parked(broker: Broker) -> None:
    broker.publish([to_work()])
    with consuming(broker, [*EMAIL, topology.PARKING]) as consumer:
        for _ in range(2 * topology.DELIVERY_LIMIT):
            (item,) = received(consumer, 1, acknowledge=False)
            if item.queue == topology.PARKING:
                break
            consumer.give_back([item])
    assert (item.queue, item.message_id) == (topology.PARKING, message().message_id)


def test_the_depth_is_what_is_ready(broker: Broker) -> None:
    broker.publish([to_work(number) for number in range(3)])
    deadline = time.monotonic() + WAIT.total_seconds()
    while broker.depth("tidings.email") != 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert broker.depth("tidings.email") == 3
    assert broker.depth("tidings.sms") == 0
    assert broker.depth("tidings.no.such.queue") == 0


def test_a_receive_that_waits_can_be_woken(broker: Broker) -> None:
    with consuming(broker) as consumer:
        begun = time.monotonic()
        timer = threading.Timer(0.3, consumer.wake)
        timer.start()
        assert consumer.receive(10, WAIT) == []
        assert time.monotonic() - begun < WAIT.total_seconds() / 2
        timer.join()


def test_several_threads_publish_at_once(broker: Broker) -> None:
    def publish(start: int) -> None:
        for number in range(start, start + 40, 10):
            broker.publish([to_work(number + offset) for offset in range(10)])

    threads = [threading.Thread(target=publish, args=[start]) for start in range(0, 160, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with consuming(broker) as consumer:
        items = received(consumer, 160)
    assert len({item.message_id for item in items}) == 160


def test_declaring_again_changes_nothing(broker: Broker) -> None:
    broker.publish([to_work()])
    broker.declare()
    with consuming(broker) as consumer:
        received(consumer, 1)


def test_the_check_passes_where_the_broker_answers(broker: Broker) -> None:
    broker.check()


# --- RabbitMQ alone ---------------------------------------------------------------------------------------------------


def test_a_rabbitmq_that_is_down_is_unavailable_and_not_retried_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "tidings.adapters.rabbitmq.broker.FIRST_PAUSE", WAIT.total_seconds()
    )  # not over before the last word
    broker = RabbitBroker(BrokerSettings(broker_url="amqp://guest:guest@127.0.0.1:9/", broker_timeout=2))
    for _ in range(2):
        with pytest.raises(BrokerUnavailable):
            broker.publish([to_work()])
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="a moment ago"):
        broker.publish([to_work()])
    assert time.monotonic() - begun < WAIT.total_seconds() / 2  # it does not wait for the end of the pause
    with pytest.raises(BrokerUnavailable):
        broker.check()


def test_publishing_declares_a_missing_topology(rabbitmq_url: str) -> None:
    """Nothing was ever declared here: the first wave meets a missing exchange, declares, and is published again."""
    broker = rabbit(rabbitmq_url)
    broker.publish([to_work()])
    with consuming(broker) as consumer:
        received(consumer, 1)
    broker.close()


@pytest.mark.parametrize("gone", ["tidings.email", "tidings.retry.1s"])
def test_the_next_wave_declares_a_deleted_queue(rabbitmq_url: str, gone: str) -> None:
    broker = rabbit(rabbitmq_url)
    broker.publish([to_work()])
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_url))
    connection.channel().queue_delete(gone)
    connection.close()
    broker.publish([Outgoing(message=message(7), to=topology.retry(timedelta(0), "email", Priority.NORMAL))])
    broker.publish([to_work(8)])
    missing, deadline = {message(7).message_id, message(8).message_id}, time.monotonic() + WAIT.total_seconds()
    with consuming(broker) as consumer:
        while missing and time.monotonic() < deadline:
            missing -= {str(item.message_id) for item in received(consumer, 1)}
    assert not missing
    broker.close()


@pytest.fixture
def hurt(rabbitmq_url: str) -> Iterator[tuple[RabbitBroker, Proxy]]:
    """A broker behind a proxy, and connected."""
    with loop() as running, proxy(running, Confirms, urlsplit(rabbitmq_url).port or 0) as way:
        broker = rabbit(way.through(rabbitmq_url))
        broker.declare()
        broker.publish([to_work()])
        yield broker, way
        broker.close()


def test_a_wave_whose_confirm_is_lost_with_its_connection_is_published_again(hurt: tuple[RabbitBroker, Proxy]) -> None:
    """A connection that died unnoticed is found out by its first use."""
    broker, way = hurt
    with way.cut_at(Cut.BEFORE, times=1) as cutting:
        broker.publish([to_work(1)])
    assert cutting.used == 1
    with consuming(broker) as consumer:
        assert message(1).message_id in [item.message_id for item in received(consumer, 2)]


def test_a_connection_that_is_lost_twice_is_an_error(hurt: tuple[RabbitBroker, Proxy]) -> None:
    broker, way = hurt
    with way.cut_at(Cut.BEFORE, times=9), pytest.raises(BrokerUnavailable):
        broker.publish([to_work(1)])


def test_a_broker_that_never_confirms_is_not_retried_at_once(
    hurt: tuple[RabbitBroker, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a node does that is cut off from the others: whoever publishes next would wait as long, one after another."""
    given, way = hurt
    monkeypatch.setattr("tidings.adapters.rabbitmq.broker.FIRST_PAUSE", WAIT.total_seconds())
    broker = RabbitBroker(given._settings.model_copy(update={"broker_timeout": 2}))
    broker.publish([to_work(1)])
    with way.half_open(), pytest.raises(BrokerUnavailable, match="unconfirmed"):
        broker.publish([to_work(2)])
    with pytest.raises(BrokerUnavailable, match="a moment ago"):
        broker.publish([to_work(3)])
    broker.close()


def test_a_connection_from_before_a_long_freeze_is_not_used_again(
    hurt: tuple[RabbitBroker, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker gave it up meanwhile, and the network does not say so."""
    broker, way = hurt
    monkeypatch.setattr(publisher, "FREEZE_CHECK_INTERVAL", 0.05)
    broker.close()
    broker.publish([to_work(1)])
    with way.half_open():
        pass  # that one stays dead; those that are made now live
    frozen = SimpleNamespace(time=lambda: time.time() + 2 * HEARTBEAT + 1)
    monkeypatch.setattr(publisher, "time", frozen)
    broker.publish([to_work(2)])


@pytest.mark.parametrize("name", ["tidings.email", "tidings.retry.5s", topology.PARKING])
def test_a_queue_declared_with_other_arguments_is_logged_by_name_and_used(
    rabbitmq_url: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_url))
    connection.channel().queue_declare(name, durable=True, arguments={"x-max-length": 1000})
    connection.close()
    broker = rabbit(rabbitmq_url)
    with consuming(broker) as consumer:
        broker.publish([to_work(number) for number in range(3)])
        received(consumer, 3)
    broker.close()
    (told,) = [record.__dict__["error"] for record in caplog.records if record.msg == "topology_mismatch"]
    assert f"for queue '{name}'" in told
    assert "drain it, delete it" in told


def test_two_releases_with_different_retry_steps_share_a_broker(
    rabbitmq_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each declares its own, in any order, and what waits on a step that the other has given up comes back."""
    brokers = [rabbit(rabbitmq_url) for _ in range(2)]
    ladders = (timing.RETRY_STEPS, (timedelta(seconds=2), *timing.RETRY_STEPS[1:]))  # the second has no step of 1 s
    for _ in range(2):
        for number, (broker, ladder) in enumerate(zip(brokers, ladders, strict=True)):
            monkeypatch.setattr(topology, "RETRY_STEPS", ladder)
            broker.declare()
            to = topology.retry(timedelta(0), "email", Priority.NORMAL)
            assert to.exchange == topology.retry_queue(ladder[0])
            broker.publish([Outgoing(message=message(number), to=to)])
    with consuming(brokers[1]) as consumer:  # of the second, which knows nothing of that step
        items = received(consumer, 4)
    assert {item.message_id for item in items} == {message(0).message_id, message(1).message_id}
    assert not [record for record in caplog.records if record.msg == "topology_mismatch"]
    for broker in brokers:
        broker.close()


# --- seen from outside ------------------------------------------------------------------------------------------------


def test_the_depths_of_all_queues_are_seen_in_one_look(broker: Broker) -> None:
    broker.publish([to_work(number) for number in range(3)])
    broker.publish([Outgoing(message=message(4), to=topology.dead("email"))])
    broker.publish([Outgoing(message=message(5), to=topology.retry(timing.RETRY_STEPS[-1], "email", Priority.NORMAL))])
    names = [queue.name for queue in topology.queues()]
    expected = {"tidings.email": 3, "tidings.email.dead": 1, topology.retry_queue(timing.RETRY_STEPS[-1]): 1}
    deadline = time.monotonic() + WAIT.total_seconds()
    while (found := broker.depths(names)) and time.monotonic() < deadline:
        if {name: depth.ready for name, depth in found.items() if depth.ready} == expected:
            break
    assert {name: depth.ready for name, depth in found.items() if depth.ready} == expected
    assert list(found) == names


def test_a_missing_queue_has_depth_zero(broker: Broker) -> None:
    broker.publish([to_work()])
    found = broker.depths(["tidings.none", "tidings.email"])
    assert found["tidings.none"].ready == 0
    assert list(found) == ["tidings.none", "tidings.email"]
