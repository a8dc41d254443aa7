"""The refusals of the emulated mail server, worded like those of real servers."""

from dataclasses import dataclass

from local.emulators.failures import Rule


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A refusal: `550 5.1.1 text`."""

    status: int
    enhanced: str
    text: str

    def __str__(self) -> str:
        return f"{self.status} {self.enhanced} {self.text}"


MAILBOXES = {
    # The reply to a recipient whose local part begins with this word.
    "unknown": Reply(status=550, enhanced="5.1.1", text="The email account that you tried to reach does not exist"),
    "full": Reply(status=452, enhanced="4.2.2", text="The recipient's inbox is out of storage space"),
    "greylist": Reply(status=451, enhanced="4.7.1", text="Greylisted, please try again later"),
    "denied": Reply(status=554, enhanced="5.7.1", text="Recipient address rejected: Access denied"),
    "policy": Reply(status=550, enhanced="5.7.1", text="Message rejected due to policy"),  # whose policy is not said
}
SPAM = Reply(status=554, enhanced="5.7.1", text="Message rejected as spam")
"""The reply after the mail, for a recipient whose local part begins with `spam`."""

TOO_MANY = Reply(status=452, enhanced="4.5.3", text="Too many recipients")
TOO_LARGE = Reply(status=552, enhanced="5.3.4", text="Message size exceeds fixed limit")
TIMEOUT = Reply(status=451, enhanced="4.4.2", text="Timeout waiting for data from client.")
"""As Amazon SES replies before it disconnects."""


def mailbox(recipient: str) -> Reply | None:
    return next((reply for word, reply in MAILBOXES.items() if recipient.startswith(word)), None)


def from_rule(rule: Rule) -> Reply:
    """The reply of a rule with a status."""
    status = rule.status or 451
    return Reply(
        status=status,
        enhanced=rule.enhanced or f"{status // 100}.3.0",
        text=rule.message or "Failure on demand",
    )
