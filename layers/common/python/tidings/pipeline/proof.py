"""A proof: a signed statement about one notification, as a JWS (RFC 7515, flattened JSON) with Ed25519 (RFC 8037).

It proves that whoever holds the key said this, and that nobody has changed it since. `cryptography` is imported when it
is used.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, field_validator

from tidings.config.settings import Settings

ALGORITHM, TYPE = "EdDSA", "tidings-proof+json"
KEY_BYTES = 32
_PARTS = ("payload", "protected", "signature")


class ProofSettings(Settings):
    """What proofs are signed with. Prefix TIDINGS_."""

    proof_key: str | None = Field(
        default=None,
        repr=False,
        description="base64 of 32 random bytes, from `openssl rand -base64 32`: signs proofs of notifications; not set:"
        " no proofs",
    )

    @field_validator("proof_key")
    @classmethod
    def _is_key(cls, value: str | None) -> str | None:
        if value is not None and len(_bytes(value)) != KEY_BYTES:
            raise ValueError("must be base64 of 32 bytes, from `openssl rand -base64 32`")
        return value


class InvalidProof(Exception):
    """The file is not a proof, or was changed after it was signed. The text says what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Signer:
    seed: bytes

    @classmethod
    def from_settings(cls, settings: ProofSettings) -> "Signer | None":
        """None: no key is set."""
        key = settings.proof_key
        return cls(seed=_bytes(key)) if key is not None else None

    def sign(self, statement: Mapping[str, Any]) -> Mapping[str, str]:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.from_private_bytes(self.seed)
        public = _encoded(key.public_key().public_bytes_raw())
        header = {"alg": ALGORITHM, "typ": TYPE, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": public}}
        protected, payload = (_encoded(json.dumps(part).encode()) for part in (header, statement))
        signature = key.sign(f"{protected}.{payload}".encode())
        return {"protected": protected, "payload": payload, "signature": _encoded(signature)}


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A proof whose signature is right. `public_key`: whose it is, in base64url; compare it with the one you know."""

    statement: Mapping[str, Any]
    public_key: str


def verify(document: object) -> Verified:
    """Raise InvalidProof."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not isinstance(document, dict) or not all(isinstance(document.get(part), str) for part in _PARTS):
        raise InvalidProof("not a proof: it needs the fields protected, payload and signature")
    public = _public_key(_object(document["protected"]))
    signed = f"{document['protected']}.{document['payload']}".encode()
    try:
        Ed25519PublicKey.from_public_bytes(_bytes(public)).verify(_bytes(document["signature"]), signed)
    except (InvalidSignature, ValueError):
        raise InvalidProof("its signature is wrong: it was changed after it was signed") from None
    return Verified(statement=_object(document["payload"]), public_key=public)


def _public_key(header: Mapping[str, Any]) -> str:
    """No other algorithm is taken, whatever the file says."""
    key = header.get("jwk")
    if (header.get("alg"), header.get("typ")) != (ALGORITHM, TYPE) or not isinstance(key, dict):
        raise InvalidProof("not a proof by this release of Tidings")
    if (key.get("kty"), key.get("crv")) != ("OKP", "Ed25519") or not isinstance(key.get("x"), str):
        raise InvalidProof("its key is not an Ed25519 key")
    return str(key["x"])


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(_bytes(text))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidProof("not a proof: a part of it is not a JSON object")
    return found


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return _decoded(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))


def _decoded(text: str) -> bytes:
    """Empty if it is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
