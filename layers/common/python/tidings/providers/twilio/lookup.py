"""What became of a message, when Twilio is asked: one GET. This module does not load Twilio's SDK, as the sweep asks.

https://www.twilio.com/docs/messaging/api/message-resource#fetch-a-message-resource
"""

import base64
import json
from datetime import datetime
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tidings.config.rotation import Rotation
from tidings.config.settings import has_any, load
from tidings.domain.receipt import PROOF_OF_FAILURE, By, Receipt, ReceiptKind
from tidings.ports.receipts import LookupFailed
from tidings.providers.callbacks import CONNECTION
from tidings.providers.twilio.incoming import SID
from tidings.providers.twilio.receipts import kind_of
from tidings.providers.twilio.settings import TwilioAccess

TIMEOUT = 3.0
"""Seconds. A sweep waits for one call that is not answered, not for more."""
MOST = 64 * 1024  # bytes of an answer: a message has about 2 KB


class _NoRedirect(HTTPRedirectHandler):
    """The account's secret goes to Twilio alone."""

    def redirect_request(self, *_: Any) -> None:
        return None


class TwilioLookup:
    """ReceiptLookup."""

    provider = "twilio"

    def __init__(self, access: TwilioAccess) -> None:
        self._rotation = Rotation(access)
        self._opener = build_opener(_NoRedirect)

    def report(self, message_id: str, at: datetime) -> Receipt | None:
        if not SID.fullmatch(message_id) or not message_id.isalnum():
            return None
        body = self._rotation.connect(
            lambda access: self._fetched(access, message_id),
            is_refusal=lambda error: isinstance(error, LookupFailed) and error.refused,
        )
        status, code = str(body.get("status") or ""), str(body.get("error_code") or "")
        kind, suppress = kind_of(status, code)
        if kind in (None, ReceiptKind.ACCEPTED):
            return None
        failed = kind in PROOF_OF_FAILURE
        return Receipt(
            provider=self.provider,
            connection=CONNECTION,
            event_id=f"lookup:{message_id}:{status}",
            kind=kind or ReceiptKind.ACCEPTED,
            at=at,
            provider_message_id=message_id,
            code=(code if code.isascii() and code.isdigit() else status) if failed else None,
            message=f"Twilio says that the message is {status}" if failed else None,
            suppress=suppress,
            by=By.LOOKUP,
        )

    def _fetched(self, access: TwilioAccess, message_id: str) -> dict[str, Any]:
        """Empty: there is no such message any more. Never an address in an error: it names the account."""
        url = f"{access.url.rstrip('/')}/2010-04-01/Accounts/{access.account_sid}/Messages/{message_id}.json"
        login = base64.b64encode(f"{access.account_sid}:{access.auth_token}".encode()).decode()
        try:
            request = Request(url, headers={"Authorization": f"Basic {login}"})  # noqa: S310  # http(s), by the setting
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                body = json.loads(answer.read(MOST))
        except HTTPError as error:
            with error:
                if error.code in (404, 410):
                    return {}
                raise LookupFailed(f"Twilio answered HTTP {error.code}", refused=error.code in (401, 403)) from None
        except (OSError, HTTPException, ValueError) as error:
            raise LookupFailed(f"Twilio did not answer ({type(error).__name__})") from None
        if not isinstance(body, dict):
            raise LookupFailed("Twilio's answer is not a message")
        return body


def from_settings() -> TwilioLookup | None:
    """None: the account is not set here. Raise ConfigurationError."""
    if not has_any(TwilioAccess, "account_sid"):
        return None
    return TwilioLookup(load(TwilioAccess))
