"""What a call can end with in place of its answer.

::

    ClientError
    ├── Refused        the server says no, or that it cannot now
    ├── Unreachable    no answer came in time; it may have been accepted: the same key finds out without harm
    └── Unexpected     something answered that is no Tidings
"""

from collections.abc import Mapping, Sequence
from typing import Any


class ClientError(Exception):
    """The base of them."""


class Refused(ClientError):
    """A problem (RFC 9457). `errors` has one entry a field: pointer, field, detail, and in an array the index."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str | None = None,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        retry_after: float | None = None,
        document: object = None,
    ) -> None:
        """`retry_after` in seconds, where the server named a time. `document`: all that it said, if it was JSON."""
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after = retry_after
        self.document = document
        wrong = "; ".join(f"{entry.get('field')} {entry.get('detail')}" for entry in self.errors)
        said = [title, wrong or detail]
        super().__init__(f"{status} " + ": ".join(str(part).rstrip(".") for part in said if part))

    @classmethod
    def told(cls, status: int, document: object, *, reason: str = "", retry_after: float | None = None) -> "Refused":
        """From a problem document; where a proxy answered with something else, from the status and its reason."""
        problem: dict[str, Any] = document if isinstance(document, dict) else {}
        entries = problem.get("errors")
        detail = problem.get("detail")
        return cls(
            status,
            str(problem.get("title") or reason or "refused"),
            str(detail) if detail is not None else None,
            errors=[entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else (),
            retry_after=retry_after,
            document=document,
        )


class Unreachable(ClientError):
    """No connection, or it broke, or the time was up."""


class Unexpected(ClientError):
    """An answer that none of ours gives: a web page, a redirect's target, another service."""
