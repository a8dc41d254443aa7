"""Notifications that may have been sent are marked so; an operator cancels, decides and replays, also expired ones."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from tests.browser.chromium import WITHIN, Browser
from tests.browser.conftest import QUIET, World
from tests.browser.test_operator import mail, someone
from tests.browser.test_pages import tomorrow
from tests.foundations import on_embedded
from tests.scenarios.caller import wait_for

pytestmark = on_embedded


@pytest.fixture
def first_page() -> tuple[str, str]:
    return QUIET


def changed(world: World, id: str, **values: str) -> None:
    """Change the row directly: through the API it would take too long for a test."""
    row = ", ".join(f"{name} = '{value}'" for name, value in values.items())
    with closing(sqlite3.connect(world.stack.state.folder / "tidings.db", timeout=30)) as connection, connection:
        assert connection.execute(f"UPDATE notifications SET {row} WHERE id = ?", (id,)).rowcount == 1


def in_doubt(world: World) -> str:
    """A notification whose first attempt got no answer, and whose next attempt is far in the future."""
    world.emulator.fail("email", drop="after_accept", next=1)
    id = world.caller.post(mail(someone()))
    wait_for(lambda: world.caller.get(id)["status"], lambda status: status == "retrying", within=WITHIN)
    changed(world, id, next_attempt_at="2099-01-01 00:00:00.000000", wake_at="2099-01-01 00:00:00.000000")
    return id


def expired(world: World, id: str) -> None:
    changed(world, id, expires_at="2026-01-01 00:00:00.000000")


def failed(world: World, code: str) -> str:
    world.emulator.fail("email", status=550, enhanced=code, next=1)
    id = world.caller.post(mail(someone()))
    assert world.caller.ended(id)["status"] == "failed"
    return id


def press_in_dialog(console: Browser, name: str) -> None:
    console.tried(lambda: console.one(f"//dialog//button[normalize-space()='{name}']").click())


def set_time(console: Browser, label: str, at: datetime | None) -> None:
    """Set a datetime control as a person would."""
    control = console.tried(lambda: console.control(label))
    local = "" if at is None else at.strftime("%Y-%m-%dT%H:%M")
    console.js(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
        control,
        local,
    )


def here(console: Browser, ahead: timedelta) -> datetime:
    """That long from now, in the browser's time zone."""
    minutes = console.js("return new Date().getTimezoneOffset()")
    return datetime.now(UTC) - timedelta(minutes=int(minutes)) + ahead


def test_a_canceled_notification_is_marked_as_possibly_sent_everywhere(world: World, console: Browser) -> None:
    id = in_doubt(world)
    to = world.caller.get(id)["recipient"]
    console.go(f"#/notifications/{id}")
    console.see("may have been sent", "It may have been sent: the provider may have accepted an attempt.")
    console.press("Cancel notification")
    console.see("Cancel this notification?", "Canceling it does not undo that.")
    press_in_dialog(console, "Keep it")
    wait_for(lambda: not console.all("dialog"), within=WITHIN)
    assert world.caller.get(id)["status"] == "retrying"
    console.press("Cancel notification")
    press_in_dialog(console, "Cancel notification")
    console.see("Canceled", "It may have been sent")
    console.press("Close")
    console.see("Nothing: canceled while waiting.")
    assert world.caller.get(id)["status"] == "canceled"
    assert "canceled (may have been sent)" in console.title
    last = console.all(".events li")[-1].text
    assert "canceled may have been sent" in last.replace("\n", " ").replace("⚠ ", "")
    assert "attempt" not in last
    console.go("#/notifications?status=canceled")
    console.type("ID or recipient", to)
    console.press("Search")
    wait_for(console.cells, lambda rows: len(rows) == 1 and "may have been sent" in rows[0][0], within=WITHIN)


def test_a_notification_without_an_attempt_is_canceled_without_that_mark(world: World, console: Browser) -> None:
    id = world.caller.post(mail(someone(), send_at=tomorrow()))
    console.go(f"#/notifications/{id}")
    console.press("Cancel notification")
    press_in_dialog(console, "Cancel notification")
    console.see("Nothing: canceled while waiting.")
    assert "may have been sent" not in console.text
    assert not [button for button in console.all(".next button") if button.text == "Cancel notification"]


