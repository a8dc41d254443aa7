"""What came back for a mail, as receipts: from a return path's mark, and what the returned mail says.

A returned mail is not signed. Its mark is sealed: only who received the mail, or carried it, knows it. So a receipt is
made only for a mail with a valid mark. A recipient can make up a bounce of the mail that he received, and of no other.
"""

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tidings.domain.receipt import PROOF_OF_FAILURE, Receipt, ReceiptKind
from tidings.providers.callbacks import CONNECTION
from tidings.providers.smtp.replies import masked
from tidings.providers.smtp.reports import Report, Returned, Sort, read
from tidings.providers.smtp.return_path import MailMark, ReturnPath, required_return_path

CODE = "bounce"  # of a failure whose report has no code


class Verdict(enum.StrEnum):
    """What became of a returned mail."""

    RECEIPT = "receipt"
    AUTO_REPLY = "auto_reply"  # dropped
    OTHER_RECIPIENT = "other_recipient"  # about a cc or bcc, or it does not say about whom: dropped
    NOTHING = "nothing"  # a report that changes nothing, such as a complaint taken back: dropped
    NO_MARK = "no_mark"  # a report without a valid return path: kept
    UNREADABLE = "unreadable"  # no report is found in it: kept


KEPT = frozenset({Verdict.NO_MARK, Verdict.UNREADABLE})


@dataclass(frozen=True, kw_only=True)
class ReturnedMail:
    """A mail that came to a return path."""

    content: bytes
    recipient: str | None = None  # of its envelope; None: not known
    at: datetime  # when it came


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A returned mail, judged. A receipt, if `verdict` is RECEIPT."""

    verdict: Verdict
    sort: Sort
    receipt: Receipt | None = None


# What counts of a mail that came to an alias with several members: if one of them has it, it was delivered.
_ORDER = (
    ReceiptKind.OPTED_OUT,
    ReceiptKind.COMPLAINED,
    ReceiptKind.DELIVERED,
    ReceiptKind.ACCEPTED,
    ReceiptKind.FAILED_SOFT,
    ReceiptKind.FAILED_HARD,
)


class SmtpReceipts:
    """Thread-safe."""

    provider = "smtp"

    def __init__(self, return_path: ReturnPath) -> None:
        self._return_path = return_path

    def takes(self, address: str) -> bool:
        """Whether mail to this address is for us."""
        return self._return_path.takes(address)

    def parse(self, mail: ReturnedMail) -> Reading:
        """Never raises for what is in the mail."""
        returned = read(mail.content)
        if returned.sort is Sort.AUTO_REPLY:
            return Reading(verdict=Verdict.AUTO_REPLY, sort=returned.sort)
        if returned.sort is Sort.UNKNOWN:
            return Reading(verdict=Verdict.UNREADABLE, sort=returned.sort)
        if not returned.reports:
            return Reading(verdict=Verdict.NOTHING, sort=returned.sort)
        mark = self._mark(mail, returned)
        if mark is None:
            return Reading(verdict=Verdict.NO_MARK, sort=returned.sort)
        report = self._about_recipient(mark, returned.reports)
        if report is None:
            return Reading(verdict=Verdict.OTHER_RECIPIENT, sort=returned.sort)
        receipt = self._receipt(mail, mark, report, returned.id)
        return Reading(verdict=Verdict.RECEIPT, sort=returned.sort, receipt=receipt)

    def _mark(self, mail: ReturnedMail, returned: Returned) -> MailMark | None:
        """From the address that it came to, else from what it says."""
        texts = [mail.recipient or "", *returned.traces]
        return next(filter(None, map(self._return_path.find, texts)), None)

    def _about_recipient(self, mark: MailMark, reports: Sequence[Report]) -> Report | None:
        """The report about the notification's own recipient. None: it is about a cc or bcc, or that is not known.

        A mail has one return path for all its recipients. If it has several, only a report that names the own one
        counts: a bounce of a cc never makes the notification undelivered. A server that forwards the mail to another
        address, and reports about that alone, is then not understood.
        """
        ours = [
            report
            for report in reports
            if any(self._return_path.is_about(mark, one) for one in report.addresses or [""])
        ]
        return min(ours, key=lambda report: _ORDER.index(report.kind), default=None)

    def _receipt(self, mail: ReturnedMail, mark: MailMark, report: Report, id: str) -> Receipt:
        failed = report.kind in PROOF_OF_FAILURE
        said = masked(report.text, report.addresses)
        return Receipt(
            provider=self.provider,
            connection=CONNECTION,
            event_id=_event_id(mark, report, id or hashlib.sha256(mail.content).hexdigest()),
            kind=report.kind,
            at=mail.at,
            notification_id=mark.notification_id,
            generation=mark.generation,
            attempt=mark.attempt,
            code=(report.code or CODE) if failed else report.code,
            message=f"the mail came back{f': {said}' if said else ''}" if failed else None,
        )


def _event_id(mark: MailMark, report: Report, id: str) -> str:
    """The same for each copy of a returned mail: a relay, or a mailbox, may hand it over again."""
    text = f"{mark.notification_id}:{mark.generation}:{mark.attempt}:{report.kind}:{report.code}:{id}"
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def from_settings() -> SmtpReceipts:
    """Raise ConfigurationError."""
    return SmtpReceipts(required_return_path())
