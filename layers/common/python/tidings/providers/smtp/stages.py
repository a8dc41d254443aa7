"""The steps of a conversation with an SMTP server, between whom a mail goes, and what a reply is made of."""

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

_ENHANCED = {
    # At the beginning of any line, or marked as `#5.1.1` or `[5.1.1]`; never a part of an IP address.
    digit: re.compile(rf"(?:^[\s(<\[#-]*|[#\[])({digit}\.\d{{1,3}}\.\d{{1,3}})(?![.\d])", re.MULTILINE)
    for digit in "245"
}


class Stage(enum.StrEnum):
    """How far the conversation had come."""

    CONNECT = "connecting"  # TCP
    TLS = "TLS"  # the handshake, of a new connection or after STARTTLS
    GREETING = "greeting"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BODY = "the body"
    DOT = "the end of the mail"  # from the first byte of the final dot on, the server may have taken it


OPENING = frozenset({Stage.CONNECT, Stage.TLS, Stage.GREETING, Stage.EHLO, Stage.STARTTLS})
AFTER_CONTENT = frozenset({Stage.BODY, Stage.DOT})


@dataclass(frozen=True, kw_only=True, slots=True)
class Parties:
    """Between whom a mail goes. `own_sender`: from the address of our settings, not from one that the caller chose."""

    sender: str = ""
    recipients: Sequence[str] = ()
    own_sender: bool = True

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.sender, *self.recipients) if self.sender else tuple(self.recipients)


NOBODY = Parties()


class Reply(NamedTuple):
    """A reply as smtplib gives it; -1 is a line that is no reply."""

    code: int
    text: bytes

    @property
    def accepted(self) -> bool:
        return 200 <= self.code < 300

    @property
    def words(self) -> str:
        return self.text.decode("utf-8", "replace")

    @property
    def enhanced(self) -> str | None:
        """The enhanced code, wherever it stands; its class is the reply's (RFC 3463, 3)."""
        pattern = _ENHANCED.get(str(self.code)[0])
        match = pattern.search(self.words) if pattern is not None else None
        return match[1] if match else None

    @property
    def ends_an_idle_connection(self) -> bool:
        """RFC 5321, 3.8 says 421; Amazon SES says 451 4.4.2 (https://github.com/knadh/listmonk/issues/3025)."""
        idle = re.search(r"timed?[ -]?out|idle|closing", self.words.lower()) is not None
        return self.code == 421 or (400 <= self.code < 500 and (self.enhanced == "4.4.2" or idle))
