"""SMS through Twilio. `receipts` is imported without the SDK."""

from typing import TYPE_CHECKING

from tidings.config.settings import load
from tidings.providers.callbacks import callback_addresses

if TYPE_CHECKING:
    from tidings.providers.twilio.provider import TwilioProvider


def from_settings() -> "TwilioProvider":
    """Raise ConfigurationError."""
    from tidings.providers.twilio.provider import TwilioProvider
    from tidings.providers.twilio.settings import TwilioSettings

    return TwilioProvider(load(TwilioSettings), callback_addresses())
