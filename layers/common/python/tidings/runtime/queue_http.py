"""A queue function over HTTP: takes a batch as an `aws:rmq` event, or one message as a CloudEvent."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from pydantic_core import from_json

from tidings.api.http import METRICS_TYPE, RETRY_AFTER, Response, as_json
from tidings.api.problems import Problem
from tidings.config.settings import load
from tidings.domain.errors import BrokerUnavailable, InvalidMessage, StoreUnavailable
from tidings.messaging import cloudevents
from tidings.messaging.envelope import from_event
from tidings.observability.observers import Observers
from tidings.pipeline.delivery import Delivery
from tidings.runtime.faults import Fault, batch_faults
from tidings.runtime.invocation import PREFER_ASYNC, TriggerSettings


class FlaskRequest(Protocol):
    """What we use of Flask's Request."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    max_content_length: int | None

    def get_data(self) -> bytes: ...


FlaskResponse = tuple[bytes, int, dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class QueueHttp:
    """The routes of a queue function."""

    channel: str
    delivery: Delivery
    observers: Observers

    def answer(self, request: FlaskRequest) -> FlaskResponse:
        """POST an `aws:rmq` event or a CloudEvent, or GET /metrics, with the trigger's token; GET /healthz without."""
        try:
            response = self._answer(request)
        except Problem as problem:
            response = problem.response()
        return response.body, response.status, dict(response.headers)

    def _answer(self, request: FlaskRequest) -> Response:
        route = request.method, request.path
        if route == ("GET", "/healthz"):
            return as_json({"status": "ok", "channel": self.channel})
        if route == ("GET", "/metrics") and self.observers.exposition is not None:
            self._check_token(request)
            return Response(status=200, body=self.observers.exposition(()), headers={"content-type": METRICS_TYPE})
        if request.method != "POST":
            raise Problem(405, "Method not allowed", headers={"allow": "POST"})
        if cloudevents.is_cloudevent(request.headers):
            self._check_token(request, is_cloudevent=True)
            return self._deliver_cloudevent(request)
        self._check_token(request)
        return self._deliver_batch(request)

    def _check_token(self, request: FlaskRequest, *, is_cloudevent: bool = False) -> None:
        if not self._settings.admits(request.headers.get("Authorization", ""), is_cloudevent=is_cloudevent):
            challenge = {"www-authenticate": "Bearer"}
            raise Problem(401, "Only the trigger may call this", code="invalid_token", headers=challenge)

    @cached_property
    def _settings(self) -> TriggerSettings:
        """Read once a process: the token may be a secret in AWS, which is not asked for at every batch."""
        return load(TriggerSettings)

    def _deliver_batch(self, request: FlaskRequest) -> Response:
        try:
            batch = from_event(from_json(request.get_data()), self.channel)
        except (ValueError, InvalidMessage) as error:
            raise Problem(400, "Not an aws:rmq event", str(error)[:200]) from None
        with _failures_as_problems():
            settled = self.delivery.deliver(batch, detach=PREFER_ASYNC in request.headers.get("Prefer", ""))
        return as_json({"status": "settled"}) if settled else as_json({"status": "under way"}, status=202)

    def _deliver_cloudevent(self, request: FlaskRequest) -> Response:
        """The source of CloudEvents knows no paused channels, so we look. Our trigger does that itself."""
        request.max_content_length = cloudevents.LONGEST  # above it Flask answers 413: anybody may call this
        try:
            batch = cloudevents.from_request(request.headers, request.get_data(), self.channel)
        except (ValueError, InvalidMessage) as error:
            raise Problem(400, "Not a CloudEvent", str(error)[:200]) from None
        with _failures_as_problems():
            if self.channel in self.delivery.store.paused():
                self.delivery.defer(batch)
            else:
                self.delivery.deliver(batch)
        return as_json({"status": "settled"})


@contextmanager
def _failures_as_problems() -> Iterator[None]:
    try:
        with batch_faults():
            yield
    except (StoreUnavailable, BrokerUnavailable) as error:
        raise Problem(503, "Batch not accepted", str(error), headers={"retry-after": RETRY_AFTER}) from None
    except Fault as fault:
        raise Problem(500, "Internal server error", "The batch will be redelivered.") from fault
