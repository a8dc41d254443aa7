"""What is simulated: one complete stack (intake, database, broker, triggers and functions) under one load."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.capacity.agenda import MILLISECOND


@dataclass(frozen=True)
class Linear:
    """Microseconds, by the size of a batch."""

    fixed: float
    row: float

    def __call__(self, size: int) -> int:
        return round(self.fixed + self.row * size)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step of a batch takes."""

    here: Linear  # CPU of the process that asks
    there: Linear  # CPU of the database, or of the broker


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Of the measured machine; microseconds."""

    request: float  # CPU of intake for one POST, without the steps
    insert: Step
    publish: Step
    trigger: float  # CPU of the trigger, a message
    claim: Step
    send: float  # CPU of the function for one call
    settle: Step
    deliver: float  # CPU of the broker, a message: to hand it out and to take its acknowledgement
    flush: int  # of the database's log
    confirm: int  # from the broker's work to its confirm: its own log
    hop: int  # the network, there and back
    generator: float = 0.0  # CPU of the load generator, a request, where it is on the same machine
    sink: float = 0.0  # CPU of the mail server, a mail, likewise


@dataclass(frozen=True, kw_only=True)
class Load:
    """Open: so many a second, come what may. Closed: so many connections, each with its next POST as soon as it has
    its answer. Or a backlog that is queued already."""

    rate: float = 0.0
    connections: int = 0
    backlog: int = 0
    seconds: float = 20.0
    warm: float = 2.0  # of these, not counted


@dataclass(frozen=True, kw_only=True)
class Provider:
    median: int = 100 * MILLISECOND
    p99: int = 400 * MILLISECOND
    failing: float = 0.0  # the share of calls that fail for now
    outage: tuple[float, float] | None = None  # seconds from and to, in which all do
    refusal: int = 5 * MILLISECOND  # what a call takes that fails in an outage


@dataclass(frozen=True, kw_only=True)
class Setup:
    costs: Costs
    load: Load
    provider: Provider = Provider()
    intakes: int = 1  # processes
    senders: int = 1  # functions, each with a trigger of its own
    calls: int = 48  # TIDINGS_CONCURRENCY
    batch: int = 100  # TIDINGS_BATCH
    batches: int = 2  # TIDINGS_BATCHES
    gather: int = 500  # rows of an insert, at most
    machine: int | None = None  # cores that everything shares; None: each process has one, and the servers theirs
    database: int = 8  # cores
    reads: Mapping[str, float] = field(default_factory=dict)  # pages that each step reads from disk, a row
    read: int = 700  # microseconds, of one page
    reads_at_once: int = 32
    ladder: Sequence[int] = ()
    most_attempts: int = 10
    seed: int = 1
