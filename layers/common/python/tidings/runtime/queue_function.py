"""A queue function: delivers one channel's batches, under functions-framework and on Lambda.

Return (2xx) = the whole batch is acknowledged; raise (5xx) = the whole batch is redelivered. Lambda offers nothing else
for RabbitMQ, so it is the contract everywhere.
"""

import atexit
import os

from tidings.config.settings import load
from tidings.pipeline.delivery import Delivery
from tidings.providers import provider_for
from tidings.runtime.container import Container, build_container
from tidings.runtime.invocation import TriggerSettings
from tidings.runtime.queue_http import FlaskRequest, FlaskResponse, QueueHttp
from tidings.runtime.queue_lambda import LambdaContext, deliver_event
from tidings.runtime.start import start

__all__ = ["FlaskRequest", "FlaskResponse", "LambdaContext", "QueueFunction"]


class QueueFunction:
    """Created while the function's module is imported. A wrong setting ends the process: see `start`."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.container, self.delivery = start(channel, self._build)
        self._http = QueueHttp(channel=channel, delivery=self.delivery, observers=self.container.observers)
        atexit.register(self.close)

    def _build(self) -> tuple[Container, Delivery]:
        if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ:
            load(TriggerSettings)
        container = build_container()
        return container, container.delivery(provider_for(self.channel))

    def answer(self, request: FlaskRequest) -> FlaskResponse:
        """Over HTTP, under functions-framework."""
        return self._http.answer(request)

    def handle(self, event: object, context: LambdaContext) -> None:
        """On Lambda. Raise InvalidMessage if it is no `aws:rmq` event; StoreUnavailable, BrokerUnavailable or Fault
        when the batch must be redelivered."""
        deliver_event(event, context, self.channel, self.delivery, flush=self.container.observers.flush)

    def close(self) -> None:
        """At the end of the process: let calls under way end, and settle them. The server that stops the process waits
        for this."""
        self.delivery.close()
        self.container.observers.flush()
