"""What receipts do to the list of suppressed recipients, in the transaction that applies them.

A receipt about a message concerns its notification's tenant. One about a recipient, such as a STOP by SMS, has no
notification: it concerns every tenant that has a notification to that recipient. The later word of a recipient counts,
in whatever order STOP and START arrive.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from tidings.adapters.sql.schema import notifications, receipts, suppression_list
from tidings.adapters.sql.suppressions import add, entry, in_force
from tidings.domain.channels import CHANNELS
from tidings.domain.receipt import By, Receipt, ReceiptKind
from tidings.domain.timing import CLOCK_SKEW
from tidings.pipeline.suppression import Reason, reason_of, suppression
from tidings.ports.receipts import Applied, Consequence, Result

n, r, s = notifications.c, receipts.c, suppression_list.c

_UNDECIDED = frozenset({Result.KEPT, Result.DUPLICATE})
_DONE, _OVERTAKEN = Consequence(result=Result.APPLIED), Consequence(result=Result.NOTHING)

LOOK_UPS = 4000
"""Of a recipient in a tenant, in one statement: with many more, MariaDB gives up on the index."""

Recipients = Mapping[str, Collection[tuple[str, str]]]
"""By recipient, the tenants and channels of its notifications."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """When each recipient last opted out and in, by provider and recipient."""

    out: Mapping[tuple[str, str], datetime]
    back: Mapping[tuple[str, str], datetime]

    def overtakes(self, receipt: Receipt, recipient: str) -> bool:
        """A later word of the same recipient is known. Of two at the same time, the opt-out counts."""
        key = receipt.provider, recipient
        if receipt.kind is ReceiptKind.OPTED_IN:
            return key in self.out and self.out[key] >= receipt.at
        return key in self.back and self.back[key] > receipt.at


def follow(connection: Connection, now: datetime, applied: Sequence[Applied]) -> Sequence[Applied]:
    """Add and end suppressions. Return the same, with what became of those that are about a recipient alone."""
    about = [item for item in applied if _concerns_recipient(item)]
    if not about:
        return applied
    words = _words(connection, about)
    senders = _senders(connection, {item.receipt.recipient for item in about if item.notification is None})
    entries: list[dict[str, Any]] = []
    back: list[Applied] = []
    outcome: dict[int, Consequence] = {}
    for item in about:
        recipient = _recipient(item)
        if words.overtakes(item.receipt, recipient) and reason_of(item.receipt) in (None, Reason.OPTED_OUT):
            outcome[id(item)] = _OVERTAKEN
        elif item.receipt.kind is ReceiptKind.OPTED_IN:
            back.append(item)
            outcome[id(item)] = _DONE
        elif found := _entries(item, senders, now):
            entries += found
            outcome[id(item)] = _DONE
    add(connection, now, entries)
    for item in back:
        _lift(connection, now, item)
    alone = {key: value for item in about if item.notification is None and (value := outcome.get(key := id(item)))}
    return [replace(item, consequence=alone.get(id(item), item.consequence)) for item in applied]


def _concerns_recipient(item: Applied) -> bool:
    if item.consequence.result in _UNDECIDED or (item.notification is None and item.receipt.recipient is None):
        return False
    return item.receipt.kind is ReceiptKind.OPTED_IN or reason_of(item.receipt) is not None


def _recipient(item: Applied) -> str:
    return item.notification.recipient if item.notification is not None else str(item.receipt.recipient)


def _words(connection: Connection, about: Sequence[Applied]) -> Words:
    """Of these, and of those that came before. Locked: a sweep that tries an old STOP again and a new START come one
    after the other."""
    columns = r.provider, r.recipient, r.kind, r.at
    wishes = r.kind.in_([ReceiptKind.OPTED_OUT, ReceiptKind.OPTED_IN])
    asked = sorted({_recipient(item) for item in about})
    stored = connection.execute(
        select(*columns).where(r.recipient.in_(asked), wishes).order_by(r.recipient, r.at).with_for_update()
    )
    said = [(row.provider, row.recipient, row.kind, row.at) for row in stored]
    said += [(item.receipt.provider, _recipient(item), item.receipt.kind, item.receipt.at) for item in about]
    last: dict[str, dict[tuple[str, str], datetime]] = {ReceiptKind.OPTED_OUT: {}, ReceiptKind.OPTED_IN: {}}
    for provider, recipient, kind, at in said:
        if kind in last:
            known = last[kind].setdefault((provider, recipient), at)
            last[kind][provider, recipient] = max(known, at)
    return Words(out=last[ReceiptKind.OPTED_OUT], back=last[ReceiptKind.OPTED_IN])


def _senders(connection: Connection, recipients: Collection[str | None]) -> Recipients:
    """The index on recipients begins with the tenant: so each tenant is looked into once for each recipient."""
    if not recipients:
        return {}
    tenants = sorted(connection.scalars(select(n.tenant).distinct()))
    asked = sorted(map(str, recipients))
    together = max(LOOK_UPS // max(len(tenants), 1), 1)
    found: dict[str, set[tuple[str, str]]] = {}
    for start in range(0, len(asked), together):
        page = n.recipient.in_(asked[start : start + together])
        statement = select(n.recipient, n.tenant, n.channel).distinct().where(n.tenant.in_(tenants), page)
        for dialect in ("mysql", "mariadb"):
            statement = statement.with_hint(notifications, "FORCE INDEX (ix_notifications_recipient)", dialect)
        for row in connection.execute(statement):
            found.setdefault(row.recipient, set()).add((row.tenant, row.channel))
    return found


def _entries(item: Applied, senders: Recipients, now: datetime) -> list[dict[str, Any]]:
    reason, row = reason_of(item.receipt), item.notification
    recipient = _recipient(item)
    given = suppression(recipient, str(reason), source=By.RECEIPT, notification_id=row.id if row is not None else None)
    concerned = [(row.tenant, row.channel)] if row is not None else sorted(senders.get(recipient, ()))
    return [entry(tenant, channel, given) | {"at": min(item.receipt.at, now)} for tenant, channel in concerned]


def _lift(connection: Connection, now: datetime, item: Applied) -> None:
    """Only what an opt-out added, and not after this: an operator's entry and a bounce stand."""
    recipient, row = _recipient(item), item.notification
    matched = sorted({channel.matched(recipient) for channel in CHANNELS.values()})
    begun = s.at <= item.receipt.at + CLOCK_SKEW  # an entry may have the database's time
    statement = update(suppression_list).where(s.recipient.in_(matched), s.scope == "", in_force(now), begun)
    if row is not None:
        statement = statement.where(s.tenant == row.tenant, s.channel == row.channel)
    statement = statement.where(s.reason == Reason.OPTED_OUT)
    connection.execute(statement.values(expires_at=now, removed_at=now, removed_by=By.RECEIPT))
