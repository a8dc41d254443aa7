"""An execution environment: the real `awslambdaric` with a function, and all that Lambda does to it.

It is frozen whenever it waits for an event, thawed for the next one, and killed where it has not answered when its time
is up. One that has ended begins anew with the next event.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from local.lambda_emulator.runtime_api import Invocation, RuntimeApi

ROOT = Path(__file__).parents[2]
INIT_WITHIN = timedelta(seconds=60)  # Lambda gives 10 s; this machine may be busy with something else
LOOK_EVERY = 0.05  # seconds


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A function, as Lambda knows it."""

    name: str  # a folder below functions/
    variables: Mapping[str, str]  # of its environment
    timeout: timedelta
    output: IO[bytes] | None = None  # what becomes its log; None: this process's output

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:eu-central-1:123456789012:function:tidings-{self.name}"

    def environment(self, api: str) -> dict[str, str]:
        """https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html"""
        return {
            **self.variables,
            "AWS_LAMBDA_RUNTIME_API": api,
            "AWS_LAMBDA_FUNCTION_NAME": f"tidings-{self.name}",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/tidings-{self.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"[$LATEST]{uuid.uuid4().hex}",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "LAMBDA_TASK_ROOT": str(ROOT),
            "_HANDLER": self.handler,
            "TZ": ":UTC",
        }

    @property
    def handler(self) -> str:
        return f"functions/{self.name}/main.handler"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How an invocation ended: the function's answer, or an error with `errorType` and `errorMessage`."""

    payload: bytes
    failed: bool = False

    @property
    def error(self) -> dict[str, Any]:
        return dict(json.loads(self.payload)) if self.failed else {}


class InitFailed(Exception):
    """The function did not come up. Its own words are in the log."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.error.get("errorMessage"))
        self.ended = ended


@dataclass
class Environment:
    """For one invocation at a time. `close` it."""

    deployed: Deployed
    frozen: threading.Event = field(default_factory=threading.Event)
    _api: RuntimeApi | None = None
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process there is now."""
        assert self._process is not None, "it is started"  # noqa: S101
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Return when it is ready, and frozen. Raise InitFailed."""
        self.close()
        self.frozen.clear()  # the one before may have died in that state
        self._api = RuntimeApi(arn=self.deployed.arn, freeze=self._freeze, thaw=self._thaw)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", self.deployed.handler],
            cwd=ROOT,
            env=self.deployed.environment(self._api.address),
            stdin=subprocess.DEVNULL,
            stdout=self.deployed.output,
            stderr=self.deployed.output,
        )
        deadline = time.monotonic() + INIT_WITHIN.total_seconds()
        while not self._api.ready.wait(LOOK_EVERY):
            if self.is_running and time.monotonic() < deadline:
                continue
            failed = self._died("init", self._process)
            with contextlib.suppress(queue.Empty):  # it may have said why
                failed = Ended(payload=self._api.told.get_nowait().payload, failed=True)
            self.close()
            raise InitFailed(failed)
        self.frozen.wait()

    def invoke(self, event: bytes) -> Ended:
        """Give it the event, and wait for its end. Begin anew where it has died."""
        if not self.is_running:
            try:
                self.start()
            except InitFailed as error:
                return error.ended
        api, process, id = self._api, self._process, str(uuid.uuid4())
        assert api is not None and process is not None, "it is started"  # noqa: S101, PT018
        deadline = time.time() + self.deployed.timeout.total_seconds()
        api.given.put(Invocation(id=id, event=event, deadline=deadline))
        while (left := deadline - time.time()) > 0:
            was_running = process.poll() is None  # looked at first: it may say something and die
            with contextlib.suppress(queue.Empty):
                told = api.told.get(timeout=min(left, LOOK_EVERY))
                if told.about == id:
                    return Ended(payload=told.payload, failed=told.failed)
            if not was_running:
                return self._died(id, process)
        return self._timed_out(id)

    def close(self) -> None:
        """Nothing of it is left."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._api is not None:
            self._api.close()
            self._api = None

    def _freeze(self) -> None:
        process = self._process
        self._signal(process, signal.SIGSTOP)
        if process is not None:
            # After the signal it may run on for a moment. It may also be killed, and waited for by another thread.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self.frozen.set()

    def _thaw(self) -> None:
        self.frozen.clear()
        self._signal(self._process, signal.SIGCONT)

    def _signal(self, process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(process.pid, number)

    def _died(self, what: str, process: subprocess.Popen[bytes]) -> Ended:
        process.kill()  # at the init it may only be late
        status = process.wait()
        said = f"exit status {status}" if status >= 0 else f"signal: {signal.Signals(-status).name}"
        return self._told(what, "Runtime.ExitError", f"Runtime exited with error: {said}")

    def _timed_out(self, id: str) -> Ended:
        self.close()
        seconds = self.deployed.timeout.total_seconds()
        return self._told(id, "Sandbox.Timedout", f"Task timed out after {seconds:.2f} seconds")

    def _told(self, what: str, kind: str, message: str) -> Ended:
        """The line that Lambda adds to the log."""
        line = json.dumps({"type": "platform.report", "record": {"requestId": what, "error": message}}) + "\n"
        output = self.deployed.output or sys.stdout.buffer
        output.write(line.encode())
        output.flush()
        error = {"errorType": kind, "errorMessage": f"RequestId: {what} Error: {message}"}
        return Ended(payload=json.dumps(error).encode(), failed=True)


class Environments:
    """A function's environments: as many as it is called at once, up to a limit; who comes then waits."""

    def __init__(self, deployed: Deployed, *, at_most: int) -> None:
        self._deployed = deployed
        self._slots = threading.BoundedSemaphore(at_most)
        self._lock = threading.Lock()
        self._idle: list[Environment] = []  # the last used is last, and used first
        self._all: list[Environment] = []

    def start(self) -> None:
        """One, so that the first call finds it. Raise InitFailed."""
        environment = self._take()
        environment.start()
        self._idle.append(environment)

    def invoke(self, event: bytes) -> Ended:
        with self._slots:
            environment = self._take()
            try:
                return environment.invoke(event)
            finally:
                self._idle.append(environment)

    def _take(self) -> Environment:
        with self._lock:
            if self._idle:
                return self._idle.pop()
            made = Environment(self._deployed)
            self._all.append(made)
            return made

    def close(self) -> None:
        for environment in self._all:
            environment.close()
