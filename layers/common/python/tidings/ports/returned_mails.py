"""Mails that came back and are not understood: kept for a while, for a person to read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptMail:
    """`content`: as it came. The store cuts it."""

    verdict: str  # why it was kept
    content: bytes


class ReturnedMails(Protocol):
    """Bounded in size, number and age: anybody can send mails."""

    def keep(self, mails: Sequence[KeptMail]) -> int:
        """Commit them. Return how many are kept: a copy of one that is there, and one beyond the bounds, is not. Raise
        StoreUnavailable."""

    def purge(self) -> int:
        """Delete what is older than RETURNED_MAILS_KEPT. Return how many. Raise StoreUnavailable."""
