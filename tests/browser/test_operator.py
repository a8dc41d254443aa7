"""What an operator does in a day, in a real browser, against real processes, on SQLite and on RabbitMQ with MariaDB."""

import json
import secrets
from typing import Any

from tests.browser.chromium import WITHIN, Browser
from tests.browser.conftest import World
from tests.foundations import on_embedded
from tests.scenarios.caller import wait_for


def mail(to: str, **changes: Any) -> dict[str, Any]:
    content = {"subject": "Shipped", "text": "It is on its way."}
    return {"channel": "email", "recipient": to, "content": content, **changes}


def someone() -> str:
    return f"ada.{secrets.token_hex(4)}@example.com"


def tile(console: Browser, status: str) -> int:
    shown = console.one(f"//*[contains(@class, 'tile')][span='{status}']/b").text
    return int(shown.replace(",", ""))


def loaded_once(console: Browser) -> bool:
    """False if the page was reloaded since the first call."""
    return bool(console.js("const first = !window.asked; window.asked = true; return first"))


def test_a_failure_is_found_explained_replayed_and_sent(world: World, window: Browser) -> None:
    code = f"55{secrets.randbelow(3)}"
    window.refused.add(401)
    window.sign_in("not-a-key")
    window.see("This API key is not valid.")
    window.sign_in(world.sender_key)
    window.refused.add(403)
    window.see("This API key lacks the scope operate")
    window.sign_in(world.key)
    window.see("Live.", "Retry schedule")
    assert loaded_once(window)

    before = window.tried(lambda: tile(window, "failed"))
    world.emulator.fail("email", status=int(code), enhanced="5.7.1", message="The list of the day is closed")
    ids = [world.caller.post(mail(someone())) for _ in range(3)]
    wait_for(lambda: window.tried(lambda: tile(window, "failed")), lambda n: n == before + 3, within=WITHIN)

    window.follow("failed")
    window.see("The list of the day is closed", "permanent.")
    window.follow("The list of the day is closed")
    window.see("← Dead letters", "A dry run counts and changes nothing.")
    window.press("Dry run")
    window.see("3 notifications would be replayed.", "None of them can be sent twice", "A sample: the first 3")
    assert [world.caller.get(id)["status"] for id in ids] == ["failed"] * 3, "a dry run changes nothing"

    world.emulator.forgive()
    window.press("Replay 3 now")
    window.see("Settled: 3 sent.", "None left.")
    for id in ids:
        found = world.caller.get(id)
        assert (found["status"], found["generation"]) == ("sent", 2)
        assert len(world.emulator.inbox("email", recipient=found["recipient"])) == 1

    window.go(f"#/notifications/{ids[0]}")
    window.see(
        "What happens next", "replayed: generation 2", "Nothing: smtp accepted it", "The list of the day is closed"
    )
    events = [chip.text.split()[-1] for chip in window.all(".events .chip")]
    assert events == ["pending", "sending", "failed", "pending", "sending", "sent"]
    assert not loaded_once(window), "all of it without a reload"


def test_an_unknown_notification_is_marked_as_arrived_or_sent_again(world: World, console: Browser) -> None:
    world.emulator.fail("email", drop="after_accept", next=2)
    arrived = world.caller.post(mail(someone(), on_ambiguous="hold"))
    world.caller.ended(arrived)
    again = world.caller.post(mail(someone(), on_ambiguous="hold"))
    world.caller.ended(again)
    console.see("unknown: they may have arrived")

    console.go(f"#/notifications/{arrived}")
    console.see("Waiting for a decision", "ambiguous.")
    console.press("Mark as arrived")
    console.see("It will not be sent again.")
    console.press("Cancel")
    assert world.caller.get(arrived)["status"] == "unknown"
    console.press("Mark as arrived")
    console.press("Yes, it arrived")
    console.see("by an operator", "Nothing: an operator marked it as sent")
    assert world.caller.get(arrived)["status"] == "sent"

    console.go(f"#/notifications/{again}")
    console.see(world.caller.get(again)["recipient"])
    console.press("Send again")
    console.see("the recipient gets it twice")
    console.tried(lambda: console.one("//dialog//button[normalize-space()='Send again']").click())
    console.see("replayed: generation 2", "Nothing: smtp accepted it")
    found = world.caller.get(again)
    assert (found["status"], found["generation"]) == ("sent", 2)


