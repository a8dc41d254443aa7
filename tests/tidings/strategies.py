"""Hypothesis strategies: the notifications that are submitted, and the faults of a delivery."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import strategies as st
from tidings.domain.notification import Notification, OnAmbiguous, Priority, first_id

from tests import make
from tests.tidings.actors import ANSWERS, LISTS

OPEN = tuple(answer for answer in ANSWERS if answer.startswith("ambiguous"))
UNSETTLED = ("ask", "listed", "call", "delivery.mid_send", "delivery.after_send", "settlement.after_dead_letters")
SETTLED = ("settlement.after_rows", "settlement.after_retries")
STEPS = ("delivery.after_claim", *UNSETTLED, *SETTLED, "delivery.before_return")


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A submitted notification. Two with the same recipient and text are rivals."""

    send_in: int | None
    expires_in: int | None
    on_ambiguous: OnAmbiguous
    priority: Priority
    max_attempts: int
    recipient: str | None
    text: str
    ignore_suppression: bool | None = None
    category: str | None = None
    critical: bool | None = None

    def made(self, now: datetime, number: int, key: str | None) -> Notification:
        send_at = now + timedelta(seconds=self.send_in) if self.send_in is not None else None
        expires_in = timedelta(seconds=(self.send_in or 0) + (self.expires_in or 0))
        return make.notification(
            now,
            id=f"{first_id(now)[:-12]}{number:012x}",
            recipient=self.recipient or f"{number}@example.com",
            content=f'{{"subject":"Shipped","text":"{self.text}"}}',
            idempotency_hash=key,
            fingerprint=key,
            send_at=send_at,
            next_attempt_at=send_at,
            expires_at=now + expires_in if self.expires_in is not None else None,
            on_ambiguous=self.on_ambiguous,
            priority=self.priority,
            max_attempts=self.max_attempts,
            ignore_suppression=self.ignore_suppression,
            category=self.category,
            critical=self.critical,
        )


DRAFTS = st.builds(
    Draft,
    send_in=st.sampled_from([None, None, None, 5, 120]),
    expires_in=st.sampled_from([None, None, None, None, 30, 300]),
    on_ambiguous=st.sampled_from([*OnAmbiguous, OnAmbiguous.RECONCILE]),
    priority=st.sampled_from(Priority),
    max_attempts=st.integers(1, 3),
    recipient=st.sampled_from([None, "ada@example.com"]),
    text=st.sampled_from(["It is on its way.", "It is on its way.", "It has arrived."]),
)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What befalls a delivery."""

    answers: Sequence[str]  # of the provider, to what is sent
    lists: Sequence[str] = ()  # and to what is asked
    step: str | None = None  # where this happens:
    strike: str = "dies"
    store: str | None = None  # the settlement fails, before its COMMIT or after it
    broker: str | None = None  # while it settles


TURNS = st.builds(
    Turn,
    answers=st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=4),
    lists=st.lists(st.sampled_from(LISTS), max_size=2),
    step=st.sampled_from([*[None] * len(STEPS), *STEPS]),
    strike=st.sampled_from(["is not alone", "stalls", "stalls, is replayed", "dies"]),
    store=st.sampled_from([None, None, None, "before", "after"]),
    broker=st.sampled_from([None, None, None, "down", "deaf"]),
)
PICKED = st.lists(st.integers(0, 5), min_size=1, max_size=3)
