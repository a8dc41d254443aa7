"""The pages are correct: each number, the rows it links to, and its times."""

import base64
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.browser.chromium import WITHIN, Browser
from tests.browser.conftest import World
from tests.browser.test_operator import mail, someone, tile
from tests.foundations import on_embedded
from tests.scenarios.caller import wait_for

pytestmark = on_embedded


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).isoformat()


def event_count(console: Browser, channel: str, word: str) -> int:
    path = f"//section[@aria-labelledby='channel-{channel}']//ul[@class='legend']/li[a='{word}']/b"
    return int(console.one(path).text.replace(",", ""))


def failed_now(world: World) -> int:
    return int(world.caller.ask(f"{world.caller.ops_url}/v1/overview").body["now"]["failed"]["count"])


def fail_one(world: World, message: str = "Nobody of that name") -> str:
    world.emulator.fail("email", status=550, enhanced="5.6.0", next=1, message=message)
    id = world.caller.post(mail(someone()))
    assert world.caller.ended(id)["status"] == "failed"
    return id


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_a_tile_leads_to_its_rows_whatever_was_searched_for_before(world: World, console: Browser) -> None:
    to = someone()
    world.caller.post(mail(to, send_at=tomorrow()))
    console.follow_nav("Notifications")
    console.type("ID or recipient", someone())
    console.press("Search")
    console.see("No notifications match.")
    console.follow_nav("Overview")
    console.tried(lambda: console.one("//a[contains(@class, 'tile')][span='pending']").click())
    wait_for(console.cells, lambda rows: to in str(rows), within=WITHIN)
    assert console.control("ID or recipient").get_attribute("value") == ""
    assert {row[0].split()[-1] for row in console.cells()} == {"pending"}


def test_a_scheduled_notification_does_not_count_as_due(world: World, console: Browser) -> None:
    world.caller.post(mail(someone(), send_at=tomorrow()))
    shown = "//a[contains(@class, 'tile')][span='pending']/small"
    wait_for(
        lambda: console.tried(lambda: console.one(shown).text),
        lambda said: said == "all scheduled for later",
        within=WITHIN,
    )
    console.see("oldest waiting", "none due")


def test_the_alarm_and_the_tile_show_the_same_number_also_after_a_replay(world: World, console: Browser) -> None:
    again, _ = fail_one(world), fail_one(world)
    world.emulator.fail("email", status=550, enhanced="5.6.0", next=1)
    assert world.caller.replay(ids=[again])["count"] == 1
    wait_for(lambda: world.caller.get(again), lambda found: found["generation"] == 2 and found["status"] == "failed")
    wait_for(lambda: console.tried(lambda: event_count(console, "email", "failures")), lambda n: n >= 3, within=WITHIN)
    failed = failed_now(world)
    wait_for(lambda: console.tried(lambda: tile(console, "failed")), lambda shown: shown == failed, within=WITHIN)
    assert re.findall(r"(\d+) failed\b", console.text) == [str(failed)]
    console.see("These are counts of events")


def test_a_failure_is_dismissed_until_the_next_one(world: World, console: Browser) -> None:
    fail_one(world)
    failed = failed_now(world)
    console.see(f"{failed} failed.", "See why")
    console.press("Dismiss")
    wait_for(lambda: "See why" not in console.text, within=WITHIN)
    console.driver.refresh()
    console.see("Live.")
    assert "See why" not in console.text
    assert tile(console, "failed") == failed, "the tile still counts it"
    fail_one(world)
    console.see(f"{failed + 1} failed.", "See why")
    console.press("Sign out")
    assert console.js("return sessionStorage.length") == 0


def test_canceled_and_expired_notifications_are_counted_and_found(world: World, console: Browser) -> None:
    before = console.tried(lambda: event_count(console, "sms", "canceled"))
    sms = {"channel": "sms", "recipient": "+15005550010", "content": {"text": "Later"}}
    id = world.caller.post({**sms, "send_at": tomorrow()})
    assert world.caller.cancel(id).status == 200
    wait_for(lambda: console.tried(lambda: event_count(console, "sms", "canceled")), lambda n: n == before + 1)
    assert console.tried(lambda: event_count(console, "sms", "expired")) >= 0
    console.tried(lambda: console.one("//section[@aria-labelledby='channel-sms']//li[@class='canceled']/a").click())
    wait_for(
        console.cells, lambda rows: bool(rows) and {row[0].split()[-1] for row in rows} == {"canceled"}, within=WITHIN
    )
    assert {row[1] for row in console.cells()} == {"SMS"}


def test_the_books_are_added_up_when_they_are_opened(world: World, console: Browser) -> None:
    """Every notification in one status: the columns of a line add up to what was accepted."""
    world.caller.ended(world.caller.post(mail(someone())))
    console.tried(lambda: console.one("//summary[starts-with(., 'Ledger')]").click())
    cells = "[...document.querySelectorAll('.books tbody tr')].map(row => [...row.cells].map(cell => cell.innerText))"
    rows = wait_for(lambda: console.js(f"return {cells}"), within=WITHIN)
    assert "Email" in {row[1] for row in rows}
    for _, _, accepted, *counts in rows:
        assert int(accepted.replace(",", "")) == sum(int(one.replace(",", "")) for one in counts)


