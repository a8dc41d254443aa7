"""Settings: each is declared once, beside its owner, with its unit and default. A wrong one stops the start.

The environment variable is named after the class's prefix and the field. Its value may refer to a secret::

    TIDINGS_DATABASE_URL=secretsmanager:prod/tidings#database_url     one key of a JSON secret
    TIDINGS_SMTP_URL=secretsmanager:prod/tidings-smtp                 the whole secret
    TIDINGS_TWILIO_AUTH_TOKEN=ssm:/prod/tidings/twilio                a parameter, decrypted
    TIDINGS_BROKER_URL=amqps://{secretsmanager:mq#username}:{secretsmanager:mq#password}@host:5671/     parts of a URL
"""

import logging
import os
from collections.abc import Mapping
from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from tidings.config import secrets
from tidings.domain.errors import ConfigurationError

log = logging.getLogger(__name__)


class Settings(BaseModel):
    """The base of every owner's settings. Frozen; created by `load`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    prefix: ClassVar[str] = "TIDINGS_"
    formerly: ClassVar[Mapping[str, str]] = {}  # field -> the variable's old name, read for one more release
    _variables: dict[str, str] = PrivateAttr(default_factory=dict)  # the raw values that `load` found

    @property
    def are_in_aws(self) -> bool:
        """At least one value is in AWS and may change, see `Rotation`."""
        return any(map(secrets.is_reference, self._variables.values()))

    def __eq__(self, other: object) -> bool:
        """The source of a value makes no difference."""
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), tuple(self.__dict__.values())))

    @classmethod
    def variable(cls, field: str) -> str:
        return f"{cls.prefix}{field}".upper()


S = TypeVar("S", bound=Settings)


def load(cls: type[S], environment: Mapping[str, str] | None = None) -> S:
    """Read the class's settings. Raise ConfigurationError, which names the variable and never its value.

    An empty variable counts as not set, because container files cannot omit one; so does one whose secret in AWS is
    still empty. A renamed variable is also read under its old name, with a warning.
    """
    source = os.environ if environment is None else environment
    fields = {cls.variable(field): field for field in cls.model_fields}
    variables = {name: text for name in fields if (text := source.get(name) or _formerly(cls, fields[name], source))}
    values = {fields[name]: value for name, text in variables.items() if (value := secrets.resolved(name, text))}
    try:
        loaded = cls.model_validate(values)
    except ValidationError as invalid:
        first = invalid.errors(include_input=False, include_url=False)[0]
        name = cls.variable(str(first["loc"][0])) if first["loc"] else cls.__name__
        problem = "is not set" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        described = cls.model_fields[str(first["loc"][0])].description if first["loc"] else None
        hint = f" ({described})" if described else ""
        raise ConfigurationError(f"{name}: {problem}{hint}") from None
    loaded._variables.update(variables)
    return loaded


def has_any(cls: type[Settings], *fields: str) -> bool:
    """At least one of these settings is given; without fields, of all that the class has. Raise ConfigurationError if a
    value in AWS cannot be read."""
    given = {name: os.environ.get(name) for name in map(cls.variable, fields or cls.model_fields)}
    return any(secrets.resolved(name, text) for name, text in given.items() if text)


def _formerly(cls: type[Settings], field: str, source: Mapping[str, str]) -> str | None:
    """The value under the variable's old name."""
    old = cls.formerly.get(field)
    if old is None or not (text := source.get(old)):
        return None
    log.warning("setting_renamed", extra={"setting": old, "renamed_to": cls.variable(field)})
    return text


def load_again(settings: S, *, anew: bool = False) -> S:
    """Read the same settings again. `anew`: without the cache of AWS. Raise ConfigurationError."""
    if anew:
        secrets.forget()
    return load(type(settings), settings._variables)
