"""Email: takes an `aws:rmq` event and delivers it by SMTP."""

from functools import cache

from tidings.config.settings import load
from tidings.pipeline.delivery import Delivery
from tidings.providers.smtp.provider import SmtpProvider
from tidings.providers.smtp.settings import SmtpSettings
from tidings.runtime import queue_function
from tidings.runtime.container import wired


@cache
def delivery() -> Delivery:
    return wired().delivery(SmtpProvider(load(SmtpSettings)))


queue_function.start("email", delivery)


def email(request: queue_function.FlaskRequest) -> queue_function.FlaskAnswer:
    """Under functions-framework (http signature)."""
    return queue_function.answer_trigger(request, "email", delivery)


def handler(event: object, context: queue_function.LambdaContext) -> None:
    """On Lambda, behind an Amazon MQ event source."""
    queue_function.deliver_event(event, context, "email", delivery)
