"""Twilio's status callbacks. https://www.twilio.com/docs/messaging/guides/track-outbound-message-status

They come in any order and more than once. This module does not load Twilio's SDK.
"""

import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, urlsplit

from tidings.config.rotation import Rotation
from tidings.config.settings import has_any, load
from tidings.domain.errors import PermanentError
from tidings.domain.receipt import Receipt, ReceiptKind
from tidings.ports.receipts import Callback, WrongSignature
from tidings.providers.callbacks import CallbackAddresses, required_callback_addresses
from tidings.providers.twilio.codes import verdict
from tidings.providers.twilio.incoming import SID, wish_in
from tidings.providers.twilio.settings import TwilioCredentials

SIGNATURE = "x-twilio-signature"
RETRIES = "#rc=5&rp=all"
"""Ends the callback address: Twilio tries five more times, also after a 503.
https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides"""
MAX_FIELDS = 200  # a callback has about 20

_ON_THE_WAY = ("accepted", "scheduled", "queued", "sending", "sent")
_KINDS = {
    **dict.fromkeys(_ON_THE_WAY, ReceiptKind.ACCEPTED),
    **dict.fromkeys(("delivered", "read"), ReceiptKind.DELIVERED),
    "canceled": ReceiptKind.FAILED_SOFT,
}
_FAILED = ("undelivered", "failed")
_CODE = re.compile(r"\d{1,6}", re.ASCII)


class TwilioReceipts:
    """ReceiptParser."""

    provider = "twilio"

    def __init__(self, credentials: TwilioCredentials, addresses: CallbackAddresses) -> None:
        self._rotation = Rotation(credentials)
        self._addresses = addresses
        self._bases = _same(addresses.base)

    def parse(self, callback: Callback) -> Sequence[Receipt]:
        """A status of a message, or an incoming message with which a recipient opts out or in. New statuses, and all
        other incoming messages, give nothing. Raise WrongSignature."""
        form = _fields(callback.body)
        path = self._addresses.url(self.provider, callback.connection, callback.mark).removeprefix(self._addresses.base)
        fields, given = signed_fields(form), callback.headers.get(SIGNATURE, "")

        def verify(credentials: TwilioCredentials) -> None:
            tokens = [token for token in (credentials.auth_token, credentials.previous_auth_token) if token is not None]
            texts = (f"{base}{path}{end}{fields}" for end in ("", RETRIES) for base in self._bases)
            expected = (signature(token, text) for text in texts for token in tokens)
            if not any(hmac.compare_digest(given.encode(), one.encode()) for one in expected):
                raise WrongSignature

        if not given:
            raise WrongSignature
        self._rotation.connect(verify, is_refusal=lambda error: isinstance(error, WrongSignature))
        last = {name: values[-1] for name, values in form.items()}
        found = wish_in(last, self.provider, callback)
        return [found] if found is not None else self._receipts(callback, last)

    def _receipts(self, callback: Callback, form: Mapping[str, str]) -> Sequence[Receipt]:
        sid, status, code = form.get("MessageSid", ""), form.get("MessageStatus", ""), form.get("ErrorCode", "")
        kind, suppress = kind_of(status, code)
        if kind is None or not SID.fullmatch(sid):
            return []
        mark = self._addresses.read(self.provider, callback.mark)
        failed = kind in (ReceiptKind.FAILED_SOFT, ReceiptKind.FAILED_HARD)
        return [
            Receipt(
                provider=self.provider,
                connection=callback.connection,
                event_id=f"{sid}:{status}",
                kind=kind,
                at=callback.at,  # a callback has no time of its own
                provider_message_id=sid,
                notification_id=mark.notification_id if mark is not None else None,
                generation=mark.generation if mark is not None else None,
                attempt=mark.attempt if mark is not None else None,
                code=(code if _CODE.fullmatch(code) else status) if failed else None,
                message=f"Twilio reports the message as {status}" if failed else None,
                suppress=suppress,
            )
        ]


def from_settings() -> TwilioReceipts | None:
    """None: no setting of Twilio's is there. Raise ConfigurationError."""
    if not has_any(TwilioCredentials):
        return None
    return TwilioReceipts(load(TwilioCredentials), required_callback_addresses())


def signature(token: str, text: str) -> str:
    """`text`: the URL, and the fields as `signed_fields` has them.

    https://www.twilio.com/docs/usage/security#validating-requests
    """
    return base64.b64encode(hmac.digest(token.encode(), text.encode(), "sha1")).decode()


def signed_fields(form: Mapping[str, Sequence[str]]) -> str:
    return "".join(name + value for name in sorted(form) for value in sorted({*form[name]}))


def _fields(body: bytes) -> Mapping[str, Sequence[str]]:
    """What is signed: names and values. Raise WrongSignature if the body has none."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise WrongSignature from None
    form: dict[str, list[str]] = {}
    for name, value in pairs:
        form.setdefault(name, []).append(value)
    return form


def _same(base: str) -> Sequence[str]:
    """Twilio signs some URLs with the scheme's usual port, and some without. The fragment is not part of what its page
    says is signed; a signature over it proves the same."""
    parts = urlsplit(base)
    host, usual = parts.hostname or "", {"https": 443, "http": 80}[parts.scheme]
    ports = [parts.netloc] if parts.port not in (None, usual) else [host, f"{host}:{usual}"]
    return [parts._replace(netloc=netloc).geturl() for netloc in ports]


def kind_of(status: str, code: str) -> tuple[ReceiptKind | None, str | None]:
    """What a status of a message means. None: nothing about one that we sent, or a new one. And why the recipient can
    take nothing more, if it says so."""
    if status not in _FAILED:
        return _KINDS.get(status), None
    found = verdict(int(code) if _CODE.fullmatch(code) else None, None, text="", sender="")
    hard = issubclass(found.kind, PermanentError)
    return (ReceiptKind.FAILED_HARD, found.suppress) if hard else (ReceiptKind.FAILED_SOFT, None)
