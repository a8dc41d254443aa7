"""Every log event, by name. docs/events.md is generated from this module."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEvent:
    """A name, and the fields of its lines besides the time, the level and the service."""

    name: str
    meaning: str
    fields: tuple[str, ...]
    level: str = "INFO"


_NOTIFICATION = ("notification_id", "tenant", "channel", "generation", "trace_id")
_ATTEMPT = (*_NOTIFICATION, "attempt")
_CALL = (*_ATTEMPT, "provider", "by", "duration_seconds")
_ERROR = (*_CALL, "error_class", "code")

LIFECYCLE = (
    LogEvent(
        name="accepted", meaning="the row is committed and the caller gets 202", fields=(*_NOTIFICATION, "recipient")
    ),
    LogEvent(name="queued", meaning="the broker confirmed its message", fields=_ATTEMPT),
    LogEvent(name="claimed", meaning="a worker holds it under a lease", fields=(*_ATTEMPT, "waited_seconds")),
    LogEvent(
        name="stale_message_dropped",
        meaning="the message's notification has ended, does not exist or is of a later generation: nothing is sent",
        fields=("notification_id", "channel", "generation", "trace_id"),
    ),
    LogEvent(name="sent", meaning="the provider accepted it", fields=(*_CALL, "end_to_end_seconds")),
    LogEvent(
        name="ambiguous",
        meaning="the provider may or may not have accepted it; the next line says what is done about it",
        fields=(*_ERROR, "on_ambiguous"),
        level="WARNING",
    ),
    LogEvent(
        name="retry_scheduled",
        meaning="the attempt failed and another follows; ERROR where this worker cannot send at all",
        fields=(*_ERROR, "retry_in_seconds"),
        level="INFO, ERROR",
    ),
    LogEvent(
        name="dead_lettered",
        meaning="permanent failure, or out of attempts: an operator can replay it",
        fields=(*_ERROR, "recipient"),
    ),
    LogEvent(
        name="held_unknown",
        meaning="not sent again automatically, because it may have arrived: an operator decides",
        fields=(*_ERROR, "recipient"),
    ),
    LogEvent(
        name="expired",
        meaning="claimed before expires_at, but no call could start before it: nothing was sent",
        fields=_CALL,
    ),
    LogEvent(
        name="suppressed",
        meaning="its recipient is suppressed, for the reason `code`: the provider was not called",
        fields=_ERROR,
    ),
    LogEvent(
        name="settled_late",
        meaning="the lease expired and another worker took over: this line alone has the provider's answer",
        fields=(*_ERROR, "retry_in_seconds", "status"),
    ),
    LogEvent(name="canceled", meaning="a caller or an operator canceled it before it was claimed", fields=_ATTEMPT),
    LogEvent(
        name="replayed", meaning="an operator replayed it: pending again, in a new generation", fields=_NOTIFICATION
    ),
    LogEvent(
        name="resolved",
        meaning="an operator resolved an unknown notification: `sent` or `replay`",
        fields=(*_NOTIFICATION, "outcome"),
    ),
    LogEvent(
        name="receipt_recorded",
        meaning="the provider reported later what became of it; `status` is the notification's afterwards, and is"
        " missing where the receipt came before the attempt was settled",
        fields=(*_ATTEMPT, "provider", "receipt", "code", "status", "result"),
    ),
    LogEvent(
        name="doubled",
        meaning="a receipt shows a second acceptance of this notification: it was sent twice",
        fields=(*_ATTEMPT, "provider", "receipt", "code", "status", "result"),
        level="WARNING",
    ),
    LogEvent(
        name="receipt_dropped",
        meaning="for 72 hours no notification matched this receipt, or its notification could not take it",
        fields=("notification_id", "attempt", "provider", "receipt", "code", "result"),
        level="WARNING",
    ),
    LogEvent(
        name="account_refused",
        meaning="the provider refuses our account for every recipient: one at a time is sent as a probe, the others"
        " wait",
        fields=("channel", "provider", "code", "error"),
        level="ERROR",
    ),
    LogEvent(
        name="account_restored",
        meaning="the provider accepted a notification again: the waiting ones are sent",
        fields=("channel", "provider", "code", "error", "refused_seconds"),
        level="WARNING",
    ),
    LogEvent(
        name="swept",
        meaning="a sweep found work; the fields are counts, explained at the metric tidings_sweep_found_total",
        fields=(
            "published",
            "waiting",
            "abandoned",
            "dead_lettered",
            "expired",
            "given_up",
            "refused",
            "purged",
            "lost",
        ),
    ),
    LogEvent(
        name="mails_returned",
        meaning="bounces and replies came back, `mails` of them; `verdict`: receipt, auto_reply, other_recipient (a"
        " cc), nothing, no_mark or unreadable (these two are kept)",
        fields=("verdict", "sort", "mails"),
    ),
)
"""What happens to notifications. `log_observer` writes these."""

FAULTS = (
    LogEvent(
        name="suppression_not_enforced",
        meaning="sent although recipients are suppressed: TIDINGS_SUPPRESSION is warn, or the caller said so",
        fields=("notification_id", "tenant", "channel", "reasons", "recipients"),
        level="WARNING",
    ),
    LogEvent(
        name="receipt_lookup_failed",
        meaning="a provider was asked what became of a message, and did not answer: it is asked again later",
        fields=("provider", "error"),
        level="WARNING",
    ),
    LogEvent(
        name="copies_left_out",
        meaning="suppressed cc and bcc recipients were left out of a mail, `recipients` of them",
        fields=("notification_id", "tenant", "channel", "reasons", "recipients"),
    ),
    LogEvent(
        name="returned_mail_failed",
        meaning="a mail that came back cannot be recorded: a bug. The relay keeps it, or it is flagged in its mailbox",
        fields=("error", "where"),
        level="ERROR",
    ),
    LogEvent(
        name="mailbox_not_read",
        meaning="the mailbox for bounces, or the database, does not answer: tried again, up to 5 minutes later",
        fields=("error",),
        level="WARNING",
    ),
    LogEvent(
        name="suppression_removed",
        meaning="an operator removed a suppression",
        fields=("tenant", "channel", "by"),
        level="WARNING",
    ),
    LogEvent(
        name="unsubscribed",
        meaning="a recipient opted out of a category, by the link in a mail",
        fields=("tenant", "channel", "category"),
    ),
    LogEvent(
        name="webhook_changed",
        meaning="an operator has created, rotated, enabled, disabled, replayed or deleted a webhook",
        fields=("tenant", "webhook", "change", "by"),
        level="WARNING",
    ),
    LogEvent(
        name="setting_renamed",
        meaning="a setting has its old name, which the next release will not read: rename it",
        fields=("setting", "renamed_to"),
        level="WARNING",
    ),
    LogEvent(
        name="publish_deferred",
        meaning="the rows are committed, but the broker did not confirm their messages: the sweep publishes them",
        fields=("error", "notifications"),
        level="ERROR",
    ),
    LogEvent(
        name="broker_unavailable",
        meaning="the broker did not answer or confirm; it is tried again",
        fields=("error", "messages", "channel"),
        level="ERROR, WARNING",
    ),
    LogEvent(
        name="settlement_delayed",
        meaning="the provider answered but the database does not: tried again, so that nothing is sent twice",
        fields=("error", "notifications"),
        level="ERROR",
    ),
    LogEvent(
        name="lease_renewal_failed",
        meaning="provider calls are running but the database did not renew their leases: tried again soon; the sweep"
        " takes over expired leases",
        fields=("error", "notifications"),
        level="WARNING",
    ),
    LogEvent(
        name="batch_aborted",
        meaning="the database or the broker failed during a batch: the queue redelivers the whole batch",
        fields=("error",),
        level="ERROR",
    ),
    LogEvent(
        name="batch_deferred",
        meaning="on Lambda, the database did not answer: the batch waits unclaimed in the 30 s retry queue",
        fields=("messages", "error"),
        level="ERROR",
    ),
    LogEvent(
        name="request_refused",
        meaning="a request was answered with 401 or 403; at most ten lines a second, with the number left out",
        fields=("status", "code", "method", "left_out"),
        level="WARNING",
    ),
    LogEvent(
        name="request_answered",
        meaning="a request was answered; `route` is the path template, without the caller's values",
        fields=("method", "route", "status", "duration_seconds"),
        level="DEBUG",
    ),
    LogEvent(
        name="service_unavailable",
        meaning="a request was answered with 503",
        fields=("error",),
        level="ERROR",
    ),
    LogEvent(
        name="parked",
        meaning="an unreadable message was moved to tidings.parking",
        fields=("queue", "reason", "bytes"),
        level="ERROR",
    ),
    LogEvent(
        name="unsupported_version_deferred",
        meaning="messages of a newer release: redelivered in 30 s, for a worker of that release",
        fields=("messages", "reason"),
        level="WARNING",
    ),
    LogEvent(
        name="unknown_scope",
        meaning="an API key has scopes that this release does not know: they grant nothing",
        fields=("tenant", "scopes"),
        level="WARNING",
    ),
    LogEvent(
        name="topology_mismatch",
        meaning="a queue or exchange exists with other arguments than this release declares",
        fields=("error",),
        level="ERROR",
    ),
    LogEvent(
        name="unexpected_provider_error",
        meaning="a provider class raised an error outside its contract; `internal` at the notification",
        fields=("notification_id", "error"),
        level="ERROR",
    ),
    LogEvent(
        name="unexpected_error",
        meaning="an exception that no code handles: a bug",
        fields=("error", "where"),
        level="ERROR",
    ),
    LogEvent(
        name="configuration_invalid",
        meaning="a setting read after the start is wrong",
        fields=("error",),
        level="ERROR",
    ),
    LogEvent(
        name="settings_refresh_failed",
        meaning="AWS did not answer when a setting was read again: the new connection uses the last known value",
        fields=("error",),
        level="WARNING",
    ),
    LogEvent(
        name="telemetry_failed",
        meaning="an observer failed to write a log line, metric or span; deliveries are not affected",
        fields=("observer", "error", "where"),
        level="ERROR",
    ),
    LogEvent(
        name="drain_stopped",
        meaning="the broker or the database failed while a replay removed stale dead letters; the rest stay,"
        " which is harmless",
        fields=("channel", "error"),
        level="WARNING",
    ),
    LogEvent(
        name="channel_paused",
        meaning="an operator paused the channel for all tenants",
        fields=("channel", "by"),
        level="WARNING",
    ),
    LogEvent(
        name="channel_resumed", meaning="an operator resumed the channel", fields=("channel", "by"), level="WARNING"
    ),
    LogEvent(
        name="trigger_paused",
        meaning="the trigger found its channel paused and stopped consuming",
        fields=("channel",),
        level="WARNING",
    ),
    LogEvent(
        name="trigger_resumed",
        meaning="the trigger found its channel resumed and consumes again",
        fields=("channel",),
        level="WARNING",
    ),
    LogEvent(name="consuming", meaning="the trigger is connected and consumes its queues", fields=("channel",)),
    LogEvent(
        name="function_unavailable",
        meaning="the function did not answer, or answered 503: the trigger keeps the batch and tries again",
        fields=("channel", "error", "messages"),
        level="WARNING",
    ),
    LogEvent(
        name="batch_failed",
        meaning="the function failed on a batch: the trigger returns it to the queue",
        fields=("channel", "error", "messages"),
        level="ERROR",
    ),
)
"""Faults, and what operators pause and resume. Each is logged where it happens."""
