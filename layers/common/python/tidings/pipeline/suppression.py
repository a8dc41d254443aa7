"""Which failure suppresses which recipient: it can take nothing more, and is not to be sent to."""

from tidings.domain.errors import PermanentError
from tidings.domain.notification import Notification
from tidings.pipeline.outcomes import Outcome
from tidings.ports import Suppression


def suppression_for(notification: Notification, outcome: Outcome) -> Suppression | None:
    """Only a permanent error whose provider names a reason, and only the notification's own recipient."""
    if isinstance(outcome, PermanentError) and outcome.suppress is not None:
        return Suppression(recipient=notification.recipient, reason=outcome.suppress)
    return None
