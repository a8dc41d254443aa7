"""The settings of webhooks."""

from typing import Annotated, ClassVar

from pydantic import Field

from tidings.config.settings import Settings
from tidings.domain.errors import ConfigurationError
from tidings.domain.webhook import Secrets


class WebhookSettings(Settings):
    """Prefix TIDINGS_WEBHOOKS_."""

    prefix: ClassVar[str] = "TIDINGS_WEBHOOKS_"

    secret: Annotated[
        str | None,
        Field(
            min_length=32,
            repr=False,
            description="at least 32 random characters, the same for the functions webhook and replay; the secret of"
            " each endpoint is derived from it",
        ),
    ] = None
    previous_secret: Annotated[
        str | None,
        Field(
            min_length=32,
            repr=False,
            description="the previous TIDINGS_WEBHOOKS_SECRET: webhooks are signed with both, until each endpoint has"
            " its new secret",
        ),
    ] = None
    allow_private: Annotated[
        bool,
        Field(description="true: also to http:// and to private addresses, for receivers inside your own network"),
    ] = False
    via: Annotated[
        str | None,
        Field(
            pattern=r"^http://[^/?#@\s]+:[0-9]{1,5}$",
            description="http://host:port that gets every webhook in place of its own host, for tests",
        ),
    ] = None
    timeout: Annotated[
        float, Field(gt=0, le=60, description="seconds until the receiver must have answered, connecting included")
    ] = 15
    concurrency: Annotated[
        int, Field(ge=1, le=500, description="calls at once to one host, a process; a slow host gets a quarter")
    ] = 16

    def secrets(self) -> Secrets:
        """Raise ConfigurationError."""
        if self.secret is None:
            raise ConfigurationError(f"{self.variable('secret')}: is not set (at least 32 random characters)")
        return Secrets(masters=tuple(one for one in (self.secret, self.previous_secret) if one is not None))
