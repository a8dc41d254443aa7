"""The reference: a vendor's SDK alone, as its documentation shows it, against the sink: `python -m tests.load.bare
CHANNEL COUNT` says how many CPU seconds 1,000 calls take. One thread, one kept connection, nothing of Tidings."""

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from statistics import median

import firebase_admin
from firebase_admin import credentials, messaging
from twilio.rest import Client

from local.stack.stack import ROOT

TURNS = 5


def per_thousand(channel: str, count: int, environment: Mapping[str, str]) -> float:
    """CPU seconds of 1,000 calls, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.load.bare", channel, str(count)],
        cwd=ROOT,
        env=dict(environment),
        stdout=subprocess.PIPE,
        check=True,
    )
    return float(json.loads(done.stdout))


# --- in the process ---------------------------------------------------------------------------------------------------


def twilio() -> Callable[[int], object]:
    client = Client(os.environ["TIDINGS_TWILIO_ACCOUNT_SID"], os.environ["TIDINGS_TWILIO_AUTH_TOKEN"])
    client.api.base_url = os.environ["TIDINGS_TWILIO_URL"]
    sender = os.environ["TIDINGS_TWILIO_SENDER"]
    text = "Your order is on its way, and will be with you tomorrow."
    return lambda number: client.messages.create(to=f"+150{number:08}", from_=sender, body=f"n{number:08} {text}")


def fcm() -> Callable[[int], object]:
    warnings.simplefilter("ignore")  # it warns that tokens will give way to installation IDs
    app = firebase_admin.initialize_app(credentials.Certificate(os.environ["TIDINGS_FCM_SERVICE_ACCOUNT"]))
    service = messaging._get_messaging_service(app)  # which knows no other host by itself
    service._fcm_url = service._fcm_url.replace("https://fcm.googleapis.com", os.environ["TIDINGS_FCM_URL"])

    def send(number: int) -> object:
        shown = messaging.Notification(f"n{number:08} Your order is on its way", "It will be with you tomorrow.")
        return messaging.send(messaging.Message(token=f"device-{number:08}:abcdefgh", notification=shown), app=app)

    return send


def main() -> None:
    channel, count = sys.argv[1], int(sys.argv[2])
    send = {"sms": twilio, "push": fcm}[channel]()
    took = []
    for _ in range(TURNS + 1):  # the first opens the connection, and does not count
        begun = time.process_time()
        for number in range(count // TURNS):
            send(number)
        took.append((time.process_time() - begun) / (count // TURNS))
    print(json.dumps(1000 * median(took[1:])))


if __name__ == "__main__":
    main()
