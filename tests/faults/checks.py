"""The invariants that must hold after every fault, checked with the database, the queues and the providers' log."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tidings.messaging import topology

from tests.faults.load import CHANNELS, Load
from tests.faults.world import World, wait
from tests.scenarios.queues import RabbitQueues

REPORT = "(`by` IN ('receipt', 'lookup') AND started_at IS NULL)"  # it ended no attempt; NULL: by an older release
ACCEPTED = ("sent", "delivered")
ENDS = (*ACCEPTED, "undelivered", "failed", "unknown", "suppressed", "canceled", "expired")
PART = 5000  # rows per query
UNENDED = ("pending", "sending", "retrying")
TOOK = ("accepted", "dropped_after_accept")
WORK = tuple(queue for channel in CHANNELS for queue in topology.work_queues(channel))


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the database."""

    id: str
    address: str
    status: str
    generation: int
    attempt: int
    spared: int
    on_ambiguous: str
    provider_message_id: str | None
    settled: int  # ambiguous attempts, of every generation
    ambiguous: int  # of its ended attempts in this generation, how many were

    @property
    def has_ended(self) -> bool:
        return self.status in ENDS


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The counts of a fault in the table."""

    accepted: int
    sent: int
    failed: int
    held: int
    lost: int
    doubled: int
    ambiguous: int


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The state of all sources at one moment."""

    rows: Sequence[Row]
    calls: Mapping[str, Sequence[Mapping[str, Any]]]  # by address

    def taken(self, row: Row) -> int:
        """Number of provider acceptances."""
        return self.took(row.address)

    def took(self, address: str) -> int:
        """The same, for a row that may have been deleted."""
        return sum(call["outcome"] in TOOK for call in self.calls.get(address, ()))

    def without(self, addresses: Container[str]) -> "Seen":
        return replace(self, rows=[row for row in self.rows if row.address not in addresses])

    @property
    def doubled(self) -> int:
        return sum(max(0, self.taken(row) - 1) for row in self.rows)


def look(world: World, load: Load) -> Seen:
    calls: dict[str, list[Mapping[str, Any]]] = {}
    for call in world.emulator.calls():
        calls.setdefault(str(call["recipient"]), []).append(call)
    return Seen(rows=rows(world, load), calls=calls)


def rows(world: World, load: Load) -> list[Row]:
    """The rows of the load, whether or not their 202 was seen."""
    stored = addresses_of(load)
    recipients = list(stored)
    parts = [recipients[start : start + PART] for start in range(0, len(recipients), PART)]
    return [row for part in parts for row in _rows(world, {recipient: stored[recipient] for recipient in part})]


def _rows(world: World, stored: Mapping[str, str]) -> list[Row]:
    marks = ",".join(["%s"] * len(stored))
    found = world.query(
        f"""SELECT n.id, n.recipient, n.status, n.generation, n.attempt, n.spared, n.on_ambiguous,
              n.provider_message_id,
              (SELECT COUNT(*) FROM events e WHERE e.notification_id = n.id AND e.token IS NOT NULL
                 AND {REPORT} IS NOT TRUE),
              (SELECT COUNT(*) FROM events e WHERE e.notification_id = n.id AND e.generation = n.generation
                 AND e.error_class = 'ambiguous')
            FROM notifications n WHERE n.tenant = 'local' AND n.recipient IN ({marks})""",
        tuple(stored),
    )
    return [
        Row(
            id=id,
            address=stored[recipient],
            status=status,
            generation=generation,
            attempt=attempt,
            spared=spared,
            on_ambiguous=on_ambiguous,
            provider_message_id=message_id,
            settled=int(settled),
            ambiguous=int(ambiguous),
        )
        for id, recipient, status, generation, attempt, spared, on_ambiguous, message_id, settled, ambiguous in found
    ]


def all_ended(world: World, load: Load, *, within: float) -> None:
    """E: every notification has settled, and the work queues are empty. Fail with those that have not."""

    stored = addresses_of(load)

    def standing() -> dict[str, int]:
        if counted := _unended(world, stored):
            return counted
        owed = world.query("SELECT COUNT(*) FROM notifications WHERE status = 'failed' AND wake_at IS NOT NULL")[0][0]
        found = {"letters owed": owed, "queued": world.waiting_in(*WORK)}
        return {name: count for name, count in found.items() if count}

    wait("E: everything has ended", standing, lambda found: not found, within=within)


def _unended(world: World, ours: Mapping[str, str]) -> Counter[str]:
    """By status. Polled while thousands are under way, so it reads only unsettled rows."""
    marks = ",".join(["%s"] * len(UNENDED))
    found = world.query(
        f"SELECT recipient, status FROM notifications WHERE tenant = 'local' AND status IN ({marks})", UNENDED
    )
    return Counter(status for recipient, status in found if recipient in ours)


def violations(world: World, load: Load, seen: Seen, *, may_double: bool, parked: int = 0) -> list[str]:
    """Descriptions of broken invariants; empty: all hold."""
    found = [f"the API: {problem}" for problem in load.refused]
    found += _every_accepted_one_ended(world, load, seen)
    found += _no_call_too_many(seen, may_double=may_double)
    found += _sent_only_if_accepted(seen)
    found += _nothing_moved_after_its_end(world, seen)
    in_parking = world.waiting_in(topology.PARKING)
    # After a lost acknowledgement, an unreadable message is redelivered and parked again.
    if in_parking < parked or (in_parking > parked and not may_double):
        found.append(f"{in_parking} messages in parking, where {parked} belong")
    return found