def test_a_dry_run_counts_those_that_may_be_sent_twice(world: World, console: Browser) -> None:
    world.emulator.fail("push", status=503, next=2)
    ids = [
        world.caller.post(
            {
                "channel": "push",
                "recipient": {"token": secrets.token_hex(8)},
                "content": {"title": "a", "body": "b"},
                "on_ambiguous": "hold",
            }
        )
        for _ in range(2)
    ]
    for id in ids:
        world.caller.ended(id)
    console.go("#/dead/group?status=unknown&channel=push")
    console.press("Dry run")
    console.see("2 notifications would be replayed.", "2 of them may be sent twice")
    console.type("At most", "1")
    console.type("Per second", "1")
    console.press("Dry run")
    console.see("1 notification of 2 would be replayed, 1 per second: within 1 s.", "1 of them may be sent twice")
    console.press("Replay 1 now")
    console.see("1 of them may be sent twice:", "an attempt may have been accepted.")
    console.press("Cancel")
    assert [world.caller.get(id)["status"] for id in ids] == ["unknown", "unknown"]
    console.press("Replay 1 now")
    console.press("Replay 1")
    console.see("Settled: 1 sent.")
    assert [world.caller.get(id)["status"] for id in ids] == ["sent", "unknown"], "the oldest first"
    for id in world.caller.replay(ids=ids, status="unknown")["ids"]:
        world.caller.ended(id)  # or they would use up the failures of the next test


def test_all_unknown_notifications_are_marked_as_arrived_at_once(world: World, console: Browser) -> None:
    world.emulator.fail("push", status=503, next=6)
    body = {"channel": "push", "content": {"title": "a", "body": "b"}, "on_ambiguous": "hold"}
    ids = [world.caller.post({**body, "recipient": {"token": secrets.token_hex(8)}}) for _ in range(6)]
    for id in ids:
        assert world.caller.ended(id)["status"] == "unknown"
    console.go("#/dead/group?status=unknown&channel=push")
    console.press("Dry run")
    console.see("6 notifications would be replayed.", "6 of them may be sent twice")
    console.press("Mark 6 as arrived")
    console.see("They will not be sent again.")
    console.press("Cancel")
    assert world.caller.get(ids[0])["status"] == "unknown"
    console.press("Mark 6 as arrived")
    console.press("Yes, 6 arrived")
    console.see("Settled: 6 sent.", "None left.")
    for id in ids:
        found = world.caller.get(id)
        assert (found["status"], found["generation"]) == ("sent", 1), "decided, not sent again"
    console.go(f"#/notifications/{ids[0]}")
    console.see("by an operator")


@on_embedded
def test_replaying_all_dead_letters_leaves_out_the_unknown_ones(world: World, console: Browser) -> None:
    """An unknown notification may be sent twice, so it is replayed only if its status was asked for."""
    world.emulator.fail("push", status=503, next=1)
    body = {"channel": "push", "content": {"title": "a", "body": "b"}, "on_ambiguous": "hold"}
    id = world.caller.post({**body, "recipient": {"token": secrets.token_hex(8)}})
    assert world.caller.ended(id)["status"] == "unknown"
    console.go("#/dead/group?channel=push")
    console.see("Only failed notifications are replayed here.")
    console.press("Dry run")
    console.see("Nothing would be replayed.")
    sent = [json.loads(request["postData"]) for request in console.requests() if request["url"].endswith("/replay")]
    assert [body["status"] for body in sent] == ["failed"]
    console.follow("Decide about the unknown ones")
    console.press("Dry run")
    console.see("1 notification would be replayed.", "1 of them may be sent twice")
    assert world.caller.replay(ids=[id], status="unknown")["ids"] == [id]
    world.caller.ended(id)


def test_a_replay_that_cannot_begin_says_that_nothing_was_changed(world: World, console: Browser) -> None:
    world.emulator.fail("email", status=554, enhanced="5.6.8", next=1, message="Only for a replay that cannot begin")
    id = world.caller.post(mail(someone()))
    code = world.caller.ended(id)["last_error"]["code"]
    console.go(f"#/dead/group?code={code}")
    console.press("Dry run")
    console.see("1 notification would be replayed.")
    console.cdp("Network.setBlockedURLs", urls=["*order=oldest*"])  # the list of what is to be replayed
    try:
        console.press("Replay 1 now")
        console.see("Nothing was changed.")
        assert "no longer dead letters" not in console.text
    finally:
        console.cdp("Network.setBlockedURLs", urls=[])
    assert all("order=oldest" in one for one in console.complaints())
    assert world.caller.get(id)["status"] == "failed"


