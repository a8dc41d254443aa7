"""The receipts API: what vendors report, signed by them instead of an API key."""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from tidings.api.endpoint import SMALL_BODY, BoundEndpoint, Endpoint
from tidings.api.health import LIVENESS, READINESS, HealthChecks
from tidings.api.http import AuthenticatedRequest, Response
from tidings.api.problems import Problem, overloaded
from tidings.domain.receipt import Receipt
from tidings.observability.metrics import RECEIPTS_EXPECTED, Gauge
from tidings.pipeline.coalescer import Coalescer, Full
from tidings.pipeline.receipts import Receipts
from tidings.ports import Clock, Store
from tidings.ports.receipts import Callback, ReceiptParser, WrongSignature
from tidings.providers.callbacks import CONNECTION, MARK

RECEIPT = Endpoint(
    method="POST",
    path="/v1/receipts/{provider}/{connection}",
    scope=None,
    open_body=SMALL_BODY,
    summary="A vendor's report, with the vendor's signature",
)
BYTES_PER_RECEIPT = 2048
"""A batch counts a body as one item for each of these. A usual callback has 500 bytes."""


@dataclass(frozen=True, slots=True)
class Report:
    """A vendor's request, not yet verified."""

    provider: str
    callback: Callback


class ReceiptEndpoints:
    """Reports that arrive at the same time are recorded together."""

    def __init__(
        self,
        *,
        receipts: Receipts,
        parsers: Mapping[str, ReceiptParser],
        store: Store,
        now: Clock,
    ) -> None:
        self._receipts = receipts
        self._parsers = parsers
        self._now = now
        recording = ThreadPoolExecutor(2, thread_name_prefix="tidings-receipts")
        self._coalescer: Coalescer[Report, Exception | None] = Coalescer(self._record, recording, weigh=_weight)
        self._health = HealthChecks(store=store, broker=None)

    def all(self) -> Sequence[BoundEndpoint]:
        return [
            BoundEndpoint(endpoint=RECEIPT, handle=self.post, admit=self.admit),
            *(BoundEndpoint(endpoint=endpoint, handle=self._health.alive) for endpoint in LIVENESS),
            *(BoundEndpoint(endpoint=endpoint, handle=self._health.ready) for endpoint in READINESS),
        ]

    def gauges(self) -> Sequence[Gauge]:
        """Whose reports this function takes, so that their absence shows."""
        return [Gauge(metric=RECEIPTS_EXPECTED, labels=(provider,), value=1) for provider in sorted(self._parsers)]

    def admit(self, request: AuthenticatedRequest) -> None:
        """Before the body is read."""
        if request.path["provider"] not in self._parsers or request.path["connection"] != CONNECTION:
            raise Problem(404, "Not found", "No such provider or connection.")

    async def post(self, request: AuthenticatedRequest) -> Response:
        """204: committed. The vendor sends it again after 503."""
        mark = request.query.get(MARK)
        callback = Callback(
            connection=request.path["connection"],
            mark=mark if isinstance(mark, str) else None,
            headers=request.headers,
            body=bytes(request.body),
            at=self._now(),
        )
        try:
            (error,) = await self._coalescer.submit([Report(request.path["provider"], callback)])
        except Full:
            raise overloaded() from None
        if isinstance(error, WrongSignature):
            raise Problem(401, "Unauthorized")
        if error is not None:
            raise error
        return Response(status=204)

    def _record(self, reports: Sequence[Report]) -> Sequence[Exception | None]:
        """In a thread: verify each, then commit together what the genuine ones say. For each: None, or its error."""
        read = [*map(self._read, reports)]
        found = [receipt for receipts in read if not isinstance(receipts, Exception) for receipt in receipts]
        error: Exception | None = None
        try:
            if found:
                self._receipts.record(found)
        except Exception as failed:  # of those that it was to commit, and of no other
            error = failed
        return [receipts if isinstance(receipts, Exception) else error if receipts else None for receipts in read]

    def _read(self, report: Report) -> Sequence[Receipt] | Exception:
        """Its error concerns no other report of the batch."""
        try:
            found = self._parsers[report.provider].parse(report.callback)
        except Exception as error:
            if isinstance(error, WrongSignature):
                self._receipts.refuse(report.provider)
            return error
        digest = hashlib.sha256(report.callback.body).hexdigest()
        return [replace(receipt, raw_sha256=digest) for receipt in found]


def _weight(report: Report) -> int:
    return 1 + len(report.callback.body) // BYTES_PER_RECEIPT
