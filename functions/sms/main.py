"""SMS: takes an `aws:rmq` event and delivers it by Twilio."""

from functools import cache

from tidings import runtime
from tidings.delivery import Delivery
from tidings.settings import load
from tidings.wiring import wired

from .providers.twilio import TwilioProvider, TwilioSettings


@cache
def delivery() -> Delivery:
    return wired().delivery(TwilioProvider(load(TwilioSettings)))


runtime.start("sms", delivery)


def sms(request: runtime.FlaskRequest) -> runtime.FlaskAnswer:
    """Under functions-framework (http signature)."""
    return runtime.answer_trigger(request, "sms", delivery)


def handler(event: object, context: runtime.LambdaContext) -> None:
    """On Lambda, behind an Amazon MQ event source."""
    runtime.deliver_event(event, context, "sms", delivery)
