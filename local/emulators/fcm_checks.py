"""The messages that FCM refuses.

https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
"""

import json
import re
from typing import Any

from local.emulators.fcm_refusals import invalid, refusal
from local.emulators.http_provider import Refusal

MAX_BYTES, MAX_TOPIC_BYTES = 4096, 2048
OVERHEAD = 45  # users measured 4,051 for one data field
RESERVED = re.compile(r"from|message_type|notification|(google|gcm).*", re.DOTALL)
PUSH_TYPES = ("alert", "background", "location", "voip", "complication", "fileprovider", "mdm", "liveactivity")
URGENCIES = ("very-low", "low", "normal", "high")  # RFC 8030, 5.3
TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")  # RFC 8030, 5.4


def malformed(message: dict[str, Any]) -> Refusal | None:
    for name in ("data", "notification", "android", "apns", "webpush"):
        if not isinstance(message.get(name, {}), dict):
            return invalid(f"message.{name}", f"Invalid value at 'message.{name}' (Map)")
    data, android = message.get("data", {}), message.get("android", {})
    for number, (key, value) in enumerate(data.items()):
        if not isinstance(value, str):
            place = f"message.data[{number}].value"
            return invalid(place, f"Invalid value at '{place}' (TYPE_STRING), {json.dumps(value)}")
        if RESERVED.fullmatch(key):
            return invalid("message.data", f"Invalid data payload key: {key}")
    if str(android.get("priority", "normal")).lower() not in ("normal", "high"):
        return invalid("message.android.priority", "Invalid value at 'message.android.priority' (TYPE_ENUM)")
    return _too_big(message) or _apns(message) or _webpush(message.get("webpush", {}))


def dead(target: str, token: str) -> Refusal | None:
    """Refuse tokens and installation IDs that begin with one of these words."""
    if token.startswith("unregistered"):
        return refusal(404, "UNREGISTERED")
    if token.startswith("mismatch"):
        return refusal(403, "SENDER_ID_MISMATCH")
    if token.startswith("third-party"):
        return refusal(401, "THIRD_PARTY_AUTH_ERROR")
    if token.startswith("invalid"):
        return invalid(f"message.{target}", "The registration token is not a valid FCM registration token")
    return None


def _too_big(message: dict[str, Any]) -> Refusal | None:
    shown = {**message.get("notification", {}), **message.get("android", {}).get("notification", {})}
    fields = {**{f"gcm.notification.{name}": value for name, value in shown.items()}, **message.get("data", {})}
    size = OVERHEAD + sum(len(f"{name}{value}".encode("utf-8", "replace")) for name, value in fields.items())
    limit = MAX_TOPIC_BYTES if "topic" in message or "condition" in message else MAX_BYTES
    return invalid("message", f"Android message is too big: {size} bytes, at most {limit}") if size > limit else None


def _apns(message: dict[str, Any]) -> Refusal | None:
    """https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns"""
    apns = message.get("apns", {})
    headers, aps = apns.get("headers", {}), apns.get("payload", {}).get("aps", {})
    priority, push_type = headers.get("apns-priority", "10"), headers.get("apns-push-type", "alert")
    if priority not in ("10", "5", "1") or push_type not in PUSH_TYPES:
        return invalid("message.apns.headers", "Invalid apns-priority or apns-push-type")
    if len(headers.get("apns-collapse-id", "").encode()) > 64:
        return invalid("message.apns.headers", "apns-collapse-id has more than 64 bytes")
    background = aps.get("content-available") == 1 and "notification" not in message and "alert" not in aps
    if (background or push_type == "background") and "apns-priority" in headers and priority == "10":
        return invalid("message.apns.headers", "apns-priority must be 5 for a message that shows nothing")
    if push_type == "background" and not background:
        return invalid("message.apns.headers", "apns-push-type is background, but the message shows something")
    return None


def _webpush(webpush: dict[str, Any]) -> Refusal | None:
    headers = webpush.get("headers", {})
    if headers.get("Urgency", "normal") not in URGENCIES or not TOPIC.fullmatch(headers.get("Topic", "x")):
        return invalid("message.webpush.headers", "Invalid Urgency or Topic")
    return None
