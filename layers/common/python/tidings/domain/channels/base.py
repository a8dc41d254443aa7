"""The base of every channel: the model of its content, and how its recipient is parsed, stored and shown."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from tidings.domain.channels.long_text import LongText


class StrictModel(BaseModel):
    """No coercion, no unknown field, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=True)


class Content(StrictModel):
    """The base of every channel's content. `Recipient` is the type of the request's `recipient`."""

    channel: ClassVar[str]
    label: ClassVar[str]  # for people
    Recipient: ClassVar[Any]
    example: ClassVar[Mapping[str, Any]]  # a recipient that no provider delivers to, and a content
    reconcilable: ClassVar[bool] = False  # its vendors can look up what they accepted: `on_ambiguous: reconcile`

    def check(self, recipient: Any) -> None:
        """Raise ValueError for what the vendor is known to refuse. Called only when a notification is submitted: stored
        content of an earlier release is read without it. `recipient` is of the type `Recipient`."""

    def long_texts(self) -> Sequence[LongText]:
        """Those that stand in its fields: only for fields with a `MaxLength` there may be some."""
        return ()

    @classmethod
    def stored(cls, recipient: Any) -> str:
        """The recipient as one string, as the database holds it and the list filters by it."""
        return str(recipient)

    @classmethod
    def shown(cls, stored: str) -> Any:
        """The recipient as the API shows it: the reverse of `stored`."""
        return stored

    @classmethod
    def sought(cls, text: str) -> str | None:
        """A search text in its stored form; None: not a recipient of this channel. A text in the stored form is found
        anyway."""
        try:
            return cls.stored(_adapter(cls.Recipient).validate_python(text.strip()))
        except ValidationError:
            return None

    @classmethod
    def matched(cls, stored: str) -> str:
        """The form in which suppression compares recipients: the same for all spellings of one recipient."""
        return stored

    @classmethod
    def copied_to(cls, content: str | bytes) -> Sequence[str]:  # noqa: ARG003
        """Further recipients in a stored content, such as cc and bcc."""
        return ()

    def without(self, recipients: Collection[str]) -> Self:
        """This content without these further recipients."""
        return self

    @classmethod
    def masked(cls, stored: str) -> str:  # noqa: ARG003
        """The recipient as a log may show it: recognizable to who knows it, useless to others."""
        return "***"


@cache
def _adapter(recipient: Any) -> TypeAdapter[Any]:
    return TypeAdapter(recipient)
