"""How much each measure does: all of it, or just enough to see that it works."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sizes:
    rounds: int  # in which a measure and its reference take turns
    intake_seconds: float  # of handing in, a round and number of connections
    reference_rows: int  # a round
    arrays: int  # of 1,000, a round
    burst: int  # connections at once
    end_to_end: int  # mails
    receipts: int  # each of another message
    uneven: int  # mails, of which every hundredth is slow
    idle: int  # mails, one at a time
    loaded_seconds: float
    backlog: int  # of normal mails that those of high priority pass
    high_seconds: float
    concurrencies: tuple[int, ...]  # calls at once, of one instance
    instances: tuple[int, ...]
    scale_seconds: float  # of sending, a setting
    rows: tuple[int, int]  # in the table: few, and many
    cycles: int  # of 100 rows, at each of both
    queued: tuple[int, int]  # messages: few, and many
    watched_seconds: float
    replayed: int  # dead letters
    swept: int  # due rows
    purged: int  # old rows
    starts: int  # of each function


FULL = Sizes(
    rounds=3,
    intake_seconds=8,
    reference_rows=2000,
    arrays=24,
    burst=10_000,
    end_to_end=5000,
    receipts=10_000,
    uneven=2000,
    idle=300,
    loaded_seconds=20,
    backlog=100_000,
    high_seconds=15,
    concurrencies=(4, 8, 16, 32),
    instances=(1, 2, 4),
    scale_seconds=8,
    rows=(10_000, 1_000_000),
    cycles=40,
    queued=(1000, 1_000_000),
    watched_seconds=10,
    replayed=10_000,
    swept=100_000,
    purged=100_000,
    starts=5,
)
QUICK = Sizes(
    rounds=1,
    intake_seconds=1,
    reference_rows=300,
    arrays=8,
    burst=1000,
    end_to_end=1000,
    receipts=2000,
    uneven=500,
    idle=40,
    loaded_seconds=2,
    backlog=10_000,
    high_seconds=2,
    concurrencies=(16,),
    instances=(2,),
    scale_seconds=1,
    rows=(1000, 20_000),
    cycles=5,
    queued=(1000, 10_000),
    watched_seconds=2,
    replayed=1000,
    swept=5000,
    purged=5000,
    starts=1,
)
