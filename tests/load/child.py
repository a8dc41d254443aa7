"""A helper process of the benchmark: answers each line of JSON with a line. It ends when its input ends."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Self

from local.stack.stack import ROOT


class Child:
    """A running `python -m MODULE`. For one thread at a time."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            # Unbuffered, Python drops the part of a long line that the pipe did not accept at once.
            env={**os.environ, "PYTHONUNBUFFERED": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, question: Mapping[str, Any]) -> Any:
        """Raise RuntimeError if it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()
        return self.told()

    def told(self) -> Any:
        """The next line. Raise RuntimeError if it has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._module} ended with {self._process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes its input
            pass
