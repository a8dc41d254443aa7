"""Incoming messages with which a recipient opts out or in: STOP and START.

https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out
https://help.twilio.com/articles/223134027
"""

import re
from collections.abc import Mapping

from tidings.domain.receipt import Receipt, ReceiptKind
from tidings.ports.receipts import Callback
from tidings.providers.twilio.codes import NUMBER

SID = re.compile(r"[!-~]{1,64}")

STOP = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "END", "QUIT", "CANCEL", "REVOKE", "OPTOUT"})
START = frozenset({"START", "UNSTOP", "YES"})
"""What Twilio itself obeys: a message of this one word, in any case."""

_FROM = re.compile(rf"(?:rcs:)?({NUMBER})")
"""Twilio keeps one opt-out for RCS, SMS and MMS. `whatsapp:+1...` is another conversation, in which Tidings has no
part: a STOP there does not stop the SMS at Twilio either."""


def wish_in(form: Mapping[str, str], provider: str, callback: Callback) -> Receipt | None:
    """None: it is no incoming message, or says something else. `OptOutType` comes with Advanced Opt-Out, which knows
    the account's own keywords and languages; else the body tells. An incoming message has no time of its own."""
    if form.get("SmsStatus") != "received" or form.get("MessageStatus", "received") != "received":
        return None
    word = (form.get("OptOutType") or form.get("Body", "")).strip().upper()
    kind = ReceiptKind.OPTED_OUT if word in STOP else ReceiptKind.OPTED_IN if word in START else None
    sender, sid = _FROM.fullmatch(form.get("From", "")), form.get("MessageSid", "")
    if kind is None or sender is None or not SID.fullmatch(sid):
        return None
    return Receipt(
        provider=provider,
        connection=callback.connection,
        event_id=f"{sid}:{kind}",
        kind=kind,
        at=callback.at,
        provider_message_id=sid,
        recipient=sender[1],
    )
