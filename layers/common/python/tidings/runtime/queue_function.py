"""A queue function where it runs: under functions-framework and on Lambda; and how every function starts. It
translates, and decides nothing.

Return (2xx) = the whole batch is acknowledged; raise (5xx) = the whole batch comes again. Lambda offers nothing else
for RabbitMQ, so it is the contract everywhere.
"""

import atexit
import hmac
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from time import sleep
from typing import Literal, Protocol

from pydantic import Field
from pydantic_core import from_json

from tidings.api.app import METRICS_TYPE, RETRY_AFTER, Problem, Response, as_json, where
from tidings.config.settings import Settings, load
from tidings.domain.errors import BrokerUnavailable, ConfigurationError, StoreUnavailable, Unreadable
from tidings.messaging import cloudevents
from tidings.messaging.envelope import Letter, from_event
from tidings.messaging.topology import CHANNELS
from tidings.observability import logging as tidings_logging
from tidings.pipeline.delivery import Delivery

log = logging.getLogger(__name__)


class TriggerSettings(Settings):
    """Who may invoke a queue function over HTTP. Prefix TIDINGS_. (On Lambda, IAM decides.)"""

    trigger_token: str = Field(min_length=16, description="the secret that trigger and function share")
    cloudevents: Literal["token", "open"] = Field(
        default="token",
        description="token: a channel's function takes CloudEvents with the trigger's token; open: without, which is"
        " only for where the network lets nobody but their source reach it",
    )


