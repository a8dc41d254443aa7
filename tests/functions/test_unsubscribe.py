"""One-click unsubscribe: the headers of a mail, the link in them, and what it does (RFC 2369, RFC 8058)."""

import asyncio
import base64
import email
import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from tidings.api import unsubscribe_page
from tidings.api.app import App
from tidings.api.http import Request, Response
from tidings.api.unsubscribe import MAX_FORM
from tidings.config.settings import load
from tidings.domain.channels import EmailContent
from tidings.domain.errors import ConfigurationError, StoreUnavailable
from tidings.ports import SendRequest, SuppressionEntry, SuppressionSelection
from tidings.providers import smtp
from tidings.providers.callbacks import CallbackAddresses, CallbackSettings, callback_addresses
from tidings.providers.smtp.mime import build_mail
from tidings.providers.unsubscribe import OptOut, UnsubscribeLinks
from tidings.runtime.container import Container

from tests.functions.conftest import Imported
from tests.functions.scripted import ScriptedSmtp
from tests.functions.served import Caller, Lines, mail

BASE, SECRET, EARLIER = "https://receipts.example.com", "s" * 32, "e" * 32
LINKS = UnsubscribeLinks(base=BASE, secrets=[SECRET.encode()])
ADA = OptOut(tenant="acme", channel="email", recipient="ada@example.com", category="newsletter")
FORM = {"content-type": "application/x-www-form-urlencoded"}
ONE_CLICK = b"List-Unsubscribe=One-Click"


