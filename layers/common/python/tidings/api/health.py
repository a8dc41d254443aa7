"""Liveness and readiness: endpoints of every HTTP function, open to all."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

from pydantic import BaseModel

from tidings.api.endpoint import Answer, Content, Endpoint, Tag, json_answer
from tidings.api.http import RETRY_AFTER, AuthenticatedRequest, Response, as_json
from tidings.domain.errors import BrokerUnavailable, StoreUnavailable
from tidings.ports import Broker, Store

ALIVE = ("/healthz", "/health")
READY = ("/readyz", "/ready")
"""Two names each: Cloud Run keeps some paths that end in z for itself, and `/healthz` reaches no service there.
https://cloud.google.com/run/docs/known-issues"""

KEPT = 1.0  # seconds for which an answer of the database or the broker is used again
PATIENCE = 3.0  # seconds; a part that takes longer to answer is reported as unavailable

State = Literal["ok", "unavailable"]


class Health(BaseModel):
    """`ok`, `degraded` or `unavailable`; of readiness also each part's."""

    status: str
    database: str | None = None
    broker: str | None = None


def _probe(path: str, summary: str, answers: dict[int, Answer]) -> Endpoint:
    return Endpoint(
        method="GET", path=path, scope=None, id=path.strip("/"), tag=Tag.ABOUT, summary=summary, answers=answers
    )


_HEALTHY = {"status": "ok", "database": "ok", "broker": "ok"}
_NO_DATABASE = {"status": "unavailable", "database": "unavailable", "broker": "ok"}

LIVENESS = [
    _probe(
        path,
        "Liveness: answers without asking the database or the broker",
        {200: json_answer("The process runs", Health, {"example": {"status": "ok"}})},
    )
    for path in ALIVE
]
READINESS = [
    _probe(
        path,
        "Readiness: asks the database and the broker",
        {
            200: json_answer("Ready; `degraded` without the broker", Health, {"example": _HEALTHY}),
            503: Answer(
                description="The database does not answer",
                content=[Content(schema=Health, examples={"example": _NO_DATABASE})],
                headers={"Retry-After": "Seconds"},
            ),
        },
    )
    for path in READY
]


class HealthChecks:
    """`broker`: None in a function that uses none; it is then not reported either."""

    def __init__(self, *, store: Store, broker: Broker | None) -> None:
        self._database = _Part(lambda: store.check(), name="database")  # noqa: PLW0108  # opened when it is asked
        self._broker = None if broker is None else _Part(lambda: broker.check(), name="broker")  # noqa: PLW0108

    async def alive(self, _request: AuthenticatedRequest) -> Response:
        return as_json({"status": "ok"})

    async def ready(self, _request: AuthenticatedRequest) -> Response:
        """503 without the database. Without the broker notifications are still accepted, so it is ready."""
        asked = {"database": self._database} | ({"broker": self._broker} if self._broker is not None else {})
        states = dict(zip(asked, await asyncio.gather(*(part.state() for part in asked.values())), strict=True))
        database = states["database"]
        status = "unavailable" if database != "ok" else "degraded" if "unavailable" in states.values() else "ok"
        headers = {} if database == "ok" else {"retry-after": RETRY_AFTER}
        parts = {"status": status, **states}
        return as_json(parts, status=200 if database == "ok" else 503, headers=headers)


class _Part:
    """The database or the broker. It is asked by one thread of its own; requests meanwhile share the answer."""

    def __init__(self, check: Callable[[], None], *, name: str) -> None:
        self._check = check
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"tidings-ready-{name}")
        self._latest: Future[State] | None = None
        self._answered_at = 0.0

    async def state(self) -> State:
        latest = self._latest
        if latest is None or (latest.done() and time.monotonic() - self._answered_at >= KEPT):
            latest = self._latest = self._thread.submit(self._ask)
        if not latest.done():
            await asyncio.wait([asyncio.wrap_future(latest)], timeout=PATIENCE)
        return latest.result() if latest.done() else "unavailable"

    def _ask(self) -> State:
        try:
            self._check()
        except (StoreUnavailable, BrokerUnavailable):
            return "unavailable"
        finally:
            self._answered_at = time.monotonic()
        return "ok"
