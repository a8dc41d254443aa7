"""The ports of the stack: consecutive, or any free ones."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from local.services.access import free_port
from local.services.process import ServiceError


@dataclass(frozen=True, kw_only=True)
class Ports:
    intake: int
    replay: int
    inbox: int
    smtp: int
    channels: dict[str, int]
    receipts: int
    bounces: int

    @classmethod
    def plan(cls, first: int, channels: Sequence[str]) -> "Ports":
        """From `first` on; 0: any free ones. Raise ServiceError if a port is in use, with a remedy."""
        names = ["intake", "replay", "inbox", "smtp", *channels, "receipts", "bounces"]
        numbers = [free_port() for _ in names] if first == 0 else list(range(first, first + len(names)))
        if first != 0:
            for name, number in zip(names, numbers, strict=True):
                _check(name, number)
        by_name = dict(zip(names, numbers, strict=True))
        return cls(
            intake=by_name["intake"],
            replay=by_name["replay"],
            inbox=by_name["inbox"],
            smtp=by_name["smtp"],
            channels={channel: by_name[channel] for channel in channels},
            receipts=by_name["receipts"],
            bounces=by_name["bounces"],
        )


def _check(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # a port of a stack that has just ended counts as free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServiceError(
                f"port {port} (for {name}) is not free: {error.strerror}. Stop the process that listens there "
                f"(`ss -ltnp 'sport = :{port}'` shows it), or choose other ports: local/up --port 9080"
            ) from None
