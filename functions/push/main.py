"""Push: takes an `aws:rmq` event and delivers it by Firebase Cloud Messaging."""

from functools import cache

from tidings import runtime
from tidings.delivery import Delivery
from tidings.settings import load
from tidings.wiring import wired

from .providers.fcm import FcmProvider, FcmSettings


@cache
def delivery() -> Delivery:
    return wired().delivery(FcmProvider(load(FcmSettings)))


runtime.start("push", delivery)


def push(request: runtime.FlaskRequest) -> runtime.FlaskAnswer:
    """Under functions-framework (http signature)."""
    return runtime.answer_trigger(request, "push", delivery)


def handler(event: object, context: runtime.LambdaContext) -> None:
    """On Lambda, behind an Amazon MQ event source."""
    runtime.deliver_event(event, context, "push", delivery)
