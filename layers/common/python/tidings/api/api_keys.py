"""API keys: each belongs to a tenant and has scopes. Only hashes are stored."""

import enum
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field, field_validator

from tidings.config.settings import Settings

FINGERPRINT = 8  # hex digits of the digest


class Scope(enum.StrEnum):
    """`send`: submit, look up and cancel. `operate`: look up, dead letters, replay, sweep. `admin`: what affects all
    tenants, like pausing a channel or reading the metrics."""

    SEND = "send"
    OPERATE = "operate"
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """What is stored of a key. `digest`: its sha256; a key has 32 random bytes, and needs no slow hash."""

    tenant: str
    scopes: frozenset[str]  # an unknown scope grants nothing: a later release knows it, or it is misspelt
    digest: bytes

    @property
    def fingerprint(self) -> str:
        """Names the key where it must not be shown."""
        return self.digest.hex()[:FINGERPRINT]

    @property
    def unknown(self) -> Sequence[str]:
        return sorted(self.scopes - set(Scope))

    @classmethod
    def parse(cls, text: str) -> "ApiKey":
        """From `tenant:scope+scope:sha256-hex`. Raise ValueError."""
        try:
            tenant, scopes, digest = text.split(":")
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", tenant):
                raise ValueError
            if not re.fullmatch(r"[a-z]{1,32}(\+[a-z]{1,32})*", scopes):
                raise ValueError
            key = cls(tenant=tenant, scopes=frozenset(scopes.split("+")), digest=bytes.fromhex(digest))
        except ValueError:
            key = None
        if key is None or len(key.digest) != hashlib.sha256().digest_size:
            raise ValueError("each key is tenant:scope+scope:sha256-hex, with the scopes send, operate and admin")
        return key

    def __str__(self) -> str:
        return f"{self.tenant}:{'+'.join(sorted(self.scopes))}:{self.digest.hex()}"


class KeySettings(Settings):
    """API keys. Prefix TIDINGS_."""

    api_keys: tuple[ApiKey, ...] = Field(
        min_length=1,
        description="tenant:scope+scope:sha256-hex of the key, several separated by spaces; "
        "`tidings keys create TENANT send operate` makes one",
    )

    @field_validator("api_keys", mode="before")
    @classmethod
    def _parsed(cls, value: object) -> object:
        return tuple(ApiKey.parse(text) for text in value.split()) if isinstance(value, str) else value


def new_key(tenant: str, scopes: Sequence[str]) -> tuple[str, ApiKey]:
    """A new key, to be shown once, and what is stored of it."""
    key = f"tdg_{secrets.token_urlsafe(32)}"
    return key, ApiKey(tenant=tenant, scopes=frozenset(scopes), digest=digest_of(key))


def digest_of(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()  # a client may send any text


@dataclass(frozen=True, kw_only=True)
class ApiKeys:
    """All valid keys."""

    keys: tuple[ApiKey, ...]

    def find(self, presented: str) -> ApiKey | None:
        """Compare all keys, each in constant time, so that the time it takes reveals nothing."""
        digest, found = digest_of(presented), None
        for key in self.keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found
