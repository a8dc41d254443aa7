"""Hostile content is shown as text; and if it were markup, the Content-Security-Policy would stop it."""

import secrets

import pytest
from selenium.common.exceptions import JavascriptException

from tests.browser.chromium import PHONE, WITHIN, Browser
from tests.browser.conftest import QUIET, World
from tests.browser.test_operator import mail
from tests.foundations import on_embedded
from tests.scenarios.caller import wait_for

pytestmark = on_embedded


@pytest.fixture
def first_page() -> tuple[str, str]:
    return QUIET


def test_hostile_content_is_shown_as_text(world: World, console: Browser) -> None:
    ran = "window.ran = 1"
    html = f"<script>{ran}</script><img src=x onerror='{ran}'>"
    subject = f'"><script>{ran}</script> \u202egpj.exe \u05e9\u05dc\u05d5\u05dd'
    name = f"{secrets.token_hex(4)}.{'long' * 10}@example.com"
    message = f"<img src=x onerror='{ran}'>{'w' * 200}"
    world.emulator.fail("email", status=554, enhanced="5.6.9", next=1, message=message)
    content = {"subject": subject, "text": "x" * 3000, "html": html}
    id = world.caller.post(mail(name, content=content, metadata={"<b>who</b>": f"<script>{ran}</script>"}))
    code = world.caller.ended(id)["last_error"]["code"]
    console.size(*PHONE)
    for page in (f"#/notifications/{id}", "#/dead", "#/notifications?status=failed", f"#/dead/group?code={code}"):
        console.go(page)
        console.see("<img src=x onerror=")
        assert "undefined" not in console.text
        assert console.js("return document.documentElement.scrollWidth") <= PHONE[0], page
    console.go(f"#/notifications/{id}")
    console.see(html, "metadata <b>who</b>", name)
    said = console.js("return [...document.querySelectorAll('.content-field pre')].map(pre => pre.textContent)")
    assert said[:3] == [subject, "x" * 3000, html]
    assert console.js("return document.querySelectorAll('main script, main img').length") == 0
    assert console.js("return window.ran") is None


def test_the_policy_blocks_markup_scripts_and_requests(console: Browser) -> None:
    """A second barrier: no markup from text, no inline script, no request to elsewhere. It also shows that the other
    tests would see a violation in the browser's log."""
    with pytest.raises(JavascriptException, match="TrustedHTML"):
        console.js("document.body.innerHTML = '<b>x</b>'")
    console.js("const s = document.createElement('script'); s.append('window.ran = 1'); document.body.append(s)")
    assert console.js("return window.ran") is None
    console.js("const i = document.createElement('img'); i.src = 'https://example.com/x'; document.body.append(i)")
    logged: list[str] = []

    def all_logged() -> str:
        logged.extend(console.complaints())
        return " ".join(logged)

    words = ("TrustedScript", "Content Security Policy", "https://example.com/x")
    wait_for(all_logged, lambda text: all(word in text for word in words), within=WITHIN)

    def addresses() -> list[str]:
        console.asked()
        return console.addresses

    wait_for(addresses, lambda asked: "https://example.com/x" in asked, within=WITHIN)
    console.addresses.remove("https://example.com/x")  # requested, and blocked
