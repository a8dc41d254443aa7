"""When something is missing: a scope, a valid key, the function itself."""

import contextlib
import http.client
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

from tests.browser.chromium import WITHIN, Browser
from tests.browser.conftest import World
from tests.foundations import on_embedded
from tests.scenarios.caller import wait_for

pytestmark = on_embedded


def test_a_key_with_operate_alone_sees_which_scopes_it_lacks(world: World, window: Browser) -> None:
    window.sign_in(world.narrow_key)
    window.see("Live.", "needs a key with the scope admin", "Showing them needs a key with the scope admin")
    assert "Retry schedule" not in window.text
    pause = window.tried(lambda: window.one("//button[normalize-space()='Pause SMS']"))
    assert not pause.is_enabled()
    window.go("#/test")
    window.see("Your API key lacks the scope send")
    assert not window.one("//button[normalize-space()='Send']").is_enabled()


def test_a_revoked_key_leads_back_to_the_sign_in_form(world: World, console: Browser) -> None:
    console.refused.add(401)
    console.js("sessionStorage.setItem('tidings-key', 'revoked')")
    console.see("The API key is no longer valid. Sign in again.")
    assert console.js("return sessionStorage.length") == 0
    console.sign_in(world.key)
    console.see("Live.")


def test_signing_out_deletes_the_key_and_no_other_tab_has_it(world: World, console: Browser) -> None:
    console.driver.refresh()
    console.see("Live.")  # the tab keeps it
    first = console.driver.current_window_handle
    console.driver.switch_to.new_window("tab")
    console.open()
    console.see("Sign in")
    console.driver.switch_to.window(first)
    console.press("Sign out")
    console.see("You are signed out.")
    assert console.js("return [sessionStorage.length, localStorage.length, document.cookie]") == [0, 0, ""]
    console.driver.refresh()
    console.see("Use an API key")


def test_while_the_function_is_down_the_page_says_so_and_typed_text_stays(world: World, console: Browser) -> None:
    console.go("#/notifications")
    console.see("Search")
    console.type("ID or recipient", "ada@exam")
    world.stack.processes.running["replay"].stop()
    try:
        console.see("API unreachable since", "Retrying.")
    finally:
        world.stack.processes.restart("replay")
    wait_for(lambda: "API unreachable" not in console.text, within=WITHIN)
    assert console.control("ID or recipient").get_attribute("value") == "ada@exam"
    lost = [line for line in console.complaints() if "net::ERR_" not in line]
    assert lost == []


@contextlib.contextmanager
def outage(console: Browser) -> Iterator[None]:
    """Block all API requests; the page's own files load, as they may from a cache."""
    console.cdp("Network.enable")
    console.cdp("Network.setBlockedURLs", urls=["*/v1/*"])
    try:
        yield
    finally:
        console.cdp("Network.setBlockedURLs", urls=[])
        assert [line for line in console.complaints() if "net::ERR_" not in line] == []


def test_in_an_outage_nothing_is_shown_as_healthy(world: World, console: Browser) -> None:
    with outage(console):
        console.see("API unreachable since", "Not live. Last updated")
        assert "Nothing needs attention." not in console.text
        colour = console.js("return getComputedStyle(document.querySelector('.fresh'), '::before').backgroundColor")
        assert colour == "rgb(179, 38, 30)", "no green mark"
        green = (
            "[...document.querySelectorAll('.page *')].filter(e => getComputedStyle(e).color === 'rgb(26, 115, 70)')"
        )
        assert console.js(f"return {green}.map(e => e.textContent)") == []
    console.see("Live. ")
    wait_for(lambda: "Not live." not in console.text, within=WITHIN)


def test_a_page_opened_in_an_outage_is_not_blank(world: World, console: Browser) -> None:
    with outage(console):
        for page in ("Notifications", "Dead letters", "Overview"):
            console.follow_nav(page)
            console.see(page, "Nothing loaded yet.")
        console.driver.refresh()
        console.see("API unreachable since", "Nothing loaded yet.")
    console.see("Live.", "Retry schedule")
    assert "Nothing loaded yet" not in console.text


def test_a_provider_that_refuses_our_account_is_shown_at_the_top(world: World, console: Browser) -> None:
    world.emulator.fail("push", status=403, code="PERMISSION_DENIED", message="The API is not enabled")
    push = {"channel": "push", "content": {"title": "Shipped"}}
    ids = world.caller.post_all([{**push, "recipient": {"token": f"device-{number}"}} for number in range(4)])
    console.see("fcm has refused our account since", "PERMISSION_DENIED", "refused by fcm")
    console.go(f"#/notifications/{ids[-1]}")
    console.see("Waiting: fcm has refused our account")
    world.emulator.forgive()
    console.go("#/")
    wait_for(lambda: "refused our account" not in console.text, within=WITHIN)


def test_an_unknown_address_breaks_nothing(console: Browser) -> None:
    console.refused.update({404, 405})
    for id in ("%3Cscript%3E", "..%2F..%2Fsweep"):
        console.go(f"#/notifications/{id}")
        console.see(f"No notification with the ID {id}")
    console.go("#/nowhere")
    console.see("Overview", "Live.")


def test_a_hidden_tab_sends_no_requests(console: Browser) -> None:
    console.asked()
    console.js(
        "Object.defineProperty(document, 'hidden', {configurable: true, get: () => true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )

    def quiet() -> bool:
        console.asked()
        console.js("return new Promise(done => setTimeout(done, 4000))")  # twice the refresh interval
        return console.asked() == []

    wait_for(quiet, within=WITHIN)  # one refresh may be under way, and one timer
    console.js("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    wait_for(console.asked, within=WITHIN)


def test_it_works_behind_a_prefix_and_requests_nothing_outside_of_it(world: World, window: Browser) -> None:
    with behind_prefix(world.stack.ops_url, "/prod") as url:
        window.asked()
        window.addresses.clear()  # the console's, as it is without the gateway
        window.base = f"{url}/console"  # without the slash: redirected, keeping the prefix
        window.open()
        window.sign_in(world.key)
        window.see("Live.")
        window.follow_nav("Dead letters")

        def addresses() -> list[str]:
            window.asked()
            return window.addresses

        wait_for(addresses, lambda asked: f"{url}/v1/dead-letters/groups" in asked, within=WITHIN)
        wait_for(lambda: window.driver.current_url, lambda here: here == f"{url}/console/#/dead", within=WITHIN)
        assert [address for address in window.addresses if not address.startswith((f"{url}/", "data:", "about:"))] == []
        window.driver.get("about:blank")  # stop its requests before the gateway ends


@contextlib.contextmanager
def behind_prefix(target: str, prefix: str) -> Iterator[str]:
    """A gateway that serves the target under a prefix, like the stage of an API gateway. Yields its URL."""

    class Gateway(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(f"{prefix}/"):
                return self.send_error(404)
            connection = http.client.HTTPConnection(urlsplit(target).netloc, timeout=WITHIN)
            connection.request("GET", self.path.removeprefix(prefix), headers=dict(self.headers))
            answer = connection.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name not in ("server", "date"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            connection.close()
            return None

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{prefix}"
        finally:
            server.shutdown()
            thread.join()
