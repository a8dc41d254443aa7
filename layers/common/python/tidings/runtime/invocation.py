"""Who may invoke a queue function over HTTP, and what a caller may ask for. The trigger and the functions share
this."""

import hmac
from typing import Literal

from pydantic import Field

from tidings.config.settings import Settings

PREFER_ASYNC = "respond-async"
"""Value of the header Prefer (RFC 7240): answer when all calls of the batch are under way, not when they are settled,
so that the next batch does not wait for the slowest call. Only for a process that keeps running after its answer: one
that is frozen or ended would cut calls off."""


class TriggerSettings(Settings):
    """Who may invoke a queue function over HTTP. Prefix TIDINGS_. (On Lambda, IAM decides.)"""

    trigger_token: str = Field(min_length=16, description="the secret that trigger and function share")
    cloudevents: Literal["token", "open"] = Field(
        default="token",
        description="token: a channel's function takes CloudEvents with the trigger's token; open: without a"
        " token; only if the network lets nobody but the event source reach it",
    )

    def admits(self, authorization: str, *, is_cloudevent: bool) -> bool:
        presented = authorization.removeprefix("Bearer ")
        has_token = hmac.compare_digest(presented.encode(), self.trigger_token.encode())
        return has_token or (is_cloudevent and self.cloudevents == "open")