@pytest.fixture
def app(imported: Imported, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> App:
    """The receipts function of an installation that sends mails alone."""
    for name in [name for name in settings if "TWILIO" in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TIDINGS_RECEIPTS_URL", f"{BASE}/")
    monkeypatch.setenv("TIDINGS_RECEIPTS_SECRET", SECRET)
    monkeypatch.setenv("TIDINGS_RECEIPTS_PREVIOUS_SECRETS", f"{'f' * 32} {EARLIER}")
    app: App = imported("receipts").function.app
    return app


Ask = Callable[..., Response]


@pytest.fixture
def ask(app: App) -> Ask:
    """Call the link as a browser or a mail provider does."""

    def send(method: str, url: str = "", body: bytes = ONE_CLICK, headers: Any = FORM) -> Response:
        path = urlsplit(url or LINKS.url(ADA)).path
        request = Request(method=method, path=path, headers=headers, body=body if method == "POST" else b"")
        return asyncio.run(app.answer(request))

    return send


def listed(container: Container, tenant: str = "acme") -> Sequence[SuppressionEntry]:
    return container.store.find_suppressions(SuppressionSelection(tenant=tenant), 10)


def built(unsubscribe: str | None, recipient: str = "ada@example.com", **changed: Any) -> bytes:
    content = EmailContent(**{"subject": "s", "text": "t", **changed})
    request = SendRequest(id="0193-a", attempt=1, recipient=recipient, content=content)
    now = datetime(2026, 1, 2, tzinfo=UTC)
    return build_mail(request, sender="a@example.org", domain="example.org", date=now, unsubscribe=unsubscribe).data


# --- the headers ------------------------------------------------------------------------------------------------------


def test_a_mail_with_a_category_has_both_headers_and_another_has_none(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, ask: Ask, container: Container
) -> None:
    """Through the provider, as it is set up from the settings; the link works."""
    with ScriptedSmtp() as server:
        monkeypatch.setenv("TIDINGS_SMTP_URL", server.url)
        provider = smtp.from_settings()
        for category in ("newsletter", None):
            content = EmailContent(subject="s", text="t")
            given: dict[str, Any] = {"recipient": "ada@example.com", "tenant": "acme", "category": category}
            provider.send(SendRequest(id="0193-a", attempt=1, content=content, **given))
        provider.close()
        news, plain = [email.message_from_bytes(one) for one in server.mails]
    assert news.get_all("List-Unsubscribe-Post") == ["List-Unsubscribe=One-Click"]
    (link,) = news.get_all("List-Unsubscribe", [])
    assert re.fullmatch(rf"<{BASE}/v1/unsubscribe/[\w-]+>", link)
    assert plain.get("List-Unsubscribe") is plain.get("List-Unsubscribe-Post") is None
    assert ask("POST", link[1:-1]).status == 200
    assert [(one.recipient, one.scope) for one in listed(container)] == [("ada@example.com", "newsletter")]


@pytest.mark.parametrize("name", ["List-Unsubscribe", "list-unsubscribe", "LIST-UNSUBSCRIBE-POST"])
def test_the_callers_own_header_wins(name: str) -> None:
    data = built(LINKS.url(ADA), headers={name: "<https://example.org/mine>"}).decode()
    assert re.findall(r"(?im)^list-unsubscribe[\w-]*: .*", data.replace("\r", "")) == [
        f"{name}: <https://example.org/mine>"
    ]


def test_the_longest_link_is_on_one_line() -> None:
    """A URL that is folded is cut by some mail programs; a line has at most 998 characters (RFC 5322)."""
    recipient = f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 61}"
    what = OptOut(tenant="t" * 64, channel="email", recipient=recipient, category="c" * 32)
    url = UnsubscribeLinks(base=f"https://{'h' * 200}.example.com", secrets=[b"x"]).url(what)
    line = next(line for line in built(url, recipient).split(b"\r\n") if line.startswith(b"List-Unsubscribe:"))
    assert line.decode() == f"List-Unsubscribe: <{url}>"
    assert len(line) <= 998


# --- the link ---------------------------------------------------------------------------------------------------------


def test_a_link_shows_nothing_about_the_recipient_and_is_read_again() -> None:
    token = LINKS.url(ADA).rpartition("/")[2]
    seen = base64.urlsafe_b64decode(token + "==")
    for word in (b"ada", b"example", b"acme", b"newsletter"):
        assert word not in seen.lower()
    assert LINKS.read(token) == ADA
    assert LINKS.url(ADA).endswith(token), "a retried mail is the same mail"
    unusual = OptOut(tenant="t", channel="email", recipient="jürgen@example.com", category="n")
    assert LINKS.read(LINKS.url(unusual).rpartition("/")[2]) == unusual


def test_links_made_with_earlier_secrets_stay_valid(ask: Ask, container: Container) -> None:
    for number, secret in enumerate((EARLIER, "f" * 32)):
        old = UnsubscribeLinks(base=BASE, secrets=[secret.encode()])
        url = old.url(OptOut(tenant="acme", channel="email", recipient=f"{number}@example.com", category="news"))
        assert ask("POST", url).status == 200
    assert len(listed(container)) == 2


def test_earlier_secrets_are_checked_and_also_open_addresses_of_receipts(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDINGS_RECEIPTS_PREVIOUS_SECRETS", f"{EARLIER} short")
    with pytest.raises(ConfigurationError, match="at least 32 characters"):
        load(CallbackSettings)
    monkeypatch.setenv("TIDINGS_RECEIPTS_URL", BASE)
    monkeypatch.setenv("TIDINGS_RECEIPTS_SECRET", SECRET)
    monkeypatch.setenv("TIDINGS_RECEIPTS_PREVIOUS_SECRETS", EARLIER)
    id = "01930b6c-4a5e-7c3b-9d2e-6f1a2b3c4d5e"
    content = EmailContent(subject="s", text="t")
    request = SendRequest(id=id, attempt=1, recipient="ada@example.com", content=content)
    address = CallbackAddresses(base=BASE, secrets=[EARLIER.encode()]).for_attempt("twilio", request)
    addresses = callback_addresses()
    assert addresses is not None
    mark = addresses.read("twilio", address.partition("?n=")[2])
    assert mark is not None
    assert mark.notification_id == id


TOKEN = LINKS.url(ADA).rpartition("/")[2]
FORGED = {
    "garbled": "x",
    "cut": TOKEN[:-3],
    "longer": TOKEN + "AAAA",
    "changed": TOKEN[:30] + ("A" if TOKEN[30] != "A" else "B") + TOKEN[31:],
    "of another secret": UnsubscribeLinks(base=BASE, secrets=[b"x" * 32]).url(ADA).rpartition("/")[2],
    "not base64": "!" * 40,
    "not ASCII": "ü" * 40,
    "a surrogate": "\udcff",
    "huge": "A" * 100_000,
}


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED)
def test_a_forged_link_does_nothing_and_its_page_says_what_to_do(ask: Ask, container: Container, token: str) -> None:
    for method in ("GET", "POST"):
        answer = ask(method, f"{BASE}/v1/unsubscribe/{token}")
        assert answer.status == 404
        assert b"Copy the whole link" in answer.body
        assert answer.headers["content-type"].startswith("text/html")
    assert listed(container) == []


# --- GET asks ---------------------------------------------------------------------------------------------------------


def test_looking_at_the_link_changes_nothing(ask: Ask, container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mail filters follow it. It even works while the database is down."""

    def down(*_: Any) -> None:
        raise StoreUnavailable("down")

    monkeypatch.setattr("tidings.adapters.sql.store.SqlStore.add_suppressions", down)
    for method in ("GET", "HEAD"):
        answer = ask(method)
        assert answer.status == 200
    assert b"newsletter" in answer.body
    assert b"a***@example.com" in answer.body
    assert b"ada@" not in answer.body
    assert listed(container) == []


def test_the_page_is_plain_safe_and_posts_what_is_needed(ask: Ask) -> None:
    answer = ask("GET")
    page = answer.body.decode()
    assert "<script" not in page
    assert 'name="viewport" content="width=device-width' in page
    assert re.search(r'<form method="post"><input type="hidden" name="(.+?)" value="(.+?)"><button>', page), page
    (style,) = re.findall(r"<style>(.*?)</style>", page)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self';")
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["referrer-policy"] == "no-referrer", "the address is the permission"
    assert answer.headers["cache-control"] == "no-store"
    shown = unsubscribe_page.question("<b>", "<script>alert(1)</script>").body
    assert b"<b>" not in shown
    assert b"<script" not in shown


# --- POST opts out ----------------------------------------------------------------------------------------------------


def multipart(name: str = "List-Unsubscribe", value: str = "One-Click") -> tuple[bytes, dict[str, str]]:
    lines = ["--b 1", f'Content-Disposition: form-data; name="{name}"', "", value, "--b 1--", ""]
    return "\r\n".join(lines).encode(), {"content-type": 'multipart/form-data; boundary="b 1"'}


SAID = {
    "a form": (ONE_CLICK, FORM),
    "with a charset": (ONE_CLICK, {"content-type": "application/x-www-form-urlencoded; charset=UTF-8"}),
    "with a line end": (ONE_CLICK + b"\r\n", FORM),
    "without a type": (ONE_CLICK, {}),
    "multipart": multipart(),
    "multipart, as some write it": (
        b"--b\ncontent-disposition: form-data; name=List-Unsubscribe; x=y\nContent-Type: a/b\n\nOne-Click\n--b--",
        {"content-type": "Multipart/Form-Data; boundary=b"},
    ),
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_a_post_opts_out_of_the_category_once_and_for_all(
    ask: Ask, container: Container, lines: Lines, said: tuple[bytes, dict[str, str]]
) -> None:
    for _ in range(2):
        answer = ask("POST", body=said[0], headers=said[1])
        assert answer.status == 200
        assert b"You are unsubscribed" in answer.body
        assert "location" not in answer.headers
    (entry,) = listed(container)
    assert (entry.recipient, entry.scope, entry.reason) == ("ada@example.com", "newsletter", "opted_out")
    assert (entry.source, entry.expires_at, entry.in_force) == ("unsubscribe", None, True)
    assert lines.named("unsubscribed")[0]["category"] == "newsletter"
    assert "ada@" not in lines.text()


NOT_SAID = {
    "nothing": (b"", FORM),
    "another value": (b"List-Unsubscribe=No", FORM),
    "another field": (b"Unsubscribe=One-Click", FORM),
    "JSON": (b'{"List-Unsubscribe": "One-Click"}', {"content-type": "application/json"}),
    "bytes": (b"\xff\x00\r\n=&=;", FORM),
    "another value in parts": multipart(value="no"),
    "another field in parts": multipart(name="X-List-Unsubscribe"),
    "half a part": (b"--b 1\r\nContent-Disp", multipart()[1]),
}


@pytest.mark.parametrize("said", NOT_SAID.values(), ids=NOT_SAID)
def test_a_post_that_says_something_else_changes_nothing(
    ask: Ask, container: Container, said: tuple[bytes, dict[str, str]]
) -> None:
    answer = ask("POST", body=said[0], headers=said[1])
    assert answer.status == 400
    assert b"Nothing was changed" in answer.body
    assert listed(container) == []


def test_a_large_body_is_refused(ask: Ask, container: Container) -> None:
    assert ask("POST", body=ONE_CLICK + b"&x=" + b"x" * MAX_FORM).status == 413
    assert listed(container) == []


def test_503_while_the_database_is_down_and_no_claim_that_it_is_done(
    ask: Ask, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: Any) -> None:
        raise StoreUnavailable("down")

    with monkeypatch.context() as broken:
        broken.setattr("tidings.adapters.sql.store.SqlStore.add_suppressions", down)
        answer = ask("POST")
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert b"not unsubscribed yet" in answer.body
    assert b"<button>" in answer.body
    assert ask("POST").status == 200
    assert len(listed(container)) == 1


def test_many_at_once_are_recorded_together(app: App, container: Container) -> None:
    """Of two tenants, and the same one several times."""

    def request(number: int) -> Request:
        tenant, recipient = ("acme", "globex")[number % 2], f"{number // 4}@example.com"
        what = OptOut(tenant=tenant, channel="email", recipient=recipient, category="news")
        return Request(method="POST", path=urlsplit(LINKS.url(what)).path, headers=FORM, body=ONE_CLICK)

    async def all_at_once() -> Sequence[Response]:
        return await asyncio.gather(*(app.answer(request(number)) for number in range(40)))

    assert {answer.status for answer in asyncio.run(all_at_once())} == {200}
    assert [len(listed(container, tenant)) for tenant in ("acme", "globex")] == [10, 10]


def test_a_form_on_lambda_is_taken(app: App, imported: Imported, container: Container) -> None:
    path = f"/prod{urlsplit(LINKS.url(ADA)).path}"
    event = {
        "requestContext": {"http": {"method": "POST", "path": path}, "stage": "prod"},
        "rawPath": path,
        "headers": FORM,
        "body": base64.b64encode(ONE_CLICK).decode(),
        "isBase64Encoded": True,
    }
    assert imported("receipts").handler(event, None)["statusCode"] == 200
    assert len(listed(container)) == 1


# --- at the intake ----------------------------------------------------------------------------------------------------


def test_a_category_is_kept_and_shown(intake: Caller) -> None:
    id = intake("POST", "/v1/notifications", mail(category="news.weekly-2", critical=True)).body["id"]
    found = intake("GET", f"/v1/notifications/{id}").body
    assert (found["category"], found["critical"]) == ("news.weekly-2", True)
    plain = intake("GET", f"/v1/notifications/{intake('POST', '/v1/notifications', mail()).body['id']}").body
    assert "category" not in plain
    assert "critical" not in plain


@pytest.mark.parametrize("wrong", ["", "News", "a b", "é", "n\n", "a\0", "-a", "x" * 33, 7, "<b>"])
def test_what_is_no_category_is_refused(intake: Caller, wrong: object) -> None:
    answer = intake("POST", "/v1/notifications", mail(category=wrong))
    assert (answer.status, [*answer.errors]) == (422, ["#/category"])


def test_critical_needs_a_category(intake: Caller) -> None:
    """Without one it would have no effect, and its caller might think that it passes every suppression."""
    answer = intake("POST", "/v1/notifications", mail(critical=True))
    assert (answer.status, [*answer.errors]) == (422, ["#/critical"])


# --- the operator's list ----------------------------------------------------------------------------------------------


def test_the_scope_of_an_entry_is_added_found_exported_imported_and_removed(replay: Caller) -> None:
    path, ada = "/v1/suppressions", {"channel": "email", "recipient": "Ada@example.com"}
    of_news = {**ada, "scope": "news"}
    assert replay("POST", path, {**of_news, "reason": "opted_out"}).body["scope"] == "news"
    assert replay("POST", f"{path}/remove", ada).status == 404, "there is none for everything"
    assert "scope" not in replay("POST", path, ada).body
    assert len(replay("GET", path).body["suppressions"]) == 2
    found = replay("GET", path, query={"scope": "news", "recipient": "ada@example.com"}).body["suppressions"]
    assert [one["scope"] for one in found] == ["news"]
    exported = replay("GET", f"{path}/export").body
    for scope in ({}, {"scope": "news"}):
        assert replay("POST", f"{path}/remove", {**ada, **scope}).body["in_force"] is False
    assert replay("POST", f"{path}/import", exported.encode()).body["stored"] == 2
    again = replay("GET", path, query={"state": "in_force"}).body["suppressions"]
    assert sorted(one.get("scope", "") for one in again) == ["", "news"]
    answer = replay(
        "POST", f"{path}/import", b"channel,recipient,scope\nemail,b@example.com,orders\nemail,c@c.org,A B\n"
    )
    assert (answer.body["stored"], [one["line"] for one in answer.body["errors"]]) == (1, [3])
    line = b'{"channel": "email", "recipient": "d@example.com", "category": "news"}'
    assert replay("POST", f"{path}/import", line).body["stored"] == 1
    (entry,) = replay("GET", path, query={"recipient": "d@example.com"}).body["suppressions"]
    assert entry["scope"] == "news", "ignoring it would suppress everything"
