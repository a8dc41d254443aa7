"""The channels. Each is a module: its content, recipient, limits, masking and an example.

Everything is checked when a notification is submitted, with an error that says what to change; nothing is dropped
silently. How to add a channel: docs/extending.md.
"""

from collections.abc import Mapping

from tidings.domain.channels.base import Content, StrictModel
from tidings.domain.channels.email import Attachment, EmailContent
from tidings.domain.channels.push import PushContent, PushRecipient
from tidings.domain.channels.sms import SmsContent
from tidings.domain.channels.webhook import WebhookContent

__all__ = [
    "CHANNELS",
    "Attachment",
    "Content",
    "EmailContent",
    "PushContent",
    "PushRecipient",
    "SmsContent",
    "StrictModel",
    "WebhookContent",
    "masked",
]

CHANNELS: Mapping[str, type[Content]] = {
    content.channel: content for content in (EmailContent, SmsContent, PushContent, WebhookContent)
}
"""The registry. Queues, the API and its document, the command line and the console are derived from it."""


def masked(channel: str, recipient: str) -> str:
    """A stored recipient as a log may show it; nothing of it for an unknown channel."""
    return CHANNELS.get(channel, Content).masked(recipient)
