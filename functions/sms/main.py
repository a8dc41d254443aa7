"""SMS: takes an `aws:rmq` event and delivers it by Twilio."""

from functools import cache

from tidings.config.settings import load
from tidings.pipeline.delivery import Delivery
from tidings.providers.twilio.provider import TwilioProvider, TwilioSettings
from tidings.runtime import queue_function
from tidings.runtime.container import wired


@cache
def delivery() -> Delivery:
    return wired().delivery(TwilioProvider(load(TwilioSettings)))


queue_function.start("sms", delivery)


def sms(request: queue_function.FlaskRequest) -> queue_function.FlaskAnswer:
    """Under functions-framework (http signature)."""
    return queue_function.answer_trigger(request, "sms", delivery)


def handler(event: object, context: queue_function.LambdaContext) -> None:
    """On Lambda, behind an Amazon MQ event source."""
    queue_function.deliver_event(event, context, "sms", delivery)
