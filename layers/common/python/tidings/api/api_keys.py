"""API keys: who may do what, and for which tenant. Only hashes are kept."""

import enum
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field, field_validator

from tidings.config.settings import Settings


class Scope(enum.StrEnum):
    """`send`: hand in, look up and cancel. `operate`: look up, dead letters, replay, sweep. `admin`: what concerns all
    tenants, as to pause a channel or to read the metrics."""

    SEND = "send"
    OPERATE = "operate"
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """One key's rights. `digest` is the sha256 of the key: 32 random bytes need no slow hash."""

    tenant: str
    scopes: frozenset[str]  # one that is no Scope grants nothing: a later release knows it, or it is misspelt
    digest: bytes

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
    """Who may call. Prefix TIDINGS_."""

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
    """A fresh key, to be shown once, and what is kept of it."""
    key = f"tdg_{secrets.token_urlsafe(32)}"
    return key, ApiKey(tenant=tenant, scopes=frozenset(scopes), digest=digest_of(key))


def digest_of(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()  # it may be any text that a caller can send


@dataclass(frozen=True, kw_only=True)
class ApiKeys:
    """Every key that is valid now."""

    keys: tuple[ApiKey, ...]

    def find(self, presented: str) -> ApiKey | None:
        """All keys are compared, each in constant time: an answer's time tells nothing."""
        digest, found = digest_of(presented), None
        for key in self.keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found
