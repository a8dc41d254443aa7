"""A fourth channel is one folder, one channel module, one provider, and their lines in two registries. Nothing else is
touched."""

import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.local.test_up import up
from tests.scenarios.trees import copied, layer, replaced

MAIN = '''
"""Chat: takes an `aws:rmq` event and delivers its notifications, by default through a webhook."""

from tidings.runtime.queue_function import FlaskRequest, FlaskResponse, LambdaContext, QueueFunction

function = QueueFunction("chat")


def chat(request: FlaskRequest) -> FlaskResponse:
    return function.answer(request)


def handler(event: object, context: LambdaContext) -> None:
    function.handle(event, context)
'''

WEBHOOK = '''
"""Chat through a webhook."""

import json
import urllib.error
import urllib.request
from datetime import timedelta

from tidings.domain.errors import AmbiguousError, PermanentError, TransientError
from tidings.ports import Acceptance, SendRequest
from tidings.config.settings import Settings, load


class WebhookSettings(Settings):
    """Prefix TIDINGS_."""

    webhook_url: str = "WEBHOOK"


class WebhookProvider:
    name = "webhook"
    timeout = timedelta(seconds=10)

    def __init__(self, settings: WebhookSettings) -> None:
        self._url = settings.webhook_url

    def send(self, outbound: SendRequest) -> Acceptance:
        body = {"room": outbound.recipient, "text": outbound.content.text, "id": outbound.id}
        try:
            with urllib.request.urlopen(self._url, json.dumps(body).encode(), timeout=10) as answer:
                return Acceptance(provider_message_id=json.load(answer)["id"])
        except urllib.error.HTTPError as error:
            error.close()
            kind = TransientError if error.code == 429 else PermanentError
            raise kind(str(error.code), "the webhook refused") from None
        except OSError as error:
            raise AmbiguousError("connection", type(error).__name__) from None

    def close(self) -> None:
        """Nothing is kept open."""


def from_settings() -> WebhookProvider:
    return WebhookProvider(load(WebhookSettings))
'''

CHANNEL = '''
"""Chat: a line in a room."""

from typing import Any, ClassVar

from tidings.domain.addresses import Line
from tidings.domain.channels.base import Content


class ChatContent(Content):
    """A line in a chat room."""

    channel: ClassVar[str] = "chat"
    label: ClassVar[str] = "Chat"
    Recipient: ClassVar[Any] = Line
    example: ClassVar[Any] = {"recipient": "#orders", "content": {"text": "Hello"}}

    text: Line
'''


TEXT = "Order 4711 has left."


@dataclass(kw_only=True)
class Room:
    """The vendor. It refuses TEXT once, and records accepted messages."""

    url: str = ""
    calls: int = 0
    taken: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            line = json.loads(self.rfile.read(int(self.headers["content-length"])))
            room.calls += line["text"] == TEXT
            answer = b""
            if line["text"] != TEXT or room.calls > 1:
                room.taken.append(line)
                answer = json.dumps({"id": f"line-{len(room.taken)}"}).encode()
            self.send_response(200 if answer else 429)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    room.url = f"http://127.0.0.1:{server.server_port}/"
    yield room
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's own, which lies too deep for a socket's path."""
    folder = Path(tempfile.mkdtemp(prefix="tidings-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def with_chat(tree: Path, webhook: str) -> None:
    """All that it takes: a function, a channel, a provider, and a line in each registry."""
    function = tree / "functions" / "chat"
    function.mkdir()
    (function / "main.py").write_text(MAIN)
    tidings = layer(tree) / "tidings"
    (tidings / "domain" / "channels" / "chat.py").write_text(CHANNEL)
    registry = tidings / "domain" / "channels" / "__init__.py"
    replaced(
        registry,
        "import Content, StrictModel\n",
        "import Content, StrictModel\nfrom tidings.domain.channels.chat import ChatContent\n",
    )
    replaced(registry, "PushContent, WebhookContent)", "PushContent, WebhookContent, ChatContent)")
    (tidings / "providers" / "webhook.py").write_text(WEBHOOK.replace("WEBHOOK", webhook))
    replaced(
        tidings / "providers" / "__init__.py",
        '    "push": ("fcm",),\n',
        '    "push": ("fcm",),\n    "chat": ("webhook",),\n',
    )


def test_a_fourth_channel_is_delivered_like_the_others(folder: Path, room: Room) -> None:
    tree = copied(folder / "tree")
    with_chat(tree, room.url)
    with up(folder / "state", forked_from=tree) as stack:
        caller = stack.caller()
        id = caller.post({"channel": "chat", "recipient": "#orders", "content": {"text": TEXT}})
        sent = caller.ended(id)
        assert (sent["status"], sent["provider"], sent["provider_message_id"]) == (
            "sent",
            "webhook",
            f"line-{len(room.taken)}",
        )
        assert [event["status"] for event in sent["events"]] == [
            "pending",
            "sending",
            "retrying",
            "sending",
            "sent",
        ]
        demo, ours = room.taken  # `local/up` shows one on every channel, also on this one
        assert demo["text"] == "Hello"
        assert ours == {"room": "#orders", "text": TEXT, "id": id}
        refused = caller.ask(f"{caller.url}/v1/notifications", {"channel": "chat", "recipient": "#orders"})
        assert refused.status == 422
        document = caller.ask(f"{caller.url}/openapi.json").body
        assert "ChatNotification" in document["components"]["schemas"]
        stack.process.terminate()
        assert stack.ended() == 0
