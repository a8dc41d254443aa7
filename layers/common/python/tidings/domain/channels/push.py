"""Push: a message to a device or to a topic's subscribers."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from tidings.domain.channels.base import Content, StrictModel


class PushRecipient(StrictModel):
    """A device by its registration token, or a topic's subscribers."""

    token: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_:.-]{1,480}$")] | None = None
    topic: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.~%-]{1,480}$")] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.token is None) == (self.topic is None):
            raise ValueError("give either token or topic")
        return self


def _data_key(value: str) -> str:
    # https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages#Message.FIELDS.data
    if value in ("from", "message_type") or value.startswith(("google.", "gcm.")):
        raise ValueError(f"the key {value} is reserved by FCM; choose another")
    return value


_PUSH_LIMITS = {"token": 4096, "topic": 2048}
"""Bytes of keys and values: https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode (Message too big)"""
_PUSH_OVERHEAD = 45
"""Bytes that FCM adds: users measured that one data field may have 4,051 of 4,096."""
_SHOWN_PREFIX = len("gcm.notification.")
"""FCM adds it to each displayed field: https://stackoverflow.com/questions/31264206"""
_TAG = {"tag": "0" * 36}  # the notification's id: a second copy replaces the first on the device


def _bytes(fields: Mapping[str, str]) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in fields.items())


class PushContent(Content):
    """A message to a device, of at most 4,051 bytes, or to a topic, of at most 2,003: keys and values together."""

    channel: ClassVar[str] = "push"
    label: ClassVar[str] = "Push"
    Recipient: ClassVar[Any] = PushRecipient
    example: ClassVar[Mapping[str, Any]] = {
        "recipient": {"token": "device-1"},
        "content": {"title": "Shipped", "body": "Your order 4711 is on its way.", "data": {"order": "4711"}},
    }

    title: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    body: Annotated[str, StringConstraints(max_length=4096)] | None = None
    data: dict[
        Annotated[str, StringConstraints(max_length=4096), AfterValidator(_data_key)],
        Annotated[str, StringConstraints(max_length=4096)],
    ] = Field(default_factory=dict)
    image: Annotated[str, StringConstraints(pattern=r"^https://\S+$", max_length=2048)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.title is None and self.body is None and not self.data:
            raise ValueError("give title, body, or data")
        return self

    def check(self, recipient: Any) -> None:
        for key in self.data:
            if key == "notification" or key.startswith(("google", "gcm")):
                raise ValueError(f"the data key {key[:64]} is reserved by FCM; choose another")
        kind = "token" if recipient.token is not None else "topic"
        size, most = self._size_at_fcm(), _PUSH_LIMITS[kind] - _PUSH_OVERHEAD
        if size > most:
            raise ValueError(f"the message has {size} bytes as FCM counts; at most {most} for a {kind}")

    def fits(self, kind: str) -> bool:
        return self._size_at_fcm() <= _PUSH_LIMITS[kind] - _PUSH_OVERHEAD

    def _size_at_fcm(self) -> int:
        fields = {"title": self.title, "body": self.body, "image": self.image}
        shown = {name: value for name, value in fields.items() if value is not None}
        if shown:
            shown |= _TAG
        return _bytes(self.data) + _bytes(shown) + len(shown) * _SHOWN_PREFIX

    @classmethod
    def stored(cls, recipient: Any) -> str:
        return f"token:{recipient.token}" if recipient.token is not None else f"topic:{recipient.topic}"

    @classmethod
    def shown(cls, stored: str) -> Any:
        kind, _, value = stored.partition(":")
        return {kind: value}

    @classmethod
    def masked(cls, stored: str) -> str:
        """By its kind and its last four characters, as `token:***3f9c`; a short one shows nothing."""
        kind, _, value = stored.partition(":")
        if kind not in ("token", "topic"):
            return super().masked(stored)
        return f"{kind}:***{value[-4:] if len(value) >= 12 else ''}"
