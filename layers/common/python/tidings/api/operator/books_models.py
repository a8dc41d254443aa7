"""Models of the ledger's and the audit's requests and answers."""

from datetime import date, datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tidings.api.queries import Id
from tidings.api.requests import Instant
from tidings.api.responses import View

# --- requests ---------------------------------------------------------------------------------------------------------


def _day(value: object) -> date:
    """pydantic reads digits as seconds since 1970. The first and the last years have no neighbours to look back to."""
    try:
        if (
            isinstance(value, str)
            and len(value) == len("2026-11-22")
            and 1970 < (day := date.fromisoformat(value)).year < 9999
        ):
            return day
    except ValueError:
        pass
    raise ValueError("must be a day, like 2026-11-22")


class LedgerQuery(BaseModel):
    """Days, in UTC."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: int = Field(7, ge=1, le=31, description="how many, up to the last one")
    until: Annotated[date, BeforeValidator(_day)] | None = Field(None, description="the last day; today if not given")


class AuditQuery(BaseModel):
    """A page of rows, oldest first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: Instant | None = Field(None, description="created at or after")
    until: Instant | None = Field(None, description="created before")
    cursor: Id | None = Field(None, description="next_cursor of the page before")
    limit: int = Field(500, ge=1, le=1000, description="rows to judge")


# --- answers ----------------------------------------------------------------------------------------------------------


class CauseView(View):
    """Attempts that may or may not have been accepted, with the same provider and error code."""

    provider: str | None = Field(None, description="missing where the worker was lost: nobody knows if it called one")
    code: str | None = None
    attempts: int
    may_have_been_sent: int = Field(description="notifications with such an attempt that are not known to be sent")


class LedgerLineView(View):
    """The notifications that were created on a day, on a channel. `accepted` is the sum of `statuses` and `deleted`."""

    day: date
    channel: str
    accepted: int
    statuses: dict[str, int] = Field(description="by status; every status is there")
    deleted: int | None = Field(
        None, description="by the retention; missing if the number is not known, and then not in `accepted`"
    )
    ambiguous: list[CauseView]


class LedgerView(View):
    """The lines, newest day first. A day and channel without notifications has no line."""

    at: datetime
    kept_since: datetime | None = Field(
        None, description="the retention may have deleted what was created before; missing: it deletes nothing"
    )
    lines: list[LedgerLineView]


class FindingView(View):
    """A notification that does not fit."""

    id: str | None = Field(None, description="missing if rows are missing")
    rule: str
    detail: str


class AuditView(View):
    """A page. `next_cursor` is missing on the last one."""

    at: datetime
    checked: int
    skipped: int = Field(description="not judged: of a newer release, or with a timeline that is too long")
    findings: list[FindingView]
    next_cursor: str | None = None
