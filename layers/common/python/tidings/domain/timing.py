"""Every delay and time limit in the life of a notification, and what must hold between them.

Limits of one connection or request (time-outs, body sizes) are declared where they are used. `check` runs when a
function starts; a wrong combination ends it with one line.
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
"""The delay of a deferred message: of a paused channel, or of a newer release. One of RETRY_STEPS."""

WAIT_FOR_ACCOUNT = timedelta(days=1)
"""How long a notification waits while the provider refuses our account. Then it becomes a dead letter, which an
operator can replay: after a day it may be useless to its recipient."""

# --- a provider that refuses our account ------------------------------------------------------------------------------

ACCOUNT_LOOK_EVERY = timedelta(seconds=1)
"""How old a worker's knowledge of the connection may be, and how often it records that something was accepted."""

SUSPECT_FOR = timedelta(seconds=2)
"""After the first refusal, how long nothing may be accepted before the connection counts as refusing. By then each
worker has recorded its acceptances."""

FIRST_PROBE, LONGEST_PROBE = timedelta(seconds=0.5), timedelta(minutes=1)
"""Between two probes: doubling."""

LONGEST_PROBE_RETRY_AFTER = timedelta(minutes=10)
"""A Retry-After delays the next probe no longer than this: the account may be fixed earlier."""

# --- one delivery -----------------------------------------------------------------------------------------------------

LEASE = timedelta(seconds=15)
"""The default of TIDINGS_LEASE. A worker renews its leases, so that a call may last longer."""

RENEW_AFTER = 1 / 3
"""Fraction of a lease. Two renewals may fail before the lease expires."""

LEASE_RESERVE = 1 / 3
"""Fraction of a lease: no call starts with less left, because renewals have failed and another worker may take over."""

BEGIN_WITHIN = timedelta(seconds=30)
"""How long a delivery waits for free senders. The rest is then deferred, unclaimed."""

RECORD_WITHIN = timedelta(milliseconds=100)
"""How long an outcome waits for others, to be recorded in one transaction."""

DETACH_AFTER = timedelta(milliseconds=50)
"""How long a detached batch is still waited for after its last call has started. Quick calls end within it, so batches
grow under load: a batch of a hundred costs hardly more than one of ten."""

SETTLE_WITHIN = timedelta(minutes=10)
"""How long a worker tries to record what it has sent while the database is down. It may outlast the lease: the sweep,
which takes over expired leases, needs that database as well, and waits SWEEP_GRACE."""

SETTLE_RESERVE = timedelta(seconds=5)
"""Reserved at the end of an invocation: what was sent is recorded, the rest is deferred."""

RETURN_RESERVE = timedelta(seconds=1)
"""Part of SETTLE_RESERVE: to report that nothing can be recorded, and to return."""

NO_DEADLINE = timedelta(days=1)
"""Used when the caller sets no deadline: longer than any call, and than SETTLE_WITHIN."""

ANSWER_WITHIN = BEGIN_WITHIN + timedelta(seconds=30)
"""How long a trigger waits for its function, which waits for free senders, its database and its broker."""

VISIBILITY = timedelta(seconds=90)
"""How long the embedded broker keeps a message for the consumer that received it."""

# --- reconciliation ---------------------------------------------------------------------------------------------------

LISTED_AFTER = timedelta(seconds=5)
"""How long an accepted message may be missing from the provider's list. `reconcile` does not ask earlier."""

CLOCK_SKEW = timedelta(minutes=1)
"""How far the provider's clock, perhaps in whole seconds, and the database's may differ."""

# --- suppression ------------------------------------------------------------------------------------------------------

HARD_BOUNCE_LASTS = timedelta(days=90)
"""How long a mailbox that did not exist is not sent to: it may exist later."""

# --- receipts ---------------------------------------------------------------------------------------------------------

RETURNED_MAILS_KEPT = timedelta(days=30)
"""How long a returned mail is kept that nobody understands."""

RECEIPTS_KEPT = timedelta(hours=72)
"""How long a receipt that finds no notification is tried again, and how long a duplicate is known by its event."""

RECEIPT_RETRIES = (
    (timedelta(minutes=1), timedelta(seconds=5)),
    (timedelta(hours=1), timedelta(minutes=1)),
    (RECEIPTS_KEPT, timedelta(minutes=10)),
)
"""Up to which age, and after which pause such a receipt is tried again."""

RECEIPT_WINDOW = timedelta(hours=72)
"""How long after an acceptance its provider may report. Then it is asked, where it can be. Until then `undelivered` may
still become `delivered`, so the retention leaves it."""

REPORTED_AFTER = timedelta(seconds=5)
"""How long the next attempt waits after an ambiguous one, where the provider was asked to report: a receipt may cancel
it."""

LOOKUP_RETRIES = (timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6))
"""When a provider that did not answer is asked again about a message; the last one repeats."""

LOOKUPS = 20
"""Questions in one sweep at most."""

LOOKUPS_PER_MESSAGE = 20
"""Tries for one message: four days with a provider that does not answer."""

# --- the sweep --------------------------------------------------------------------------------------------------------

SWEEP_EVERY = timedelta(seconds=1)
"""Between two sweeps of one call."""

SWEEP_FOR = timedelta(seconds=20)
"""A sweep starts no page after this."""

LOOKUPS_FOR = timedelta(seconds=5)
"""A sweep asks a provider about no further missing receipt after this."""

PURGE_FOR = timedelta(seconds=2)
"""How long a sweep deletes: receipts, awaited receipts, and notifications, each for as long. The next sweep is due."""

SWEEP_TIMEOUT = timedelta(seconds=60)
"""How long the scheduler waits for a sweep."""

SWEEP_GRACE = timedelta(seconds=5)
"""How long after `wake_at` the sweep waits for a row to move by itself."""

REQUEUE_AFTER = timedelta(seconds=10)
"""How long a row counts as queued before the sweep checks that its message exists. A process that dies between the
commit and the publish delays its rows by this."""

OUT_OF_ORDER = timedelta(seconds=10)
"""How far messages of one queue may overtake each other: by a slow confirm, or in a trigger that holds a batch."""

FIRST_LOOK, LONGEST_LOOK = timedelta(seconds=10), timedelta(minutes=10)
"""How soon the sweep checks again rows that wait in their queue."""

OVERDUE_AFTER = timedelta(minutes=15)
"""How long after `wake_at` the audit still expects the sweep to find the row."""


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
        (VISIBILITY > ANSWER_WITHIN, "VISIBILITY must outlast a trigger's wait, or each slow batch is delivered twice"),
        (
            SWEEP_TIMEOUT > SWEEP_FOR + LOOKUPS_FOR + 3 * PURGE_FOR,
            "the scheduler must wait until a sweep ends by itself",
        ),
        (OVERDUE_AFTER > SWEEP_GRACE + SWEEP_TIMEOUT, "OVERDUE_AFTER must leave the sweep the time to find a row"),
        (REQUEUE_AFTER >= SWEEP_GRACE, "REQUEUE_AFTER must leave a row the time to move by itself"),
    )
    for holds, remedy in relations:
        if not holds:
            raise ConfigurationError(remedy)
