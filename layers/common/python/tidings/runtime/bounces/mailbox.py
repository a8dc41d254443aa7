"""An IMAP mailbox, by the standard library."""

import imaplib
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from tidings.providers.smtp.reports import MAX_SIZE

TIMEOUT = 60.0  # seconds for an answer
SCHEMES = {"imaps": 993, "imap+starttls": 143, "imap": 143}


class MailboxUnavailable(Exception):
    """The server cannot be reached, refuses us, or says something that is not IMAP."""


class Refused(MailboxUnavailable):
    """It refused one command, and goes on."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """Where the mailbox is."""

    scheme: str
    host: str
    port: int
    user: str = field(repr=False)
    password: str = field(repr=False)
    folder: str = "INBOX"


def account(url: str) -> Account:
    """Raise ValueError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in SCHEMES or not parts.username or parts.password is None:
        raise ValueError("not imaps://, imap+starttls:// or imap:// with user:password@host[:port][/folder]")
    if not f"{unquote(parts.username)}{unquote(parts.password)}".isascii():
        raise ValueError("user and password must be ASCII")  # imaplib supports no more
    return Account(
        scheme=parts.scheme,
        host=host,
        port=port or SCHEMES[parts.scheme],
        user=unquote(parts.username),
        password=unquote(parts.password),
        folder=unquote(parts.path.strip("/")) or "INBOX",
    )


class Mailbox:
    """One connection. Its methods raise MailboxUnavailable."""

    def __init__(self, account: Account, *, ca_file: str | None = None) -> None:
        try:
            self._imap = _connected(account, ca_file)
        except (OSError, imaplib.IMAP4.error) as error:
            raise _unavailable(error) from None
        try:
            self._ask(lambda imap: imap.login(account.user, account.password))
            self._ask(lambda imap: imap.select(_quoted(account.folder)))
        except BaseException:
            self.close()
            raise

    def waiting(self, limit: int) -> Sequence[bytes]:
        """The UIDs of the oldest mails that are neither flagged nor deleted."""
        found = self._ask(lambda imap: imap.uid("SEARCH", "UNDELETED", "UNFLAGGED"))
        return b" ".join(part for part in found if isinstance(part, bytes)).split()[:limit]

    def content(self, uid: bytes) -> bytes | None:
        """The beginning of the mail, which stays unread. None: the server does not give it."""
        try:
            found = self._ask(lambda imap: imap.uid("FETCH", uid.decode(), f"(BODY.PEEK[]<0.{MAX_SIZE}>)"))
        except Refused:
            return None
        return next((part[1] for part in found if isinstance(part, tuple)), None)

    def delete(self, uids: Sequence[bytes]) -> None:
        """Delete these mails. Without UIDPLUS, also what another client has marked as deleted."""
        these = b",".join(uids).decode()
        self._ask(lambda imap: imap.uid("STORE", these, "+FLAGS.SILENT", r"(\Deleted)"))
        if "UIDPLUS" in self._imap.capabilities:
            self._ask(lambda imap: imap.uid("EXPUNGE", these))
        else:
            self._ask(lambda imap: imap.expunge())

    def flag(self, uids: Sequence[bytes]) -> None:
        """For a person to look at: they are not read again."""
        these = b",".join(uids).decode()
        self._ask(lambda imap: imap.uid("STORE", these, "+FLAGS.SILENT", r"(\Flagged)"))

    def close(self) -> None:
        with suppress(OSError, imaplib.IMAP4.error):
            self._imap.logout()
        with suppress(OSError):
            self._imap.shutdown()

    def _ask(self, command: Callable[[imaplib.IMAP4], tuple[str, Sequence[Any]]]) -> Sequence[Any]:
        try:
            answer, data = command(self._imap)
        except (OSError, imaplib.IMAP4.error) as error:
            raise _unavailable(error) from None
        if answer != "OK":
            raise Refused("the server answered NO")
        return data


def _connected(account: Account, ca_file: str | None) -> imaplib.IMAP4:
    if account.scheme == "imaps":
        context = ssl.create_default_context(cafile=ca_file)
        return imaplib.IMAP4_SSL(account.host, account.port, ssl_context=context, timeout=TIMEOUT)
    imap = imaplib.IMAP4(account.host, account.port, timeout=TIMEOUT)
    if account.scheme == "imap+starttls":
        try:
            imap.starttls(ssl.create_default_context(cafile=ca_file))
        except BaseException:
            imap.shutdown()
            raise
    return imap


def _quoted(folder: str) -> str:
    escaped = folder.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unavailable(error: Exception) -> MailboxUnavailable:
    """Only the type: the server's text may name the mailbox."""
    return MailboxUnavailable(type(error).__name__)