def _every_accepted_one_ended(world: World, load: Load, seen: Seen) -> list[str]:
    found = []
    ids = {row.id: row for row in seen.rows}
    addresses = Counter(row.address for row in seen.rows)
    found += [f"A: {one.id} was answered 202 and has no row" for one in load.wanted if one.id and one.id not in ids]
    found += [f"A: {address} has {count} rows under one key" for address, count in addresses.items() if count > 1]
    found += [f"A: {row.id} stands at {row.status}" for row in seen.rows if not row.has_ended]
    letters = dead_letters(world)
    found += [
        f"A: {row.id} failed and has no dead letter"
        for row in seen.rows
        if row.status == "failed" and row.id not in letters
    ]
    return found


def _no_call_too_many(seen: Seen, *, may_double: bool) -> list[str]:
    found = []
    for row in seen.rows:
        taken = seen.taken(row)
        allowed = 1 + (row.ambiguous if may_double and row.on_ambiguous == "resend" else 0)
        if taken > allowed:
            found.append(f"B: {row.id} was accepted {taken} times by its provider, where {allowed} may be ({row})")
        calls = len(seen.calls.get(row.address, ()))
        if calls > row.settled:
            found.append(f"B: {row.id} made {calls} provider calls in {row.settled} attempts")
    return found


def _sent_only_if_accepted(seen: Seen) -> list[str]:
    return [
        f"C: {row.id} is sent as {row.provider_message_id}, which its provider did not accept"
        for row in seen.rows
        if row.status in ACCEPTED
        and not any(
            call["outcome"] in TOOK and str(call["message_id"]) in str(row.provider_message_id)
            for call in seen.calls.get(row.address, ())
        )
    ]


def _nothing_moved_after_its_end(world: World, seen: Seen) -> list[str]:
    """D: in a generation, a terminal event is the last; and an attempt has exactly one outcome."""
    found, over = [], set()
    attempts: Counter[tuple[str, int, int]] = Counter()
    ours = {row.id for row in seen.rows}
    first = min(ours, default="")
    for id, generation, attempt, status, token in world.query(
        f"""SELECT notification_id, generation, attempt, status, token FROM events
            WHERE notification_id >= %s AND {REPORT} IS NOT TRUE ORDER BY seq""",
        (first,),
    ):
        if id not in ours:
            continue
        if (id, generation) in over:
            found.append(f"D: {id} became {status} after its end in generation {generation}")
        if status in ENDS:
            over.add((id, generation))
        if token is not None:
            attempts[id, generation, attempt] += 1
    return found + [f"D: attempt {key} was settled {count} times" for key, count in attempts.items() if count > 1]


def audited(world: World, seen: Seen) -> list[str]:
    """H: the audit finds nothing in these rows."""
    if not seen.rows:
        return []
    ids = {row.id for row in seen.rows}
    since = datetime.fromtimestamp(int(min(ids)[:13].replace("-", ""), 16) / 1000, UTC)  # the first id's millisecond
    findings = wait("the audit", lambda: [world.caller.audit(since=since.isoformat())])[0]
    return [f"H: {one}" for one in findings if one.get("id") is None or one["id"] in ids]


def dead_letters(world: World) -> set[str]:
    queues = RabbitQueues(url=world.rabbitmq.url)
    return {seen.id for channel in CHANNELS for seen in queues.lying_in(topology.dead_queue(channel))}


def counted(load: Load, seen: Seen) -> Counted:
    by_status = Counter(row.status for row in seen.rows)
    ids = {row.id for row in seen.rows}
    vanished = sum(1 for one in load.wanted if one.id is not None and one.id not in ids)
    return Counted(
        accepted=len(seen.rows) + vanished,
        sent=sum(by_status[status] for status in ACCEPTED),
        failed=by_status["failed"],
        held=by_status["unknown"],
        lost=vanished + sum(not row.has_ended for row in seen.rows),
        doubled=seen.doubled,
        ambiguous=sum(row.ambiguous for row in seen.rows),
    )


def replayed_twice_sends_once(world: World, load: Load, before: Seen, *, within: float = 60.0) -> list[str]:
    """G: every failed or unknown notification can be replayed; a second replay changes nothing."""
    dead = {row.id: row for row in before.rows if row.status in ("failed", "unknown")}
    answers = [
        [id for status in ("failed", "unknown") for id in world.caller.replay(limit=10_000, status=status)["ids"]]
        for _ in range(2)
    ]
    all_ended(world, load, within=within)
    after = look(world, load)
    found = [] if not answers[1] else [f"G: the second replay took {answers[1]} again"]
    for row in after.rows:
        more = after.taken(row) - before.taken(row)
        if row.id in dead:
            if row.status not in ACCEPTED or more != 1 or row.generation != dead[row.id].generation + 1:
                found.append(f"G: {row.id} was replayed, and is {row.status} after {more} more accepted calls ({row})")
        elif more:
            found.append(f"G: {row.id} was not replayed, and went out {more} times more")
    found += [f"G: the letter of {id} still lies there" for id in dead_letters(world) & set(dead)]
    return found


def addresses_of(load: Load) -> dict[str, str]:
    """All submitted recipients, as stored."""
    return {_stored(one.channel, one.address): one.address for one in load.wanted}


def _stored(channel: str, address: str) -> str:
    return f"token:{address}" if channel == "push" else address
