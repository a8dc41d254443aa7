"""Models of the operator API's requests and answers about suppressions."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from tidings.api.requests import Instant
from tidings.api.responses import View
from tidings.domain.addresses import one_line
from tidings.domain.category import Category
from tidings.domain.channels import CHANNELS
from tidings.pipeline.suppression import Enforcement, Reason
from tidings.ports import SuppressionSelection

RECIPIENT = "an address, a number with its country code, or token:..."

Source = Literal["provider", "operator", "receipt", "import", "unsubscribe"]
Recipient = Annotated[str, StringConstraints(min_length=1, max_length=512), Field(description=RECIPIENT)]


def _known(channel: str) -> str:
    if channel not in CHANNELS:
        raise ValueError(f"must be one of {', '.join(CHANNELS)}")
    return channel


ChannelName = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": list(CHANNELS)})]


# --- requests ---------------------------------------------------------------------------------------------------------


class RecipientRequest(BaseModel):
    """A recipient on a channel."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: ChannelName
    recipient: Recipient
    scope: Annotated[Category | None, Field(description="a category; missing: everything on the channel")] = None

    @model_validator(mode="after")
    def _is_one_of_the_channel(self) -> Self:
        if CHANNELS[self.channel].sought(self.recipient) is None:
            raise ValueError(f"recipient is not valid for the channel {self.channel}: give {RECIPIENT}")
        return self

    @property
    def stored(self) -> str:
        """As the channel stores it."""
        return CHANNELS[self.channel].sought(self.recipient) or self.recipient

    @property
    def matched(self) -> str:
        """As the list compares it."""
        return CHANNELS[self.channel].matched(self.stored)


class SuppressionRequest(RecipientRequest):
    """A recipient that is not to be sent to."""

    reason: Reason = Reason.MANUAL
    expires_at: Annotated[Instant | None, Field(description="when it ends; if not given, its reason decides")] = None
    note: Annotated[str, StringConstraints(max_length=255), AfterValidator(one_line)] | None = None


class ImportedRow(SuppressionRequest):
    """A row of an import. What else an export writes is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _scope_is_a_category(cls, given: Any) -> Any:
        """Ignoring a category would suppress everything."""
        return {"scope": given["category"], **given} if isinstance(given, dict) and "category" in given else given


class SuppressionQuery(BaseModel):
    """Which suppressions, newest first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: ChannelName | None = None
    recipient: Recipient | None = None
    scope: Annotated[Category | None, Field(description="a category; all if not given")] = None
    reason: Reason | None = None
    source: Source | None = None
    state: Literal["in_force", "ended"] | None = Field(None, description="ended: expired or removed; all if not given")
    cursor: int | None = Field(None, ge=1, le=2**62, description="next_cursor of the page before")
    limit: int = Field(50, ge=1, le=1000)

    def selection(self, tenant: str) -> SuppressionSelection:
        return SuppressionSelection(
            tenant=tenant,
            channel=self.channel,
            recipients=self._matched() if self.recipient is not None else None,
            scope=self.scope,
            reason=self.reason,
            source=self.source,
            in_force=None if self.state is None else self.state == "in_force",
            before=self.cursor,
        )

    def _matched(self) -> list[str]:
        """As each channel would store it: one text may be a recipient of several."""
        kinds = [CHANNELS[self.channel]] if self.channel is not None else list(CHANNELS.values())
        given = self.recipient or ""
        return sorted({kind.matched(kind.sought(given) or given) for kind in kinds})


class ExportQuery(BaseModel):
    """A page of the export."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: ChannelName | None = None
    cursor: int | None = Field(None, ge=1, le=2**62, description="the header Next-Cursor of the page before")


# --- answers ----------------------------------------------------------------------------------------------------------


class SuppressionView(View):
    """A suppression, as the list has it."""

    channel: str
    recipient: str = Field(description="in the form that is compared: an address in lower case")
    scope: str | None = Field(None, description="a category; missing: everything on the channel")
    reason: str
    source: str = Field(description="provider, operator, receipt, import, unsubscribe (by a link in a mail)")
    note: str | None = None
    notification_id: str | None = Field(None, description="the notification that failed")
    at: datetime = Field(description="when it was added")
    expires_at: datetime | None = Field(None, description="missing: until it is removed")
    in_force: bool
    removed_at: datetime | None = None
    removed_by: str | None = Field(None, description="the fingerprint of the API key")


class SuppressionPage(View):
    """Newest first. `next_cursor` is missing on the last page."""

    suppressions: list[SuppressionView]
    next_cursor: int | None = None
    enforcement: Enforcement = Field(
        description="this function's TIDINGS_SUPPRESSION: on, warn (sent all the same) or off. The setting of the"
        " channel's function decides"
    )


class BadLine(View):
    """A line that was not imported, and why."""

    line: int = Field(description="of the file, from 1")
    error: str


class ImportedView(View):
    """What an import did: each line is stored or bad."""

    stored: int = Field(description="added, or there already")
    bad: int
    errors: list[BadLine] = Field(description="one for each bad line")
