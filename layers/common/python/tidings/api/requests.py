"""Requests that submit notifications: a model for each channel, made from its content class."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    Strict,
    StringConstraints,
    create_model,
    field_validator,
)
from pydantic_core import from_json, to_json

from tidings.api.problems import Problem
from tidings.api.validation_problems import NOT_VALID, entry, has_passed
from tidings.domain.category import Category
from tidings.domain.channels import CHANNELS, Content, StrictModel
from tidings.domain.channels.long_text import LongText
from tidings.domain.fairness import give_way
from tidings.domain.notification import Notification, OnAmbiguous, Priority, new_id

LONGEST_WAIT = timedelta(days=366)  # how far ahead send_at and expires_at may lie
LARGE_CONTENT = 64 * 1024  # characters
MAX_METADATA_BYTES = 60_000  # as JSON; MySQL's TEXT holds 65,535


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("out of range") from None


def _written(value: object) -> str:
    """pydantic reads digits, even in a string, as seconds since 1970. No caller means that."""
    if not isinstance(value, str) or value.lstrip("+-").replace(".", "", 1).isdigit():
        raise ValueError("must be an RFC 3339 timestamp, like 2026-05-01T12:00:00Z")
    return value


def _on_ambiguous(value: str) -> OnAmbiguous:
    """Not the class itself: from Python 3.12 on, pydantic takes its signature for a validator's with more arguments."""
    return OnAmbiguous(value)


Instant = Annotated[AwareDatetime, Strict(False), BeforeValidator(_written), AfterValidator(_utc)]
IdempotencyKey = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?$")]


class Submission(StrictModel):
    """One notification, as it is submitted."""

    channel: str
    recipient: Any
    content: Content
    send_at: Annotated[Instant | None, Field(description="Not before this; at once if not given or in the past")] = None
    expires_at: Annotated[
        Instant | None, Field(description="Not after this: then the status is expired. One that has passed is refused")
    ] = None
    priority: Annotated[Priority, Field(description="`high` passes everything that is `normal`")] = Priority.NORMAL
    on_ambiguous: Annotated[
        OnAmbiguous,
        Field(
            description="When a provider may have accepted: `resend` (at least once), `hold` (at most once), or for SMS"
            " `reconcile` (ask the provider first)"
        ),
    ] = OnAmbiguous.RESEND
    max_attempts: Annotated[
        int, Field(ge=1, le=20, description="Then it is a dead letter; ten attempts take a good four hours")
    ] = 10
    metadata: Annotated[
        dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=1024)]],
        Field(default_factory=dict, max_length=32, description="Yours; given back as it came, never sent"),
    ]
    ignore_suppression: Annotated[
        bool, Field(description="Send although recipients are suppressed; needs a key with the scope `admin`")
    ] = False
    category: Annotated[
        Category | None,
        Field(
            description="What it is about, like `newsletter`: recipients who opted out of it get nothing of it, and a"
            " mail has a link to unsubscribe from it"
        ),
    ] = None
    critical: Annotated[
        bool, Field(description="Send although recipients opted out of its `category`; all else suppresses")
    ] = False
    idempotency_key: Annotated[IdempotencyKey | None, Field(description="In an array, in place of the header")] = None

    @field_validator("metadata")
    @classmethod
    def _fits(cls, value: dict[str, str]) -> dict[str, str]:
        if len(to_json(value)) > MAX_METADATA_BYTES:
            raise ValueError(f"is over {MAX_METADATA_BYTES} bytes together")
        return value

    def notification(self, *, tenant: str, now: datetime, traceparent: str | None) -> Notification:
        """The row for this submission."""
        content_class = type(self.content)
        return Notification(
            id=new_id(now),
            tenant=tenant,
            channel=self.channel,
            recipient=content_class.stored(self.recipient),
            content=_whole(
                self.content.model_dump_json(by_alias=True, exclude_defaults=True), self.content.long_texts()
            ),
            priority=self.priority,
            on_ambiguous=self.on_ambiguous,
            max_attempts=self.max_attempts,
            metadata=to_json(self.metadata).decode() if self.metadata else None,
            ignore_suppression=self.ignore_suppression or None,
            category=self.category,
            critical=self.critical or None,
            send_at=self.send_at,
            expires_at=self.expires_at,
            next_attempt_at=self.send_at,  # whether that is now, the database's clock says at the claim
            traceparent=traceparent,
            idempotency_hash=_hash(f"{tenant}\0{self.idempotency_key}") if self.idempotency_key is not None else None,
            fingerprint=self._fingerprint() if self.idempotency_key is not None else None,
            created_at=now,
            updated_at=now,
        )

    def _fingerprint(self) -> str:
        """The same for the same payload, whatever the order of its keys. A release that knows one field more must
        compute the same, or a repeated request would be refused in the middle of an update."""
        payload = self.model_dump_json(exclude={"idempotency_key"}, exclude_defaults=True)
        is_sorted = any(
            isinstance(value, dict) and len(value) > 1 for value in (self.metadata, *vars(self.content).values())
        )
        if is_sorted:
            payload = json.dumps(json.loads(payload), sort_keys=True)  # only these keep the caller's order
        digest = hashlib.sha256()
        for piece in _pieces(payload, self.content.long_texts(), _all_escaped if is_sorted else bytes):
            digest.update(piece)
        return digest.hexdigest()


