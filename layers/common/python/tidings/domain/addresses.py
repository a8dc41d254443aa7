"""Email addresses, phone numbers, and what counts as one line."""

import re
from functools import cache, lru_cache
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

# Also characters that only some readers take for the end of a line: VT, FF, the separators, NEL.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def one_line(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("must be one line: CR, LF and other control characters are not allowed here")
    return value


_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_PLAIN = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@([^@]+)")


# email_validator is imported when an address is checked: the client uses the models but does not install it.


@cache
def _case_insensitive() -> frozenset[str]:
    """Mailbox names that the library writes in lower case."""
    from email_validator.rfc_constants import CASE_INSENSITIVE_MAILBOX_NAMES

    return frozenset(CASE_INSENSITIVE_MAILBOX_NAMES)


@lru_cache(maxsize=10_000)
def _domain(name: str) -> str | None:
    """The domain in its normal form; None: not a domain. Cached: the same few domains repeat, and a check costs half of
    what accepting a mail costs."""
    from email_validator import EmailNotValidError, validate_email

    try:
        return validate_email(f"a@{name}", check_deliverability=False, allow_smtputf8=False).ascii_domain
    except EmailNotValidError:
        return None


def email_address(value: str) -> str:
    plain = _PLAIN.fullmatch(value) if len(value) <= 254 else None
    if plain is None or len(plain[1]) > 64 or plain[1].lower() in _case_insensitive():
        return _any_email_address(value)
    domain = _domain(plain[2])
    return f"{plain[1]}@{domain}" if domain is not None else _any_email_address(value)


def _any_email_address(value: str) -> str:
    from email_validator import EmailNotValidError, validate_email

    one_line(value)
    try:
        valid = validate_email(value, check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError as error:
        raise ValueError(f"not an email address: {error}") from None
    return valid.ascii_email or valid.normalized


_QUOTED_NAME = re.compile(r'"((?:[^"\\]|\\.)*)"')


def mailbox(value: str) -> str:
    """An address, or `Name <address>`. A quoted name loses its quotes. The result is valid input again, because stored
    content is read by the same rules."""
    value = one_line(value).strip()
    if not value.endswith(">"):
        return email_address(value)
    name, _, address = value[:-1].rpartition("<")
    name = name.strip()
    while quoted := _QUOTED_NAME.fullmatch(name):
        name = re.sub(r"\\(.)", r"\1", quoted[1]).strip()
    if re.search(r"[<>]|@.*,", name):
        raise ValueError("not one address: give one, or one as Name <address>")
    return f"{name} <{email_address(address)}>" if name else email_address(address)


def e164(value: str) -> str:
    if not re.fullmatch(r"\+[1-9]\d{1,14}", value, re.ASCII):
        raise ValueError(
            "not an E.164 number: a plus sign, the country code and the number, digits only, like +15005550010"
        )
    return value


Line = Annotated[str, StringConstraints(min_length=1, max_length=998), AfterValidator(one_line)]
EmailAddress = Annotated[str, StringConstraints(max_length=320), AfterValidator(email_address)]
Mailbox = Annotated[str, StringConstraints(max_length=998), AfterValidator(mailbox)]
PhoneNumber = Annotated[str, StringConstraints(max_length=32), AfterValidator(e164)]
