"""Models of queries: the filters of lists and of replays."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from tidings.api.requests import Instant
from tidings.api.validation_problems import problem_of
from tidings.domain.channels import CHANNELS
from tidings.domain.notification import DEAD, REPLAYABLE, Status
from tidings.messaging.envelope import ID
from tidings.ports import Selection

Id = Annotated[str, StringConstraints(pattern=f"^{ID.pattern}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Code = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,64}$")]
MessageId = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Q = TypeVar("Q", bound=BaseModel)


def _statuses(value: object) -> object:
    """One status, or several."""
    words = [value] if isinstance(value, str) else value
    if isinstance(words, Sequence) and not set(map(str, words)) <= set(Status):
        raise ValueError(f"must be one of {', '.join(Status)}; it may be repeated")
    return words


def _several(value: object) -> object:
    """One, or several."""
    return (value,) if isinstance(value, str) else value


def _replayable(value: tuple[Status, ...]) -> tuple[Status, ...]:
    if not set(value) <= REPLAYABLE:
        raise ValueError(f"must be one of {', '.join(sorted(REPLAYABLE))}")
    return value


DeadStatuses = Annotated[tuple[Status, ...], BeforeValidator(_statuses), AfterValidator(_replayable)]


def _as_stored(recipient: str, channel: str | None) -> str:
    """As the channel stores it; unchanged if it is not valid in any channel."""
    kinds = [CHANNELS[channel]] if channel is not None and channel in CHANNELS else CHANNELS.values()
    return next((stored for kind in kinds if (stored := kind.sought(recipient)) is not None), recipient)


class Filter(BaseModel):
    """A notification must match every field that is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Annotated[tuple[Status, ...], BeforeValidator(_statuses)] | None = Field(
        None, description="one, or several: `?status=failed&status=unknown`"
    )
    channel: Name | None = None
    recipient: Annotated[str, StringConstraints(max_length=512)] | None = Field(
        None, description="an address, a number with its country code, token:... or topic:..."
    )
    provider_message_id: Annotated[tuple[MessageId, ...], BeforeValidator(_several), Field(max_length=100)] | None = (
        Field(None, description="the provider's id of the last message, or several")
    )
    since: Instant | None = Field(None, description="created at or after")
    until: Instant | None = Field(None, description="created before")

    def selection(self, tenant: str) -> Selection:
        return Selection(
            tenant=tenant,
            statuses=sorted(set(self.status)) if self.status else None,
            channel=self.channel,
            recipient=_as_stored(self.recipient, self.channel) if self.recipient is not None else None,
            provider_message_ids=self.provider_message_id,
            since=self.since,
            until=self.until,
        )


class ListQuery(Filter):
    """A page of notifications, newest first."""

    cursor: Id | None = Field(None, description="next_cursor of the page before")
    limit: int = Field(50, ge=1, le=200)

    def selection(self, tenant: str) -> Selection:
        return replace(super().selection(tenant), before_id=self.cursor)


class DeadFilter(BaseModel):
    """Selects dead letters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ids: Annotated[Sequence[Id], Field(min_length=1, max_length=1000)] | None = None
    status: DeadStatuses | None = Field(
        None, description="failed, unknown, undelivered or suppressed; failed and unknown if not given"
    )
    channel: Name | None = None
    error_class: Literal["transient", "permanent", "ambiguous", "account"] | None = None
    code: Code | None = Field(None, description="of the last error")
    since: Instant | None = None
    until: Instant | None = None

    def selection(self, tenant: str) -> Selection:
        return Selection(
            tenant=tenant,
            ids=self.ids,
            statuses=sorted(self.status or DEAD),
            channel=self.channel,
            error_class=self.error_class,
            error_code=self.code,
            since=self.since,
            until=self.until,
        )


class DeadQuery(DeadFilter):
    """A page of dead letters."""

    order: Literal["newest", "oldest"] = Field("newest", description="which comes first; a replay takes the oldest")
    cursor: Id | None = None
    limit: int = Field(50, ge=1, le=200)

    def selection(self, tenant: str) -> Selection:
        chosen = super().selection(tenant)
        if self.order == "oldest":
            return replace(chosen, after_id=self.cursor)
        return replace(chosen, before_id=self.cursor)


def query_of(model: type[Q], parameters: Mapping[str, str | Sequence[str]]) -> Q:
    """Raise Problem 422, with an entry for each invalid parameter."""
    try:
        return model.model_validate(parameters)
    except ValidationError as invalid:
        raise problem_of(invalid, title="The query is not valid") from None


def body_of(model: type[Q], body: bytes | bytearray, *, title: str) -> Q:
    """Raise Problem 400 or 422."""
    try:
        return model.model_validate_json(body)
    except ValidationError as invalid:
        raise problem_of(invalid, title=title) from None
