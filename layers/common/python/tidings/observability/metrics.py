"""Every metric. docs/metrics.md is generated from this module.

No label has a value chosen by a caller or a vendor: no tenant, no id, no recipient, no vendor's code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LONG = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 28800)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """With `buckets` a histogram of seconds; named `..._total` a counter; else a gauge."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def kind(self) -> str:
        return "histogram" if self.buckets else "counter" if self.name.endswith("_total") else "gauge"


@dataclass(frozen=True, kw_only=True, slots=True)
class Gauge:
    """A gauge's value."""

    metric: Metric
    labels: tuple[str, ...]
    value: float


class Meter(Protocol):
    """Where counters and histograms go. Thread-safe. `labels`: the values of the metric's labels, in their order."""

    def add(self, metric: Metric, labels: tuple[str, ...], amount: float) -> None:
        """To a counter."""

    def record(self, metric: Metric, labels: tuple[str, ...], seconds: Sequence[float]) -> None:
        """In a histogram."""

    def flush(self) -> None:
        """Send what is buffered, if this meter sends anything."""


# --- counted by each process ------------------------------------------------------------------------------------------

ACCEPTED = Metric(name="tidings_accepted_total", help="Notifications whose row is committed", labels=("channel",))
QUEUED = Metric(
    name="tidings_queued_total", help="Messages that the broker confirmed, without retries", labels=("channel",)
)
ACCEPT_SECONDS = Metric(
    name="tidings_accept_seconds",
    help="From a submit request that was read to its answer, by HTTP status",
    labels=("status",),
    buckets=_FAST,
)
WAIT_SECONDS = Metric(
    name="tidings_queue_wait_seconds",
    help="From when a notification was due (created, send_at, retry time) to its claim",
    labels=("channel",),
    buckets=_LONG,
)
ATTEMPTS = Metric(
    name="tidings_attempts_total",
    help="Provider calls by outcome: accepted, transient, permanent, ambiguous, account;"
    " provider none: the lease expired",
    labels=("channel", "provider", "class"),
)
PROVIDER_SECONDS = Metric(
    name="tidings_provider_seconds",
    help="Duration of a provider call",
    labels=("channel", "provider"),
    buckets=_FAST,
)
OUTCOMES = Metric(
    name="tidings_outcomes_total",
    help="Status of a notification after an attempt: sent, retrying, failed (a dead letter), unknown, expired,"
    " suppressed (the provider was not called)",
    labels=("channel", "provider", "status"),
)
END_TO_END_SECONDS = Metric(
    name="tidings_end_to_end_seconds",
    help="From the POST, or send_at, to the provider's acceptance; without replays",
    labels=("channel",),
    buckets=_LONG,
)
DUPLICATES = Metric(
    name="tidings_duplicates_dropped_total", help="Stale messages, dropped without a send", labels=("channel",)
)
LATE = Metric(
    name="tidings_settled_late_total",
    help="Attempts settled after their lease expired: these may have been sent twice",
    labels=("channel",),
)
CANCELED = Metric(
    name="tidings_canceled_total", help="Notifications canceled by a caller or an operator", labels=("channel",)
)
REPLAYED = Metric(name="tidings_replayed_total", help="Notifications replayed by an operator", labels=("channel",))
RESOLVED = Metric(
    name="tidings_resolved_total",
    help="Unknown notifications resolved by an operator: sent, replay",
    labels=("channel", "outcome"),
)
RECEIPTS = Metric(
    name="tidings_receipts_total",
    help="What providers reported later, by kind (accepted, delivered, failed_soft, failed_hard, ...) and result:"
    " applied, recorded (in the timeline only), nothing (known before), kept (its notification is being sent),"
    " unmatched, duplicate, dropped (unmatched for 72 hours)",
    labels=("provider", "kind", "result"),
)
DOUBLED = Metric(
    name="tidings_doubled_total",
    help="Notifications of which a receipt shows a second acceptance: they were sent twice",
    labels=("provider",),
)
RECEIPT_DELAY_SECONDS = Metric(
    name="tidings_receipt_delay_seconds",
    help="From the provider's acceptance to its report of what became of the message",
    labels=("provider", "kind"),
    buckets=_LONG,
)
RECEIPTS_REFUSED = Metric(
    name="tidings_receipts_refused_total",
    help="Reports refused with 401: their signature is wrong",
    labels=("provider",),
)
RETURNED_MAILS = Metric(
    name="tidings_returned_mails_total",
    help="Mails that came to a return path, by what became of them. receipt: a report, recorded. auto_reply,"
    " other_recipient (about a cc or bcc) and nothing (a report that changes nothing): dropped. no_mark (return path"
    " not valid) and unreadable (no report is found): kept. failed: not recorded, it is tried again",
    labels=("verdict",),
)
RETURNED_MAILS_COMMIT_SECONDS = Metric(
    name="tidings_returned_mails_commit_seconds",
    help="Duration of the commit of what a group of returned mails says",
    buckets=_FAST,
)
SWEEPS = Metric(name="tidings_sweeps_total", help="Completed sweeps")
SWEEP_FOUND = Metric(
    name="tidings_sweep_found_total",
    help="Notifications that sweeps found: published, waiting (left in their queue), abandoned (lease expired),"
    " dead_lettered, expired, given_up (account refused for a day), refused (by the broker), purged;"
    " lost: published because their message was lost",
    labels=("found",),
)

