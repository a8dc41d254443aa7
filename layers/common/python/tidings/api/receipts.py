"""The receipts API: what vendors report, signed by them instead of an API key."""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tidings.api.endpoint import SMALL_BODY, BoundEndpoint, Endpoint
from tidings.api.health import LIVENESS, READINESS, HealthChecks
from tidings.api.http import AuthenticatedRequest, Response
from tidings.api.problems import Problem, overloaded
from tidings.domain.receipt import Receipt
from tidings.observability.metrics import RECEIPTS_EXPECTED, Gauge
from tidings.observability.request_ids import in_thread
from tidings.pipeline.coalescer import Coalescer, Full
from tidings.pipeline.receipts import Receipts
from tidings.ports import Clock, Store
from tidings.ports.receipts import Applied, Callback, ReceiptParser, WrongSignature
from tidings.providers.callbacks import CONNECTION, MARK

RECEIPT = Endpoint(
    method="POST",
    path="/v1/receipts/{provider}/{connection}",
    scope=None,
    open_body=SMALL_BODY,
    summary="A vendor's report, with the vendor's signature",
)


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
        self._verifying = ThreadPoolExecutor(2, thread_name_prefix="tidings-verify")
        recording = ThreadPoolExecutor(2, thread_name_prefix="tidings-receipts")
        self._coalescer: Coalescer[Receipt, Applied] = Coalescer(receipts.record, recording)
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
        found = await in_thread(self._verifying, self._parse, request)
        if found:
            try:
                await self._coalescer.submit(found)
            except Full:
                raise overloaded() from None
        return Response(status=204)

    def _parse(self, request: AuthenticatedRequest) -> Sequence[Receipt]:
        mark = request.query.get(MARK)
        callback = Callback(
            connection=request.path["connection"],
            mark=mark if isinstance(mark, str) else None,
            headers=request.headers,
            body=bytes(request.body),
            at=self._now(),
        )
        try:
            found = self._parsers[request.path["provider"]].parse(callback)
        except WrongSignature:
            self._receipts.refuse(request.path["provider"])
            raise Problem(401, "Unauthorized") from None
        digest = hashlib.sha256(callback.body).hexdigest()
        return [replace(receipt, raw_sha256=digest) for receipt in found]
