"""What a refusal is about: the sender, our account, a recipient, the mail. Read from the server's code and text.

The first row of the table that matches decides. The table holds what the step and the class of the code do not tell
(see replies.py). If no row matches, those alone decide. docs/failures.md shows the same rows with what to do.
"""

import enum
import re

# The sources of the rows.
MICROSOFT = "https://learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online/non-delivery-reports-in-exchange-online"
MICROSOFT_THROTTLING = (
    "https://learn.microsoft.com/exchange/mail-flow-best-practices/continuous-error-throttling-smtp-auth-submissions"
)
GOOGLE = "https://knowledge.workspace.google.com/admin/support/troubleshooting/gmail-smtp-errors-and-codes"
MICROSOFT_SUBMISSION = "https://learn.microsoft.com/exchange/troubleshoot/send-emails/smtp-submission-improvements"
SES = "https://docs.aws.amazon.com/ses/latest/dg/troubleshoot-error-messages.html"
SES_QUOTAS = "https://docs.aws.amazon.com/ses/latest/dg/manage-sending-quotas-errors.html"
SENDGRID = "https://sendgrid.com/docs/for-developers/sending-email/smtp-errors-and-troubleshooting/"
POSTMARK = "https://postmarkapp.com/developer/api/overview#error-codes"
ORACLE = "https://docs.oracle.com/en-us/iaas/Content/Email/Concepts/troubleshooting.htm"
POSTFIX = "https://www.postfix.org/postconf.5.html"
MAILGUN = "https://help.mailgun.com/hc/en-us/articles/217531258-Authorized-Recipients"
EXIM = "https://www.exim.org/exim-html-current/doc/html/spec_html/ch-access_control_lists.html"
IANA = "https://www.iana.org/assignments/smtp-enhanced-status-codes"


class Reason(enum.Enum):
    """What a refusal is about."""

    ACCOUNT = "our account: a quota of a day, a suspension"
    LOGIN = "we have not logged in"
    SENDER = "the sender's address may not be used"
    DOMAIN = "the sender's domain or host is not set up: SPF, DKIM, DMARC, reverse DNS"
    RELAY = "this server does not relay for us, to this recipient or to any"
    CLIENT = "our host or address is blocked, by this recipient or by all"
    RECIPIENT = "this recipient does not take it"
    CONTENT = "this mail does not pass"


_ROWS: tuple[tuple[Reason, str, str], ...] = (
    # By code. `^` is the enhanced code, or the reply's where there is none; then comes the text, in lower case.
    (Reason.RECIPIENT, r"^5\.7\.(12|13|124|129|13[3-6]|193|504|505|507|513|703)\b", MICROSOFT),
    (Reason.RECIPIENT, r"^5\.7\.(17|18)\b", IANA),  # the mailbox or its domain has another owner (RFC 7293)
    (Reason.SENDER, r"^5\.1\.[78]\b", IANA),
    (Reason.SENDER, r"^5\.7\.(60|50[1-3]|800)\b", MICROSOFT),
    (Reason.DOMAIN, r"^5\.7\.(2\d|30|40)\b", GOOGLE),  # RFC 7372 and 7505, and Google's further numbers
    (Reason.DOMAIN, r"^5\.7\.(509|515)\b", MICROSOFT),
    (Reason.CLIENT, r"^5\.7\.(506|508|511|6[0-4]\d)\b", MICROSOFT),
    (Reason.LOGIN, r"^5\.7\.(57|139)\b", MICROSOFT),
    (Reason.ACCOUNT, r"^5\.7\.(705|708|750)\b", MICROSOFT),
    (Reason.ACCOUNT, r"^5\.1\.9\d\b", MICROSOFT),
    (Reason.ACCOUNT, r"^5\.4\.5\b.*(limit|quota)", GOOGLE),
    (Reason.ACCOUNT, r"^5\.2\.25\d\b.*throttled", MICROSOFT_THROTTLING),
    (Reason.CONTENT, r"^5\.6\.|^5\.7\.(7|350|512)\b", MICROSOFT),
    # By text. Postfix names the recipient for all that its recipient restrictions refuse, even a blocked client.
    (Reason.CLIENT, r"recipient address rejected: .*\b(client|relay|sender|blocked|limit|quota|spf|policy)\b", POSTFIX),
    (Reason.RECIPIENT, r"recipient address rejected", POSTFIX),
    (Reason.RECIPIENT, r"\binactive (recipient|address)|recipient.{0,40} inactive", POSTMARK),
    (Reason.RECIPIENT, r"resolver\.rst\.|not authenticated (for|by)", MICROSOFT),
    (Reason.ACCOUNT, r"^(?!.*(recipient|receiv)).*(daily .{0,20}(quota|limit)|per day reached)", GOOGLE),
    (Reason.ACCOUNT, r"submission ?quota|storedrv\.submission\.exception:\w*quotaexceeded", MICROSOFT_SUBMISSION),
    (Reason.ACCOUNT, r"daily message quota exceeded|sending paused|not subscribed to ses", SES_QUOTAS),
    (Reason.ACCOUNT, r"credits exceeded", SENDGRID),
    (Reason.LOGIN, r"unauthenticated senders", SENDGRID),
    (
        Reason.ACCOUNT,
        r"\byour (\w+ )?account .{0,20}\b(suspended|disabled|blocked|pending|not)\b|activate your",
        POSTMARK,
    ),
    (Reason.CONTENT, r"\b(spam|unsolicited|virus|malware|phishing|suspicious)\b", GOOGLE),
    (Reason.SENDER, r"\bsend ?as ?denied|send as this sender|not allowed to send as|bad outbound sender", MICROSOFT),
    (Reason.SENDER, r"email address is not verified", SES),
    (Reason.SENDER, r"sender address (was )?rejected|not owned by|sender denied", POSTFIX),
    (
        Reason.SENDER,
        r"sender verif|\b(sender|from) address .{0,80}\bnot .{0,20}(verified|valid|allowed|authorized)",
        EXIM,
    ),
    (Reason.SENDER, r"verified sender identity|send from that email|envelope from address", ORACLE),
    (Reason.SENDER, r"from address is not one of your|sender signature|unconfigured sending domain", POSTMARK),
    (Reason.RELAY, r"\brelay(ing)?\b.{0,40}(denied|prohibited|not |disallowed)|(unable|allowed) to relay", POSTFIX),
    (Reason.RELAY, r"relaying disallowed|rcpthosts", EXIM),
    (Reason.RELAY, r"for test purposes only|authorized recipients", MAILGUN),
    (Reason.DOMAIN, r"\b(spf|dkim|dmarc)\b", GOOGLE),
    (Reason.CLIENT, r"client host|blocked using|\b(your|sending) ip\b|\bip\b.{0,40}(blocked|banned|listed)", POSTFIX),
    (
        Reason.LOGIN,
        r"authenticat\w+ (is )?required|must (be )?authenticate|not authenticated|auth(enticate)? first",
        POSTFIX,
    ),
)

TABLE = tuple((reason, re.compile(pattern)) for reason, pattern, _page in _ROWS)


def reason_of(code: str, text: str) -> Reason | None:
    """What the table says about this reply. None: no row matches."""
    said = f"{code} {' '.join(text.lower().split())}"
    return next((reason for reason, pattern in TABLE if pattern.search(said)), None)
