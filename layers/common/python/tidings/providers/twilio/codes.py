"""Twilio's codes: what each means for us. Its page is https://www.twilio.com/docs/api/errors/CODE.

The list is never complete: in 2024 Twilio split 21211, 21212, 21606 and 21614 into codes of their own, and advises
against a closed list. So an unknown code is classified by its family, then by the HTTP status.
https://www.twilio.com/en-us/changelog/updates-to-the-error-code-dictionary-to-clarify-number-validatio
"""

import re
from dataclasses import dataclass

from tidings.domain.errors import AccountError, AmbiguousError, DeliveryError, PermanentError, TransientError

NUMBER = r"\+[1-9][0-9]{1,14}"
SERVICE = "MG[0-9a-fA-F]{32}"
"""A messaging service's SID."""

OPTED_OUT = 21610

KINDS: dict[int, type[DeliveryError]] = {
    # The account and its credentials; the account's daily cap.
    **dict.fromkeys((10001, 10002, 20003, 20005, 20006, 20008, 20010, 20011, 30002, 63038, 70051), AccountError),
    # The sender, a number or a name: invalid, not ours, cannot send, not registered.
    **dict.fromkeys((21212, 21264, 21267, 21601, 21603, 21606, 21607, 21616, 21659, 21660, 21661), AccountError),
    **dict.fromkeys((21910, 30032, 30033, 30034, 30035, 63007), AccountError),
    # The sender, a messaging service; and its status callback, which every message has.
    **dict.fromkeys((21609, 21626, 21701, 21702, 21704, 21705), AccountError),
    # The recipient: no valid number, cannot receive SMS, opted out, country not enabled, no route.
    **dict.fromkeys((21211, 21214, 21217, 21265, 21266, 21268, 21408, 21604, OPTED_OUT), PermanentError),
    **dict.fromkeys((21612, 21614, 21635, 30004, 30005, 30006), PermanentError),
    # The content.
    **dict.fromkeys((21602, 21605, 21617, 21618, 21619, 21658, 30007, 30019), PermanentError),
    # This recipient or us: a trial account, a carrier's cap, a sender that is not registered in this country.
    **dict.fromkeys((21608, 21657, 21703, 30018, 30023, 30024, 30027, 30042), TransientError),
    # Rate limits and temporary faults; proven not sent.
    **dict.fromkeys((21611, 21730, 30001, 30003, 30008, 30017, 30022, 30450, 30500), TransientError),
    **dict.fromkeys((63017, 63018, 70005), TransientError),
    # Twilio gave up on a carrier that may have accepted it.
    30410: AmbiguousError,
}

SUPPRESS: dict[int, str] = {
    OPTED_OUT: "opted_out",
    # The number does not exist any more, or is a landline: for 90 days, as it may be assigned again.
    30005: "hard_bounce",
    30006: "hard_bounce",
}
"""Codes that say that this recipient can take nothing more, and why. Never a blocked message (30004), a filtered
content (30007) or an unreachable handset (30003): the next message may arrive. Nor 21614: a person corrects that."""

FAMILIES: dict[str, type[DeliveryError]] = {
    "201xx": AccountError,  # access tokens
    "217xx": AccountError,  # messaging services
    "572xxx": TransientError,  # what a trial account may send and to which recipients
}
"""By the first three digits. 204xx and 205xx are 20000 plus an HTTP status, with its meaning."""

MAY_BE_ACCOUNT = {21608, 21657, 21703, 30018, 30023, 30024, 30027, 30042, "572xxx"}
"""Transient codes whose pages name the recipient, and also a property of our account that may affect others."""

BY_COUNTRY = {21606, 21659}
"""Our account, unless the sender is a short code or a name: those reach some countries only, so it may be the
recipient."""

ACCOUNT_STATUSES = {401, 402, 403, 404, 405, 407, 410, 426}
"""Credentials, permissions, the path, or a proxy that refuses us."""

TRANSIENT_STATUSES = {408, 409, 421, 425, 429, 499}

_ABOUT_SENDER = re.compile(r"'From'|MessagingServiceSid|Messaging Service|Sender ID", re.IGNORECASE)
_ABOUT_RECIPIENT = re.compile(r"'To'")


@dataclass(frozen=True)
class Verdict:
    kind: type[DeliveryError]
    may_be_account: bool = False
    suppress: str | None = None  # see `SUPPRESS`


def verdict(code: int | None, status: int | None, *, text: str, sender: str) -> Verdict:
    """By the table, the family, then the HTTP status. For an unknown code, also by whether its text is about our
    sender.

    `status` is None for a message that was created and then failed. An unknown code is then transient.
    """
    kind = _known(code)
    if kind is None and status == 400 and _ABOUT_SENDER.search(text) and not _ABOUT_RECIPIENT.search(text):
        return _of_sender(sender)
    if kind is None:
        return Verdict(kind_of_status(status) if status is not None else TransientError)
    if code in BY_COUNTRY:
        return _of_sender(sender)
    may_be_account = code in MAY_BE_ACCOUNT or _family(code) in MAY_BE_ACCOUNT
    return Verdict(kind, may_be_account=may_be_account, suppress=SUPPRESS.get(code) if code is not None else None)


def kind_of_status(status: int) -> type[DeliveryError]:
    if status in ACCOUNT_STATUSES:
        return AccountError
    if status in TRANSIENT_STATUSES:
        return TransientError
    if 400 <= status < 500:
        return PermanentError
    return AmbiguousError  # 5xx, or a redirect, which is not followed


def _known(code: int | None) -> type[DeliveryError] | None:
    if code is None:
        return None
    if 20400 <= code < 20600:
        return kind_of_status(code - 20000)
    return KINDS.get(code) or FAMILIES.get(_family(code))


def _family(code: int | None) -> str:
    """For 21703: 217xx."""
    digits = str(code)
    return digits[:3] + "x" * (len(digits) - 3)


def _of_sender(sender: str) -> Verdict:
    if re.fullmatch(f"{NUMBER}|{SERVICE}", sender):
        return Verdict(AccountError)
    return Verdict(TransientError, may_be_account=True)