def test_a_paused_channel_waits_until_it_is_resumed(world: World, console: Browser) -> None:
    console.press("Pause SMS")
    console.see("This stops the channel for all tenants")
    console.tried(lambda: console.one("//dialog//button[normalize-space()='Pause SMS']").click())
    console.see("SMS is paused since", "Resume")
    # The trigger checks once a second. What it takes until then is redelivered half a minute later.
    log = world.stack.processes.log("trigger")
    wait_for(lambda: [line for line in log.read_text().splitlines() if '"trigger_paused"' in line and '"sms"' in line])
    id = world.caller.post({"channel": "sms", "recipient": "+15005550010", "content": {"text": "Later"}})
    console.go(f"#/notifications/{id}")
    console.see("Waiting: SMS is paused.")
    console.go("#/")
    console.press("Resume SMS")
    console.tried(lambda: console.one("//dialog//button[normalize-space()='Resume SMS']").click())
    console.go(f"#/notifications/{id}")
    console.see("Nothing: twilio accepted it")
    assert world.caller.get(id)["status"] == "sent"


def test_a_test_notification_is_sent_and_followed(world: World, console: Browser) -> None:
    to = someone()
    world.emulator.fail("email", status=451, next=1, message="Busy, try again")
    console.follow_nav("Send a test")
    console.choose("Channel", "Webhook")
    assert console.control("Type").get_attribute("value") == "order.shipped", "what the channel accepts"
    console.choose("Channel", "Email")
    console.refused.add(422)
    console.type("Recipient", "nobody")
    console.press("Send")
    console.see("not an email address")
    console.type("Recipient", to)
    console.press("Send")
    console.see(f"Email to {to}", "Busy, try again", "transient.")
    console.see("Nothing: smtp accepted it")
    assert [message["subject"] for message in world.emulator.inbox("email", recipient=to)] == ["A test from Tidings"]


def test_a_notification_is_found_by_its_recipient_its_status_or_its_id(world: World, console: Browser) -> None:
    to = someone()
    id = world.caller.post(mail(to))
    world.caller.ended(id)
    console.follow_nav("Notifications")
    console.type("ID or recipient", to)
    console.press("Search")
    wait_for(console.cells, lambda rows: [row[2] for row in rows] == [to], within=WITHIN)
    assert to not in console.driver.current_url, "what is personal stays out of the browser's history"
    console.choose("Status", "failed")
    console.see("No notifications match.")
    console.press("Clear")
    console.type("ID or recipient", f" {id} ")
    console.see(f"Email to {to}", "Timeline")


@on_embedded
def test_each_of_many_is_replayed_once_even_if_it_fails_again(world: World, console: Browser) -> None:
    """They need more than one request, and those that fail again are dead letters again before the second request."""
    many, again = 520, 12
    world.emulator.fail("email", status=554, enhanced="5.6.2", next=many + again)
    ids = world.caller.post_all([mail(someone()) for _ in range(many)])
    tally = f"{world.caller.ops_url}/v1/notifications/tally"
    wait_for(
        lambda: world.caller.ask(tally, {"ids": ids}).body["statuses"],
        lambda statuses: statuses == {"failed": many},
        within=WITHIN,
    )
    console.go("#/dead/group?status=failed&channel=email&code=5.6.2")
    console.press("Dry run")
    console.see(f"{many} notifications would be replayed.")
    console.requests()
    console.press(f"Replay {many} now")
    console.see(f"Settled: {many - again} sent, {again} failed.")
    sent = [json.loads(request["postData"]) for request in console.requests() if request["url"].endswith("/replay")]
    assert [len(body["ids"]) for body in sent] == [500, 20]
    assert sorted(id for body in sent for id in body["ids"]) == sorted(ids), "named, so that none is taken twice"
    generations = {one["id"]: one["generation"] for one in world.caller.listed(channel="email")}
    assert {generations[id] for id in ids} == {2}
    for id in world.caller.replay(code="5.6.2")["ids"]:
        world.caller.ended(id)  # or they would use up the failures of the next test
