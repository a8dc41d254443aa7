"""Reads a mailbox of its own again and again. A mail is deleted after what it says is committed, never before.

If the process dies in between, the same mails are read again: their receipts are duplicates.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from tidings.domain.errors import StoreUnavailable
from tidings.providers.smtp.receipts import ReturnedMail
from tidings.runtime.bounces.mailbox import Mailbox, MailboxUnavailable
from tidings.runtime.bounces.mailroom import Mailroom, NotTaken

log = logging.getLogger(__name__)

PAGE = 50  # mails in a transaction: 256 KiB each at most
LONGEST_PAUSE = 300.0  # seconds, after failures


@dataclass(kw_only=True)
class Poller:
    """`open`: a new connection to the mailbox. `every`: seconds between two readings."""

    mailroom: Mailroom
    open: Callable[[], Mailbox]
    now: Callable[[], datetime]
    every: float
    read_at: datetime | None = field(default=None, init=False)  # when the mailbox was last read to its end

    def run(self, stopping: threading.Event) -> int:
        """Until `stopping`. No failure ends it. The exit code."""
        pause = self.every
        while True:
            try:
                self.read_once(stopping)
                pause = self.every
            except (MailboxUnavailable, StoreUnavailable) as error:
                log_failure(error)
                pause = min(max(1.0, pause * 2), LONGEST_PAUSE)
            if stopping.wait(pause):
                return 0

    def run_once(self, stopping: threading.Event) -> int:
        """For a schedule, which tries again by itself. The exit code: 1 if the mailbox was not read to its end."""
        try:
            self.read_once(stopping)
        except (MailboxUnavailable, StoreUnavailable) as error:
            log_failure(error)
            return 1
        return 0

    def read_once(self, stopping: threading.Event) -> None:
        """Raise MailboxUnavailable or StoreUnavailable."""
        self.read_all(stopping)
        self.read_at = self.now()
        self.mailroom.purge()

    def read_all(self, stopping: threading.Event) -> None:
        """Take what is in the mailbox. Raise MailboxUnavailable or StoreUnavailable."""
        mailbox = self.open()
        try:
            deleted = set[int]()
            while self.read_page(mailbox, deleted) and not stopping.is_set():
                pass
        finally:
            mailbox.close()

    def read_page(self, mailbox: Mailbox, deleted: set[int]) -> bool:
        """Whether there may be more. `deleted`: by earlier pages; this one adds its own."""
        uids = mailbox.waiting(PAGE)
        if not deleted.isdisjoint(uids):
            raise MailboxUnavailable("mails that were deleted are still there")  # else this would never end
        contents = {uid: mailbox.content(uid) for uid in uids}
        mails = {
            uid: ReturnedMail(content=found, at=self.now()) for uid, found in contents.items() if found is not None
        }
        if uids and not mails:
            raise MailboxUnavailable("the server gives no mail")  # that is no mail's fault
        taken = dict(zip(mails, self.mailroom.take([*mails.values()]), strict=True))
        done = [uid for uid, verdict in taken.items() if not isinstance(verdict, NotTaken)]
        if done:
            mailbox.delete(done)
            deleted.update(done)
        if left := [uid for uid in uids if uid not in set(done)]:
            mailbox.flag(left)
        return len(uids) == PAGE


def log_failure(error: Exception) -> None:
    log.warning("mailbox_not_read", extra={"error": f"{type(error).__name__}: {error}"})
