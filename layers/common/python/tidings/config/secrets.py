"""Secrets in AWS: read by Powertools, cached, and read again if a server refuses them."""

import json
import os
import re
from functools import cache
from typing import Any
from urllib.parse import quote

from tidings.domain.errors import ConfigurationError

KEPT = 300
"""Seconds for which a value is cached."""

CONNECT_WITHIN, ANSWER_WITHIN, ATTEMPTS = 2, 3, 2
"""Seconds, each tried twice. Lambda gives a start ten seconds; an unreachable AWS must be reported before that."""

_KINDS = {"secretsmanager": "secret", "ssm": "parameter"}
_WHOLE = re.compile(r"(secretsmanager|ssm):(.*)", re.DOTALL)
_INSIDE = re.compile(r"\{(secretsmanager|ssm):([^{}]+)\}")


def is_reference(text: str) -> bool:
    return _WHOLE.fullmatch(text) is not None or _INSIDE.search(text) is not None


def resolved(name: str, text: str) -> str:
    """The variable's value. A reference in braces inside a longer value is part of a URL, so it is escaped. Empty: the
    secret is still `{}`, as infra/aws/stores.yaml creates optional secrets.

    Raise ConfigurationError, which names the variable.
    """
    if whole := _WHOLE.fullmatch(text):
        return _read(name, whole[1], whole[2])
    return _INSIDE.sub(lambda inside: quote(_filled(name, inside[1], inside[2]), safe=""), text)


def forget() -> None:
    """Clear the cache."""
    for scheme in _KINDS:
        provider(scheme, os.getpid()).clear_cache()


def _filled(name: str, scheme: str, reference: str) -> str:
    """A part of a URL, which cannot be left out."""
    if not (found := _read(name, scheme, reference)):
        raise ConfigurationError(f"{name}: the {_KINDS[scheme]} {reference} is empty")
    return found


def _read(name: str, scheme: str, reference: str) -> str:
    path, _, key = reference.partition("#")
    kind = _KINDS[scheme]
    options = {"decrypt": True} if scheme == "ssm" else {}
    try:
        value: Any = provider(scheme, os.getpid()).get(path, max_age=KEPT, **options)
    except Exception as error:  # refused by AWS, no region, no credentials, or boto3 is missing
        raise ConfigurationError(f"{name}: the {kind} {path} cannot be read: {_cause(error)}") from None
    try:
        text = value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name}: the {kind} {path} is not text") from None
    try:
        found = _field(json.loads(text), key) if key else text
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, str | int):
        raise ConfigurationError(
            f"{name}: the {kind} {path} is not a JSON object with the key {key} and a string value"
        )
    return str(found)


def _field(whole: Any, key: str) -> Any:
    return whole[key] if whole != {} else ""


@cache
def provider(scheme: str, _process: int) -> Any:
    """Powertools' provider, with its cache. One per process: its connections must not survive a fork."""
    from aws_lambda_powertools.utilities import parameters  # needs boto3: imported only if a value is in AWS
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_WITHIN, read_timeout=ANSWER_WITHIN, retries={"total_max_attempts": ATTEMPTS}
    )
    if scheme == "secretsmanager":
        return parameters.SecretsProvider(boto_config=config)
    return parameters.SSMProvider(boto_config=config)


def _cause(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
