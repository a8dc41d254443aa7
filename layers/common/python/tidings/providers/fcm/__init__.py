"""Push messages through Firebase Cloud Messaging."""

from tidings.config.settings import load
from tidings.providers.fcm.provider import FcmProvider, FcmSettings


def from_settings() -> FcmProvider:
    """Raise ConfigurationError."""
    return FcmProvider(load(FcmSettings))
