"""SMS through Twilio."""

from tidings.config.settings import load
from tidings.providers.twilio.provider import TwilioProvider, TwilioSettings


def from_settings() -> TwilioProvider:
    """Raise ConfigurationError."""
    return TwilioProvider(load(TwilioSettings))
