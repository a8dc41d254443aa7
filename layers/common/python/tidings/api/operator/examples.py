"""What the operator's document shows as examples. A test holds them against the models."""

from tidings.api.operations import CREATED, ID, LISTED

REASON = "HTTP 400: Unable to create record: 'To' number is not a valid mobile number"
DEAD_LETTER = {
    **{name: value for name, value in LISTED.items() if name != "provider_message_id"},
    "status": "failed",
    "recipient": "+15005550009",
    "last_error": {"error_class": "permanent", "code": "21614", "message": REASON},
}
GROUP = {
    "status": "failed",
    "channel": "sms",
    "error_class": "permanent",
    "code": "21614",
    "message": REASON,
    "count": 12,
    "newest": "2026-11-22T21:03:22.639273Z",
    "oldest": "2026-11-22T20:00:00.000000Z",
    "example": ID,
}
OVERVIEW = {
    "at": "2026-11-22T21:04:10.000000Z",
    "minutes": ["2026-11-22T21:03:00Z", "2026-11-22T21:04:00Z"],
    "channels": [
        {
            "channel": "sms",
            "paused": False,
            "counts": {"accepted": [120, 8], "sent": [118, 9], "retrying": [2, 0], "failed": [1, 0]},
            "latency": {"count": 127, "p50": 0.05, "p95": 0.2, "p99": 1.0},
        }
    ],
    "now": {"pending": {"count": 12, "more": False}, "failed": {"count": 10_000, "more": True}},
    "scheduled": 9,
    "oldest_waiting": CREATED,
    "oldest_waiting_id": ID,
    "broker": "ok",
    "queues": [
        {"queue": "tidings.sms", "kind": "work", "channel": "sms", "priority": "normal", "ready": 3, "consumers": 1},
        {"queue": "tidings.retry.5s", "kind": "retry", "delay_seconds": 5.0, "ready": 1, "consumers": 0},
    ],
}
SWEPT = {
    "published": 1,
    "waiting": 0,
    "abandoned": 0,
    "lettered": 0,
    "expired": 0,
    "given_up": 0,
    "refused": 0,
    "purged": 0,
}
