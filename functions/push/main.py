"""Push: takes an `aws:rmq` event and delivers it by Firebase Cloud Messaging."""

from functools import cache

from tidings.config.settings import load
from tidings.pipeline.delivery import Delivery
from tidings.providers.fcm.provider import FcmProvider, FcmSettings
from tidings.runtime import queue_function
from tidings.runtime.container import wired


@cache
def delivery() -> Delivery:
    return wired().delivery(FcmProvider(load(FcmSettings)))


queue_function.start("push", delivery)


def push(request: queue_function.FlaskRequest) -> queue_function.FlaskAnswer:
    """Under functions-framework (http signature)."""
    return queue_function.answer_trigger(request, "push", delivery)


def handler(event: object, context: queue_function.LambdaContext) -> None:
    """On Lambda, behind an Amazon MQ event source."""
    queue_function.deliver_event(event, context, "push", delivery)
