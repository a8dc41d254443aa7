"""How much room a text takes in an SMS."""

import unicodedata

GSM_7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_7_EXTENDED = frozenset("\f^{}\\[~]|€")
"""3GPP TS 23.038, 6.2.1. One of the extended takes two places."""

_INVISIBLE = frozenset(["Cc", "Cf", "Zl", "Zp", "Zs"])


def units(text: str) -> int:
    """Places in GSM-7, or UTF-16 units if a letter is not in it: what Twilio's limit and segments count.

    https://www.twilio.com/docs/api/errors/21617, https://www.twilio.com/docs/glossary/what-sms-character-limit
    """
    if all(letter in GSM_7 or letter in GSM_7_EXTENDED for letter in text):
        return len(text) + sum(letter in GSM_7_EXTENDED for letter in text)
    return len(text.encode("utf-16-le")) // 2


def is_blank(text: str) -> bool:
    """Spaces, line breaks and what does not show at all."""
    return all(unicodedata.category(letter) in _INVISIBLE for letter in text)
