"""The emulated HTTP API: the events that it sends to a function, and the responses that it makes of the results."""

import base64
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from local.lambda_emulator.environment import InvocationResult
from local.lambda_emulator.gateway import Gateway
from local.stack import no_proxy

FAILED = InvocationResult(payload=b'{"errorType":"Fault","errorMessage":"ada@example.com"}', failed=True)


@dataclass
class Asked:
    """A function that records its events, behind the API."""

    url: str = ""
    answer: InvocationResult = field(default_factory=lambda: answer(b"{}"))
    events: list[dict[str, Any]] = field(default_factory=list)

    def invoke(self, event: bytes) -> InvocationResult:
        self.events.append(json.loads(event))
        return self.answer

    def __call__(self, path: str, body: bytes | None = None, **options: Any) -> tuple[int, bytes]:
        request = urllib.request.Request(f"{self.url}{path}", data=body, **options)
        try:
            with no_proxy.open_url(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


def answer(body: bytes, *, status: int = 200, encoded: bool = True) -> InvocationResult:
    said = base64.b64encode(body).decode() if encoded else body.decode()
    return InvocationResult(
        payload=json.dumps(
            {"statusCode": status, "headers": {"x-a": "b"}, "body": said, "isBase64Encoded": encoded}
        ).encode()
    )


@pytest.fixture
def asked() -> Iterator[Asked]:
    function = Asked()
    gateway = Gateway(0, function.invoke)
    function.url = f"http://127.0.0.1:{gateway.server_port}"
    thread = threading.Thread(target=gateway.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield function
    gateway.shutdown()
    thread.join()
    gateway.server_close()


@pytest.mark.parametrize(
    ("kind", "body", "is_text"),
    [
        ("application/json", b'{"a": "\xc3\xa4"}', True),
        ("application/x-www-form-urlencoded", b"{}", False),  # as curl -d has it
        ("application/json", b"\xff", False),
        ("image/png", b"\x89PNG", False),
    ],
)
def test_a_text_body_is_passed_as_text_and_others_in_base64(
    asked: Asked, kind: str, body: bytes, is_text: bool
) -> None:
    assert asked("/v1/x%20y?a=1&b=", body, headers={"Content-Type": kind, "X-Who": "Ada"})[0] == 200
    (event,) = asked.events
    assert event["isBase64Encoded"] is not is_text
    assert (event["body"].encode() if is_text else base64.b64decode(event["body"])) == body
    assert (event["rawPath"], event["rawQueryString"]) == ("/v1/x%20y", "a=1&b=")
    assert (event["requestContext"]["http"]["method"], event["headers"]["x-who"]) == ("POST", "Ada")


@pytest.mark.parametrize("encoded", [False, True])
def test_the_response_is_the_functions(asked: Asked, encoded: bool) -> None:
    asked.answer = answer(b"gone", status=410, encoded=encoded)
    assert asked("/", method="DELETE") == (410, b"gone")
    assert asked("/", method="HEAD") == (410, b"")


def test_a_function_that_fails_is_a_500_without_details(asked: Asked) -> None:
    asked.answer = FAILED
    assert asked("/") == (500, b'{"message":"Internal Server Error"}')
