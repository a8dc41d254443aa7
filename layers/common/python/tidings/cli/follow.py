"""Wait for an end, and show what happens until then."""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tidings.cli.api_client import Operator
from tidings.cli.exit_codes import UNDELIVERED, Failed
from tidings.cli.output import event, head, note, plain, progress, show, state_of
from tidings.client import Client
from tidings.domain.notification import TERMINAL, Status

FIRST_LOOK, LATEST_LOOK = 0.2, 2.0  # seconds between looks, growing
ARRIVED = frozenset({Status.SENT, Status.DELIVERED})
ENDED = TERMINAL | {Status.UNKNOWN}
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
        raise Failed(UNDELIVERED, plain(f"{id} is {still}{state_of(item)}{why}"))


@dataclass(frozen=True)
class Tally:
    """How many there are of each status, and how many of those that were not sent may have been all the same."""

    statuses: Mapping[str, int] = field(default_factory=dict)
    doubtful: int = 0


def follow_many(server: Operator, ids: Sequence[str], within: float | None) -> Tally:
    """Until all have ended, or the time is up."""
    return tallied(lambda: count_by_status(server, ids), len(ids), within)


def count_by_status(server: Operator, ids: Sequence[str]) -> Tally:
    found = server.post("/v1/notifications/tally", {"ids": list(ids)})
    return Tally(
        {str(status): int(count) for status, count in found["statuses"].items()}, found.get("may_have_been_sent", 0)
    )


def tallied(ask: Callable[[], Tally], total: int, within: float | None) -> Tally:
    look = Look(within)
    with progress("delivering", total) as advance:
        while True:
            found = ask()
            ended = sum(count for status, count in found.statuses.items() if status in ENDED)
            advance(ended, words_of(found.statuses))
            # Of those that are still there: a retention may have deleted some meanwhile.
            if ended >= sum(found.statuses.values()) or not look.again():
                return found


def words_of(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))


def end_of(found: Tally, total: int) -> None:
    """Tell it, and raise Failed unless all were sent."""
    note(f"Of {total}: {words_of(found.statuses) or 'none found'}.")
    if found.doubtful:
        note(f"{found.doubtful} of those that are not sent may have been: the provider may have accepted an attempt.")
    if sum(found.statuses.get(status, 0) for status in ARRIVED) < total:
        raise Failed(UNDELIVERED, "not all were sent")
