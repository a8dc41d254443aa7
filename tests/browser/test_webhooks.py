"""The page of webhooks: its state and last failures are seen, it is disabled and enabled, and events are replayed."""

from tests.browser.chromium import Browser
from tests.browser.conftest import World
from tests.browser.test_operator import mail, someone
from tests.foundations import on_embedded
from tests.scenarios.caller import wait_for

pytestmark = on_embedded

URL = "https://orders.example/<b>hook</b>".replace("<", "%3C").replace(">", "%3E")


def test_an_operator_sees_a_failing_webhook_and_replays_it(world: World, console: Browser) -> None:
    ops = world.caller.ops_url
    before = world.caller.post(mail(someone()))
    assert world.caller.ended(before)["status"] == "sent"
    world.emulator.fail("webhook", status=503)
    made = world.caller.ask(f"{ops}/v1/webhooks", {"url": URL}).body
    try:
        id = world.caller.post(mail(someone()))
        assert world.caller.ended(id)["status"] == "sent"
        console.follow_nav("Webhooks")
        console.follow(URL)
        console.see("enabled, failing", "the receiver answered HTTP 503")
        console.press("Disable")
        console.press("Disable webhook")
        console.see("disabled by an operator")
        world.emulator.forgive()
        console.press("Enable")
        wait_for(lambda: [m for m in world.emulator.inbox("webhook") if id in str(m)])
        console.see("last success")
        console.press("Count")
        console.see("would be written")
    finally:
        console.follow_nav("Overview")
        console.see("Retry schedule")
        world.emulator.forgive()
        world.caller.ask(f"{ops}/v1/webhooks/{made['id']}/delete", {})
