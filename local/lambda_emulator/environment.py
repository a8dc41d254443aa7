"""An execution environment: the real `awslambdaric` with a function, treated as Lambda treats it.

It is frozen while it waits for an event, thawed for the next one, and killed if it has not answered before its
time-out. One that has ended is restarted for the next event.
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
INIT_WITHIN = timedelta(seconds=60)  # Lambda allows 10 s; this machine may be busy
POLL_INTERVAL = 0.05  # seconds


@dataclass(frozen=True, kw_only=True)
class LambdaFunction:
    """A deployed function."""

    name: str  # a folder below functions/
    variables: Mapping[str, str]  # its environment variables
    timeout: timedelta
    output: IO[bytes] | None = None  # its log; None: this process's output

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
class InvocationResult:
    """The function's answer, or an error with `errorType` and `errorMessage`."""

    payload: bytes
    failed: bool = False

    @property
    def error(self) -> dict[str, Any]:
        return dict(json.loads(self.payload)) if self.failed else {}


class InitError(Exception):
    """The function did not start. Its log says why."""

    def __init__(self, result: InvocationResult) -> None:
        super().__init__(result.error.get("errorMessage"))
        self.result = result


@dataclass
class Environment:
    """Runs one invocation at a time. `close` it at the end."""

    function: LambdaFunction
    frozen: threading.Event = field(default_factory=threading.Event)
    _api: RuntimeApi | None = None
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The current process."""
        assert self._process is not None, "not started"  # noqa: S101
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Return when it is ready and frozen. Raise InitError."""
        self.close()
        self.frozen.clear()  # the previous process may have died frozen
        self._api = RuntimeApi(arn=self.function.arn, freeze=self._freeze, thaw=self._thaw)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", self.function.handler],
            cwd=ROOT,
            env=self.function.environment(self._api.address),
            stdin=subprocess.DEVNULL,
            stdout=self.function.output,
            stderr=self.function.output,
        )
        deadline = time.monotonic() + INIT_WITHIN.total_seconds()
        while not self._api.ready.wait(POLL_INTERVAL):
            if self.is_running and time.monotonic() < deadline:
                continue
            failed = self._died("init", self._process)
            with contextlib.suppress(queue.Empty):  # it may have reported the cause
                failed = InvocationResult(payload=self._api.reports.get_nowait().payload, failed=True)
            self.close()
            raise InitError(failed)
        self.frozen.wait()

    def invoke(self, event: bytes) -> InvocationResult:
        """Send the event and wait for the result. Restart the process if it has died."""
        if not self.is_running:
            try:
                self.start()
            except InitError as error:
                return error.result
        api, process, id = self._api, self._process, str(uuid.uuid4())
        assert api is not None and process is not None, "not started"  # noqa: S101, PT018
        deadline = time.time() + self.function.timeout.total_seconds()
        api.invocations.put(Invocation(id=id, event=event, deadline=deadline))
        while (left := deadline - time.time()) > 0:
            was_running = process.poll() is None  # checked first: it may answer and then die
            with contextlib.suppress(queue.Empty):
                report = api.reports.get(timeout=min(left, POLL_INTERVAL))
                if report.invocation_id == id:
                    return InvocationResult(payload=report.payload, failed=report.failed)
            if not was_running:
                return self._died(id, process)
        return self._timed_out(id)

    def close(self) -> None:
        """End the process."""
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
            # It may run on for a moment after the signal. It may also be killed and reaped by another thread.
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

    def _died(self, what: str, process: subprocess.Popen[bytes]) -> InvocationResult:
        process.kill()  # during init it may only be late
        status = process.wait()
        cause = f"exit status {status}" if status >= 0 else f"signal: {signal.Signals(-status).name}"
        return self._reported(what, "Runtime.ExitError", f"Runtime exited with error: {cause}")

    def _timed_out(self, id: str) -> InvocationResult:
        self.close()
        seconds = self.function.timeout.total_seconds()
        return self._reported(id, "Sandbox.Timedout", f"Task timed out after {seconds:.2f} seconds")

    def _reported(self, what: str, kind: str, message: str) -> InvocationResult:
        """Add Lambda's line to the log."""
        line = json.dumps({"type": "platform.report", "record": {"requestId": what, "error": message}}) + "\n"
        output = self.function.output or sys.stdout.buffer
        output.write(line.encode())
        output.flush()
        error = {"errorType": kind, "errorMessage": f"RequestId: {what} Error: {message}"}
        return InvocationResult(payload=json.dumps(error).encode(), failed=True)


class Environments:
    """A function's environments: one per concurrent invocation, up to a limit; further invocations wait."""

    def __init__(self, function: LambdaFunction, *, max_concurrency: int) -> None:
        self._function = function
        self._slots = threading.BoundedSemaphore(max_concurrency)
        self._lock = threading.Lock()
        self._idle: list[Environment] = []  # the most recently used is last, and is taken first
        self._all: list[Environment] = []

    def start(self) -> None:
        """Start one environment in advance. Raise InitError."""
        environment = self._take()
        environment.start()
        self._idle.append(environment)

    def invoke(self, event: bytes) -> InvocationResult:
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
            made = Environment(self._function)
            self._all.append(made)
            return made

    def close(self) -> None:
        for environment in self._all:
            environment.close()