def _whole(content: str, texts: Sequence[LongText]) -> str | bytes:
    """The JSON with its long texts in it, as pydantic would have written it. A large one is bytes, which the database's
    drivers are given in pieces."""
    if not texts:
        return content if len(content) <= LARGE_CONTENT else content.encode()
    whole = BytesIO()  # it does not copy what it has when it is read at the end
    for piece in _pieces(content, texts, bytes):
        whole.write(piece)
    return whole.getvalue()


def _pieces(json_text: str, texts: Sequence[LongText], written: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """The JSON, with the pieces of each long text, `written` so, in place of its name."""
    by_name = {str(text): text for text in texts}
    for part in re.split(f"({'|'.join(by_name)})", json_text) if texts else (json_text,):
        if part in by_name:
            for piece in by_name[part].pieces():
                give_way()
                yield written(piece)
        else:
            yield part.encode()


def _all_escaped(piece: bytes) -> bytes:
    """As `json.dumps` writes it: in ASCII."""
    return json.dumps(from_json(b'"%b"' % piece))[1:-1].encode()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _for_channel(content: type[Content]) -> type[Submission]:
    fields: dict[str, Any] = {
        "channel": (Literal[content.channel], ...),
        "recipient": (content.Recipient, ...),
        "content": (content, ...),
    }
    if not content.reconcilable:
        words: Any = Annotated[Literal["resend", "hold"], AfterValidator(_on_ambiguous)]
        fields["on_ambiguous"] = (words, Submission.model_fields["on_ambiguous"])
    name = f"{content.channel.capitalize()}Notification"
    return create_model(name, __base__=Submission, __doc__=content.__doc__, **fields)


SUBMISSIONS: dict[str, type[Submission]] = {name: _for_channel(content) for name, content in CHANNELS.items()}


def check_submission(submission: Submission, now: datetime, *, index: int | None = None) -> Problem | None:
    """Checks that need several fields: whether the vendor accepts this content for this recipient, the order of the
    times, and how far ahead they lie. A send_at in the past means at once. An expires_at in the past is refused by
    `Intake`, because a request may be repeated after its expiry."""
    wrong = []
    try:
        submission.content.check(submission.recipient)
    except ValueError as error:
        wrong.append(entry(("content",), str(error), index))
    if submission.critical and submission.category is None:
        wrong.append(entry(("critical",), "needs a category: it passes opt-outs of that category only", index))
    send_at, expires_at = submission.send_at, submission.expires_at
    if expires_at is not None and send_at is not None and expires_at <= send_at:
        wrong.append(entry(("expires_at",), "must be after send_at", index))
    for name, at in (("send_at", send_at), ("expires_at", expires_at)):
        if at is not None and at > now + LONGEST_WAIT:
            wrong.append(too_far_ahead(name, index))
    return Problem(422, NOT_VALID, errors=wrong) if wrong else None


def too_far_ahead(name: str, index: int | None = None) -> dict[str, Any]:
    return entry((name,), f"lies more than {LONGEST_WAIT.days} days ahead", index)


def check_new_expiry(expires_at: datetime, now: datetime, *, title: str) -> None:
    """Check the new expiry of a replay or a decision. Raise Problem."""
    if expires_at <= now:
        raise Problem(422, title, errors=[has_passed(now)])
    if expires_at > now + LONGEST_WAIT:
        raise Problem(422, title, errors=[too_far_ahead("expires_at")])
