"""What an SMS may say: refused when it is submitted, as Twilio counts; and read as it is where it is stored."""

import pytest
from tidings.domain.channels import CHANNELS, SmsContent
from tidings.domain.channels.sms_segments import GSM_7, GSM_7_EXTENDED, is_blank, units

from local.emulators import twilio_messages

SIZES = [
    ("", 0),
    ("a" * 160, 160),
    ("\u00e9\u00e8\u00f9\u00ec\u00f2\u00c7\u00d8\u00e5\n", 9),
    ("^{}\\[~]|\u20ac\f", 20),
    ("`", 1),
    ("`" + "[" * 10, 11),
    ("\u00e1", 1),
    ("\u20ac", 2),
    ("\u20ac\u00e1", 2),
    ("\N{GRINNING FACE}", 2),
    ("\N{GRINNING FACE}" * 800, 1600),
    ("\U0001f468\u200d\U0001f469\u200d\U0001f467", 8),
]


@pytest.mark.parametrize(("text", "size"), SIZES)
def test_a_text_is_counted_as_twilio_counts_and_the_emulator_agrees(text: str, size: int) -> None:
    assert units(text) == size
    assert twilio_messages.units(text) == size


def test_gsm_7_has_127_letters_and_an_escape() -> None:
    assert (len(GSM_7), len(GSM_7_EXTENDED)) == (127, 10)


@pytest.mark.parametrize("text", [" ", "\n\t", "\xa0", "\u200b", "\u2028", "\ufeff", "\x01"])
def test_what_does_not_show_is_blank(text: str) -> None:
    assert is_blank(text)
    assert not is_blank(text + ".")
    assert not is_blank("\U0001fadf" + text)


@pytest.mark.parametrize(
    "text", ["Hello", "^" * 800, "\N{GRINNING FACE}" * 800, "x" * 1600, "a\tb", "\u00e1" * 1600, "\ue000"]
)
def test_what_fits_is_taken(text: str) -> None:
    SmsContent(text=text).check("+15005550010")


@pytest.mark.parametrize(
    "text", [" ", "\0", "^" * 801, "\N{GRINNING FACE}" * 801, "\u00e1" + "\N{GRINNING FACE}" * 800]
)
def test_what_does_not_is_refused_but_read_where_it_is_stored(text: str) -> None:
    """A release before this one took it: its rows are sent, and judged by the vendor."""
    content = SmsContent(text=text)
    with pytest.raises(ValueError, match="the text"):
        content.check("+15005550010")
    assert CHANNELS["sms"].model_validate_json(content.model_dump_json()) == content
