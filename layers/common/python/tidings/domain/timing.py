"""Every delay and time limit in the life of a notification, and what must hold between them.

Limits that concern one conversation alone (a connection's time-out, the bounds of a request) stand where they are used.
`check` is called when a function starts; a wrong combination ends it with one line.
"""

from datetime import timedelta

from tidings.domain.errors import ConfigurationError

# --- retries ----------------------------------------------------------------------------------------------------------

RETRY_STEPS = (
    timedelta(seconds=1),
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(hours=1),
)
"""The retry schedule: a queue for each step. The last one repeats."""

LONGEST_RETRY_AFTER = timedelta(hours=6)
"""A provider's Retry-After beyond this is cut."""

LONGEST_ACCOUNT_RETRY = timedelta(minutes=2)
"""Between two attempts of one notification while the provider refuses our account."""

DEFER_DELAY = timedelta(seconds=30)
"""How long a deferred message stays away: of a paused channel, or of a later version beside us. One of RETRY_STEPS."""

WAIT_FOR_ACCOUNT = timedelta(days=1)
"""How long a notification waits while the provider refuses our account. Then it is a dead letter, for an operator to
replay: what nobody has looked at for a day may be of no more use to its recipient."""

# --- a provider that refuses our account ------------------------------------------------------------------------------

ACCOUNT_LOOK_EVERY = timedelta(seconds=1)
"""How old a worker's knowledge of the connection may be, and how often it writes down that something was accepted."""

SUSPECT_FOR = timedelta(seconds=2)
"""How long nothing may be accepted, after the first refusal, before the connection counts as refusing. By then each
worker has written down its acceptances."""

FIRST_PROBE, LONGEST_PROBE = timedelta(seconds=0.5), timedelta(minutes=1)
"""Between two probes: doubling."""

LONGEST_PROBE_RETRY_AFTER = timedelta(minutes=10)
"""A Retry-After delays the next probe no longer than this: the account may be mended before."""

# --- one delivery -----------------------------------------------------------------------------------------------------

LEASE = timedelta(seconds=15)
"""The default of TIDINGS_LEASE. A worker renews its leases, so that a call may last longer."""

RENEW_AFTER = 1 / 3
"""Of a lease. Two renewals may fail before it is over."""

LEASE_RESERVE = 1 / 3
"""Of a lease: no call begins under one that has less left. Its renewals have failed, and another worker may take
over."""

BEGIN_WITHIN = timedelta(seconds=30)
"""How long a delivery waits for free senders. What could not begin by then is put back, unclaimed."""

RECORD_WITHIN = timedelta(milliseconds=100)
"""How long an outcome may wait for others, to be recorded in one transaction with them."""

DETACH_AFTER = timedelta(milliseconds=50)
"""How long a batch that need not be waited for is waited for, once its last call has begun. Quick calls end within it,
so that batches grow under load: one of a hundred costs hardly more than one of ten."""

SETTLE_WITHIN = timedelta(minutes=10)
"""How long a worker tries to record what it has sent while the database is down. It may outlast the lease: the sweep,
which takes over expired leases, needs that database as well, and waits SWEEP_GRACE."""

SETTLE_RESERVE = timedelta(seconds=5)
"""Kept free at the end of an invocation: what was sent is recorded, what was not is given back."""

RETURN_RESERVE = timedelta(seconds=1)
"""Of SETTLE_RESERVE: to say that nothing can be recorded, and to return."""

NO_DEADLINE = timedelta(days=1)
"""Used when the caller sets no deadline: longer than any call, and than SETTLE_WITHIN."""

ANSWER_WITHIN = BEGIN_WITHIN + timedelta(seconds=30)
"""How long a trigger waits for its function: as long as that waits for free senders, and for its database and broker
besides."""

VISIBILITY = timedelta(seconds=90)
"""How long the embedded broker keeps a message for the consumer that took it."""

# --- reconciliation ---------------------------------------------------------------------------------------------------

LISTED_AFTER = timedelta(seconds=5)
"""How long an accepted message may be missing from the provider's list: `reconcile` does not ask earlier."""

CLOCK_SKEW = timedelta(minutes=1)
"""How far a provider's clock, which may tell whole seconds only, and the database's may be apart."""

# --- the sweep --------------------------------------------------------------------------------------------------------

SWEEP_EVERY = timedelta(seconds=1)
"""Between two sweeps, where one call makes several."""

SWEEP_FOR = timedelta(seconds=20)
"""After this a sweep begins no other page."""

PURGE_FOR = timedelta(seconds=2)
"""How long a sweep goes on deleting: the next one is due."""

SWEEP_TIMEOUT = timedelta(seconds=60)
"""How long the scheduler waits for a sweep."""

SWEEP_GRACE = timedelta(seconds=5)
"""How long after `wake_at` the sweep waits for a row to move by itself."""

REQUEUE_AFTER = timedelta(seconds=10)
"""How long a queued message may wait before the sweep asks whether it is there at all. A process that dies between the
commit and the publish leaves a row that waits as long as that."""

OUT_OF_ORDER = timedelta(seconds=10)
"""How far messages of one queue may pass each other: by a slow confirm, or at a trigger that keeps some back."""

FIRST_LOOK, LONGEST_LOOK = timedelta(seconds=10), timedelta(minutes=10)
"""How soon the sweep asks again for what waits in its queue."""


def check(*, lease: timedelta = LEASE) -> None:
    """Raise ConfigurationError for the first relation that does not hold, naming what to change."""
    relations = (
        (lease * LEASE_RESERVE > RECORD_WITHIN, "TIDINGS_LEASE is too short: an outcome waits up to 0.1 s for others"),
        (DEFER_DELAY in RETRY_STEPS, "DEFER_DELAY must be one of RETRY_STEPS: there is no other queue to wait in"),
        (list(RETRY_STEPS) == sorted(set(RETRY_STEPS)), "RETRY_STEPS must grow: each step is a queue of its own"),
        (SUSPECT_FOR >= 2 * ACCOUNT_LOOK_EVERY, "SUSPECT_FOR must outlast what a worker has not yet written down"),
        (FIRST_PROBE <= LONGEST_PROBE <= WAIT_FOR_ACCOUNT, "a probe must come before the wait for the account ends"),
        (RETURN_RESERVE < SETTLE_RESERVE, "RETURN_RESERVE is a part of SETTLE_RESERVE"),
        (SETTLE_WITHIN < NO_DEADLINE, "NO_DEADLINE must outlast SETTLE_WITHIN"),
        (ANSWER_WITHIN > BEGIN_WITHIN + SETTLE_RESERVE, "a trigger must wait until a function can answer"),
        (VISIBILITY > ANSWER_WITHIN, "VISIBILITY must outlast a trigger's wait, or each slow batch is taken twice"),
        (SWEEP_TIMEOUT > SWEEP_FOR + PURGE_FOR, "the scheduler must wait until a sweep ends by itself"),
        (REQUEUE_AFTER >= SWEEP_GRACE, "REQUEUE_AFTER must leave a row the time to move by itself"),
    )
    for holds, remedy in relations:
        if not holds:
            raise ConfigurationError(remedy)
