"""Recipients as a log may show them: enough to recognize one's own, too little to reach or to name anybody."""


def masked(recipient: str) -> str:
    """Of a stored form (see Notification.recipient): an address as `a***@example.com`, a number as
    `+1***10`, a token or topic by its kind and its last four characters. Whatever is too short to hide the rest shows
    nothing of it, and a form that is not known nothing at all."""
    kind, colon, rest = recipient.partition(":")
    if colon and kind in ("token", "topic"):
        return f"{kind}:***{_tail(rest, 4, of=12)}"
    local, at, domain = recipient.rpartition("@")
    if at:
        return f"{local[:1] if len(local) > 2 else ''}***@{domain}"
    if recipient.startswith("+"):
        return f"{recipient[:2]}***{recipient[-2:]}" if len(recipient) > 7 else "+***"
    return "***"


def _tail(text: str, length: int, *, of: int) -> str:
    return text[-length:] if len(text) >= of else ""