def test_a_late_cancel_shows_the_current_status(world: World, console: Browser) -> None:
    id = world.caller.post(mail(someone(), send_at=tomorrow()))
    console.go(f"#/notifications/{id}")
    console.press("Cancel notification")
    console.see("Cancel this notification?")
    changed(world, id, status="sending", wake_at="2099-01-01 00:00:00.000000")
    console.refused.add(409)
    press_in_dialog(console, "Cancel notification")
    console.see("Not canceled", "Too late to cancel.", "Its status is sending: a worker has it")


def test_replaying_a_possibly_sent_notification_warns(world: World, console: Browser) -> None:
    id = in_doubt(world)
    changed(world, id, status="failed", error_class="permanent", error_code="550", error_message="no")
    console.go(f"#/notifications/{id}")
    console.see("Nothing, unless an operator replays it.", "It may have been sent:")
    console.press("Replay")
    console.see("It may be sent twice: an attempt may have been accepted.")
    press_in_dialog(console, "Replay")
    console.see("replayed: generation 2")
    world.caller.ended(id)


def test_an_expired_notification_is_sent_again_with_a_new_expiry_time(world: World, console: Browser) -> None:
    world.emulator.fail("email", drop="after_accept", next=1)
    held = world.caller.post(mail(someone(), on_ambiguous="hold"))
    assert world.caller.ended(held)["status"] == "unknown"
    dead = failed(world, "5.6.1")
    for id, button in ((held, "Send again"), (dead, "Replay")):
        expired(world, id)
        console.go(f"#/notifications/{id}")
        console.see(world.caller.get(id)["recipient"])
        console.press(button)
        console.see("It has expired: a new expiry time is required.")
        press_in_dialog(console, button)
        console.see("Enter a time in the future.")
        set_time(console, "Expires at", here(console, timedelta(hours=-1)))
        press_in_dialog(console, button)
        console.see("Enter a time in the future.")
        set_time(console, "Expires at", here(console, timedelta(hours=1)))
        press_in_dialog(console, button)
        console.see("replayed: generation 2", "Nothing: smtp accepted it")
        assert world.caller.get(id)["expires_at"] > datetime.now(UTC).isoformat()


def test_a_replay_counts_expired_ones_and_takes_a_new_expiry_time(world: World, console: Browser) -> None:
    old, fresh = failed(world, "5.6.3"), failed(world, "5.6.3")
    expired(world, old)
    console.go("#/dead/group?status=failed&channel=email&code=5.6.3")
    console.press("Dry run")
    console.see("1 notification would be replayed.", "1 more have expired and are left out")
    set_time(console, "Expires at", here(console, timedelta(hours=1)))
    wait_for(lambda: "would be replayed" not in console.text, within=WITHIN)
    console.press("Dry run")
    console.see("2 notifications would be replayed.")
    assert "are left out" not in console.text
    console.press("Replay 2 now")
    console.see("Settled: 2 sent.")
    assert {world.caller.get(id)["status"] for id in (old, fresh)} == {"sent"}


def test_a_replay_whose_answer_is_lost_says_so_and_follows_its_notifications(world: World, console: Browser) -> None:
    id = failed(world, "5.6.4")
    console.go("#/dead/group?status=failed&channel=email&code=5.6.4")
    console.press("Dry run")
    console.see("1 notification would be replayed.")
    lose_answers(console, "dead-letters/replay")
    console.press("Replay 1 now")
    console.see("no answer", "A request got no answer", "Settled: 1 sent.")
    assert world.caller.get(id)["generation"] == 2


def test_a_decision_whose_answer_is_lost_can_be_repeated(world: World, console: Browser) -> None:
    world.emulator.fail("email", drop="after_accept", next=1)
    id = world.caller.post(mail(someone(), on_ambiguous="hold"))
    assert world.caller.ended(id)["status"] == "unknown"
    console.go(f"#/notifications/{id}")
    console.press("Mark as arrived")
    lose_answers(console, "/resolve")
    press_in_dialog(console, "Yes, it arrived")
    console.see("No answer", "The request may have been carried out", "Repeating it is harmless.")
    console.press("Close")
    console.see("by an operator")


def lose_answers(console: Browser, path: str) -> None:
    """The next request to this path is sent, and its answer is lost."""
    console.js(
        """
        const [path] = arguments, ask = window.fetch;
        window.fetch = async (url, ...rest) => {
          const answer = await ask(url, ...rest);
          if (!String(url).includes(path)) return answer;
          window.fetch = ask;
          throw new TypeError("lost");
        };
        """,
        path,
    )
