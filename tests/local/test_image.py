"""local/Dockerfile: each image holds and starts one function, unprivileged and read-only.

Without a container engine: tests/local/engine.py runs the steps. This machine replaces the base image.
"""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from local.emulators.oauth import service_account
from local.services.access import accepts, free_port
from tests.infra.manifests import all_containers, function_of
from tests.local.dockerfile import Dockerfile, context
from tests.local.engine import Engine, Root, started

ROOT = Path(__file__).parents[2]
DOCKERFILE = Dockerfile.read(ROOT / "local/Dockerfile")
FUNCTIONS = sorted(path.parent.name for path in (ROOT / "functions").glob("*/main.py"))
STARTED = ("intake",)
"""By day: one of HTTP; of a queue, the manifests' commands start one. That each function's packages suffice is told by
tests/infra/test_zips.py."""
BY_DAY = [pytest.param(name, marks=() if name in STARTED else pytest.mark.nightly) for name in FUNCTIONS]
BUILT_AS = {"bounces": {"FUNCTION": "email", "EXTRAS": "metrics,tracing,bounces"}}
"""The build arguments of the images that are no function's, as local/compose.yaml has them."""
DEADLINE = 60.0  # seconds, on a busy machine
KEY = "local-only-key"
SETTINGS = {
    "TIDINGS_DATABASE_URL": "sqlite:////state/tidings.db",
    "TIDINGS_API_KEYS": "local:send:10f8213b72db4a5ff05ee6fc307929dc5cee17fd37ec6d77d7952788caa48a8e",
    "TIDINGS_TRIGGER_TOKEN": "trigger-token-0123456789",
    "TIDINGS_METRICS": "prometheus",
    "TIDINGS_TRACING": "otlp",
    "TIDINGS_SMTP_URL": "smtp://127.0.0.1:1",
    "TIDINGS_SMTP_SENDER": "tidings@example.com",
    "TIDINGS_TWILIO_ACCOUNT_SID": "AC00000000000000000000000000000000",
    "TIDINGS_TWILIO_AUTH_TOKEN": "token",
    "TIDINGS_WEBHOOKS_SECRET": "a secret of the tests, which is long enough",
    "TIDINGS_TWILIO_SENDER": "+15005550006",
    "TIDINGS_FCM_SERVICE_ACCOUNT": "/state/service-account.json",
    "TIDINGS_RECEIPTS_URL": "https://receipts.example.com",
    "TIDINGS_RECEIPTS_SECRET": "a-secret-of-32-characters-or-more",
}

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0,
    reason="to run a Dockerfile's steps without an engine takes root, and its right to mount",
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    folder = Path(tempfile.mkdtemp(prefix="tidings-image-"))
    context(ROOT, ROOT / "local/Dockerfile.dockerignore", folder / "context")
    engine = Engine(DOCKERFILE, folder / "context", folder / "shared", installs=False)
    for stage in ("build", "base"):
        engine.build(stage)
    yield engine
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def images(engine: Engine) -> "Images":
    return Images(engine)


@dataclasses.dataclass
class Images:
    engine: Engine
    made: dict[str, Root] = dataclasses.field(default_factory=dict)

    def of(self, function: str) -> Root:
        if function not in self.made:
            engine = dataclasses.replace(
                self.engine,
                folder=self.engine.folder.with_name(function),
                given=BUILT_AS.get(function, {"FUNCTION": function}),
                made=dict(self.engine.made),
            )
            self.made[function] = engine.build("emulator" if function == "emulator" else "function")
        return self.made[function]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A volume."""
    folder = tmp_path / "state"
    folder.mkdir()
    service_account(folder / "service-account.json", token_uri="http://127.0.0.1:1/token")
    for path in (folder, *folder.iterdir()):
        os.chown(path, 10001, 10001)
    return folder


def said_by(root: Root, *command: str, state: Path | None = None, settings: Mapping[str, str] | None = None) -> str:
    """Output of a command in this image, with its exit code in brackets at the end. `settings`: instead of SETTINGS."""
    volumes = {state: "/state"} if state else {}
    environment = root.environment | dict(SETTINGS if settings is None else settings)
    with started(root, [*root.entrypoint, *command], environment, volumes=volumes) as process:
        said, _ = process.communicate(timeout=60)
    return f"{said.strip()} [{process.returncode}]"


@contextlib.contextmanager
def running(
    root: Root, state: Path, *options: str, ports: Sequence[int] = ()
) -> Iterator["tuple[subprocess.Popen[str], int]"]:
    """The image's own entrypoint. Gives the process, and a function's port, which is not 8080: that is anybody's."""
    port = free_port()
    entrypoint = [part.replace("--port 8080", f"--port {port}") for part in root.entrypoint]
    process = started(root, [*entrypoint, *options], root.environment | SETTINGS, volumes={state: "/state"})
    try:
        deadline = time.monotonic() + DEADLINE
        while not all(accepts(awaited) for awaited in ports or [port]):
            assert process.poll() is None, process.stdout and process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process, port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with process:  # waits, and closes
            pass


