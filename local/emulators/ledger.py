"""The inbox and the call log, written together, and the inbox's file."""

import json
from collections import deque
from pathlib import Path
from typing import Any, TextIO

from local.emulators.records import Call, CallLog, Inbox, Outcome, Received


class InboxFile:
    """The inbox as JSON lines, kept over restarts; rewritten when it has grown to twice its limit."""

    def __init__(self, path: Path, *, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._lines = 0
        self._file: TextIO | None = None

    def read(self) -> list[Received]:
        """The last messages. Skips a line that a crash cut short."""
        if not self._path.exists():
            return []
        with self._path.open(encoding="utf-8") as file:
            last = deque(file, maxlen=self._limit)
        return [received for line in last if (received := _received(line)) is not None]

    def append(self, received: Received, inbox: Inbox) -> None:
        if self._file is None or self._lines >= 2 * self._limit:
            self.rewrite(inbox)  # the inbox already has the message
            return
        self._file.write(_line(received))
        self._lines += 1

    def rewrite(self, inbox: Inbox) -> None:
        self.close()
        fresh = self._path.with_suffix(".fresh")
        with fresh.open("w", encoding="utf-8") as file:
            file.writelines(map(_line, inbox.oldest_first()))
        fresh.replace(self._path)
        # Line-buffered: an accepted message is in the file even if the process is killed.
        self._file = self._path.open("a", encoding="utf-8", buffering=1)
        self._lines = len(inbox)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class Ledger:
    """The inbox and the call log."""

    def __init__(self, *, inbox_limit: int, calls_limit: int, path: Path | None) -> None:
        self.inbox = Inbox(inbox_limit)
        self.calls = CallLog(calls_limit)
        self._file = InboxFile(path, limit=inbox_limit) if path is not None else None
        for received in self._file.read() if self._file is not None else ():
            self.inbox.add(received)

    def accept(self, received: Received, call: Call) -> None:
        self.inbox.add(received)
        if self._file is not None:
            self._file.append(received, self.inbox)
        self.calls.add(call)

    def add_call(self, call: Call) -> None:
        """Log a call whose message was not accepted."""
        self.calls.add(call)

    def clear(self) -> None:
        self.inbox.clear()
        self.calls.clear()
        if self._file is not None:
            self._file.rewrite(self.inbox)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def accepted_outcome(drop: str | None) -> Outcome:
    return Outcome.ACCEPTED if drop is None else Outcome.DROPPED_AFTER_ACCEPT


def _line(received: Received) -> str:
    return json.dumps(received.stored()) + "\n"


def _received(line: str) -> Received | None:
    try:
        stored: dict[str, Any] = json.loads(line)
        return Received(**stored)
    except (ValueError, TypeError):
        return None
