"""The header Retry-After, as any HTTP server may send it."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER = timedelta(days=1)

_SECONDS = re.compile(r"\d+", re.ASCII)  # `isdigit` also accepts a superscript two, on which int() fails


def retry_after(value: str | None) -> timedelta | None:
    """From a Retry-After header: seconds, or a date (RFC 9110, 10.2.3); at most a day. None for anything else."""
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return min(timedelta(seconds=int(value.strip()[:10])), LONGEST_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(value)
        wait = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)) - datetime.now(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(wait, timedelta()), LONGEST_RETRY_AFTER)
