"""How long a text is as an SMS."""

import unicodedata

GSM_7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_7_EXTENDED = frozenset("\f^{}\\[~]|€")
"""3GPP TS 23.038, 6.2.1. Each extended character counts two."""

_INVISIBLE = frozenset(["Cc", "Cf", "Zl", "Zp", "Zs"])


def units(text: str) -> int:
    """GSM-7 characters, or UTF-16 units if a character is not in GSM-7: what Twilio's limit and segments count.

    https://www.twilio.com/docs/api/errors/21617, https://www.twilio.com/docs/glossary/what-sms-character-limit
    """
    if all(character in GSM_7 or character in GSM_7_EXTENDED for character in text):
        return len(text) + sum(character in GSM_7_EXTENDED for character in text)
    return len(text.encode("utf-16-le")) // 2


def is_blank(text: str) -> bool:
    """Only spaces, line breaks and invisible characters."""
    return all(unicodedata.category(character) in _INVISIBLE for character in text)
