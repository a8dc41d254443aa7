"""Email: takes an `aws:rmq` event and delivers it by SMTP."""

from functools import cache

from tidings import runtime
from tidings.delivery import Delivery
from tidings.settings import load
from tidings.wiring import wired

from .providers.smtp import SmtpProvider
from .providers.smtp_settings import SmtpSettings


@cache
def delivery() -> Delivery:
    return wired().delivery(SmtpProvider(load(SmtpSettings)))


runtime.start("email", delivery)


def email(request: runtime.FlaskRequest) -> runtime.FlaskAnswer:
    """Under functions-framework (http signature)."""
    return runtime.answer_trigger(request, "email", delivery)


def handler(event: object, context: runtime.LambdaContext) -> None:
    """On Lambda, behind an Amazon MQ event source."""
    runtime.deliver_event(event, context, "email", delivery)
