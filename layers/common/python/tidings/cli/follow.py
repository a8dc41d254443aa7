"""Wait for an end, and show what happens until then."""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidings.cli.api_client import Operator
from tidings.cli.exit_codes import UNDELIVERED, Failed
from tidings.cli.output import event, head, note, plain, progress, show
from tidings.client import Client
from tidings.domain.notification import OVER, Status

FIRST_LOOK, LATEST_LOOK = 0.2, 2.0  # seconds between looks, growing
ARRIVED = frozenset({Status.SENT, Status.DELIVERED})
ENDED = OVER | {Status.UNKNOWN}
"""Nothing more happens by itself."""


class Look:
    """When to look again: soon at first, and until the time is up."""

    def __init__(self, within: float | None) -> None:
        self._until = time.monotonic() + within if within is not None else None
        self._pause = FIRST_LOOK

    def again(self) -> bool:
        """Wait a while. False: the time is up."""
        if self._until is not None and time.monotonic() >= self._until:
            return False
        time.sleep(self._pause)
        self._pause = min(self._pause * 1.5, LATEST_LOOK)
        return True


def follow(client: Client, id: str, options: argparse.Namespace) -> None:
    """Print the timeline as it grows. Raise Failed if it ends otherwise than sent, or not in time."""
    look, printed = Look(options.within), 0
    while True:
        found = client.get(id)
        item = found.model_dump(mode="json", exclude_none=True)
        events = item.get("events", [])
        if not options.json:
            lines = [event(entry) for entry in events[printed:]]
            print("\n".join([*head(item), *lines] if printed == 0 else lines), end="\n" if lines else "", flush=True)
        printed = max(printed, len(events))
        if found.status in ENDED or not look.again():
            break
    if options.json:
        show(options, item, "")
    if found.status not in ARRIVED:
        error = found.last_error
        why = f": {error.code}: {error.message}" if error is not None else ""
        still = "" if found.status in ENDED else "still "
        raise Failed(UNDELIVERED, plain(f"{id} is {still}{found.status}{why}"))


def follow_many(server: Operator, ids: Sequence[str], within: float | None) -> dict[str, int]:
    """Until all have ended, or the time is up: how many there are of each status."""
    return tallied(lambda: server.post("/v1/notifications/tally", {"ids": list(ids)})["statuses"], len(ids), within)


def tallied(ask: Callable[[], Mapping[str, Any]], total: int, within: float | None) -> dict[str, int]:
    look = Look(within)
    with progress("delivering", total) as advance:
        while True:
            statuses = {str(status): int(count) for status, count in ask().items()}
            ended = sum(count for status, count in statuses.items() if status in ENDED)
            advance(ended, words_of(statuses))
            # Of those that are still there: a retention may have deleted some meanwhile.
            if ended >= sum(statuses.values()) or not look.again():
                return statuses


def words_of(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))


def end_of(statuses: Mapping[str, int], total: int) -> None:
    """Tell it, and raise Failed unless all were sent."""
    note(f"Of {total}: {words_of(statuses) or 'none found'}.")
    if sum(statuses.get(status, 0) for status in ARRIVED) < total:
        raise Failed(UNDELIVERED, "not all were sent")
