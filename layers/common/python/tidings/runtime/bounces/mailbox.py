"""An IMAP mailbox, by imapclient."""

import logging
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from imapclient import DELETED, FLAGGED, IMAPClient
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError

from tidings.providers.smtp.reports import MAX_SIZE

TIMEOUT = 60.0  # seconds for an answer
WINDOW = 10_000  # mails that one search looks at: imaplib, below imapclient, gives up at a line of 1,000,000 bytes
SCHEMES = {"imaps": 993, "imap+starttls": 143, "imap": 143}


Answer = TypeVar("Answer")


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
        raise ValueError("user and password must be ASCII")  # LOGIN takes no more (RFC 3501, 6.2.3)
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
        logging.getLogger("imapclient").setLevel(logging.WARNING)  # it logs the user, and each connection that ends
        self._folder = account.folder
        self._imap = _asked(lambda: _connected(account, ca_file))
        try:
            _asked(lambda: self._imap.login(account.user, account.password))
        except BaseException:
            self.close()
            raise

    def waiting(self, limit: int) -> Sequence[int]:
        """The UIDs of the oldest mails that are neither flagged nor deleted."""
        last = _asked(lambda: int(self._imap.select_folder(self._folder)[b"EXISTS"]))
        for first in range(1, last + 1, WINDOW):
            window = f"{first}:{min(first + WINDOW - 1, last)}"
            if found := _asked(partial(self._imap.search, [window, "UNDELETED", "UNFLAGGED"])):
                return sorted(map(int, found))[:limit]
        return []

    def content(self, uid: int) -> bytes | None:
        """The beginning of the mail, which stays unread. None: the server does not give it."""
        try:
            found = _asked(lambda: self._imap.fetch([uid], [f"BODY.PEEK[]<0.{MAX_SIZE}>"]))
        except Refused:
            return None
        values = found.get(uid, {}).items()
        return next((value for name, value in values if name.startswith(b"BODY[]") and isinstance(value, bytes)), None)

    def delete(self, uids: Sequence[int]) -> None:
        """Delete these mails. Without UIDPLUS, also what another client has marked as deleted."""
        _asked(lambda: self._imap.add_flags(uids, [DELETED], silent=True))
        if _asked(lambda: self._imap.has_capability("UIDPLUS")):
            _asked(lambda: self._imap.uid_expunge(uids))
        else:
            _asked(self._imap.expunge)

    def flag(self, uids: Sequence[int]) -> None:
        """For a person to look at: they are not read again."""
        _asked(lambda: self._imap.add_flags(uids, [FLAGGED], silent=True))

    def close(self) -> None:
        with suppress(OSError, IMAPClientError):
            self._imap.logout()
        with suppress(OSError):
            self._imap.shutdown()


def _asked(command: Callable[[], Answer]) -> Answer:
    """Raise MailboxUnavailable."""
    try:
        return command()
    except IMAPClientAbortError as error:
        raise _unavailable(error) from None
    except IMAPClientError as error:
        raise Refused(type(error).__name__) from None
    except Exception as error:
        # OSError, and whatever the parser raises about an answer that is not IMAP.
        raise _unavailable(error) from None


def _connected(account: Account, ca_file: str | None) -> IMAPClient:
    context = ssl.create_default_context(cafile=ca_file)
    if account.scheme == "imaps":
        return IMAPClient(account.host, account.port, ssl_context=context, timeout=TIMEOUT)
    imap = IMAPClient(account.host, account.port, ssl=False, timeout=TIMEOUT)
    if account.scheme == "imap+starttls":
        try:
            imap.starttls(context)
        except BaseException:
            imap.shutdown()
            raise
    return imap


def _unavailable(error: Exception) -> MailboxUnavailable:
    """Only the type: the server's text may name the mailbox."""
    return MailboxUnavailable(type(error).__name__)
