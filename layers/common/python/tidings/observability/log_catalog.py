"""Every event that the log can tell, by name: docs/events.md is this, as a page."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEvent:
    """One name, and what its lines hold besides the time, the level and the service."""

    name: str
    meaning: str
    fields: tuple[str, ...]
    level: str = "INFO"


_ONE = ("notification_id", "tenant", "channel", "generation", "trace_id")
_ATTEMPT = (*_ONE, "attempt")
_END = (*_ATTEMPT, "provider", "duration_seconds")
_ERROR = (*_END, "error_class", "code")

LIFECYCLE = (
    LogEvent(name="accepted", meaning="the row is committed; the caller gets 202", fields=(*_ONE, "recipient")),
    LogEvent(name="queued", meaning="the broker has confirmed its message", fields=_ATTEMPT),
    LogEvent(name="claimed", meaning="a worker has it, under a lease", fields=(*_ATTEMPT, "waited_seconds")),
    LogEvent(
        name="duplicate_dropped",
        meaning="a message whose notification is over, gone or of a later generation: nothing is sent",
        fields=("notification_id", "channel", "generation", "trace_id"),
    ),
    LogEvent(name="sent", meaning="the provider accepted it", fields=(*_END, "end_to_end_seconds")),
    LogEvent(
        name="ambiguous",
        meaning="the provider may have accepted it, or not; the line that follows says what becomes of it",
        fields=(*_ERROR, "on_ambiguous"),
        level="WARNING",
    ),
    LogEvent(
        name="retry_scheduled",
        meaning="the attempt did not succeed and another follows; as an error where this worker cannot send at all",
        fields=(*_ERROR, "retry_in_seconds"),
        level="INFO, ERROR",
    ),
    LogEvent(
        name="dead_lettered",
        meaning="refused for good, or out of attempts: an operator can replay it",
        fields=(*_ERROR, "recipient"),
    ),
    LogEvent(
        name="held_unknown",
        meaning="not sent again by itself, since it may have arrived: an operator decides",
        fields=(*_ERROR, "recipient"),
    ),
    LogEvent(name="expired", meaning="its turn came after expires_at; the provider was not called", fields=_END),
    LogEvent(
        name="settled_late",
        meaning="another worker took over when the lease ran out: what the provider said is kept here only",
        fields=(*_ERROR, "retry_in_seconds", "status"),
    ),
    LogEvent(name="canceled", meaning="a caller or an operator canceled it while it waited", fields=_ATTEMPT),
    LogEvent(name="replayed", meaning="an operator set it back to pending, one generation later", fields=_ONE),
    LogEvent(
        name="resolved",
        meaning="an operator decided about one that was unknown: that it was sent, or to replay it",
        fields=(*_ONE, "outcome"),
    ),
    LogEvent(
        name="account_refused",
        meaning="the provider refuses our account, whoever the recipient is: what waits is not tried, but for one at a"
        " time, as a probe",
        fields=("channel", "provider", "code", "error"),
        level="ERROR",
    ),
    LogEvent(
        name="account_restored",
        meaning="the provider has accepted one again: what waited is sent",
        fields=("channel", "provider", "code", "error", "refused_seconds"),
        level="WARNING",
    ),
    LogEvent(
        name="swept",
        meaning="a sweep found something; how many of each, see the metric tidings_sweep_found_total",
        fields=("published", "waiting", "abandoned", "lettered", "expired", "given_up", "refused", "purged", "lost"),
    ),
)
"""What happens to notifications. All of it is told by `lines`."""

FAULTS = (
    LogEvent(
        name="setting_renamed",
        meaning="a setting is given under its old name, which the next release no longer reads: rename it",
        fields=("setting", "renamed_to"),
        level="WARNING",
    ),
    LogEvent(
        name="left_to_the_sweep",
        meaning="committed, and the broker took no message: the sweep will queue them",
        fields=("error", "notifications"),
        level="ERROR",
    ),
    LogEvent(
        name="broker_unavailable",
        meaning="the broker did not take or give messages; it is tried again",
        fields=("error", "messages", "channel"),
        level="ERROR, WARNING",
    ),
    LogEvent(
        name="settle_waits",
        meaning="the provider has answered and the database does not: tried again, so that nothing is sent twice",
        fields=("error", "notifications"),
        level="ERROR",
    ),
    LogEvent(
        name="leases_not_renewed",
        meaning="calls are under way and the database does not answer: asked again soon; when a lease runs out, the"
        " sweep takes over",
        fields=("error", "notifications"),
        level="WARNING",
    ),
    LogEvent(
        name="batch_comes_again",
        meaning="the database or the broker failed in the middle: the queue gives the batch out again",
        fields=("error",),
        level="ERROR",
    ),
    LogEvent(
        name="batch_deferred",
        meaning="on Lambda, while the database does not answer: the batch went into the retry queue of 30 s, unclaimed",
        fields=("messages", "error"),
        level="ERROR",
    ),
    LogEvent(
        name="request_refused",
        meaning="a request was answered with 401 or 403; at most ten lines a second, which say how many were left out",
        fields=("status", "code", "method", "left_out"),
        level="WARNING",
    ),
    LogEvent(
        name="answered",
        meaning="a request was answered; `route` is its path without what the caller chose",
        fields=("method", "route", "status", "duration_seconds"),
        level="DEBUG",
    ),
    LogEvent(
        name="unavailable",
        meaning="a request was answered with 503",
        fields=("error",),
        level="ERROR",
    ),
    LogEvent(
        name="parked",
        meaning="a message that is none of ours went to tidings.parking",
        fields=("queue", "reason", "bytes"),
        level="ERROR",
    ),
    LogEvent(
        name="newer_put_back",
        meaning="messages that a later release wrote: they come again in 30 s, for its functions",
        fields=("messages", "reason"),
        level="WARNING",
    ),
    LogEvent(
        name="unknown_scope",
        meaning="a key has scopes that this release does not know: they grant nothing",
        fields=("tenant", "scopes"),
        level="WARNING",
    ),
    LogEvent(
        name="declared_otherwise",
        meaning="a queue or exchange of this name is there, with other arguments than this release gives it",
        fields=("error",),
        level="ERROR",
    ),
    LogEvent(
        name="provider_fault",
        meaning="a provider's class raised what it must not: counted as ambiguous",
        fields=("notification_id", "error"),
        level="ERROR",
    ),
    LogEvent(name="fault", meaning="an error that nobody foresaw", fields=("error", "where"), level="ERROR"),
    LogEvent(name="configuration", meaning="a setting, read late, is wrong", fields=("error",), level="ERROR"),
    LogEvent(
        name="settings_unread",
        meaning="AWS did not give a setting again for a new connection, which is made with what was known",
        fields=("error",),
        level="WARNING",
    ),
    LogEvent(
        name="telemetry_fault",
        meaning="a metric or a span could not be made; what was delivered is not affected",
        fields=("observer", "error", "where"),
        level="ERROR",
    ),
    LogEvent(
        name="drain_stopped",
        meaning="letters of replayed notifications stay in the dead-letter queue, where they do no harm",
        fields=("channel", "error"),
        level="WARNING",
    ),
    LogEvent(
        name="channel_paused",
        meaning="an operator stopped the channel for all tenants",
        fields=("channel", "by"),
        level="WARNING",
    ),
    LogEvent(name="channel_resumed", meaning="it is worked on again", fields=("channel", "by"), level="WARNING"),
    LogEvent(
        name="paused",
        meaning="the trigger has seen that its channel is paused, and takes no more messages",
        fields=("channel",),
        level="WARNING",
    ),
    LogEvent(name="resumed", meaning="the trigger takes messages again", fields=("channel",), level="WARNING"),
    LogEvent(name="consuming", meaning="the trigger has its queues", fields=("channel",)),
    LogEvent(
        name="function_down",
        meaning="the trigger keeps a batch, because the function is not there or asks for time",
        fields=("channel", "error", "messages"),
        level="WARNING",
    ),
    LogEvent(
        name="batch_failed",
        meaning="the function broke on a batch, which the trigger gives back",
        fields=("channel", "error", "messages"),
        level="ERROR",
    ),
)
"""What goes wrong with us, and what operators stop and start. Each is told where it happens."""
