"""A queue function: one channel's batches, delivered under functions-framework and on Lambda. It translates, and
decides nothing.

Return (2xx) = the whole batch is acknowledged; raise (5xx) = the whole batch is redelivered. Lambda offers nothing else
for RabbitMQ, so it is the contract everywhere.
"""

import atexit
import hmac
import logging
import os
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from time import sleep
from typing import Literal, Protocol

from pydantic import Field
from pydantic_core import from_json

from tidings.api.http import METRICS_TYPE, RETRY_AFTER, Response, as_json
from tidings.api.problems import Problem
from tidings.config.settings import Settings, load
from tidings.domain.errors import BrokerUnavailable, InvalidMessage, StoreUnavailable
from tidings.messaging import cloudevents
from tidings.messaging.envelope import IncomingMessage, from_event
from tidings.pipeline.delivery import Delivery
from tidings.providers import provider_for
from tidings.runtime.container import Container, build_container
from tidings.runtime.faults import Fault, batch_faults
from tidings.runtime.start import start

log = logging.getLogger(__name__)


class TriggerSettings(Settings):
    """Who may invoke a queue function over HTTP. Prefix TIDINGS_. (On Lambda, IAM decides.)"""

    trigger_token: str = Field(min_length=16, description="the secret that trigger and function share")
    cloudevents: Literal["token", "open"] = Field(
        default="token",
        description="token: a channel's function takes CloudEvents with the trigger's token; open: without, which is"
        " only for where the network lets nobody but their source reach it",
    )


class FlaskRequest(Protocol):
    """What is used of Flask's Request."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    max_content_length: int | None

    def get_data(self) -> bytes: ...


FlaskAnswer = tuple[bytes, int, dict[str, str]]


class LambdaContext(Protocol):
    """What is used of the context that Lambda hands to a handler."""

    def get_remaining_time_in_millis(self) -> int: ...


PREFER_ASYNC = "respond-async"
"""In the header Prefer (RFC 7240): answer when the whole batch is under way. The caller's next batch then need not wait
for the slowest call of this one. Only for callers that let this process run on: under functions that are frozen or
ended after an answer, calls would be cut off."""

BACK_OFF = timedelta(seconds=30)
SPARE = timedelta(seconds=5)
"""Of the invocation's time: to be back before Lambda ends the process."""


