"""What a server says in its own words about a mail that it could not deliver: whether another try may help.

The codes are judged by the table for replies (replies.py). Words count where there is no code, or only a general one:
servers write `5.0.0` above "mailbox is full". If there is neither a code nor a
known word, the mail counts as a soft failure if flufl.bounce finds a failed recipient in it. If not, it is kept for a
person.
"""

import re

from tidings.domain.errors import PermanentError
from tidings.domain.receipt import ReceiptKind
from tidings.providers.smtp.replies import FULL, refusal
from tidings.providers.smtp.stages import Reply, Stage

Failure = tuple[ReceiptKind, str | None, str]
"""Kind, code, the server's reply; empty: it quotes none."""

_ENHANCED = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.]*\d)")
_REPLY = re.compile(
    r"(?<![\d.:/#-])([45]\d\d)(?:[ \t>-]|#)+(?:[#(\[<]*([45]\.\d{1,3}\.\d{1,3})[)\]>]*)?(?=[\s:;,-]|[A-Za-z<#(\[])"
)
_GENERAL = re.compile(r"^5\.\d{1,3}\.0$|^5\.5\.\d{1,3}$|^\d{3}$")
"""Codes that say nothing about whether it will pass: `other`, or a protocol error above the reason."""

WORDS: tuple[tuple[str, str], ...] = (
    # What may pass comes first: "mailbox is full" never counts as "mailbox unavailable".
    (
        "5.2.2",
        r"(mail ?box|quota|in ?box|storage|account|folder|maildir).{0,40}(is |are |was |has been )?(full|exceed|"
        r"exhaust|too large|over)|over ?quota|(exceed|over|out of).{0,40}(quota|storage|(mailbox|account|disk).{0,20}"
        r"(size|space|limit))|insufficient (system )?(storage|disk|space)|not enough (storage|disk|space)|"
        r"disk full|mailfolder is full|user is over the|too much mail",
    ),
    (
        "4.4.7",
        r"(retry|delivery) (time|timeout).{0,20}(exceeded|expired)|(message|delivery time) (has )?expired|"
        r"time[d -]{0,2}out|too long (in|on) the? ?queue|in the queue too long|connection (was )?(refused|lost|reset|"
        r"timed|dropped)|(could not|unable to|cannot|can't) (connect|contact)|no route to host|network is unreachable|"
        r"host (is |not )?(un)?reachable|socket error|did not accept our requests|been failing for|"
        r"not respond|(could not|can not|cannot) be delivered (for|within)|greylist|graylist|"
        r"try again later|temporar(y|ily)|retry time not reached|retry limit|gave up|giving up",
    ),
    (
        "5.1.2",
        r"unknown (mail )?(host|domain)|(host|domain)( name)?.{0,60}(unknown|not found|does ?n.t exist|non-?existent|"
        r"no(t a)? valid|cannot be resolved)|unrout(e?able|able)|name service error|no (such|valid) (host|domain)|"
        r"couldn.t find any host|illegal host|bad (domain|destination (host|system))|unable to resolve|nxdomain|"
        r"no mx\b|no mail ?server|name server.{0,20}host not found|all relevant mx records point to non-existent",
    ),
    (
        "5.1.1",
        r"(user|recipient|mail ?box|address|account|alias|destinat\w+|addressee|customer|person|mail name|name)\b"
        r".{0,60}(unknown|not? (known|found|exist|valid|listed|recogni[sz]ed|available|active|local|have|in )|"
        r"does ?n.t exist|invalid|disabled|inactive|suspended|unavailable|discontinued|closed|deactivated|expired|"
        r"non-?existent|does not (appear|have|match)|not a valid|is not)|(unknown|invalid|no such|nonexistent|bad|"
        r"incorrect|no valid|illegal|unrecognized|not a (valid|known|local|recognized)|not (our|my)) .{0,30}"
        r"(user|recipient|mail ?box|address|account|alias|person|name|customer|local|forward)|"
        r"doesn.t (have|exist)|no (mail ?box|account|user|recipient|one) (here|there|by|with|found|named)|"
        r"does not exist|is unknown|wasn.t found|couldn.t be found|can.t be found|not listed in|no longer",
    ),
)
"""Words, and the code that says the same. The first that is found counts."""

_PASSING = re.compile(
    r"\b(rate|frequen\w+|throttl\w+|too (many|much)|exceed\w*|hourly|per (hour|minute|day))\b|"
    r"reverse dns|\bptr\b|\brdns\b|reverse (host|lookup|name)|blocked|black ?list|reputation|try again",
    re.IGNORECASE,
)
"""About the sender's host, or the number of mails: another day, or another host, may pass."""

_REFUSED = re.compile(r"recipient address rejected", re.IGNORECASE)
"""Exchange Online's 5.4.1: no such recipient."""

_WORDS = tuple((code, re.compile(words, re.IGNORECASE)) for code, words in WORDS)


