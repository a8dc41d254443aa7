"""The pages of an unsubscribe link: plain HTML without a script, for any browser and any size of screen."""

import base64
import hashlib
from html import escape

from tidings.api.http import Response

ONE_CLICK = ("List-Unsubscribe", "One-Click")
"""What a POST must say (RFC 8058, 3.2)."""

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:0 auto;padding:2rem 1rem;overflow-wrap:anywhere}"
    "button{font:inherit;padding:.75rem 1.5rem}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",  # the address is what opts out: no other site may see it
    "cache-control": "no-store",
    "x-robots-tag": "noindex",
}

_FORM = (
    f'<form method="post"><input type="hidden" name="{ONE_CLICK[0]}" value="{ONE_CLICK[1]}">'
    "<button>Unsubscribe</button></form>"
)
_IMPORTANT = "Important messages, for example about the security of your account, may still be sent."


def question(category: str, masked: str) -> Response:
    return _page(
        200, "Unsubscribe", f"Stop messages of the category \u201c{category}\u201d to {masked}?", _IMPORTANT, form=True
    )


def done(category: str, masked: str) -> Response:
    stopped = f"Messages of the category \u201c{category}\u201d are no longer sent to {masked}."
    return _page(200, "You are unsubscribed", stopped, _IMPORTANT)


def not_asked() -> Response:
    """A POST that does not say what RFC 8058 demands."""
    return _page(400, "Nothing was changed", "To unsubscribe, press the button.", form=True)


def not_valid() -> Response:
    words = (
        "Perhaps a part of it is missing. Copy the whole link from the message, or use the unsubscribe button of your"
        " mail program. If that does not help, reply to the message and ask its sender."
    )
    return _page(404, "This link is not valid", words)


def not_now(retry_after: str) -> Response:
    """The database is down: nothing was recorded, as far as we know."""
    words = "You are not unsubscribed yet, because of a fault of ours. Please try again in a minute."
    page = _page(503, "Please try again", words, form=True)
    return Response(status=page.status, body=page.body, headers={**page.headers, "retry-after": retry_after})


def _page(status: int, title: str, *paragraphs: str, form: bool = False) -> Response:
    text = "".join(f"<p>{escape(one)}</p>" for one in paragraphs)
    body = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{text}{_FORM if form else ''}</main></body></html>"
    )
    return Response(status=status, body=body.encode(), headers=HEADERS)
