"""Settings: each is declared once, beside its owner, with its unit and default; a wrong one stops the start.

A value comes from the environment variable named after the class's prefix and the field. It may point to a secret
instead of being one::

    TIDINGS_DATABASE_URL=secretsmanager:prod/tidings#database_url     one key of a JSON secret
    TIDINGS_SMTP_URL=secretsmanager:prod/tidings-smtp                 the whole secret
    TIDINGS_TWILIO_AUTH_TOKEN=ssm:/prod/tidings/twilio                a parameter, decrypted
"""

import json
import os
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tidings.errors import ConfigurationError


class Settings(BaseModel):
    """The base of every owner's settings: frozen, and made by `load`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    prefix: ClassVar[str] = "TIDINGS_"

    @classmethod
    def variable(cls, field: str) -> str:
        return f"{cls.prefix}{field}".upper()


S = TypeVar("S", bound=Settings)


def load(cls: type[S], environment: Mapping[str, str] | None = None) -> S:
    """Read the class's settings. Raise ConfigurationError, naming the variable, never its value.

    An empty variable counts as not set: container files cannot leave one out.
    """
    source = os.environ if environment is None else environment
    values: dict[str, str] = {}
    for field in cls.model_fields:
        name = cls.variable(field)
        if text := source.get(name):
            values[field] = _resolved(name, text)
    try:
        return cls.model_validate(values)
    except ValidationError as invalid:
        first = invalid.errors(include_input=False, include_url=False)[0]
        name = cls.variable(str(first["loc"][0])) if first["loc"] else cls.__name__
        problem = "is not set" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        described = cls.model_fields[str(first["loc"][0])].description if first["loc"] else None
        hint = f" ({described})" if described else ""
        raise ConfigurationError(f"{name}: {problem}{hint}") from None


def _resolved(name: str, text: str) -> str:
    scheme, _, reference = text.partition(":")
    if scheme == "secretsmanager":
        return _secret(name, reference)
    if scheme == "ssm":
        return _parameter(name, reference)
    return text


def _secret(name: str, reference: str) -> str:
    path, _, key = reference.partition("#")
    try:
        from aws_lambda_powertools.utilities import parameters  # needs boto3: only where a value points to AWS

        secret: Any = parameters.get_secret(path)
    except Exception as error:  # AWS says no, or boto3 finds no region, no credentials; or is not there itself
        raise ConfigurationError(f"{name}: the secret {path} cannot be read: {_cause(error)}") from None
    if not key:
        return secret.decode() if isinstance(secret, bytes) else str(secret)
    try:
        return str(json.loads(secret)[key])
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f"{name}: the secret {path} is not a JSON object with the key {key}") from None


def _parameter(name: str, path: str) -> str:
    try:
        from aws_lambda_powertools.utilities import parameters

        return str(parameters.get_parameter(path, decrypt=True))
    except Exception as error:
        raise ConfigurationError(f"{name}: the parameter {path} cannot be read: {_cause(error)}") from None


def _cause(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
