"""The channels. Each is a module here: its content, its recipient, its limits, how it is masked, an example.

All of it is checked when a notification is submitted, with an error that says what to change; nothing is dropped
silently. What else a new channel takes: docs/extending.md.
"""

from collections.abc import Mapping

from tidings.domain.channels.base import Content, StrictModel
from tidings.domain.channels.email import Attachment, EmailContent
from tidings.domain.channels.push import PushContent, PushRecipient
from tidings.domain.channels.sms import SmsContent

__all__ = [
    "CHANNELS",
    "Attachment",
    "Content",
    "EmailContent",
    "PushContent",
    "PushRecipient",
    "SmsContent",
    "StrictModel",
    "masked",
]

CHANNELS: Mapping[str, type[Content]] = {
    content.channel: content for content in (EmailContent, SmsContent, PushContent)
}
"""The registry. Queues, the API and its document, the command line and the console follow from it."""


def masked(channel: str, recipient: str) -> str:
    """A stored recipient as a log may show it; of a channel that this version does not know, nothing."""
    return CHANNELS.get(channel, Content).masked(recipient)
