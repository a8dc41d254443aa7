"""Pause a channel and resume it. It is for all tenants, so it takes a key of its own scope."""

import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from tidings.api.api_keys import Scope
from tidings.api.app import AuthenticatedRequest, Problem, Response, Route
from tidings.api.lookup import encoded
from tidings.api.operator.responses import ChannelView
from tidings.domain.channels import CHANNELS
from tidings.observability.request_ids import in_thread
from tidings.ports import Store

log = logging.getLogger(__name__)
"""Not by the module's name: only what is below `tidings` is written as lines."""


@dataclass(frozen=True, kw_only=True)
class ChannelRoutes:
    """Handlers. A paused channel accepts, and its messages wait in their queues: nothing is tried, nothing is lost."""

    store: Store
    threads: Executor

    def all(self) -> Sequence[Route]:
        return (
            Route(method="POST", path="/v1/channels/{channel}/pause", scope=Scope.ADMIN, handle=self.pause),
            Route(method="POST", path="/v1/channels/{channel}/resume", scope=Scope.ADMIN, handle=self.resume),
        )

    async def pause(self, call: AuthenticatedRequest) -> Response:
        return await self._changed(call, paused=True)

    async def resume(self, call: AuthenticatedRequest) -> Response:
        return await self._changed(call, paused=False)

    async def _changed(self, call: AuthenticatedRequest, *, paused: bool) -> Response:
        channel = call.path["channel"]
        if channel not in CHANNELS:
            raise Problem(404, "No such channel", f"There are {', '.join(CHANNELS)}.")
        said = {"channel": channel, "by": call.tenant}
        if paused:
            await in_thread(self.threads, self.store.pause, channel)
            log.warning("channel_paused", extra=said)
        else:
            await in_thread(self.threads, self.store.resume, channel)
            log.warning("channel_resumed", extra=said)
        at = (await in_thread(self.threads, self.store.paused)).get(channel)
        return encoded(ChannelView(channel=channel, paused=at is not None, paused_at=at))
