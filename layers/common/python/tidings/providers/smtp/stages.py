"""The steps of an SMTP dialogue, the sender and recipients of a mail, and a server's reply."""

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

_ENHANCED = {
    # At the beginning of a line, or marked as `#5.1.1` or `[5.1.1]`, but not part of an IP address.
    digit: re.compile(rf"(?:^[\s(<\[#-]*|[#\[])({digit}\.\d{{1,3}}\.\d{{1,3}})(?![.\d])", re.MULTILINE)
    for digit in "245"
}


class Stage(enum.StrEnum):
    """A step of the dialogue."""

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
    DOT = "the end of the mail"  # once the final dot is written, the server may have accepted the mail


OPENING = frozenset({Stage.CONNECT, Stage.TLS, Stage.GREETING, Stage.EHLO, Stage.STARTTLS})
AFTER_CONTENT = frozenset({Stage.BODY, Stage.DOT})


@dataclass(frozen=True, kw_only=True, slots=True)
class Parties:
    """The sender and recipients of a mail. `own_sender`: the address of our settings, not one that the caller chose."""

    sender: str = ""
    recipients: Sequence[str] = ()
    own_sender: bool = True

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.sender, *self.recipients) if self.sender else tuple(self.recipients)


NOBODY = Parties()


class Reply(NamedTuple):
    """A reply as smtplib returns it. The code -1 means a line that is no reply."""

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
        """The enhanced code, anywhere in the text. Its class is that of the reply (RFC 3463, 3)."""
        pattern = _ENHANCED.get(str(self.code)[0])
        match = pattern.search(self.words) if pattern is not None else None
        return match[1] if match else None

    @property
    def ends_an_idle_connection(self) -> bool:
        """RFC 5321, 3.8 says 421; Amazon SES says 451 4.4.2 (https://github.com/knadh/listmonk/issues/3025)."""
        idle = re.search(r"timed?[ -]?out|idle|closing", self.words.lower()) is not None
        return self.code == 421 or (400 <= self.code < 500 and (self.enhanced == "4.4.2" or idle))
