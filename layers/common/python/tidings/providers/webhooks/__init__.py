"""Webhooks: signed POSTs to the URLs of tenants and their customers, as Standard Webhooks describes."""

from tidings.config.settings import load
from tidings.ports import Provider
from tidings.providers.webhooks.settings import WebhookSettings


def from_settings() -> Provider:
    """Raise ConfigurationError."""
    from tidings.providers.webhooks.provider import WebhookProvider  # here: the operator API needs only the settings

    return WebhookProvider(load(WebhookSettings))