class QueueFunction:
    """Made while the function's module is imported; a wrong setting ends the process, see `start`."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.container, self.delivery = start(channel, self._build)
        atexit.register(self.close)

    def _build(self) -> tuple[Container, Delivery]:
        if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ:
            load(TriggerSettings)
        container = build_container()
        return container, container.delivery(provider_for(self.channel))

    def close(self) -> None:
        """At the process's end: what is under way ends and is settled, though no request waits for it. The server that
        stops us gives it the time."""
        self.delivery.close()
        self.container.observers.flush()

    # --- over HTTP, under functions-framework -------------------------------------------------------------------------

    def answer(self, request: FlaskRequest) -> FlaskAnswer:
        """POST an aws:rmq event or a CloudEvent, or GET /metrics, with the trigger's token; GET /healthz for anyone."""
        try:
            response = self._answer(request)
        except Problem as problem:
            response = problem.response()
        return response.body, response.status, dict(response.headers)

    def _answer(self, request: FlaskRequest) -> Response:
        if request.method == "GET" and request.path == "/healthz":
            return as_json({"status": "ok", "channel": self.channel})
        exposition = (
            self.container.observers.exposition if (request.method, request.path) == ("GET", "/metrics") else None
        )
        if request.method != "POST" and exposition is None:
            raise Problem(405, "Method not allowed", headers={"allow": "POST"})
        is_cloudevent = exposition is None and cloudevents.is_cloudevent(request.headers)
        self._check_token(request, is_cloudevent=is_cloudevent)
        if exposition is not None:
            return Response(status=200, body=exposition(()), headers={"content-type": METRICS_TYPE})
        letters = self._letters(request, is_cloudevent=is_cloudevent)
        settled = True
        try:
            with batch_faults():
                # What sends CloudEvents knows nothing of our pauses; our trigger keeps them itself.
                if is_cloudevent:
                    self._deliver_unless_paused(letters)
                else:
                    settled = self.delivery.deliver(letters, detach=PREFER_ASYNC in request.headers.get("Prefer", ""))
        except (StoreUnavailable, BrokerUnavailable) as error:
            raise Problem(503, "The batch comes again", str(error), headers={"retry-after": RETRY_AFTER}) from None
        except Fault as fault:
            raise Problem(500, "Internal server error", "The batch comes again.") from fault
        return as_json({"status": "settled"}) if settled else as_json({"status": "under way"}, status=202)

    def _check_token(self, request: FlaskRequest, *, is_cloudevent: bool) -> None:
        settings = self._trigger_settings
        presented = request.headers.get("Authorization", "").removeprefix("Bearer ")
        has_token = hmac.compare_digest(presented.encode(), settings.trigger_token.encode())
        if not has_token and not (is_cloudevent and settings.cloudevents == "open"):
            raise Problem(
                401, "Only the trigger may call this", code="invalid_token", headers={"www-authenticate": "Bearer"}
            )

    @cached_property
    def _trigger_settings(self) -> TriggerSettings:
        """Read once a process: the token may lie in AWS, which need not answer at every batch."""
        return load(TriggerSettings)

    def _letters(self, request: FlaskRequest, *, is_cloudevent: bool) -> list[IncomingMessage]:
        try:
            if not is_cloudevent:
                return from_event(from_json(request.get_data()), self.channel)
            request.max_content_length = cloudevents.LONGEST  # more is a 413: it may come from anybody
            return cloudevents.from_request(request.headers, request.get_data(), self.channel)
        except (ValueError, InvalidMessage) as error:
            raise Problem(
                400, f"Not {'a CloudEvent' if is_cloudevent else 'an aws:rmq event'}", str(error)[:200]
            ) from None

    def _deliver_unless_paused(self, letters: list[IncomingMessage]) -> None:
        if self.channel in self.delivery.store.paused():
            self.delivery.defer(letters)
        else:
            self.delivery.deliver(letters)

    # --- on Lambda ----------------------------------------------------------------------------------------------------

    def handle(self, event: object, context: LambdaContext) -> None:
        """Without the database, defer the batch through the retry queues: redelivered, it would come back at once, and
        each time count towards the queue's delivery limit, at which a healthy notification's message is parked.

        Raise Unreadable for what is no aws:rmq event; StoreUnavailable, BrokerUnavailable or Fault when the batch must
        be redelivered."""
        letters = from_event(event, self.channel)
        with batch_faults():
            try:
                self._deliver_or_defer(letters, within=remaining(context))
            except (StoreUnavailable, BrokerUnavailable):
                # All that is left is a redelivery, which counts: so let it be a slow one.
                sleep(max(0.0, min(BACK_OFF, remaining(context) - SPARE).total_seconds()))
                raise
            finally:
                self.container.observers.flush()

    def _deliver_or_defer(self, letters: list[IncomingMessage], *, within: timedelta) -> None:
        unclaimed = letters
        try:
            if self.channel in self.delivery.store.paused():
                self.delivery.defer(letters)
                return
            unclaimed = [letter for letter in letters if letter.message is not None]  # `deliver` parks the others
            self.delivery.deliver(letters, within=within)
        except StoreUnavailable as error:
            log.error("batch_deferred", extra={"messages": len(unclaimed), "error": str(error)})
            self.delivery.defer(unclaimed)


def remaining(context: LambdaContext) -> timedelta:
    """After which Lambda ends this process."""
    return timedelta(milliseconds=context.get_remaining_time_in_millis())
