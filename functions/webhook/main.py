"""Webhook: takes an `aws:rmq` event and delivers its notifications as signed POSTs."""

from tidings.runtime.queue_function import FlaskRequest, FlaskResponse, LambdaContext, QueueFunction

function = QueueFunction("webhook")


def webhook(request: FlaskRequest) -> FlaskResponse:
    """Entry point under functions-framework (signature: http)."""
    return function.answer(request)


def handler(event: object, context: LambdaContext) -> None:
    """Entry point on Lambda, behind an Amazon MQ event source."""
    function.handle(event, context)