def start(service: str, build: Callable[[], object]) -> None:
    """At import: logs, and the function's parts, which reads every setting. A wrong one stops the start with one line.
    Nothing is opened: gunicorn imports before it forks."""
    try:
        for settings in _of_caller(service):
            load(settings)
        tidings_logging.configure(service, load(tidings_logging.LogSettings))
        parts = build()
    except ConfigurationError as error:
        print(f"tidings: {service}: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    if isinstance(parts, Delivery):
        atexit.register(_drain, parts)


def _drain(delivery: Delivery) -> None:
    """At the process's end: what is under way comes to its end and is settled, though no request waits for it. The
    server that stops us gives it the time."""
    delivery.close()
    delivery.lifecycle.flush()


def _of_caller(service: str) -> tuple[type[Settings], ...]:
    """A queue function, whose service is its channel, is called over HTTP everywhere but on Lambda."""
    return (TriggerSettings,) if service in CHANNELS and "AWS_LAMBDA_FUNCTION_NAME" not in os.environ else ()


# --- queue functions --------------------------------------------------------------------------------------------------


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

PREFER_ASYNC = "respond-async"
"""Of the header Prefer (RFC 7240): answer when the whole batch is under way. The caller's next batch then need not wait
for the slowest call of this one. Only for callers that let this process run on: under functions that are frozen or
ended after an answer, calls would be cut off."""


def answer_trigger(request: FlaskRequest, channel: str, delivery: Callable[[], Delivery]) -> FlaskAnswer:
    """POST an aws:rmq event or a CloudEvent, or GET /metrics, with the trigger's token; GET /healthz for anyone."""
    try:
        return _flask(_trigger_answer(request, channel, delivery))
    except Problem as problem:
        return _flask(problem.response())


def _trigger_answer(request: FlaskRequest, channel: str, delivery: Callable[[], Delivery]) -> Response:
    if request.method == "GET" and request.path == "/healthz":
        return as_json({"status": "ok", "channel": channel})
    exposition = delivery().lifecycle.exposition if (request.method, request.path) == ("GET", "/metrics") else None
    if request.method != "POST" and exposition is None:
        raise Problem(405, "Method not allowed", headers={"allow": "POST"})
    settings = _trigger_settings()
    is_cloudevent = exposition is None and cloudevents.is_cloudevent(request.headers)
    presented = request.headers.get("Authorization", "").removeprefix("Bearer ")
    has_token = hmac.compare_digest(presented.encode(), settings.trigger_token.encode())
    if not has_token and not (is_cloudevent and settings.cloudevents == "open"):
        raise Problem(
            401, "Only the trigger may call this", code="invalid_token", headers={"www-authenticate": "Bearer"}
        )
    if exposition is not None:
        return Response(status=200, body=exposition(()), headers={"content-type": METRICS_TYPE})
    letters = _letters(request, channel, is_cloudevent)
    settled = True
    try:
        with _told():
            # What sends CloudEvents knows nothing of our pauses; our trigger keeps them itself.
            if is_cloudevent:
                _deliver(letters, channel, delivery())
            else:
                settled = delivery().deliver(letters, detach=PREFER_ASYNC in request.headers.get("Prefer", ""))
    except (StoreUnavailable, BrokerUnavailable) as error:
        raise Problem(503, "The batch comes again", str(error), headers={"retry-after": RETRY_AFTER}) from None
    except Fault as fault:
        raise Problem(500, "Internal server error", "The batch comes again.") from fault
    return as_json({"status": "settled"}) if settled else as_json({"status": "under way"}, status=202)


def _letters(request: FlaskRequest, channel: str, is_cloudevent: bool) -> list[Letter]:
    try:
        if not is_cloudevent:
            return from_event(from_json(request.get_data()), channel)
        request.max_content_length = cloudevents.LONGEST  # more is a 413: it may come from anybody
        return cloudevents.from_request(request.headers, request.get_data(), channel)
    except (ValueError, Unreadable) as error:
        raise Problem(400, f"Not {'a CloudEvent' if is_cloudevent else 'an aws:rmq event'}", str(error)[:200]) from None


@cache
def _trigger_settings() -> TriggerSettings:
    """Asked once a process: the token may lie in AWS, which need not answer at every batch."""
    return load(TriggerSettings)


def _deliver(letters: list[Letter], channel: str, parts: Delivery) -> None:
    """Messages of a paused channel are put off where nothing before us stops them, as our trigger does."""
    if channel in parts.store.paused():
        parts.put_off(letters)
    else:
        parts.deliver(letters)


class LambdaContext(Protocol):
    """What is used of the context that Lambda hands to a handler."""

    def get_remaining_time_in_millis(self) -> int: ...


def remaining(context: LambdaContext) -> timedelta:
    """After which Lambda ends this process."""
    return timedelta(milliseconds=context.get_remaining_time_in_millis())


BACK_OFF = timedelta(seconds=30)
SPARE = timedelta(seconds=5)
"""Of the invocation's time: to be back before Lambda ends the process."""


def deliver_event(event: object, context: LambdaContext, channel: str, delivery: Callable[[], Delivery]) -> None:
    """Without the database, defer the batch through the retry queues: redelivered, it would come back at once, and each
    time count towards the queue's delivery limit, at which a healthy notification's message is parked.

    Raise Unreadable for what is no aws:rmq event; StoreUnavailable, BrokerUnavailable or Fault when the batch must be
    redelivered."""
    letters = from_event(event, channel)
    with _told():
        parts = delivery()
        try:
            _deliver_or_defer(letters, channel, parts, within=remaining(context))
        except (StoreUnavailable, BrokerUnavailable):
            # All that is left is a redelivery, which counts: so let it be a slow one.
            sleep(max(0.0, min(BACK_OFF, remaining(context) - SPARE).total_seconds()))
            raise
        finally:
            parts.lifecycle.flush()


def _deliver_or_defer(letters: list[Letter], channel: str, parts: Delivery, *, within: timedelta) -> None:
    unclaimed = letters
    try:
        if channel in parts.store.paused():
            parts.put_off(letters)
            return
        unclaimed = [letter for letter in letters if letter.message is not None]  # `deliver` sets aside the others
        parts.deliver(letters, within=within)
    except StoreUnavailable as error:
        log.error("batch_deferred", extra={"messages": len(unclaimed), "error": str(error)})
        parts.put_off(unclaimed)


class Fault(Exception):
    """Something that we did not foresee. The log says what and where; its own text may hold what a user sent."""


@contextmanager
def _told() -> Iterator[None]:
    """What goes wrong with a batch in the block is in the log. Raise StoreUnavailable, BrokerUnavailable or Fault."""
    with faults():
        try:
            yield
        except (StoreUnavailable, BrokerUnavailable) as error:
            log.error("batch_comes_again", extra={"error": str(error)})
            raise


@contextmanager
def faults() -> Iterator[None]:
    """What nobody foresaw in the block is in the log, and is raised as a Fault: not left to the web framework or to
    Lambda, which would log its text."""
    try:
        yield
    except (StoreUnavailable, BrokerUnavailable):
        raise
    except ConfigurationError as error:
        log.error("configuration", extra={"error": str(error)})
        raise Fault(str(error)) from None
    except Exception as error:
        log.error("fault", extra={"error": type(error).__name__, "where": where(error)})
        raise Fault(f"{type(error).__name__} at {where(error)}") from None


def _flask(response: Response) -> FlaskAnswer:
    return response.body, response.status, dict(response.headers)
