"""Each container's command works with exactly the settings of its manifest, and refuses to start with the example's
placeholders."""

import contextlib
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tidings.api.api_keys import Scope, new_key
from tidings.domain.channels import CHANNELS

from tests.functions.served import process
from tests.infra.manifests import (
    KUBERNETES,
    ROOT,
    Manifest,
    Resource,
    all_containers,
    containers,
    manifests,
    settings_file,
)
from tests.infra.test_manifests import EXAMPLE
from tests.migrated import migrated
from tests.scenarios.caller import wait_for

HTTP = ("intake", "replay", "receipts")
STORES = {"TIDINGS_DATABASE_URL", "TIDINGS_BROKER_URL"}  # without them each would have a SQLite file of its own


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('commands') / 'tidings.db'}"
    return migrated(url).database_url


@pytest.fixture
def good(database: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A good value of each setting that a manifest may give."""
    for name in [name for name in os.environ if name.startswith("TIDINGS_")]:
        monkeypatch.delenv(name)
    return {
        "TIDINGS_API_KEY": "a-key-of-the-test",
        "TIDINGS_API_KEYS": str(new_key("acme", [Scope.OPERATE])[1]),
        "TIDINGS_BROKER_URL": "",  # none: the embedded one
        "TIDINGS_DATABASE_URL": database,
        "TIDINGS_FCM_SERVICE_ACCOUNT": '{"type": "service_account", "project_id": "p", "private_key": "none", '
        '"client_email": "a@example.com", "token_uri": "http://127.0.0.1:9/token"}',
        "TIDINGS_PROOF_KEY": 43 * "x",
        "TIDINGS_RECEIPTS_SECRET": "of the test, of 32 characters and more",
        "TIDINGS_SMTP_URL": "smtp://127.0.0.1:9",
        "TIDINGS_TRIGGER_TOKEN": "trigger-token-0123456789",
        "TIDINGS_TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "TIDINGS_TWILIO_AUTH_TOKEN": "emulated",
        "TIDINGS_WEBHOOKS_SECRET": "a secret of the tests, which is long enough",
        "TIDINGS_TWILIO_SENDER": "+15005550006",
    }


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Resource, Mapping[str, str]], None]]:
    """Import a container's function anew, with this environment."""
    made: list[Any] = []
    monkeypatch.setattr("tidings.observability.logging.configure", lambda *_: None)  # it is this process' logging

    def anew(container: Resource, environment: Mapping[str, str]) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        module = f"functions.{container['args'][3]}.main"
        sys.modules.pop(module, None)
        main = importlib.import_module(module)
        made.append(getattr(main.function, "delivery", None) or main.function.container)

    yield anew
    for parts in made:
        parts.close()


def containers_of(module: str) -> list[object]:
    """(manifest, container) that run this module, of Kubernetes and of Cloud Run, each sort once."""
    sorts: dict[object, object] = {}
    for one, container in all_containers():
        if container["args"][:3] == ["python", "-m", module]:
            what = container["args"][3] if module == "tidings.runtime.server" else ""
            sort = (what, *sorted(given(container)), *map(str, container.get("env", [])[:2]))
            sorts.setdefault(sort, pytest.param(one, container, id=f"{one}:{container['name']}"))
    assert sorts
    return list(sorts.values())


def given(container: Resource, values: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of a container, by the example's files; with these values in place of secrets."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "secretRef" in source:
            found |= settings_file(EXAMPLE / "secrets" / f"{source['secretRef']['name']}.env")
    for variable in container.get("env", []):
        found[variable["name"]] = variable.get("value", "CHANGE-ME")
    return {name: (values or {}).get(name, value) for name, value in found.items()}


def command(container: Resource, *changed: str) -> list[str]:
    """Everything on this machine's loopback."""
    arguments = [argument.replace("0.0.0.0", "127.0.0.1") for argument in container["args"][2:]]
    return [*arguments, *changed]


@pytest.mark.parametrize(("one", "container"), containers_of("tidings.runtime.server"))
def test_a_function_has_every_setting_that_it_reads(
    one: Manifest, container: Resource, good: dict[str, str], imported: Callable[[Resource, Mapping[str, str]], None]
) -> None:
    """An import reads them all, and opens nothing; the whole start takes longer, and is tried once, below."""
    assert container["args"][3] in (*HTTP, *CHANNELS)
    assert container["args"][4::2] == ["--host", "--port"]
    assert set(given(container)) >= (STORES if container["args"][3] != "receipts" else {"TIDINGS_DATABASE_URL"})
    imported(container, given(container, good))


def test_a_function_starts(good: dict[str, str], tmp_path: Path) -> None:
    container = next(containers(deployment("email")))
    with process("email", given(container, good), tmp_path, command=command(container)) as function:
        assert function("GET", "/healthz").status == 200


@pytest.mark.parametrize(("one", "container"), containers_of("tidings.runtime.trigger"))
def test_a_trigger_starts_consumes_and_stops(
    one: Manifest, container: Resource, good: dict[str, str], tmp_path: Path
) -> None:
    assert set(given(container)) >= STORES
    log = tmp_path / "log"
    with log.open("wb") as output, started(container, good, output=output) as trigger:
        wait_for(lambda: b'"consuming"' in log.read_bytes() or trigger.poll() is not None)
        trigger.terminate()
        assert trigger.wait(120) == 0, log.read_text()


@contextlib.contextmanager
def started(container: Resource, values: Mapping[str, str], **options: object) -> Iterator[subprocess.Popen[bytes]]:
    output = options["output"]
    process = subprocess.Popen(
        [sys.executable, "-m", *command(container)],
        cwd=ROOT,
        env={**os.environ, **given(container, values)},
        stdout=output,  # type: ignore[call-overload]
        stderr=output,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ran(container: Resource, environment: Mapping[str, str], *changed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command(container, *changed)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(("one", "container"), containers_of("tidings.migrate"))
def test_the_migration_runs(one: Manifest, container: Resource, good: dict[str, str], tmp_path: Path) -> None:
    assert "TIDINGS_DATABASE_URL" in given(container)
    fresh = {**good, "TIDINGS_DATABASE_URL": f"sqlite:///{tmp_path / 'fresh.db'}"}
    done = ran(container, given(container, fresh))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fresh.db").exists()


@pytest.mark.parametrize(("one", "container"), containers_of("tidings.runtime.scheduler"))
def test_the_sweep_starts(one: Manifest, container: Resource, good: dict[str, str]) -> None:
    assert container["args"][3].endswith("/v1/sweep")
    done = ran(container, given(container, good), "--for", "0")
    assert (done.returncode, done.stderr) == (0, "")


def test_with_the_examples_placeholders_nothing_starts(
    good: dict[str, str],
    imported: Callable[[Resource, Mapping[str, str]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Even if they are deployed by mistake."""
    (intake,), (email, trigger) = containers(deployment("intake")), containers(deployment("email"))
    for container, setting in ((intake, "TIDINGS_API_KEYS"), (email, "TIDINGS_TRIGGER_TOKEN")):
        with pytest.raises(SystemExit) as ended:
            imported(container, given(container))
        assert ended.value.code == 2
        assert setting in capsys.readouterr().err
    done = ran(trigger, given(trigger))
    assert done.returncode == 2
    assert "TIDINGS_TRIGGER_TOKEN" in done.stderr


def deployment(name: str) -> Manifest:
    (found,) = [one for one in manifests(KUBERNETES / "base") if (one.kind, one.name) == ("Deployment", name)]
    return found
