"""The return path of a mail (VERP): an address that says which attempt of which notification it was sent for.

Bounces come back to it. Its local part is a mark of 52 letters, sealed, so that nobody makes up a bounce of a mail that
he has not received. Servers may change the case of letters; base32 survives that.
"""

import base64
import binascii
import hmac
import re
import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from tidings.config.settings import Settings, load
from tidings.domain.errors import ConfigurationError
from tidings.ports import SendRequest
from tidings.providers.callbacks import CallbackSettings, Mark

FEEDBACK = "feedback"
"""The local part, below a domain, for complaints: what feedback loops are registered with."""

LARGEST = 0xFFFF  # of a generation or an attempt in a mark
_FIELDS = struct.Struct(">16sHHH")  # id, generation, attempt, the hash of the recipient
_SEAL = 10  # bytes: 80 bits
_LETTERS = 52  # base32 of 32 bytes
_MARK = re.compile(rf"(?<![A-Za-z2-7])[A-Za-z2-7]{{{_LETTERS}}}(?![A-Za-z2-7])", re.ASCII)
_ANY = 0  # the mail has one recipient: whatever address a report names, it is about this one


class ReturnPathSettings(Settings):
    """Where bounces come back."""

    prefix: ClassVar[str] = "TIDINGS_SMTP_"

    return_path: Annotated[
        str | None,
        Field(
            pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,10}@)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
            r"(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$",
            max_length=200,
            description="where bounces come back: a domain of its own, like bounces.example.com, or an address whose"
            " plus addresses come to one mailbox, like bounces@example.com (at most 11 characters before the @); needs"
            " TIDINGS_RECEIPTS_SECRET; not set: the sender's address",
        ),
    ] = None
    report_deliveries: Annotated[
        bool,
        Field(description="also ask the server to report what it delivered (RFC 3461, NOTIFY=SUCCESS); few servers do"),
    ] = False


@dataclass(frozen=True, kw_only=True)
class MailMark(Mark):
    """Which attempt a mail was sent for."""

    recipient: int  # the keyed hash of the notification's recipient; _ANY: the mail has no other


@dataclass(frozen=True, kw_only=True, slots=True)
class Back:
    """Where the bounces of one mail go, and what the server is asked to report (RFC 3461)."""

    address: str
    mark: str
    notify: str

    @property
    def options(self) -> str:
        """Of MAIL. A report repeats ENVID, so that it is understood without its address, too."""
        return f" RET=HDRS ENVID={self.mark}"

    def options_for(self, recipient: str) -> str:
        """Of RCPT. A report repeats ORCPT: the recipient as we named it, also after a forward."""
        return f" NOTIFY={self.notify} ORCPT=rfc822;{_xtext(recipient)}"


def _xtext(text: str) -> str:
    """RFC 3461, 4."""
    return _NOT_XTEXT.sub(lambda found: f"+{ord(found[0]):02X}", text)


_NOT_XTEXT = re.compile(r"[^!-*,-<>-~]")


@dataclass(frozen=True, kw_only=True)
class ReturnPath:
    """Makes and reads return paths: `MARK@bounces.example.com`, or `bounces+MARK@example.com`."""

    domain: str
    secrets: Sequence[bytes]  # the present one first; return paths made with the others stay valid
    local: str = ""  # before the plus
    report_deliveries: bool = False

    def back(self, request: SendRequest, recipients: int) -> Back | None:
        """For a mail with so many recipients. None: a mark cannot hold it."""
        mark = self.mark(request, recipients)
        if mark is None:
            return None
        notify = "SUCCESS,FAILURE,DELAY" if self.report_deliveries else "FAILURE,DELAY"
        return Back(address=self.address(mark), mark=mark, notify=notify)

    def mark(self, request: SendRequest, recipients: int) -> str | None:
        if not (0 <= request.generation <= LARGEST and 0 <= request.attempt <= LARGEST):
            return None
        try:
            id = uuid.UUID(request.id).bytes
        except ValueError:
            return None
        secret = self.secrets[0]
        recipient = _hash(secret, request.recipient) if recipients > 1 else _ANY
        named = _FIELDS.pack(id, request.generation, request.attempt, recipient)
        return base64.b32encode(named + _seal(secret, named)).decode().rstrip("=").lower()

    def address(self, mark: str) -> str:
        return f"{self.local}+{mark}@{self.domain}" if self.local else f"{mark}@{self.domain}"

    def takes(self, address: str) -> bool:
        """Whether mail to this address is ours: a return path, or the address for complaints."""
        local, _, domain = address.rpartition("@")
        if domain.lower() != self.domain.lower():
            return False
        before, plus, after = local.lower().rpartition("+")
        if self.local:
            is_ours = before == self.local.lower() and plus == "+" and _MARK.fullmatch(after) is not None
            return is_ours or local.lower() == self.local.lower()
        return _MARK.fullmatch(local) is not None or local.lower() == FEEDBACK

    def find(self, text: str) -> MailMark | None:
        """The first valid mark in a header or an address."""
        return next(filter(None, map(self.read, _MARK.findall(text)[:10])), None)

    def read(self, mark: str) -> MailMark | None:
        """None: it is malformed, or sealed with another secret."""
        try:
            raw = base64.b32decode(mark.upper() + "=" * (-len(mark) % 8))
        except (binascii.Error, ValueError):
            return None
        named, seal = raw[: _FIELDS.size], raw[_FIELDS.size :]
        if len(raw) != _FIELDS.size + _SEAL:
            return None
        if not any(hmac.compare_digest(seal, _seal(secret, named)) for secret in self.secrets):
            return None
        id, generation, attempt, recipient = _FIELDS.unpack(named)
        return MailMark(
            notification_id=str(uuid.UUID(bytes=id)), generation=generation, attempt=attempt, recipient=recipient
        )

    def is_about(self, mark: MailMark, address: str) -> bool:
        """Whether a report about this address is about the notification's recipient, not about a cc or bcc."""
        return mark.recipient == _ANY or mark.recipient in {_hash(secret, address) for secret in self.secrets}


def _hash(secret: bytes, address: str) -> int:
    """1 to 65535."""
    return int.from_bytes(_hmac(secret, "recipient", address.strip().lower().encode())[:4], "big") % LARGEST + 1


def _seal(secret: bytes, named: bytes) -> bytes:
    return _hmac(secret, "return-path", named)[:_SEAL]


def _hmac(secret: bytes, use: str, data: bytes) -> bytes:
    """`use` separates these from the marks in callback addresses, which have the same secret."""
    return hmac.digest(secret, use.encode() + b"\0" + data, "sha256")


def return_path() -> ReturnPath | None:
    """None: bounces go to the sender's address. Raise ConfigurationError."""
    settings = load(ReturnPathSettings)
    if settings.return_path is None:
        return None
    given = load(CallbackSettings)
    if given.receipts_secret is None:
        raise ConfigurationError("TIDINGS_RECEIPTS_SECRET: is not set, and TIDINGS_SMTP_RETURN_PATH needs it")
    local, _, domain = settings.return_path.rpartition("@")
    return ReturnPath(domain=domain, local=local, secrets=given.secrets, report_deliveries=settings.report_deliveries)


def required_return_path() -> ReturnPath:
    """For what reads bounces. Raise ConfigurationError."""
    if (found := return_path()) is None:
        raise ConfigurationError("TIDINGS_SMTP_RETURN_PATH: is not set (a domain like bounces.example.com)")
    return found