# --- read at each scrape by the replay function -----------------------------------------------------------------------

UP = Metric(name="tidings_part_up", help="1 if the part answers, else 0: database, broker", labels=("part",))
QUEUE_MESSAGES = Metric(
    name="tidings_queue_messages",
    help="Messages ready in a queue; kind: work, retry (a step of the retry schedule), dead, parking",
    labels=("queue", "kind", "channel"),
)
OLDEST_SECONDS = Metric(
    name="tidings_oldest_due_seconds",
    help="Seconds that the longest waiting due notification has waited, of the 10,000 oldest per tenant; 0: none waits",
    labels=("channel",),
)
NOTIFICATIONS = Metric(
    name="tidings_notifications",
    help="Notifications that wait for an operator: failed, unknown; at most 10,000 of each per tenant are counted",
    labels=("channel", "status"),
)
PAUSED = Metric(
    name="tidings_channel_paused", help="1 while an operator has paused the channel, else 0", labels=("channel",)
)
ACCOUNT_REFUSED = Metric(
    name="tidings_account_refused",
    help="1 while the provider refuses our account, whoever the recipient is, else 0",
    labels=("channel", "provider"),
)

WEBHOOK_ENDPOINTS = Metric(
    name="tidings_webhook_endpoints",
    help="Endpoints of webhooks that are enabled, disabled (by an operator), gone (they answered 410), or failing (for"
    " five days); what comes for the last three is held",
    labels=("state",),
)
RECEIPTS_EXPECTED = Metric(
    name="tidings_receipts_expected",
    help="1 from a receipts function that takes this provider's reports",
    labels=("provider",),
)

# --- read at each scrape by what takes bounces ------------------------------------------------------------------------

BOUNCES_UP = Metric(
    name="tidings_bounces_up",
    help="1 while a process takes bounces; how: listen (LMTP or SMTP), poll (IMAP)",
    labels=("how",),
)
MAILBOX_READ = Metric(
    name="tidings_mailbox_read_timestamp_seconds",
    help="Unix time at which the mailbox for bounces was last read to its end; before that: of the poller's start",
)

METRICS = (
    ACCEPTED,
    QUEUED,
    ACCEPT_SECONDS,
    WAIT_SECONDS,
    ATTEMPTS,
    PROVIDER_SECONDS,
    OUTCOMES,
    END_TO_END_SECONDS,
    DUPLICATES,
    LATE,
    CANCELED,
    REPLAYED,
    RESOLVED,
    RECEIPTS,
    DOUBLED,
    RECEIPT_DELAY_SECONDS,
    RECEIPTS_REFUSED,
    SWEEPS,
    SWEEP_FOUND,
    UP,
    QUEUE_MESSAGES,
    OLDEST_SECONDS,
    NOTIFICATIONS,
    PAUSED,
    ACCOUNT_REFUSED,
    WEBHOOK_ENDPOINTS,
    RECEIPTS_EXPECTED,
    RETURNED_MAILS,
    RETURNED_MAILS_COMMIT_SECONDS,
    BOUNCES_UP,
    MAILBOX_READ,
)
