"""Models of the operator API's requests and answers about webhooks."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tidings.api.requests import Instant
from tidings.api.responses import View
from tidings.domain.channels.webhook import web_address
from tidings.domain.webhook import DEFAULT_TYPES, TYPES
from tidings.ports.webhooks import Only

Url = Annotated[str, AfterValidator(web_address), Field(description="http(s)://host[:port][/path]")]
SHOWN_ONCE = "whsec_... of Standard Webhooks; it is shown here and nowhere else"


def _types(value: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := sorted(set(value) - set(TYPES)):
        raise ValueError(f"{unknown[0]} is not one of {', '.join(TYPES)}")
    return tuple(name for name in TYPES if name in value)


Types = Annotated[tuple[str, ...], AfterValidator(_types), Field(max_length=100)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WebhookRequest(_Request):
    """An endpoint, to be created."""

    url: Url
    events: Types = Field(
        DEFAULT_TYPES,
        description=f"of {', '.join(TYPES)}; all but created, retrying and pending if not given; empty: none, for an"
        " endpoint that only your own notifications of the channel `webhook` go to",
    )
    recipient: bool = Field(False, description="true: the payload has the recipient")


class SecretRequest(_Request):
    """A URL that notifications of the channel `webhook` go to."""

    url: Url


class WebhookReplayRequest(_Request):
    """Events of a time, to be told again."""

    since: Instant
    until: Instant | None = Field(None, description="before this; now, if not given")
    only: Only = Field(
        Only.MISSING,
        description="missing: events that have no webhook; failed: webhooks that ended without a success; all: every"
        " event again",
    )
    dry_run: bool = Field(False, description="true: only count")
    cursor: int = Field(0, ge=0, description="`next_cursor` of an answer")


class FailureView(View):
    """A webhook whose last attempt failed."""

    id: str = Field(description="of its notification")
    status: str
    at: datetime
    attempts: int
    code: str
    message: str


class WebhookView(View):
    """An endpoint."""

    id: str
    url: str
    events: list[str]
    recipient: bool
    state: Literal["enabled", "disabled"]
    reason: str | None = Field(
        None, description="of disabled: operator, gone (it answered 410), failing (for five days)"
    )
    created_at: datetime
    changed_at: datetime = Field(description="of its state")
    secret_version: int
    previous_secret_until: datetime | None = Field(None, description="until when the old secret signs as well")
    failing_since: datetime | None = None
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    held: int = Field(0, description="notifications that wait until it is enabled; 1000 means that many or more")
    failures: list[FailureView] | None = Field(None, description="the last ones, newest first; left out of lists")


class NewWebhookView(WebhookView):
    """An endpoint with its new secret."""

    secret: str = Field(description=SHOWN_ONCE)


class WebhooksView(View):
    """All endpoints of the tenant, oldest first."""

    webhooks: list[WebhookView]


class SecretView(View):
    """What notifications to this URL's host are signed with."""

    secret: str


class TestedView(View):
    """A test event was queued."""

    id: str = Field(description="of its notification, which tells what became of it")


class WebhookReplayedView(View):
    """What was done, or would be."""

    written: int = Field(description="webhooks that were missing")
    replayed: int = Field(description="webhooks that are sent again, with the same `webhook-id`")
    dry_run: bool
    next_cursor: int | None = Field(None, description="of the next request with the same body; missing: this is all")
