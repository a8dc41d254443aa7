"""A connection: our account at a provider, and whether the provider refuses it.

This is one state for all workers, kept in the database, and not a state of each notification. `suspects` are the
recipients refused since the last acceptance. The rules are here; `pipeline.account` applies them in a worker, and the
Store keeps the rows.

::

    open --several recipients refused, none accepted--> suspected --for SUSPECT_FOR--> refusing
      ^                                                     |                             |
      '-------------------------- any acceptance -----------+-----------------------------'

While it is suspected or refusing, one notification at a time is sent, as a probe. The others wait, unclaimed.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tidings.domain.notification import Notification
from tidings.domain.timing import FIRST_PROBE, LONGEST_PROBE, LONGEST_PROBE_RETRY_AFTER, SUSPECT_FOR

SEVERAL = 3
"""Recipients. One or two bad addresses from a sign-up form must not stop a channel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CallEnd:
    """What a call says about the connection."""

    notification_id: str
    recipient: str
    accepted: bool = False
    refused: bool = False  # our account was refused, or may have been
    permanent: bool = False  # the recipient or content was refused, so the next probe need not wait
    code: str = ""
    message: str = ""
    retry_after: timedelta | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """Its state at `at`. Every time is the database's."""

    name: str  # of the provider
    channel: str = ""  # that it sends for; empty: no call has been reported yet
    at: datetime | None = None
    accepted_at: datetime | None = None  # when something was last accepted, to the second
    suspected_at: datetime | None = None  # the first refusal since then
    suspects: tuple[str, ...] = ()  # hashes of the recipients that were refused since then, SEVERAL at most
    refusing_at: datetime | None = None  # since when it refuses our account; None: it does not
    error_code: str | None = None  # of the last refusal
    error_message: str | None = None
    probes: int = 0
    probe_id: str | None = None  # the notification of the present or last probe
    probe_at: datetime | None = None  # when the next probe may be sent

    @property
    def is_clean(self) -> bool:
        """True: nothing was refused since the last acceptance."""
        return self.suspected_at is None

    @property
    def is_open(self) -> bool:
        """True: notifications are sent normally, without probes."""
        return len(self.suspects) < SEVERAL

    @property
    def is_refusing(self) -> bool:
        return self.refusing_at is not None

    @property
    def probe_in(self) -> timedelta:
        """Until the next probe may be sent."""
        if self.is_open or self.probe_at is None or self.at is None:
            return timedelta(0)
        return max(self.probe_at - self.at, timedelta(0))

    def after(self, calls: Iterable[CallEnd], now: datetime) -> "Connection":
        """The state after these calls. One acceptance outweighs every refusal among them."""
        ended = list(calls)
        if any(call.accepted for call in ended):
            return Connection(name=self.name, channel=self.channel, at=now, accepted_at=now)
        refused = [call for call in ended if call.refused]
        probe = next((call for call in ended if call.notification_id == self.probe_id), None)
        stands = replace(self, at=now)
        if refused:
            stands = stands._suspected(refused, now)
        if stands.is_open:
            return stands
        if self.is_open:
            return replace(stands, probes=0, probe_at=now + FIRST_PROBE)
        return stands._probed(probe, now) if probe is not None else stands

    def _suspected(self, refused: list[CallEnd], now: datetime) -> "Connection":
        since = self.suspected_at or now
        suspects = tuple(dict.fromkeys((*self.suspects, *(_hash(call.recipient) for call in refused))))[:SEVERAL]
        is_refusing = len(suspects) == SEVERAL and now - since >= SUSPECT_FOR
        return replace(
            self,
            suspected_at=since,
            suspects=suspects,
            refusing_at=self.refusing_at or (since if is_refusing else None),
            error_code=refused[-1].code,
            error_message=refused[-1].message,
        )

    def _probed(self, probe: CallEnd, now: datetime) -> "Connection":
        if probe.permanent:
            return replace(self, probe_at=now)
        probes = self.probes + 1
        pause = min(FIRST_PROBE * 2 ** min(probes, 20), LONGEST_PROBE)
        if probe.retry_after is not None:
            pause = max(pause, min(probe.retry_after, LONGEST_PROBE_RETRY_AFTER))
        return replace(self, probes=probes, probe_at=now + pause)


def others_accepted_since(notification: Notification, connection: Connection) -> bool:
    """True: the provider has accepted others since it first refused our account for this one. Then it refuses this
    notification, and not our account."""
    refused_at, accepted_at = notification.refused_at, connection.accepted_at
    return refused_at is not None and accepted_at is not None and accepted_at >= refused_at


def waited_for_account(notification: Notification, connection: Connection | None, now: datetime) -> timedelta:
    """How long the notification has waited because the provider refuses our account."""
    since = notification.refused_at
    if since is None and connection is not None and connection.refusing_at is not None:
        since = max(connection.refusing_at, notification.due_at)
    return now - since if since is not None else timedelta(0)


def _hash(recipient: str) -> str:
    """Short: it only has to tell a few recipients apart."""
    return hashlib.sha256(recipient.encode()).hexdigest()[:16]
