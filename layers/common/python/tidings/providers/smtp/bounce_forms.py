"""Which recipients failed, in a bounce that is no report of RFC 3464: by flufl.bounce, which knows the forms of many
mail servers.

It is asked only about a mail that claims to be a bounce, and only for addresses. What failed, and for how long, is read
in the server's words (bounce_texts.py). Of the three sets of public samples that docs/receipts.md counts, the words
alone read 534, 87 and 173 as their source says, flufl.bounce alone 375, 111 and 155, both together 558, 108 and 177:

- flufl.bounce takes what it recognises for a permanent failure: a full mailbox, a time-out, and in Amazon's
  notifications even a delivery.
- It does not know the form of three bounces in ten that the words tell.
- It raises for a mail without `From`, and takes seconds for one of many parts or lines: both are bounded here.
"""

import logging
import re
from dataclasses import dataclass
from email import message_from_bytes

from flufl.bounce import all_failures

MAX_SIZE = 64 * 1024  # bytes
MAX_LINES = 1500  # it tries dozens of patterns on each
MAX_PARTS = 50
MAX_ADDRESSES = 100  # as many recipients as a mail may have

_ADDRESS = re.compile(r"[^\s<>\"'(),;:\[\]\\]{1,64}@[^\s<>\"'(),;:\[\]\\@]{1,255}")


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """The recipients that a bounce names; both may be empty."""

    failed: tuple[str, ...] = ()
    delayed: tuple[str, ...] = ()  # the server goes on trying


def recognised(raw: bytes, sender: str) -> Recognised:
    """`sender`: the mail's `From`. Never raises for what is in the mail."""
    logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)  # it logs each detector that it runs or that fails
    message = message_from_bytes(b"\n".join(raw[:MAX_SIZE].splitlines()[:MAX_LINES]))
    if sum(1 for _ in zip(message.walk(), range(MAX_PARTS + 1), strict=False)) > MAX_PARTS:
        return Recognised()
    del message["From"]
    message["From"] = sender[:300] or "unknown"
    try:
        delayed, failed = all_failures(message)
    except Exception:
        return Recognised()
    return Recognised(failed=_addresses(failed), delayed=_addresses(delayed))


def only_address(text: str) -> tuple[str, ...]:
    """The address in a text that names one alone. Of several, it may be any that failed."""
    named = {address.lower().strip(".") for address in _ADDRESS.findall(text)}
    return tuple(named) if len(named) == 1 else ()


def _addresses(found: frozenset[bytes]) -> tuple[str, ...]:
    texts = (address.decode("utf-8", "replace").strip().strip(".") for address in found)
    return tuple(sorted(text for text in texts if _ADDRESS.fullmatch(text)))[:MAX_ADDRESSES]
