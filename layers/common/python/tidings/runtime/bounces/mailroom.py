"""Returned mails: read, and what they say committed. Shared by the listener and the poller."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tidings.domain.errors import StoreUnavailable, fault_location
from tidings.domain.stopwatch import Elapsed, Stopwatch
from tidings.observability.events import MailsReturned
from tidings.observability.observers import LOG_ONLY, Observers
from tidings.pipeline.receipts import Receipts
from tidings.ports.returned_mails import KeptMail, ReturnedMails
from tidings.providers.smtp.receipts import KEPT, Reading, ReturnedMail, SmtpReceipts, Verdict

log = logging.getLogger(__name__)

FAILED = "failed"
"""The verdict on a mail that cannot be recorded, in the metrics."""


class NotTaken(Exception):
    """This mail cannot be recorded, though the database answers."""


@dataclass(frozen=True, kw_only=True)
class Mailroom:
    """Thread-safe."""

    parser: SmtpReceipts
    receipts: Receipts
    kept: ReturnedMails
    observers: Observers = LOG_ONLY

    def takes(self, address: str) -> bool:
        """Whether mail to this address is for us."""
        return self.parser.takes(address)

    def take(self, mails: Sequence[ReturnedMail]) -> Sequence[Verdict | NotTaken]:
        """Commit what they say; the same mail again is harmless. One that cannot be recorded does not hold up the
        others. Raise StoreUnavailable."""
        readings = [self.parser.parse(mail) for mail in mails]
        return self._commit(list(zip(mails, readings, strict=True)))

    def purge(self) -> None:
        """Delete what was kept for long enough. Raise StoreUnavailable."""
        self.kept.purge()

    def _commit(self, read: Sequence[tuple[ReturnedMail, Reading]]) -> Sequence[Verdict | NotTaken]:
        """All together; if that fails, each half alone, until the one is found that fails."""
        try:
            self._record(read)
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(read) == 1:
                # Without the error's text, which may quote the mail.
                log.error("returned_mail_failed", extra={"error": type(error).__name__, "where": fault_location(error)})
                self._tell(Counter({(FAILED, read[0][1].sort.value): 1}), None)
                return [NotTaken()]
            middle = len(read) // 2
            return [*self._commit(read[:middle]), *self._commit(read[middle:])]
        return [reading.verdict for _, reading in read]

    def _record(self, read: Sequence[tuple[ReturnedMail, Reading]]) -> None:
        stopwatch = Stopwatch()
        receipts = [reading.receipt for _, reading in read if reading.receipt is not None]
        if receipts:
            self.receipts.record(receipts)
        kept = [
            KeptMail(verdict=reading.verdict, content=mail.content) for mail, reading in read if reading.verdict in KEPT
        ]
        if kept:
            self.kept.keep(kept)
        self._tell(Counter((reading.verdict.value, reading.sort.value) for _, reading in read), stopwatch.elapsed())

    def _tell(self, counts: Counter[tuple[str, str]], elapsed: Elapsed | None) -> None:
        # Each verdict from 0 on: Prometheus sees no increase in a series that starts at 1.
        verdicts = dict.fromkeys([(verdict, "") for verdict in (*(one.value for one in Verdict), FAILED)], 0)
        self.observers.emit(MailsReturned(counts={**verdicts, **counts}, elapsed=elapsed))
