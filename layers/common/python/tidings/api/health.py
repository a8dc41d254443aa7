"""Is it up, and can it work: the routes that every HTTP function has. Anybody may ask, as often as he likes."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

from tidings.api.app import RETRY_AFTER, AuthenticatedRequest, Response, Route, as_json
from tidings.domain.errors import BrokerUnavailable, StoreUnavailable
from tidings.ports import Broker, Store

ALIVE = ("/healthz", "/health")
READY = ("/readyz", "/ready")
"""Each by two names: Cloud Run keeps some paths that end in z for itself, and `/healthz` reaches no service there.
https://cloud.google.com/run/docs/known-issues"""

KEPT = 1.0  # seconds for which an answer of the database or the broker holds
PATIENCE = 3.0  # seconds; a part that takes longer to answer is told as unavailable

State = Literal["ok", "unavailable"]


class Health:
    """`GET /healthz` asks nobody; `GET /readyz` asks the database and the broker."""

    def __init__(self, *, store: Store, broker: Broker) -> None:
        self._database = _Asked(lambda: store.check(), name="database")  # noqa: PLW0108  # opened when it is asked
        self._broker = _Asked(lambda: broker.check(), name="broker")  # noqa: PLW0108

    def routes(self) -> Sequence[Route]:
        return (
            *(Route(method="GET", path=path, scope=None, handle=self.healthz) for path in ALIVE),
            *(Route(method="GET", path=path, scope=None, handle=self.readyz) for path in READY),
        )

    async def healthz(self, _call: AuthenticatedRequest) -> Response:
        return as_json({"status": "ok"})

    async def readyz(self, _call: AuthenticatedRequest) -> Response:
        """503 without the database. Without the broker the work goes on, so it is ready, and says so."""
        database, broker = await asyncio.gather(self._database.state(), self._broker.state())
        status = "ok" if database == broker == "ok" else "degraded" if database == "ok" else "unavailable"
        headers = {} if database == "ok" else {"retry-after": RETRY_AFTER}
        parts = {"status": status, "database": database, "broker": broker}
        return as_json(parts, status=200 if database == "ok" else 503, headers=headers)


class _Asked:
    """A part that is asked once at a time, on a thread of its own: whoever else wants to know gets the same answer."""

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
