"""Push: takes an `aws:rmq` event and delivers its notifications, by default through Firebase Cloud Messaging."""

from tidings.runtime.queue_function import FlaskRequest, FlaskResponse, LambdaContext, QueueFunction

function = QueueFunction("push")


def push(request: FlaskRequest) -> FlaskResponse:
    """Entry point under functions-framework (signature: http)."""
    return function.answer(request)


def handler(event: object, context: LambdaContext) -> None:
    """Entry point on Lambda, behind an Amazon MQ event source."""
    function.handle(event, context)
