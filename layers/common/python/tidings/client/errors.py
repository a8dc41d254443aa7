"""Errors of the client.

::

    ClientError
    ├── Refused        the server refuses the request, or is overloaded
    ├── Unreachable    no answer came in time; it may have been accepted: retry with the same idempotency key
    ├── Unexpected     the answer is not from Tidings
    └── InvalidWebhook a webhook that we did not sign, or an old one: answer it with 400
"""

from collections.abc import Mapping, Sequence
from typing import Any


class ClientError(Exception):
    """Base class."""


class Refused(ClientError):
    """A problem (RFC 9457). `errors` has one entry per field: pointer, field, detail, and in an array the index."""

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
        """`retry_after`: seconds, if the server gave them. `document`: the answer's body, if it was JSON."""
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after = retry_after
        self.document = document
        field_errors = "; ".join(f"{entry.get('field')} {entry.get('detail')}" for entry in self.errors)
        parts = [title, field_errors or detail]
        super().__init__(f"{status} " + ": ".join(str(part).rstrip(".") for part in parts if part))

    @classmethod
    def from_document(
        cls, status: int, document: object, *, reason: str = "", retry_after: float | None = None
    ) -> "Refused":
        """From a problem document; if a proxy answered something else, from the status and its reason."""
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
    """The connection failed or broke, or the time was up."""


class Unexpected(ClientError):
    """An answer that Tidings does not give: a web page, another service."""


class InvalidWebhook(ClientError):
    """It is not signed with the secret, is too old, or is not an event."""
