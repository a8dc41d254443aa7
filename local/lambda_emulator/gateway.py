"""An HTTP API in front of a function: turns HTTP requests into events of payload format 2.0.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import base64
import json
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local.lambda_emulator.environment import InvocationResult

AS_TEXT = ("text/", "application/json", "application/javascript", "application/xml")
"""Bodies of these types are passed as text, all others in base64."""


class Gateway(ThreadingHTTPServer):
    """Run `serve_forever`; `shutdown` stops it."""

    daemon_threads = False  # requests under way are answered before it stops

    def __init__(self, port: int, invoke: Callable[[bytes], InvocationResult]) -> None:
        self.invoke = invoke
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Gateway

    def _invoke(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        result = self.server.invoke(json.dumps(_event(self, body)).encode())
        if result.failed:
            status, headers, content = 500, {"content-type": "application/json"}, b'{"message":"Internal Server Error"}'
        else:
            status, headers, content = _answer(json.loads(result.payload))
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def __getattr__(self, name: str) -> Any:
        """Handle every method: the standard library looks up do_GET and so on."""
        if name.startswith("do_"):
            return self._invoke
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        return


def _event(request: BaseHTTPRequestHandler, body: bytes) -> dict[str, Any]:
    path, _, query = request.path.partition("?")
    names = {name.lower() for name in request.headers}
    headers = {name: ",".join(request.headers.get_all(name) or []) for name in names}
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "local",
            "http": {
                "method": request.command,
                "path": path,
                "protocol": request.request_version,
                "sourceIp": request.client_address[0],
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": uuid.uuid4().hex,
            "routeKey": "$default",
            "stage": "$default",
            "timeEpoch": int(time.time() * 1000),
        },
        "isBase64Encoded": False,
    }
    if body:
        is_text = headers.get("content-type", "").startswith(AS_TEXT) and _is_utf8(body)
        event["body"] = body.decode() if is_text else base64.b64encode(body).decode()
        event["isBase64Encoded"] = not is_text
    return event


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _answer(answer: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    body = answer.get("body") or ""
    content = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    headers = {name: value for name, value in answer["headers"].items() if name.lower() != "content-length"}
    return answer["statusCode"], headers, content
