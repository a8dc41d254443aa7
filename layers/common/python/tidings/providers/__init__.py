"""Providers: a folder for each vendor, and the registry that says which vendors serve which channel.

A vendor's modules are imported when it is chosen, never before: a cold start pays for the SDK of one vendor.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pydantic import Field, create_model

from tidings.config.settings import Settings, load
from tidings.ports import Provider
from tidings.ports.message_list import MessageList
from tidings.ports.receipts import ReceiptLookup, ReceiptParser

PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "email": ("smtp",),
    "sms": ("twilio",),
    "push": ("fcm",),
    "webhook": ("webhooks",),
}
"""For each channel its vendors, the default first. Each name is a folder here, with `from_settings() -> Provider`."""

RECEIPTS: tuple[str, ...] = ("twilio", "fcm")
"""The vendors that report later: the folder of each has `receipts.from_settings()`, a
ReceiptParser, or None where its account is not set."""

LOOKUPS: tuple[str, ...] = ("twilio",)
"""The vendors that can be asked what became of a message: the folder of each has `lookup.from_settings()`, a
ReceiptLookup, or None where its account is not set."""

MESSAGE_LISTS: Mapping[str, str] = {"twilio": "sms"}
"""The vendors that list what was sent, with their channel: each has `message_list.from_settings() -> MessageList`."""


def _choices() -> dict[str, Any]:
    return {
        f"{channel}_provider": (
            str,
            Field(default=vendors[0], pattern=f"^({'|'.join(vendors)})$", description=f"one of: {', '.join(vendors)}"),
        )
        for channel, vendors in PROVIDERS.items()
    }


ProviderSettings = create_model("ProviderSettings", __base__=Settings, __module__=__name__, **_choices())
"""Which vendor delivers each channel: TIDINGS_EMAIL_PROVIDER and its like."""


def provider_for(channel: str) -> Provider:
    """The channel's provider, with its settings. Raise ConfigurationError."""
    vendor = getattr(load(ProviderSettings), f"{channel}_provider")
    provider: Provider = import_module(f"{__name__}.{vendor}").from_settings()
    return provider


def receipt_parsers() -> Mapping[str, ReceiptParser]:
    """By vendor, with their settings: those whose account is set, or that need none. Raise ConfigurationError."""
    found = {vendor: import_module(f"{__name__}.{vendor}.receipts").from_settings() for vendor in RECEIPTS}
    return {vendor: parser for vendor, parser in found.items() if parser is not None}


def receipt_lookups() -> Mapping[str, ReceiptLookup]:
    """By vendor, those whose account is set. Raise ConfigurationError."""
    found = {vendor: import_module(f"{__name__}.{vendor}.lookup").from_settings() for vendor in LOOKUPS}
    return {vendor: lookup for vendor, lookup in found.items() if lookup is not None}


def message_list(vendor: str) -> MessageList:
    """Raise ConfigurationError; ImportError without the vendor's SDK."""
    found: MessageList = import_module(f"{__name__}.{vendor}.message_list").from_settings()
    return found
