"""Email through an SMTP server."""

from tidings.config.settings import load
from tidings.providers.smtp.provider import SmtpProvider
from tidings.providers.smtp.return_path import return_path
from tidings.providers.smtp.settings import SmtpSettings
from tidings.providers.unsubscribe import unsubscribe_links


def from_settings() -> SmtpProvider:
    """Raise ConfigurationError."""
    return SmtpProvider(load(SmtpSettings), return_path=return_path(), unsubscribe=unsubscribe_links())