def test_the_oldest_waiting_tile_links_to_its_notification(world: World, console: Browser) -> None:
    assert world.caller.ask(f"{world.caller.ops_url}/v1/channels/push/pause", {}).status == 200
    try:
        log = world.stack.processes.log("trigger")  # it checks once a second whether a channel is paused
        wait_for(
            lambda: [line for line in log.read_text().splitlines() if '"trigger_paused"' in line and '"push"' in line]
        )
        push = {"channel": "push", "recipient": {"token": "waits"}, "content": {"title": "a"}}
        id = world.caller.post(push)
        console.tried(lambda: console.one(f"//a[@href='#/notifications/{id}'][span='oldest waiting']").click())
        console.see("Waiting: Push is paused.")
    finally:
        world.caller.ask(f"{world.caller.ops_url}/v1/channels/push/resume", {})
    world.caller.ended(id)


def test_a_long_window_is_not_reloaded_at_every_refresh(world: World, console: Browser) -> None:
    console.choose("The last", "24 hours")
    console.see("in the last 24 hours")
    console.asked()
    id = world.caller.post(mail(someone()))
    world.caller.ended(id)
    everything = f"{world.caller.ops_url}/v1/overview?minutes=1440"
    counts = world.caller.ask(everything).body["channels"][0]["counts"]
    for word in ("accepted", "sent", "retries", "failures"):
        series = {"retries": "retrying", "failures": "failed"}.get(word, word)
        wait_for(
            lambda word=word: console.tried(lambda: event_count(console, "email", word)),  # type: ignore[misc]
            lambda shown, series=series: shown == sum(counts[series]),  # type: ignore[misc]
            within=WITHIN,
        )
    asked: list[str] = []

    def minutes() -> list[str]:
        asked.extend(parse_qs(urlsplit(url).query)["minutes"][0] for url in console.asked() if "/overview?" in url)
        return asked

    wait_for(minutes, lambda found: len(found) >= 5, within=WITHIN)
    assert asked.count("1440") <= 1, asked
    assert set(asked) <= {"5", "1440"}


# --- times, mails -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("zone", "said"), [("Asia/Kolkata", "Asia/Kolkata (UTC+05:30)"), ("UTC", "UTC")])
def test_the_time_zone_is_named(world: World, console: Browser, zone: str, said: str) -> None:
    console.cdp("Emulation.setTimezoneOverride", timezoneId=zone.replace("Kolkata", "Calcutta"))
    try:
        console.driver.refresh()
        console.see("Live.")
        named = console.js("return document.getElementById('zone').innerText").replace("Calcutta", "Kolkata")
        assert named == f"All times are in {said}."
        console.go("#/notifications")
        console.see("Accepted since", "In ")
    finally:
        console.cdp("Emulation.setTimezoneOverride", timezoneId="")


def test_a_mail_is_shown_as_a_mail(world: World, console: Browser) -> None:
    attached = base64.b64encode(b"x" * 12_345).decode()
    content = {
        "from": "Shop <shop@example.com>",
        "subject": "Shipped",
        "text": "It is on its way.",
        "cc": ["grace@example.com"],
        "headers": {"X-Order": "4711"},
        "attachments": [{"filename": "invoice.pdf", "content_type": "application/pdf", "content": attached}],
    }
    id = world.caller.post(mail(someone(), content=content, send_at=tomorrow()))
    console.go(f"#/notifications/{id}")
    console.see(
        "Shop <shop@example.com>", "grace@example.com", "invoice.pdf", "application/pdf, 12 KB", "X-Order", "4711"
    )
    said = console.one("//section[@aria-labelledby='content']").text
    assert attached[:20] not in said
    assert not re.search(r'[{}\[\]"]', said), "no JSON"


# --- back -------------------------------------------------------------------------------------------------------------


def show_more(console: Browser) -> None:
    """Repeat the click: on a busy machine the list is rendered again under the pointer, and a click is lost."""

    def pressed() -> bool:
        console.js("[...document.querySelectorAll('.below button:enabled')].forEach(button => button.click())")
        return "All 60 shown." in console.text

    wait_for(pressed, within=WITHIN)


def test_back_restores_the_rows_and_the_scroll_position(world: World, console: Browser) -> None:
    to = someone()
    world.caller.post_all([mail(to, send_at=tomorrow()) for _ in range(60)])
    console.follow_nav("Notifications")
    console.type("ID or recipient", to)
    console.press("Search")
    console.see("50 shown.")
    show_more(console)
    console.see("All 60 shown.")
    last = console.tried(lambda: console.all(".found .rows tbody tr a")[-1])
    target = last.get_attribute("href")
    console.js("arguments[0].scrollIntoView()", last)
    scrolled = console.js("return scrollY")
    assert scrolled > 500
    last.click()
    console.see(f"Email to {to}", "What happens next")
    console.driver.back()
    console.see("All 60 shown.")
    wait_for(lambda: console.js("return scrollY"), lambda y: abs(y - scrolled) < 100, within=WITHIN)
    assert console.control("ID or recipient").get_attribute("value") == to
    wait_for(lambda: console.js("return document.activeElement.href"), lambda href: href == target, within=WITHIN)
    assert to not in console.driver.current_url
    console.press("Sign out")
    console.sign_in(world.key)
    console.see("shown")
    assert console.control("ID or recipient").get_attribute("value") == "", "the next user sees none of it"
