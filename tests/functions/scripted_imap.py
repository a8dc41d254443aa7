"""A small IMAP server: what the poller needs of RFC 3501 and UIDPLUS."""

import contextlib
import re
import socket
import threading
from dataclasses import dataclass, field
from typing import Self


@dataclass
class ScriptedImap:
    """One mailbox, INBOX. `unreadable`: UIDs that FETCH refuses. `ends_at`: hangs up at this command."""

    mails: dict[int, bytes] = field(default_factory=dict)
    flags: dict[int, set[str]] = field(default_factory=dict)
    uidplus: bool = True
    unreadable: set[int] = field(default_factory=set)
    ends_at: str | None = None
    commands: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def url(self) -> str:
        return f"imap://tidings:p%40ss@127.0.0.1:{self.port}/INBOX"

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            connection.sendall(b"* OK ready\r\n")
            for line in lines:
                tag, _, command = line.decode().strip().partition(" ")
                self.commands.append(command)
                if self.ends_at is not None and command.startswith(self.ends_at):
                    return
                answer = self._answer(command)
                connection.sendall(b"".join(answer[:-1]) + tag.encode() + b" " + answer[-1] + b" done\r\n")
                if command == "LOGOUT":
                    return

    def _answer(self, command: str) -> list[bytes]:
        words = command.removeprefix("UID ").split()
        verb, named = words[0], len(words) > 1 and words[1].replace(",", "").isdigit()
        uids = [int(uid) for uid in words[1].split(",")] if named else list(self.mails)
        match verb:
            case "CAPABILITY":
                return [f"* CAPABILITY IMAP4rev1{' UIDPLUS' if self.uidplus else ''}\r\n".encode(), b"OK"]
            case "LOGIN":
                return [b"OK"] if command == 'LOGIN tidings "p@ss"' else [b"NO wrong"]
            case "SELECT":
                return [f"* {len(self.mails)} EXISTS\r\n".encode(), b"OK [READ-WRITE]"]
            case "SEARCH":
                first, _, last = words[1].partition(":")
                window = list(self.mails)[int(first) - 1 : int(last)]
                found = [uid for uid in window if not self.flags.get(uid, set()) & {r"\Deleted", r"\Flagged"}]
                return [f"* SEARCH {' '.join(map(str, found))}\r\n".encode(), b"OK"]
            case "FETCH":
                [uid] = uids
                if uid in self.unreadable:
                    return [b"NO cannot"]
                size = int(re.findall(r"<0\.(\d+)>", command)[0])
                content = self.mails[uid][:size]
                return [b"* 1 FETCH (UID %d BODY[]<0> {%d}\r\n" % (uid, len(content)), content, b")\r\n", b"OK"]
            case "STORE":
                for uid in uids:
                    self.flags.setdefault(uid, set()).update(re.findall(r"\\\w+", command))
                return [b"OK"]
            case "EXPUNGE":
                for uid in uids:
                    if r"\Deleted" in self.flags.get(uid, set()):
                        del self.mails[uid]
                return [b"OK"]
            case _:
                return [b"OK"]
