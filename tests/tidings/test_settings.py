"""Settings: one clear line for what is wrong, that names the variable and never shows its value."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import boto3  # type: ignore[import-untyped]
import pytest
from moto import mock_aws
from moto.server import ThreadedMotoServer
from pydantic import Field
from tidings.adapters.rabbitmq.broker import BrokerSettings
from tidings.adapters.sql.database import DatabaseSettings
from tidings.api.api_keys import Scope, new_key
from tidings.config.secrets import provider as secrets_provider
from tidings.config.settings import Settings, load
from tidings.domain.errors import ConfigurationError
from tidings.observability.logging import LogSettings
from tidings.providers import receipt_lookups, receipt_parsers
from tidings.runtime.container import DeliverySettings
from tidings.runtime.invocation import TriggerSettings

from tests import forks

ROOT = Path(__file__).parents[2]
SECRET = "hunter2-hunter2-hunter2"
WITHIN = 120.0  # seconds for a process to start or to refuse; it is far quicker, unless the machine is busy


class Oven(Settings):
    prefix: ClassVar[str] = "TIDINGS_OVEN_"

    heat: float = Field(default=180.0, gt=0, le=300, description="degrees Celsius")
    name: str = Field(min_length=2, description="what it is called")
    door: str | None = None


# --- from the environment ---------------------------------------------------------------------------------------------


def test_a_setting_has_its_default_until_it_is_set() -> None:
    assert load(Oven, {"TIDINGS_OVEN_NAME": "left"}) == Oven(heat=180.0, name="left", door=None)
    assert load(Oven, {"TIDINGS_OVEN_NAME": "left", "TIDINGS_OVEN_HEAT": "220.5"}).heat == 220.5


def test_an_empty_variable_counts_as_not_set() -> None:
    empty = {"TIDINGS_OVEN_NAME": "left", "TIDINGS_OVEN_HEAT": "", "TIDINGS_OVEN_DOOR": ""}
    assert load(Oven, empty) == load(Oven, {"TIDINGS_OVEN_NAME": "left"})
    with pytest.raises(ConfigurationError, match=r"^TIDINGS_OVEN_NAME: is not set \(what it is called\)$"):
        load(Oven, {"TIDINGS_OVEN_NAME": ""})


class Stove(Settings):
    formerly: ClassVar[Mapping[str, str]] = {"gas": "TIDINGS_FLAME"}

    gas: int = 1


def test_a_renamed_setting_is_read_under_its_old_name_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert load(Stove, {"TIDINGS_FLAME": "2"}).gas == 2
    (warned,) = caplog.records
    assert (warned.message, vars(warned)["setting"], vars(warned)["renamed_to"]) == (
        "setting_renamed",
        "TIDINGS_FLAME",
        "TIDINGS_GAS",
    )


def test_the_new_name_wins_and_needs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert load(Stove, {"TIDINGS_FLAME": "2", "TIDINGS_GAS": "3"}).gas == 3
    assert not caplog.records


def test_a_wrong_value_under_the_old_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^TIDINGS_GAS: "):
        load(Stove, {"TIDINGS_FLAME": "blue"})


def test_variables_of_other_owners_are_ignored() -> None:
    assert load(Oven, {"TIDINGS_OVEN_NAME": "left", "TIDINGS_OVEN_LIGHT": "on", "TIDINGS_HEAT": "x"}).name == "left"


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({}, "TIDINGS_OVEN_NAME: is not set (what it is called)"),
        ({"NAME": "x"}, "TIDINGS_OVEN_NAME: String should have at least 2 characters (what it is called)"),
        (
            {"NAME": "left", "HEAT": SECRET},
            "TIDINGS_OVEN_HEAT: Input should be a valid number, unable to parse string as a number (degrees Celsius)",
        ),
        (
            {"NAME": "left", "HEAT": "301"},
            "TIDINGS_OVEN_HEAT: Input should be less than or equal to 300 (degrees Celsius)",
        ),
    ],
)
def test_a_wrong_one_is_one_line_with_its_name_and_unit(environment: dict[str, str], line: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(Oven, {f"TIDINGS_OVEN_{name}": value for name, value in environment.items()})
    assert str(raised.value) == line
    assert raised.value.__cause__ is None


WRONG: list[tuple[type[Settings], str, str]] = [
    (DatabaseSettings, "TIDINGS_DATABASE_URL", SECRET),
    (DatabaseSettings, "TIDINGS_DATABASE_URL", f"postgresql://user:{SECRET}@host/db"),
    (DatabaseSettings, "TIDINGS_DATABASE_POOL", SECRET),
    (DatabaseSettings, "TIDINGS_DATABASE_POOL", "0"),
    (DatabaseSettings, "TIDINGS_DATABASE_TIMEOUT", "-1"),
    (BrokerSettings, "TIDINGS_BROKER_URL", f"http://user:{SECRET}@host/"),
    (BrokerSettings, "TIDINGS_BROKER_TIMEOUT", SECRET),
    (BrokerSettings, "TIDINGS_BROKER_PREFETCH", "0"),
    (DeliverySettings, "TIDINGS_LEASE", SECRET),
    (DeliverySettings, "TIDINGS_CONCURRENCY", "501"),
    (LogSettings, "TIDINGS_LOG_LEVEL", SECRET),
    (TriggerSettings, "TIDINGS_TRIGGER_TOKEN", "too-short"),
]


@pytest.mark.parametrize(("owner", "name", "value"), WRONG)
def test_no_wrong_value_is_ever_shown(owner: type[Settings], name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(owner, {name: value})
    line = str(raised.value)
    assert line.startswith(f"{name}: ")
    assert "\n" not in line
    assert SECRET not in line
    assert value not in line or len(value) < 4


@pytest.mark.parametrize("owner", [DatabaseSettings, BrokerSettings, DeliverySettings, LogSettings])
def test_everything_but_the_secrets_has_a_default(owner: type[Settings]) -> None:
    load(owner, {})


@pytest.mark.parametrize("owner", [DatabaseSettings, BrokerSettings, DeliverySettings, LogSettings, TriggerSettings])
def test_every_setting_says_what_it_is_and_a_number_its_unit(owner: type[Settings]) -> None:
    for name, field in owner.model_fields.items():
        assert field.description, name


# --- from AWS ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    """In this process: what boto3 asks AWS, moto answers."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in _CREDENTIALS.items():
            patched.setenv(name, value)
        patched.delenv("AWS_ENDPOINT_URL", raising=False)
        with mock_aws():
            secrets_provider.cache_clear()
            secrets = boto3.client("secretsmanager")
            secrets.create_secret(Name="prod/tidings", SecretString=json.dumps({"name": SECRET, "n": 7}))
            secrets.create_secret(Name="prod/plain", SecretString=SECRET)
            secrets.create_secret(Name="prod/list", SecretString="[1]")
            secrets.create_secret(Name="prod/empty", SecretString="{}")
            secrets.create_secret(Name="prod/binary", SecretBinary=SECRET.encode())
            boto3.client("ssm").put_parameter(Name="/prod/tidings/name", Value=SECRET, Type="SecureString")
            yield
        secrets_provider.cache_clear()


