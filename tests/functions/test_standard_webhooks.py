"""What we send is verified by the library `standardwebhooks` of npm. test_webhooks has Python's."""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tidings.domain.webhook import Secrets, read_secret, signature, written

from tests.functions import test_webhooks
from tests.functions.test_webhooks import ENDPOINT, MASTER, OLD, Endpoints, Receiver, provider, request, secret_of
from tests.standard_webhooks.installed import verified_by_npm

server, receiver = test_webhooks.server, test_webhooks.receiver


def case(body: bytes, headers: Mapping[str, str], secret: str) -> dict[str, Any]:
    return {"body": base64.b64encode(body).decode(), "headers": dict(headers), "secret": secret}


@pytest.mark.nightly  # its package and Node take as long as a hundred other tests; by day, Python's library
def test_the_library_of_npm_verifies_it_and_refuses_what_was_changed(receiver: Receiver) -> None:
    """In one process, because each start of Node takes a second on a busy machine."""
    rotated = replace(ENDPOINT, version=2, previous_until=datetime.now(UTC) + timedelta(hours=1))
    host = written(Secrets(masters=(MASTER,)).of_host("acme", "https://shop.example:443")[0])
    provider(receiver).send(request(id="evt_7"))
    provider(receiver, Endpoints(rotated), previous_secret=OLD).send(request(id="evt_8"))
    provider(receiver).send(request("https://Shop.example/in", id="evt_9"))
    (_, headers, body), (_, twice, rotated_body), (_, to_host, host_body) = receiver.got
    secret = secret_of(ENDPOINT)
    taken = {
        "as sent": case(body, headers, secret),
        "to a host": case(host_body, to_host, host),
        **{
            f"version {one.version} of {master[0]}": case(rotated_body, twice, secret_of(one, master))
            for one in (ENDPOINT, rotated)
            for master in (MASTER, OLD)
        },
    }
    refused = {
        "another body": case(body.replace(b"7", b"8"), headers, secret),
        "a blank more": case(body + b" ", headers, secret),
        "another secret": case(body, headers, secret_of(ENDPOINT, OLD)),
        "another id": case(body, {**headers, "webhook-id": "evt_8"}, secret),
        "no signature": case(body, {**headers, "webhook-signature": ""}, secret),
        "an old one": case(body, signed_at(headers, body, secret, -600), secret),
        "of the future": case(body, signed_at(headers, body, secret, 600), secret),
    }
    verdicts = dict(zip([*taken, *refused], verified_by_npm([*taken.values(), *refused.values()]), strict=True))
    for name, one in taken.items():
        assert verdicts[name] == {"event": json.loads(base64.b64decode(one["body"]))}, name
    assert {name: "error" in verdicts[name] for name in refused} == dict.fromkeys(refused, True)
    assert (verdicts["an old one"]["error"], verdicts["of the future"]["error"]) == (
        "Message timestamp too old",
        "Message timestamp too new",
    )


def signed_at(headers: Mapping[str, str], body: bytes, secret: str, seconds: int) -> dict[str, str]:
    """Rightly signed, at another time."""
    at = int(time.time()) + seconds
    made = signature([read_secret(secret)], headers["webhook-id"], at, body)
    return {**headers, "webhook-timestamp": str(at), "webhook-signature": made}
