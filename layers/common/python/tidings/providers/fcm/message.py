"""The message as FCM takes it, with the options of each transport behind FCM.

https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
"""

from datetime import datetime, timedelta

from firebase_admin import messaging

from tidings.domain.channels import PushContent
from tidings.domain.notification import Priority
from tidings.ports import SendRequest
from tidings.providers.fcm.receipts import FIELD

LONGEST = timedelta(seconds=2_419_200)
"""Four weeks: https://firebase.google.com/docs/cloud-messaging/concept-options#ttl"""


def acknowledged(content: PushContent, kind: str, address: str | None) -> PushContent:
    """With the address in its data. Unchanged for a topic, whose devices are many; where it is too large for the
    address; and where the data has that key."""
    if address is None or kind != "token" or FIELD in content.data:
        return content
    longer = content.model_copy(update={"data": {**content.data, FIELD: address}})
    return longer if longer.fits("token") else content


def build(kind: str, target: str, content: PushContent, outbound: SendRequest, now: datetime) -> messaging.Message:
    """`kind` is "token" or "topic".

    A second copy of a notification replaces the first, because both have its id. The id is not used as Android's
    `collapse_key`: FCM keeps four of these for an offline device and drops the others, so notifications would be lost.
    For displayed messages FCM ignores the key.
    https://firebase.google.com/docs/cloud-messaging/customize-messages/collapsible-message-types
    """
    shown = content.title is not None or content.body is not None or content.image is not None
    high = outbound.priority == Priority.HIGH
    ttl = None if outbound.time_to_live is None else min(max(outbound.time_to_live, timedelta()), LONGEST)
    message = messaging.Message(
        notification=messaging.Notification(content.title, content.body, content.image) if shown else None,
        data=dict(content.data) or None,
        android=messaging.AndroidConfig(
            priority="high" if high else "normal",
            ttl=ttl,
            notification=messaging.AndroidNotification(tag=outbound.id) if shown else None,
        ),
        apns=_apns(outbound.id, shown=shown, high=high, ttl=ttl, now=now),
        webpush=_webpush(outbound.id, shown=shown, high=high, ttl=ttl),
    )
    # Set after construction: the constructor warns that installation IDs will replace tokens, but a token is not one.
    setattr(message, kind, target)
    return message


def _apns(id: str, *, shown: bool, high: bool, ttl: timedelta | None, now: datetime) -> messaging.APNSConfig:
    """https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns"""
    headers = {
        "apns-push-type": "alert" if shown else "background",
        "apns-priority": "10" if shown and high else "5",  # FCM refuses 10 for background messages
        "apns-collapse-id": id,  # at most 64 bytes
    }
    if ttl is not None:
        headers["apns-expiration"] = str(int((now + ttl).timestamp())) if ttl else "0"  # 0: now or never
    # Without content-available, iOS wakes no app for a message that displays nothing:
    # https://developer.apple.com/documentation/usernotifications/pushing-background-updates-to-your-app
    payload = None if shown else messaging.APNSPayload(aps=messaging.Aps(content_available=True))
    return messaging.APNSConfig(headers=headers, payload=payload)


def _webpush(id: str, *, shown: bool, high: bool, ttl: timedelta | None) -> messaging.WebpushConfig:
    """https://www.rfc-editor.org/rfc/rfc8030#section-5: `Topic` replaces a message not yet delivered, `tag` one that is
    displayed."""
    headers = {
        "Urgency": "high" if high else "normal",
        "Topic": id.replace("-", ""),  # at most 32 characters of base64url, as a UUID without hyphens
    }
    if ttl is not None:
        headers["TTL"] = str(int(ttl.total_seconds()))
    notification = messaging.WebpushNotification(tag=id) if shown else None
    return messaging.WebpushConfig(headers=headers, notification=notification)
