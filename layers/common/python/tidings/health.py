"""Is it up, and can it work: the routes that every HTTP function has."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from tidings.errors import BrokerUnavailable, StoreUnavailable
from tidings.ports import Broker, Store
from tidings.web import RETRY_AFTER, Call, Response, Route, as_json

ALIVE = ("/healthz", "/health")
READY = ("/readyz", "/ready")
"""Each by two names: Cloud Run keeps some paths that end in z for itself, and `/healthz` reaches no service there.
https://cloud.google.com/run/docs/known-issues"""


@dataclass(frozen=True, kw_only=True)
class Health:
    """`GET /healthz` asks nobody; `GET /readyz` asks the database and the broker."""

    store: Store
    broker: Broker
    threads: Executor

    def routes(self) -> Sequence[Route]:
        return (
            *(Route(method="GET", path=path, scope=None, handle=self.healthz) for path in ALIVE),
            *(Route(method="GET", path=path, scope=None, handle=self.readyz) for path in READY),
        )

    async def healthz(self, _call: Call) -> Response:
        return as_json({"status": "ok"})

    async def readyz(self, _call: Call) -> Response:
        """503 without the database. Without the broker the work goes on, so it is ready, and says so."""
        loop = asyncio.get_running_loop()
        database, broker = await asyncio.gather(
            loop.run_in_executor(self.threads, _answers, self.store.check),
            loop.run_in_executor(self.threads, _answers, self.broker.check),
        )
        status = "ok" if database == broker == "ok" else "degraded" if database == "ok" else "unavailable"
        headers = {} if database == "ok" else {"retry-after": RETRY_AFTER}
        parts = {"status": status, "database": database, "broker": broker}
        return as_json(parts, status=200 if database == "ok" else 503, headers=headers)


def _answers(check: Callable[[], None]) -> str:
    try:
        check()
    except (StoreUnavailable, BrokerUnavailable):
        return "unavailable"
    return "ok"
