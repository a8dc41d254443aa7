"""Wait until notifications have settled, and show their progress."""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tidings.cli.api_client import Operator
from tidings.cli.exit_codes import UNDELIVERED, CommandFailed
from tidings.cli.output import event, head, note, plain, progress, show, state_of
from tidings.client import Client
from tidings.domain.notification import TERMINAL, Status

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0  # seconds between polls, growing
ARRIVED = frozenset({Status.SENT, Status.DELIVERED})
ENDED = TERMINAL | {Status.UNKNOWN}
"""Nothing more happens without an operator."""


class Polling:
    """Polls often at first, then less often, until the time is up. `within`: seconds; None: without a limit."""

    def __init__(self, within: float | None) -> None:
        self._until = time.monotonic() + within if within is not None else None
        self._pause = FIRST_PAUSE

    def wait(self) -> bool:
        """Sleep until the next poll. False: the time is up."""
        if self._until is not None and time.monotonic() >= self._until:
            return False
        time.sleep(self._pause)
        self._pause = min(self._pause * 1.5, LONGEST_PAUSE)
        return True


def follow(client: Client, id: str, options: argparse.Namespace) -> None:
    """Print the timeline as it grows. Raise CommandFailed if it is not sent, or not in time."""
    polling, printed = Polling(options.within), 0
    while True:
        found = client.get(id)
        item = found.model_dump(mode="json", exclude_none=True)
        events = item.get("events", [])
        if not options.json:
            lines = [event(entry) for entry in events[printed:]]
            print("\n".join([*head(item), *lines] if printed == 0 else lines), end="\n" if lines else "", flush=True)
        printed = max(printed, len(events))
        if found.status in ENDED or not polling.wait():
            break
    if options.json:
        show(options, item, "")
    if found.status not in ARRIVED:
        error = found.last_error
        why = f": {error.code}: {error.message}" if error is not None else ""
        still = "" if found.status in ENDED else "still "
        raise CommandFailed(UNDELIVERED, plain(f"{id} is {still}{state_of(item)}{why}"))


@dataclass(frozen=True)
class StatusCounts:
    """Notifications by status, and how many of those that are not sent may have been sent all the same."""

    statuses: Mapping[str, int] = field(default_factory=dict)
    doubtful: int = 0


def follow_many(server: Operator, ids: Sequence[str], within: float | None) -> StatusCounts:
    """Poll until all have settled, or the time is up."""
    return poll_counts(lambda: count_by_status(server, ids), len(ids), within)


def count_by_status(server: Operator, ids: Sequence[str]) -> StatusCounts:
    found = server.post("/v1/notifications/tally", {"ids": list(ids)})
    return StatusCounts(
        {str(status): int(count) for status, count in found["statuses"].items()}, found.get("may_have_been_sent", 0)
    )


def poll_counts(fetch: Callable[[], StatusCounts], total: int, within: float | None) -> StatusCounts:
    polling = Polling(within)
    with progress("delivering", total) as advance:
        while True:
            found = fetch()
            ended = sum(count for status, count in found.statuses.items() if status in ENDED)
            advance(ended, describe(found.statuses))
            # Compare with the rows that still exist: retention may have deleted some.
            if ended >= sum(found.statuses.values()) or not polling.wait():
                return found


def describe(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))


def report_end(found: StatusCounts, total: int) -> None:
    """Print the counts. Raise CommandFailed unless all were sent."""
    note(f"Of {total}: {describe(found.statuses) or 'none found'}.")
    if found.doubtful:
        note(f"{found.doubtful} of those not sent may have been sent: the provider may have accepted an attempt.")
    if sum(found.statuses.get(status, 0) for status in ARRIVED) < total:
        raise CommandFailed(UNDELIVERED, "not all were sent")
