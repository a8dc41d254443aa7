"""A mail's headers (RFC 5322, 2045 and 2047): folded if possible, encoded if necessary."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from email.header import Header
from email.utils import format_datetime
from functools import lru_cache
from urllib.parse import quote

from tidings.domain.errors import PermanentError

MAX_LINE = 998  # RFC 5322, 2.1.1, without the CRLF
LINE = 76  # RFC 2045, 6.7 and 6.8; RFC 2047, 2
MAX_PIECE = 52  # of a filename: with `filename*0*=utf-8''`, a space and a semicolon it is a line of at most 76
CRLF = "\r\n"
FOLD = "\r\n "  # a header continues on a line that begins with a space

NOT_SEVEN_BIT = re.compile(r"[^\t\n\x20-\x7e]")
NOT_IN_HEADER = re.compile(r"[\r\n\0]")
_ADDRESS = re.compile(
    r"[!-;=?-~]+@[!-;=?-~]+"
)  # printable ASCII without space, < and >, so that it cannot end a command
_PLAIN_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")  # RFC 5322 atoms and spaces: needs no quotes


def refused(name: str) -> PermanentError:
    return PermanentError("header", f"{name}: a line break or NUL is not allowed in a header")


def header(name: str, value: str) -> str:
    """One header, folded at 76 if possible, as encoded words (RFC 2047) if it is not plain ASCII."""
    if NOT_IN_HEADER.search(name) or NOT_IN_HEADER.search(value):
        raise refused("header")
    line = f"{name}: {value}"
    if not _is_plain(value):
        return f"{name}: {_encoded_words(value, len(name))}"
    if len(line) <= LINE + 2:
        return line
    folded = Header(value, "us-ascii", header_name=name, maxlinelen=LINE).encode(linesep=CRLF)
    if len(name) + 2 + max(map(len, folded.split(CRLF))) <= MAX_LINE:
        return f"{name}: {folded}"
    return (
        f"{name}: {_encoded_words(value, len(name))}"  # a word of a thousand letters can be split only as encoded words
    )


def _is_plain(value: str) -> bool:
    return NOT_SEVEN_BIT.search(value) is None and "=?" not in value  # text that looks encoded would be decoded


def _encoded_words(value: str, taken: int) -> str:
    """`taken`: characters of the first line that are used already."""
    return Header(value, "utf-8", header_name="x" * taken, maxlinelen=LINE).encode(linesep=CRLF)


def unsubscribe_headers(url: str | None, given: Iterable[str]) -> Sequence[str]:
    """Empty if the caller has given one of them: mail programs ignore a header that occurs twice, and the second header
    says how the link in the first may be called. A URL cannot be folded."""
    if url is None or any(name.lower() in ("list-unsubscribe", "list-unsubscribe-post") for name in given):
        return ()
    return f"List-Unsubscribe: <{url}>", "List-Unsubscribe-Post: List-Unsubscribe=One-Click"


def split_mailbox(mailbox: str) -> tuple[str, str]:
    """`Name <address>` or `address`, as the content holds them: the name is not quoted."""
    if mailbox.endswith(">") and "<" in mailbox:
        name, _, address = mailbox[:-1].rpartition("<")
        return name.strip(), address
    return "", mailbox


def checked(address: str) -> str:
    if not _ADDRESS.fullmatch(address):
        raise PermanentError("address", "an address of this mail is not ASCII, or holds a space or a bracket")
    return address


@lru_cache(maxsize=8)
def date_of(second: datetime) -> str:
    """Computed once a second, for all mails of that second."""
    return format_datetime(second)


def mailbox_header(field: str, mailbox: str) -> str:
    """On one line if it is short. Else the address gets its own line, and a long name becomes encoded words."""
    name, address = split_mailbox(mailbox)
    checked(address)
    if NOT_IN_HEADER.search(name):
        raise refused("mailbox")
    if not name:
        return f"{field}: {address}"
    shown = name if _PLAIN_NAME.fullmatch(name) else _quoted(name)
    if not _is_plain(name) or len(f"{field}: {shown}") > LINE:
        return f"{field}: {_encoded_words(name, len(field))}{FOLD}<{address}>"
    line = f"{field}: {shown} <{address}>"
    return line if len(line) <= LINE else f"{field}: {shown}{FOLD}<{address}>"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def filename(name: str) -> list[str]:
    """The filename parameter, by RFC 2231 if it is not ASCII, in pieces if it is long. Each piece ends with a whole
    character, because some mail clients decode each piece by itself."""
    if NOT_SEVEN_BIT.search(name) is None:
        return [f"filename={_quoted(name)}"]
    pieces = [""]
    for character in name:
        escaped = quote(character, safe="")
        if len(pieces[-1]) + len(escaped) > MAX_PIECE:
            pieces.append("")
        pieces[-1] += escaped
    if len(pieces) == 1:
        return [f"filename*=utf-8''{pieces[0]}"]
    return [f"filename*0*=utf-8''{pieces[0]}", *(f"filename*{n}*={piece}" for n, piece in enumerate(pieces[1:], 1))]
