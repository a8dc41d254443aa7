"""A mail's lines: folded where they can be, cut between characters, and never too long for a server."""

import email
import email.policy
import re
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.utils import parseaddr
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidings.domain.channels import Attachment, EmailContent
from tidings.ports import SendRequest
from tidings.providers.smtp.mime import build_mail

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def raw(sender: str = "Shop <shop@example.org>", **changed: Any) -> bytes:
    content = EmailContent(**{"subject": "s", "text": "t", **changed})
    outbound = SendRequest(id="0193-a", attempt=1, recipient="ada@example.com", content=content)
    return build_mail(outbound, sender=sender, domain="example.org", date=NOW).data


def header(data: bytes, name: str) -> list[str]:
    """The header's lines."""
    found = re.search(rf"^{name}: [^\r]*(?:\r\n[ \t][^\r]*)*", data.decode("ascii"), re.MULTILINE)
    assert found is not None
    return found[0].split("\r\n")


NAMES = [
    "Shop",
    "S" * 70,
    "S" * 900,
    "The Shop of many words " * 39,
    'The "Shop", of many words ' * 35,
    "日本語" * 300,
    "Jürgen " * 120,
    "a, b " * 180,
    "=?utf-8?q?no?=",
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:12])
@pytest.mark.parametrize("place", ["From", "Reply-To"])
def test_a_name_of_any_length_is_folded_and_arrives(place: str, name: str) -> None:
    mailbox = f"{name.strip()} <shop@example.org>"
    data = raw(mailbox) if place == "From" else raw(reply_to=mailbox)
    lines = header(data, place)
    assert max(map(len, lines)) <= 76
    # The older parser: the newer one of Python 3.11 puts spaces between the encoded words of one name.
    shown, address = parseaddr(str(email.message_from_bytes(data)[place]))
    assert address == "shop@example.org"
    assert str(make_header(decode_header(shown))).split() == name.split()


@given(name=st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=400))
@settings(max_examples=100)
def test_no_name_makes_a_line_too_long(name: str) -> None:
    content = EmailContent.model_construct(
        **{**EmailContent(subject="s", text="t").__dict__, "from_": f"{name} <a@example.org>"}
    )
    outbound = SendRequest(id="0193-a", attempt=1, recipient="ada@example.com", content=content)
    data = build_mail(outbound, sender="a@example.org", domain="example.org", date=NOW).data
    assert max(map(len, header(data, "From"))) <= 76


@given(
    st.lists(st.sampled_from(["a", " ", "\t", "=", "é", "\n", ".", "日", "x" * 20]), min_size=1, max_size=300).map(
        "".join
    )
)
@settings(max_examples=300)
def test_a_line_of_quoted_printable_has_76_letters_and_ends_with_no_space(text: str) -> None:
    data = raw(text=text + "x" * 1000 + "é")  # too long a line, so that it is encoded; few letters, so that it is this
    data = data.replace(b"\r\n..", b"\r\n.")  # as the server does
    head, _, body = data.partition(b"\r\n\r\n")
    if b"quoted-printable" not in head:
        return
    lines = body.split(b"\r\n")
    assert max(map(len, lines)) <= 76
    assert not any(line.endswith((b" ", b"\t")) for line in lines)
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, email.message.EmailMessage)
    assert str(message.get_content()).replace("\r\n", "\n").removesuffix("\n") == text + "x" * 1000 + "é"


def test_a_space_at_the_end_of_a_full_line_goes_on_in_the_next() -> None:
    """binascii makes 78 of it."""
    text = (
        "日\t\n ="
        + "x" * 20
        + "\t\t.\t\n=\t\t \taéé\na\ta 日..é\t..\n日\né日\téaé=a日aa 日a=\t..=é\t=\t \n\n"
        + "x" * 400
    )
    data = raw(text=text)
    assert b"quoted-printable" in data
    assert max(map(len, data.split(b"\r\n"))) <= 76


@pytest.mark.parametrize(
    "name",
    ["ä" * 255, "日本語" * 85, "🎁" * 100, "a" * 100 + "é" * 100 + ".pdf", "100% ü.txt"],
    ids=lambda name: name[:3],
)
def test_a_file_name_is_cut_between_characters(name: str) -> None:
    data = raw(attachments=(Attachment(filename=name, content="YQ=="),))
    lines = header(data, "Content-Disposition")
    assert max(map(len, lines)) <= 76
    pieces = [re.search(r"filename\*(?:\d+\*)?=(?:utf-8'')?([^;]*)", line) for line in lines[1:]]
    assert "".join(unquote(piece[1], errors="strict") for piece in pieces if piece is not None) == name
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, email.message.EmailMessage)
    assert [part.get_filename() for part in message.iter_attachments()] == [name]


def test_a_long_header_for_programs_is_folded_at_its_spaces_and_never_encoded() -> None:
    value = f"<https://example.com/{'x' * 800}>, <mailto:{'u' * 100}@example.com>"
    lines = header(raw(headers={"List-Unsubscribe": value}), "List-Unsubscribe")
    assert max(map(len, lines)) <= 998
    assert "".join(lines).removeprefix("List-Unsubscribe: ").split() == value.split()
