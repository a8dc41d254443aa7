"""A masked recipient tells a person whom it may be, and nobody who it is."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tidings.domain.channels import CHANNELS, masked


@pytest.mark.parametrize(
    ("channel", "recipient", "shown"),
    [
        ("email", "ada@example.com", "a***@example.com"),
        ("email", "al@example.com", "***@example.com"),
        ("email", '"odd@local"@example.com', '"***@example.com'),
        ("email", "käthe@bücher.example", "k***@bücher.example"),
        ("email", "@example.com", "***@example.com"),
        ("sms", "+15005550010", "+1***10"),
        ("sms", "+4930", "+***"),
        ("push", "token:dGhpcyBpcyBhIGRldmljZQ3f9c", "token:***3f9c"),
        ("push", "token:device-1", "token:***"),
        ("push", "topic:news-of-the-house", "topic:***ouse"),
        ("push", "topic:news", "topic:***"),
        ("webhook", "https://hooks.example:8443/T0/secret?a=b", "https://hooks.example:8443/***"),
        ("webhook", "01930b6c-4a5e-7c3b-9d2e-6f1a2b3c4d5e", "01930b6c-4a5e-7c3b-9d2e-6f1a2b3c4d5e"),
        ("chat", "#general", "***"),
        *((channel, "", CHANNELS[channel].masked("")) for channel in CHANNELS),
    ],
)
def test_a_recipient_is_masked_as_its_channel_says(channel: str, recipient: str, shown: str) -> None:
    assert masked(channel, recipient) == shown


LOCAL = st.text(st.characters(codec="ascii", min_codepoint=33, exclude_characters="*@"), min_size=1, max_size=64)


@given(LOCAL, st.sampled_from(["example.com", "a.example"]))
@example("a", "example.com")
def test_of_an_address_at_most_one_character_left_of_the_at_is_shown(local: str, domain: str) -> None:
    shown = masked("email", f"{local}@{domain}")
    assert f"{local}@" not in shown
    assert len(shown) <= 1 + len("***@") + len(domain)


@given(st.from_regex(r"\+[1-9][0-9]{1,14}", fullmatch=True))
def test_of_a_number_at_most_three_digits_are_shown(number: str) -> None:
    shown = masked("sms", number)
    assert number not in shown
    assert sum(map(str.isdigit, shown)) <= 3


@given(st.sampled_from(["token", "topic"]), st.text(st.characters(exclude_characters="*"), min_size=1, max_size=200))
def test_of_a_token_at_most_a_third_is_shown(kind: str, token: str) -> None:
    shown = masked("push", f"{kind}:{token}").removeprefix(f"{kind}:***")
    assert 3 * len(shown) <= len(token)


@given(st.sampled_from([*CHANNELS, "chat"]), st.text(max_size=600))
def test_no_text_is_shown_whole(channel: str, text: str) -> None:
    """Also one that is no recipient of its channel."""
    assert len(text) <= 3 or text not in masked(channel, text)
