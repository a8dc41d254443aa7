"""Google's token exchange, and the service account that it accepts.

https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

import json
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.emulators.connection import HungUp
from local.emulators.failures import Failures

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFETIME = 3600  # seconds
MAX_TOKENS = 10_000
PROJECT = "tidings-local"
EMAIL = f"emulator@{PROJECT}.iam.gserviceaccount.com"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceAccount:
    email: str
    public_key: rsa.RSAPublicKey


def service_account(path: Path, *, token_uri: str) -> ServiceAccount:
    """The account in this file, created if missing. A valid file keeps its key; its token_uri is updated."""
    document = _existing(path) or _fresh()
    document["token_uri"] = token_uri
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return ServiceAccount(email=document["client_email"], public_key=_key(document).public_key())


def _existing(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        _key(document)
        valid = (
            document["type"] == "service_account" and bool(document["client_email"]) and bool(document["project_id"])
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return document if valid else None


def _key(document: dict[str, Any]) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(document["private_key"].encode(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("not an RSA key")
    return key


def _fresh() -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": secrets.token_hex(20),
        "private_key": pem.decode(),
        "client_email": EMAIL,
        "client_id": str(10**20 + secrets.randbelow(10**20)),
        "universe_domain": "googleapis.com",
    }


class TokenExchange:
    """Issues access tokens, and checks them."""

    def __init__(self, account: ServiceAccount | None, failures: Failures) -> None:
        self._account = account
        self._failures = failures
        self._expires: OrderedDict[str, float] = OrderedDict()

    def routes(self) -> list[Route]:
        return [Route("/token", self.exchange, methods=["POST"])]

    def is_valid(self, token: str) -> bool:
        return self._expires.get(token, 0) > time.monotonic()

    async def exchange(self, request: Request) -> Response:
        if (rule := self._failures.take("push", stage="token")) is not None:
            await self._failures.pause(rule)
            if rule.drop is not None:
                return HungUp()
            if rule.status is not None or rule.message is not None:
                return Response(rule.message or "", rule.status or 200, media_type="application/json")
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        if form.get("grant_type") != GRANT:
            return _denied("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type', '')}")
        if self._account is None:
            return _denied("invalid_grant", "The emulator has no service account: start it with --service-account FILE")
        try:
            jwt.decode(
                form.get("assertion", ""),
                self._account.public_key,
                algorithms=["RS256"],
                issuer=self._account.email,
                leeway=60,
                # The SDKs sign for Google's address, wherever token_uri points, so the audience cannot be checked.
                options={"verify_aud": False, "require": ["iss", "iat", "exp"]},
            )
        except jwt.InvalidTokenError as error:
            return _denied("invalid_grant", f"Invalid JWT: {error}")
        return JSONResponse({"access_token": self._issue(), "expires_in": LIFETIME, "token_type": "Bearer"})

    def _issue(self) -> str:
        token = f"ya29.{secrets.token_urlsafe(48)}"
        self._expires[token] = time.monotonic() + LIFETIME
        if len(self._expires) > MAX_TOKENS:
            self._expires.popitem(last=False)
        return token


def _denied(error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description}, 400)