_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "eu-central-1",
}


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("secretsmanager:prod/plain", SECRET),
        ("secretsmanager:prod/binary", SECRET),
        ("secretsmanager:prod/tidings#name", SECRET),
        ("secretsmanager:prod/tidings", json.dumps({"name": SECRET, "n": 7})),
        ("ssm:/prod/tidings/name", SECRET),
    ],
)
@pytest.mark.usefixtures("aws")
def test_a_value_may_lie_in_aws(reference: str, value: str) -> None:
    assert load(Oven, {"TIDINGS_OVEN_NAME": reference}).name == value


@pytest.mark.usefixtures("aws")
def test_what_comes_from_aws_is_checked_like_any_other() -> None:
    assert load(Oven, {"TIDINGS_OVEN_NAME": "left", "TIDINGS_OVEN_HEAT": "secretsmanager:prod/tidings#n"}).heat == 7
    with pytest.raises(ConfigurationError) as raised:
        load(Oven, {"TIDINGS_OVEN_NAME": "left", "TIDINGS_OVEN_HEAT": "secretsmanager:prod/plain"})
    assert str(raised.value).startswith("TIDINGS_OVEN_HEAT: Input should be a valid number")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("reference", "line"),
    [
        ("secretsmanager:prod/none", "the secret prod/none cannot be read: "),
        ("secretsmanager:prod/none#name", "the secret prod/none cannot be read: "),
        ("secretsmanager:", "the secret  cannot be read: "),
        ("secretsmanager:prod/tidings#other", "the secret prod/tidings is not a JSON object with the key other"),
        ("secretsmanager:prod/plain#name", "the secret prod/plain is not a JSON object with the key name"),
        ("secretsmanager:prod/list#name", "the secret prod/list is not a JSON object with the key name"),
        ("ssm:/prod/none", "the parameter /prod/none cannot be read: "),
        ("amqp://user:{secretsmanager:prod/empty#name}@host/", "the secret prod/empty#name is empty"),
        ("secretsmanager:prod/empty#name", "is not set"),
    ],
)
@pytest.mark.usefixtures("aws")
def test_what_cannot_be_read_from_aws_is_one_line(reference: str, line: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(Oven, {"TIDINGS_OVEN_NAME": reference})
    assert str(raised.value).startswith(f"TIDINGS_OVEN_NAME: {line}")
    assert "\n" not in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.usefixtures("aws")
def test_a_setting_in_a_secret_that_is_still_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not use Twilio leaves its secret as infra/aws/stores.yaml made it: receipts, replay and the sweep
    start without."""
    assert load(Oven, {"TIDINGS_OVEN_NAME": "left", "TIDINGS_OVEN_HEAT": "secretsmanager:prod/empty#n"}).heat == 180
    for field in ("ACCOUNT_SID", "AUTH_TOKEN"):
        monkeypatch.setenv(f"TIDINGS_TWILIO_{field}", f"secretsmanager:prod/empty#{field.lower()}")
    monkeypatch.setenv("TIDINGS_RECEIPTS_URL", "https://receipts.example.com")
    monkeypatch.setenv("TIDINGS_RECEIPTS_SECRET", "s" * 32)
    assert receipt_lookups() == {}
    assert list(receipt_parsers()) == ["fcm"]


@pytest.mark.parametrize("reference", ["secretsmanager:prod/plain", "ssm:/prod/tidings/name"])
@pytest.mark.usefixtures("aws")
def test_an_aws_that_is_not_set_up_is_one_line_too(reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    secrets_provider.cache_clear()
    with pytest.raises(ConfigurationError, match=r"^TIDINGS_OVEN_NAME: the .* cannot be read: .*region"):
        load(Oven, {"TIDINGS_OVEN_NAME": reference})


# --- at the start of a function ---------------------------------------------------------------------------------------


def started(name: str, tmp_path: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A function's process, which is expected to end by itself."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TIDINGS_", "AWS_"))}
    given = {"TIDINGS_DATABASE_URL": f"sqlite:///{tmp_path}/tidings.db", "TIDINGS_TRIGGER_TOKEN": "0123456789abcdef"}
    command = [sys.executable, "-m", "tidings.runtime.server", name, "--port", "1"]
    return forks.ended(command, environment={**kept, **given, **environment})


SMTP = {"TIDINGS_SMTP_URL": "smtp://localhost", "TIDINGS_SMTP_SENDER": "a@example.com"}


@pytest.mark.parametrize(
    ("name", "environment", "line"),
    [
        ("intake", {}, "TIDINGS_API_KEYS: is not set"),
        ("replay", {"TIDINGS_API_KEYS": SECRET}, "TIDINGS_API_KEYS: each key is tenant:scope+scope:sha256-hex"),
        ("email", {**SMTP, "TIDINGS_TRIGGER_TOKEN": ""}, "TIDINGS_TRIGGER_TOKEN: is not set"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line(
    tmp_path: Path, name: str, environment: dict[str, str], line: str
) -> None:
    ended = started(name, tmp_path, **environment)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"tidings: {name}: {line}")
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""
    assert SECRET not in ended.stderr


def test_a_function_starts_with_its_settings_in_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of its own, which asks AWS over HTTP."""
    for name, value in _CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        secret = json.dumps({"keys": str(new_key("acme", [Scope.SEND])[1])})
        client: Any = boto3.client("secretsmanager", endpoint_url=endpoint)
        client.create_secret(Name="prod/keys", SecretString=secret)
        client.close()
        code = "import functions.intake.main as main; print(len(main.function.app._api_keys.keys))"
        ended = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={
                **os.environ,
                "AWS_ENDPOINT_URL": endpoint,
                "TIDINGS_DATABASE_URL": f"sqlite:///{tmp_path}/tidings.db",
                "TIDINGS_API_KEYS": "secretsmanager:prod/keys#keys",
            },
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )
        missing = started(
            "intake", tmp_path, TIDINGS_API_KEYS="ssm:/prod/none", AWS_ENDPOINT_URL=endpoint, **_CREDENTIALS
        )
    finally:
        server.stop()
    assert (ended.returncode, ended.stdout.strip()) == (0, "1"), ended.stderr
    assert missing.returncode == 2
    assert missing.stderr.startswith("tidings: intake: TIDINGS_API_KEYS: the parameter /prod/none cannot be read: ")
    assert missing.stderr.count("\n") == 1
