"""A push message's acknowledgement, by the app that received it: FCM itself reports nothing about a message.

The message has an address with a sealed mark, so the app needs no key. This module does not load Google's SDK.
"""

from collections.abc import Sequence

from tidings.domain.receipt import Receipt, ReceiptKind
from tidings.ports.receipts import Callback, WrongSignature
from tidings.providers.callbacks import CallbackAddresses, required_callback_addresses

PROVIDER = "fcm"
FIELD = "tidings_ack"
"""The key in the message's data."""


class FcmReceipts:
    """ReceiptParser."""

    provider = PROVIDER

    def __init__(self, addresses: CallbackAddresses) -> None:
        self._addresses = addresses

    def parse(self, callback: Callback) -> Sequence[Receipt]:
        """The body is not looked at. Raise WrongSignature if the mark is not ours. A repeated acknowledgement has the
        same event id, so it is a duplicate."""
        mark = self._addresses.read(self.provider, callback.mark)
        if mark is None:
            raise WrongSignature
        return [
            Receipt(
                provider=self.provider,
                connection=callback.connection,
                event_id=f"ack:{mark.notification_id}:{mark.generation}:{mark.attempt}",
                kind=ReceiptKind.DELIVERED,
                at=callback.at,
                notification_id=mark.notification_id,
                generation=mark.generation,
                attempt=mark.attempt,
            )
        ]


def from_settings() -> FcmReceipts:
    """Raise ConfigurationError."""
    return FcmReceipts(required_callback_addresses())
