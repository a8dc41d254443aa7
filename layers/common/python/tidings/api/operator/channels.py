"""Pause a channel and resume it. This affects all tenants, so it takes the scope `admin`."""

import logging
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from tidings.api.api_keys import Scope
from tidings.api.endpoint import Endpoint, Tag, json_answer
from tidings.api.examples import CREATED
from tidings.api.http import AuthenticatedRequest, Response
from tidings.api.operator.responses import ChannelView
from tidings.api.problems import no_such_channel
from tidings.api.reads import encoded
from tidings.domain.channels import CHANNELS
from tidings.observability.request_ids import in_thread
from tidings.ports import Store

log = logging.getLogger(__name__)

_CHANNEL = next(iter(CHANNELS))


def _endpoint(id: str, summary: str, example: dict[str, Any]) -> Endpoint:
    return Endpoint(
        method="POST",
        path=f"/v1/channels/{{channel}}/{id}",
        scope=Scope.ADMIN,
        id=id,
        tag=Tag.OPERATION,
        summary=summary,
        answers={200: json_answer("As it is now", ChannelView, {"example": {"channel": _CHANNEL, **example}})},
    )


PAUSE = _endpoint(
    "pause",
    "Pause a channel for all tenants: it accepts notifications and sends none",
    {"paused": True, "paused_at": CREATED},
)
RESUME = _endpoint("resume", "Send a paused channel's notifications again", {"paused": False})


@dataclass(frozen=True, kw_only=True)
class Channels:
    """A paused channel accepts notifications. Their messages wait in their queues, and no attempt is made."""

    store: Store
    threads: Executor

    async def pause(self, request: AuthenticatedRequest) -> Response:
        channel = _channel_of(request)
        await in_thread(self.threads, self.store.pause, channel)
        log.warning("channel_paused", extra={"channel": channel, "by": request.tenant})
        return await self._state(channel)

    async def resume(self, request: AuthenticatedRequest) -> Response:
        channel = _channel_of(request)
        await in_thread(self.threads, self.store.resume, channel)
        log.warning("channel_resumed", extra={"channel": channel, "by": request.tenant})
        return await self._state(channel)

    async def _state(self, channel: str) -> Response:
        at = (await in_thread(self.threads, self.store.paused)).get(channel)
        return encoded(ChannelView(channel=channel, paused=at is not None, paused_at=at))


def _channel_of(request: AuthenticatedRequest) -> str:
    channel = request.path["channel"]
    if channel not in CHANNELS:
        raise no_such_channel()
    return channel
