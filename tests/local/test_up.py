"""`local/up`: one process that starts, reports, watches and stops all others."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tidings.domain.channels import CHANNELS

from local.services.process import SupervisedProcess
from local.stack.__main__ import _options
from local.stack.stack import Options, running
from tests import forks
from tests.installed import of_local_up, only
from tests.scenarios.caller import Caller, wait_for

ROOT = Path(__file__).parents[2]
READY_WITHIN = 120.0  # seconds, on a busy machine
ENDS_WITHIN = 60.0  # a process that hangs is killed after 40
MOST_MEMORY = 1024**3  # bytes
NAMES = ("TIDINGS_URL", "TIDINGS_OPS_URL", "TIDINGS_INBOX_URL", "TIDINGS_API_KEY")


@dataclass(frozen=True, kw_only=True)
class Up:
    """The command, as it runs."""

    state: Path
    process: subprocess.Popen[bytes] | forks.Fork
    output: Path

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def env_file(self) -> Path:
        return self.state / "env"

    def ready(self) -> dict[str, str]:
        """The lines of `env`, once they are written and the output is complete."""
        wait_for(lambda: self.env_file.exists() or self.process.poll() is not None, within=READY_WITHIN)
        wait_for(lambda: "Ctrl-C" in self.said or self.process.poll() is not None)
        assert self.process.poll() is None, self.said
        return dict(line.split("=", 1) for line in self.env_file.read_text().splitlines())

    def caller(self) -> Caller:
        env = self.ready()
        return Caller(url=env["TIDINGS_URL"], ops_url=env["TIDINGS_OPS_URL"], key=env["TIDINGS_API_KEY"])

    def ended(self) -> int:
        """Wait for the exit code. No process may be left."""
        code = self.process.wait(ENDS_WITHIN)
        assert processes_of(self.state) == {}
        assert not self.env_file.exists()
        return code


FORKED = """
import sys
from functools import partial
from local.stack import __main__ as up
from tests import forks
up.Options = partial(up.Options, start=forks.start)
sys.exit(up.main())
"""
"""`local/up`, all of whose processes are forked."""


@contextlib.contextmanager
def up(state: Path, *options: str, name: str = "up", forked_from: Path | None = None, **more: str) -> Iterator[Up]:
    """Run it; make sure that it has ended at the end. `forked_from`: run that of this tree, forked. `more`: environment
    variables."""
    output = state.with_name(f"{name}.out")
    arguments = ["--state", str(state), *(options or ("--port", "0"))]
    environment = {**{name: value for name, value in os.environ.items() if not hinders(name)}, **more}
    process: subprocess.Popen[bytes] | forks.Fork
    if forked_from is not None:
        process = forks.popen(
            [FORKED, *arguments], environment=environment, log=output, folder=forked_from, is_code=True
        )
    else:
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "local.stack", *arguments],
                cwd=ROOT,
                stdout=file,
                stderr=file,
                env=environment,
            )
    try:
        yield Up(state=state, process=process, output=output)
    finally:
        process.terminate()
        try:
            process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def hinders(name: str) -> bool:
    """Without the variables that turn bytecode off, which would make the second start as slow as the first."""
    return name == "PYTHONDONTWRITEBYTECODE" or name.startswith("TIDINGS_")


def processes_of(state: Path) -> dict[int, str]:
    """Command lines of the processes with this folder in their arguments or environment."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is a stranger's
            command, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
            if os.fsencode(state) in command + environment and process.name != str(os.getpid()):
                found[int(process.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def assert_the_doctor_is_content(state: Path) -> None:
    looks = f"set -a; source {state}/functions.env; exec {sys.executable} -m tidings.cli doctor"
    done = subprocess.run(["bash", "-c", looks], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def memory(pid: int) -> int:
    """Its proportional share of the memory that it uses, in bytes."""
    with contextlib.suppress(OSError):
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found is not None else 0
    return 0


@pytest.fixture
def state() -> Iterator[Path]:
    """A folder that does not exist yet; not pytest's own, which lies too deep for a socket's path."""
    parent = Path(tempfile.mkdtemp(prefix="tidings-"))
    try:
        yield parent / "state"
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def test_it_delivers_on_every_channel_and_after_a_kill_the_second_start_finds_the_data(state: Path) -> None:
    # A proxy of the environment must not be used for our own processes.
    proxy = "http://127.0.0.1:9"
    hidden = only(of_local_up())  # as where nobody has run the tests yet
    with up(
        state,
        http_proxy=proxy,
        https_proxy=proxy,
        HTTP_PROXY=proxy,
        PYTHONPATH=hidden["PYTHONPATH"],
        HIDDEN_MODULES=hidden["HIDDEN_MODULES"],
    ) as first:
        env = first.ready()
        assert tuple(env) == NAMES
        assert first.env_file.stat().st_mode & 0o777 == 0o600
        timelines = re.findall(
            r"^  (\w+) +pending .* -> (?:sent|delivered) \+\d+ ms   by (\w+)$", first.said, re.MULTILINE
        )
        assert timelines == [("email", "smtp"), ("sms", "twilio"), ("push", "fcm"), ("webhook", "webhooks")]
        assert all(value in first.said for value in env.values())
        assert (state / "functions.env").stat().st_mode & 0o777 == 0o600
        assert_the_doctor_is_content(state)
        before = {one["id"]: one["status"] for one in first.caller().listed()}
        # Twilio, mail servers and the device's app report what became of a message.
        assert sorted(before.values()) == ["delivered", "delivered", "delivered", "sent"]
        shares = {command: memory(pid) for pid, command in processes_of(state).items()}
        assert sum(shares.values()) < MOST_MEMORY, shares
        # A second start beside it fails and does not touch the first one's file.
        with up(state, name="again") as again:
            assert again.process.wait(ENDS_WITHIN) == 1
        assert "is in use by another process" in again.said
        assert first.env_file.exists()
        said = (state / "logs" / "email.log").read_text().splitlines()
        assert re.search(r" email +sent +\S+ channel=email ", said[-1])  # for people
        first.process.kill()
        first.process.wait()
        assert first.env_file.exists()  # its owner was killed

    with up(state, "--port", "0", "--json") as second:
        wait_for(lambda: not second.env_file.exists() or second.process.poll() is not None)
        assert second.ready()["TIDINGS_API_KEY"] == env["TIDINGS_API_KEY"]
        [took] = re.findall(r"^ready in ([\d.]+) s", second.said, re.MULTILINE)
        assert float(took) < 60  # five, on a machine that has nothing else to do
        after = {one["id"]: one["status"] for one in second.caller().listed()}
        assert before.items() <= after.items()
        assert len(after) == 8
        by_email = state / "logs" / "email.log"
        wait_for(lambda: '"message":"sent"' in by_email.read_text())  # the function logs it after the row is updated
        assert json.loads(by_email.read_text().splitlines()[-1])["message"] == "sent"
        for log in ("schedule", "migrate"):
            assert (state / "logs" / f"{log}.log").read_text() == ""
        # A killed process is reported, and stops the others.
        [victim] = [
            pid
            for pid, command in processes_of(state).items()
            if re.search(r"-m tidings\.runtime\.trigger ", command) and "supervisor.py" not in command
        ]
        os.kill(victim, signal.SIGKILL)
        assert second.ended() == 1
        assert "local/up: trigger ended unexpectedly" in second.said


@pytest.mark.nightly
def test_on_lambda_it_delivers_as_well_and_leaves_no_frozen_process(state: Path) -> None:
    with up(state, "--port", "0", "--lambda") as stack:
        stack.ready()
        assert "on an emulated Lambda" in stack.said
        assert len(re.findall(r" -> (?:sent|delivered) \+\d+ ms   by ", stack.said)) == len(CHANNELS)
        assert len(re.findall(r" -> delivered \+\d+ ms   by twilio", stack.said)) == 1
        assert len([1 for command in processes_of(state).values() if "awslambdaric" in command]) >= 5
        stack.process.kill()
        stack.process.wait()
        wait_for(lambda: processes_of(state) == {})


@pytest.mark.parametrize("seen", ["logs/providers.log", "logs/migrate.log", "logs/push.log"])
def test_it_can_be_stopped_while_it_starts(state: Path, seen: str) -> None:
    with up(state) as stack:
        wait_for((state / seen).exists)
        stack.process.terminate()
        assert stack.ended() == 0


def test_a_stop_during_the_migration_ends_it_too(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(SupervisedProcess, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt), running(Options(state=state, first_port=0)):
        pass
    assert processes_of(state) == {}


def test_a_process_whose_start_nobody_waited_for_is_stopped_too(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal while the executor makes a thread: the executor does not know the thread, which starts its process."""
    late: list[threading.Thread] = []

    class Interrupted(ThreadPoolExecutor):
        def map(self, fn: Any, *of: Any, **_: Any) -> Any:
            if "providers" in of[0] or late:  # the first group is started, and groups are stopped
                return super().map(fn, *of)
            late.append(threading.Timer(1, fn, [next(iter(of[0])), next(iter(of[1]))]))
            late[0].start()
            raise KeyboardInterrupt

    monkeypatch.setattr("local.stack.processes.ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt), running(Options(state=state, first_port=0)):
        pass
    late[0].join()
    assert processes_of(state) == {}


def test_a_port_in_use_is_named_with_the_remedy(state: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with up(state, "--port", str(port)) as stack:
            assert stack.ended() == 1
        assert f"local/up: port {port} (for intake) is not free" in stack.said
        assert "local/up --port" in stack.said
        assert "Traceback" not in stack.said


def test_its_options_name_services_and_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    """That stacks with such options deliver is told by tests/scenarios/test_main_job.py."""
    given = ["--services", "--lambda", "--database-url=mysql://d", "--broker-url=amqp://b"]
    monkeypatch.setattr(sys, "argv", ["local/up", *given])
    read = _options()
    assert (read.use_services, read.on_lambda, read.database_url, read.broker_url) == (
        True,
        True,
        "mysql://d",
        "amqp://b",
    )


@pytest.mark.nightly
def test_it_runs_on_real_services(state: Path, request: pytest.FixtureRequest) -> None:
    """Of its own, if none are given."""
    given = [
        f"--{kind}-url={request.getfixturevalue(fixture)}"
        for kind, fixture in (("database", "mariadb_url"), ("broker", "rabbitmq_url"))
        if os.environ.get(f"TIDINGS_TEST_{kind.upper()}_URL")
    ]
    with up(state, "--port", "0", "--services", *given) as stack:
        env = stack.ready()
        assert tuple(env) == NAMES
        assert len(re.findall(r" -> (?:sent|delivered) \+\d+ ms   by ", stack.said)) == len(CHANNELS)
        assert len(re.findall(r" -> delivered \+\d+ ms   by twilio", stack.said)) == 1
        assert "SQLite" not in stack.said
        assert_the_doctor_is_content(state)
        asked = time.monotonic()
        stack.process.send_signal(signal.SIGINT)
        assert stack.ended() == 0
        # Three seconds, on a machine that has nothing else to do; a drain that hangs takes thirty.
        assert time.monotonic() - asked < 30
