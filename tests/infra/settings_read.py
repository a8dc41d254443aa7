"""Which settings each function reads at its start: found by starting all of them, in a process of its own.

`python -m tests.infra.settings_read` prints {place: {function: {variable: the field}}} as JSON. A field has `secret`,
and `needed` if it has no default that works for everybody.
"""

import importlib
import json
import os
import subprocess
import sys
from functools import cache

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from tidings.config.settings import Settings

from tests.infra.manifests import FUNCTIONS, ROOT

GIVEN = {
    "TIDINGS_DATABASE_URL": "sqlite:///nowhere.db",
    "TIDINGS_API_KEYS": f"local:operate:{64 * '0'}",
    "TIDINGS_TRIGGER_TOKEN": 32 * "x",
    "TIDINGS_SMTP_URL": "smtp://127.0.0.1",
    "TIDINGS_SMTP_SENDER": "tidings@example.com",
    "TIDINGS_SMTP_RETURN_PATH": "bounces.example.com",
    "TIDINGS_TWILIO_ACCOUNT_SID": f"AC{32 * '0'}",
    "TIDINGS_TWILIO_AUTH_TOKEN": "token",
    "TIDINGS_TWILIO_SENDER": "+15005550006",
    "TIDINGS_FCM_SERVICE_ACCOUNT": json.dumps(
        {"type": "service_account", "project_id": "x", "private_key": "x", "client_email": "x", "token_uri": "x"}
    ),
    "TIDINGS_FCM_ACKNOWLEDGE": "true",
    "TIDINGS_RECEIPTS_URL": "https://receipts.example.com",
    "TIDINGS_RECEIPTS_SECRET": 32 * "x",
    "TIDINGS_WEBHOOKS_SECRET": 32 * "x",
}
"""Everything switched on. Nothing is opened at a start."""


PLACES = {
    "aws": {"TIDINGS_METRICS": "emf", "AWS_LAMBDA_FUNCTION_NAME": "tidings"},
    "kubernetes": {"TIDINGS_METRICS": "prometheus"},  # compose too
    "cloudrun": {"TIDINGS_METRICS": "off"},
}
"""Where a function reads other settings than elsewhere."""

Read = dict[str, dict[str, dict[str, bool]]]


def settings_read(place: str) -> Read:
    """By function, by variable."""
    return _everywhere()[place]


@cache
def _everywhere() -> dict[str, Read]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDINGS_")}
    command = [sys.executable, "-m", "tests.infra.settings_read"]
    done = subprocess.run(command, cwd=ROOT, env=environment | GIVEN, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Read] = json.loads(done.stdout)
    return found


def _recorded() -> dict[str, Read]:
    """Whatever is read is first asked for its variable's name."""
    read: dict[str, dict[str, bool]] = {}
    name_of = Settings.variable.__func__  # type: ignore[attr-defined]

    def variable(cls: type[Settings], field: str) -> str:
        name: str = name_of(cls, field)
        read[name] = _described(cls.model_fields[field])
        return name

    Settings.variable = classmethod(variable)  # type: ignore[assignment, method-assign]
    found: dict[str, Read] = {}
    for place, more in PLACES.items():
        os.environ.update(more)
        found[place] = {}
        for function in FUNCTIONS:
            read.clear()
            sys.modules.pop(f"functions.{function}.main", None)
            importlib.import_module(f"functions.{function}.main")
            found[place][function] = dict(read)
        for name in more:
            del os.environ[name]
    return found


def _described(field: FieldInfo) -> dict[str, bool]:
    secret = field.repr is False
    return {"secret": secret, "needed": secret or field.default in (PydanticUndefined, None)}


if __name__ == "__main__":
    print(json.dumps(_recorded()))