@pytest.mark.nightly
def test_its_steps_work_as_they_stand(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With packages from an index, checked by hash; the other tests leave that out."""
    monkeypatch.setenv("PIP_NO_COMPILE", "1")  # a fifth of the time
    given = dataclasses.replace(
        engine,
        folder=engine.folder.with_name("installed"),
        given={"FUNCTION": "email"},
        installs=True,
        made=dict(engine.made),
    )
    root = given.build("function")
    assert (root.user, root.folder, root.environment["FUNCTION"]) == ("10001:10001", "/tidings", "email")
    code = "import functions.email.main, tidings.runtime.server, tidings.runtime.worker; print('all there')"
    assert said_by(root, "python", "-c", code).endswith("all there [0]")


@pytest.mark.parametrize("function", BY_DAY)
def test_it_starts_its_function_and_ends_by_the_stop_signal(function: str, images: Images, state: Path) -> None:
    """With everything read only but /tmp and the volume, and no capabilities, as local/compose.yaml has it."""
    root = images.of(function)
    if function in ("intake", "replay", "receipts"):
        assert said_by(root, "python", "-m", "tidings.migrate", state=state).endswith("[0]")
    with running(root, state) as (process, port):
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=DEADLINE) as answer:
            assert json.load(answer)["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0


@pytest.mark.parametrize("function", FUNCTIONS)
def test_it_holds_no_other_function_and_no_other_sdk(function: str, images: Images) -> None:
    root = images.of(function)
    assert [path.name for path in (root.path / "tidings/functions").iterdir() if path.is_dir()] == [function]
    (site,) = (root.path / "venv/lib").glob("python3*/site-packages")
    there = {path.name for path in site.iterdir()}
    sdk = {"sms": {"twilio"}, "push": {"firebase_admin"}}.get(function, set())
    assert there & {"twilio", "firebase_admin", "boto3", "pip", "pytest", "moto", "aiosmtpd"} == sdk


def test_it_runs_unprivileged_and_read_only(images: Images) -> None:
    root = images.of("intake")
    assert said_by(root, "id", "-u") == "10001 [0]"
    assert "[0]" in said_by(root, "touch", "/tmp/here")
    for place in ("/tidings/here", "/venv/here", "/here", "/state/here", "/etc/here"):
        assert "Read-only file system" in said_by(root, "touch", place)
    assert "No module named pip" in said_by(root, "python", "-m", "pip")
    for file in (root.path / "tidings").rglob("*"):
        assert file.owner() == "root"
        assert not file.stat().st_mode & 0o022


@pytest.mark.nightly  # by day, tests/functions/test_http.py asks the same of the command
def test_a_function_finishes_its_requests_after_the_stop_signal(images: Images, state: Path) -> None:
    root = images.of("intake")
    assert said_by(root, "python", "-m", "tidings.migrate", state=state).endswith("[0]")
    body = json.dumps({"channel": "sms", "recipient": "+15005550010", "content": {"text": "x"}}).encode()
    with running(root, state) as (process, port), socket.create_connection(("127.0.0.1", port)) as caller:
        head = (
            f"POST /v1/notifications HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}"
        )
        caller.sendall(head.encode() + b"\r\n\r\n" + body[:10])
        with urlopen(Request(f"http://127.0.0.1:{port}/healthz"), timeout=DEADLINE):
            pass  # so what was sent before has been read too
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + DEADLINE
        while accepts(port) and time.monotonic() < deadline:
            time.sleep(0.02)
        caller.sendall(body[10:])
        caller.settimeout(DEADLINE)
        assert caller.recv(100).startswith(b"HTTP/1.1 202 ")
        assert process.wait(DEADLINE) == 0


@pytest.mark.nightly  # by day, the manifests' commands start the triggers that they name
@pytest.mark.parametrize("module", ["tidings.runtime.trigger", "tidings.runtime.scheduler"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_trigger_is_in_the_functions_image(function: str, module: str, images: Images) -> None:
    assert re.search(r"usage: .*\[0\]$", said_by(images.of(function), "python", "-m", module, "--help"), re.DOTALL)


def manifest_commands() -> list[object]:
    """Each command that a manifest of Kubernetes or Cloud Run starts, with the image that it names, once. By day, one
    for each module."""
    found = sorted({(function_of(container), *container["args"]) for _, container in all_containers()})
    by_day = {command[2]: (image, *command) for image, *command in reversed(found)}.values()
    return [
        pytest.param(
            image,
            command,
            id=f"{image}:{' '.join(command[2:])}",
            marks=() if (image, *command) in by_day else pytest.mark.nightly,
        )
        for image, *command in found
    ]


@pytest.mark.parametrize(("image", "command"), manifest_commands())
def test_a_manifests_command_starts_in_the_image_that_the_manifest_names(
    image: str, command: list[str], images: Images, state: Path
) -> None:
    """Its code and packages are complete if it gets to its first missing setting. (The migration has none.)"""
    assert image in (*FUNCTIONS, *BUILT_AS), f"no such image: tidings-{image}"
    root = images.of(image)
    if command[2] == "tidings.migrate":
        assert said_by(root, *command, state=state).endswith("[0]")
        return
    told = said_by(root, *command, state=state, settings={"TIDINGS_DATABASE_URL": SETTINGS["TIDINGS_DATABASE_URL"]})
    name = command[3] if command[2] == "tidings.runtime.server" else command[2].rpartition(".")[2]
    assert re.search(rf"^tidings: {name}: TIDINGS_\w+.* \[2\]$", told, re.MULTILINE | re.DOTALL), told


def test_the_emulated_providers_have_an_image_of_their_own(images: Images, state: Path) -> None:
    root = images.of("emulator")
    smtp, http = free_port(), free_port()
    options = (f"--smtp-port={smtp}", f"--http-port={http}", "--state=/state")
    with running(root, state, *options, ports=(smtp, http)) as (process, _):
        with urlopen(f"http://127.0.0.1:{http}/healthz", timeout=DEADLINE) as answer:
            assert answer.status == 200
        process.terminate()
        assert process.wait(DEADLINE) == 0
    assert not (root.path / "tidings/functions").exists()
