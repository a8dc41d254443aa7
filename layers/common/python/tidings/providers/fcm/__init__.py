"""Push messages through Firebase Cloud Messaging. `receipts` is imported without the SDK."""

from typing import TYPE_CHECKING

from tidings.config.settings import load
from tidings.providers.callbacks import callback_addresses

if TYPE_CHECKING:
    from tidings.providers.fcm.provider import FcmProvider


def from_settings() -> "FcmProvider":
    """Raise ConfigurationError."""
    from tidings.providers.fcm.provider import FcmProvider, FcmSettings

    settings = load(FcmSettings)
    return FcmProvider(settings, callbacks=callback_addresses() if settings.acknowledge else None)