def failure(status: str, diagnostic: str, text: str = "") -> Failure:
    """Of a recipient's block that says `failed`. `status`: as in RFC 3463; `diagnostic`: the server's reply, if any;
    `text`: what the report says to people, which counts where there is no reply."""
    stated = found[1] if (found := _ENHANCED.search(status)) is not None else None
    words = diagnostic.partition(";")[2].strip() if ";" in diagnostic[:30] else diagnostic or text
    reply = _REPLY.search(words)
    replied = _ENHANCED.search(words)
    # What the receiving server said, unless it is more general than what its sender makes of it.
    codes = [replied[1] if replied is not None else None, stated, reply[1] if reply is not None else None]
    known = [code for code in codes if code is not None and code[0] in "45"]
    if stated is not None and stated.startswith("4"):
        known = [stated, *known]  # given up after retries: the sender's word for the end counts
    code = next((code for code in known if not _GENERAL.match(code)), known[0] if known else None)
    return (*_judged(code, words), words if reply is not None else "")


def _judged(code: str | None, words: str) -> tuple[ReceiptKind, str | None]:
    """By the code; by the words where the code is general or none."""
    said = next((one for one, pattern in _WORDS if pattern.search(words)), None)
    if said in FULL:
        return ReceiptKind.FAILED_SOFT, code if code is not None and code.startswith("4") else said
    if code is None or _GENERAL.match(code):
        code = said if said is not None and not (code or "").startswith("4") else code
    is_network = code is not None and code.startswith("5.4.") and said != "5.1.2" and not _REFUSED.search(words)
    if code is None or code.startswith("4") or is_network or (said != "5.1.1" and _PASSING.search(words)):
        return ReceiptKind.FAILED_SOFT, code
    number = int(code) if len(code) == 3 else 550
    text = words if len(code) == 3 else f"{code} {_ENHANCED.sub('', words)}"
    error = refusal(Stage.RCPT, Reply(number, text.encode("utf-8", "replace")))
    return (ReceiptKind.FAILED_HARD if isinstance(error, PermanentError) else ReceiptKind.FAILED_SOFT), code


# --- bounces without a report -----------------------------------------------------------------------------------------

_SUBJECTS = re.compile(
    r"undeliver|deliver(y|ed|ing)?.{0,20}(status|fail|notif|problem|error|report|delay|warning|unsuccess|has been|"
    r"incomplete|attempt)|returned mail|return(ed)? to sender|failure notice|failed mail|mail(er)?.{0,12}(error|fail|"
    r"return|system|warning|delay)|(message|mail).{0,12}(not delivered|could not|delay|undeliver|status)|"
    r"could not (be )?(deliver|send)|unzustellbar|non[ -]?(remis|distribu|deliver)|nicht zugestellt|fehlgeschlagen|"
    r"bounce|unknown (user|address|recipient)|user unknown|permanent failure|there was an error sending|"
    r"cannot send|warning: (message|could)|lost mail|notification d.échec|^delivery",
    re.IGNORECASE,
)
_SENDERS = re.compile(
    r"mailer-?daemon|mail-?daemon|post_?master|mdaemon|mailerdaemon|mail(er)?-?(delivery|system)|daemon@|bounce|"
    r"mmdf|uucp|smtp|microsoft exchange|mail delivery",
    re.IGNORECASE,
)
_DOMAINS = re.compile(r"@\S*")
_ANSWERS = re.compile(r"\s*(re|aw|sv|antw|fwd?|wg)(\[\d+\])?:", re.IGNORECASE)
_RETURNED = re.compile(
    r"^[ \t>*-]*(received:|return-path:|(-{2,}|={2,}|\*{3,}).{0,30}(original|copy|below|returned|unsent|header|"
    r"undelivered).{0,60}$|.{0,30}copy of (the|your) (message|mail|original)|message headers? follow|"
    r"original message follows|.{0,20}unsent message|below this line is a copy)",
    re.IGNORECASE | re.MULTILINE,
)
"""Where the returned mail begins. Its text proves nothing."""

_DELAYED = re.compile(
    r"(will|shall|still)( be)?( (continue|keep|try|attempt|retr)\w*).{0,60}|not yet been delivered|"
    r"(delivery|message|mail).{0,40}(is |been |was )?delayed|this is (only )?a warning|warning message only|"
    r"do(es)? not need to (resend|send)|no action is required|has not (yet )?been (able|delivered).{0,40}so far",
    re.IGNORECASE,
)


def is_from_server(sender: str) -> bool:
    """Whether `From` names a mail server's program, not a person."""
    return _SENDERS.search(_DOMAINS.sub("@", sender)) is not None


def is_about_failure(subject: str) -> bool:
    """An answer quotes our own subject, which may speak of a delivery."""
    return _ANSWERS.match(subject) is None and _SUBJECTS.search(subject) is not None


def said_before(text: str) -> str:
    """The text up to the returned mail, if it has that."""
    start = _RETURNED.search(text)
    return text[: start.start()] if start is not None and start.start() > 0 else text


def from_text(text: str) -> Failure | None:
    """What the text of a bounce says. None: that is not clear."""
    text = said_before(text)
    if _DELAYED.search(text):
        return ReceiptKind.ACCEPTED, None, ""
    reply = _REPLY.search(text)
    enhanced = reply[2] if reply is not None and reply[2] is not None else None
    if reply is None:
        alone = _ENHANCED.search(text)
        enhanced = alone[1] if alone is not None and alone[1][0] in "45" else None
    words = " ".join(text[reply.start() :].split())[:500] if reply is not None else " ".join(text.split())[:2000]
    code = enhanced or (reply[1] if reply is not None else None)
    if code is None and not any(pattern.search(words) for _, pattern in _WORDS):
        return None
    return (*_judged(code, words), words if reply is not None else "")
