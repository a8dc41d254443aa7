"""What may have been sent is shown as that, and a person acts on it: cancel, decide, replay, also what has expired."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

from tests.browser.chromium import WITHIN, Browser
from tests.browser.conftest import World
from tests.browser.test_story import mail, someone
from tests.browser.test_truth import tomorrow
from tests.foundations import on_embedded
from tests.scenarios.caller import wait_for

pytestmark = on_embedded


def changed(world: World, id: str, **values: str) -> None:
    """The row, as no call of the API could make it within a test's time."""
    row = ", ".join(f"{name} = '{value}'" for name, value in values.items())
    with closing(sqlite3.connect(world.stack.state.folder / "tidings.db", timeout=30)) as connection, connection:
        assert connection.execute(f"UPDATE notifications SET {row} WHERE id = ?", (id,)).rowcount == 1


def in_doubt(world: World) -> str:
    """One whose first attempt got no answer, and whose next is far away."""
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
    """Into a control for a time, as a person picks one there."""
    control = console.tried(lambda: console.control(label))
    local = "" if at is None else at.strftime("%Y-%m-%dT%H:%M")
    console.js(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
        control,
        local,
    )


def here(console: Browser, ahead: timedelta) -> datetime:
    """That long from now, on the browser's clock and in its zone."""
    minutes = console.js("return new Date().getTimezoneOffset()")
    return datetime.now(UTC) - timedelta(minutes=int(minutes)) + ahead


def test_one_that_waits_is_canceled_and_its_doubt_is_told_everywhere(world: World, console: Browser) -> None:
    id = in_doubt(world)
    to = world.caller.get(id)["recipient"]
    console.go(f"#/notifications/{id}")
    console.see("may have been sent", "It may have been sent: the provider may have accepted an attempt.")
    console.press("Cancel it")
    console.see("Cancel it?", "Canceling it does not undo that.")
    press_in_dialog(console, "Keep it")
    wait_for(lambda: not console.all("dialog"), within=WITHIN)
    assert world.caller.get(id)["status"] == "retrying"
    console.press("Cancel it")
    press_in_dialog(console, "Cancel it")
    console.see("It is canceled", "It may have been sent")
    console.press("Close")
    console.see("Nothing: canceled while it waited.")
    assert world.caller.get(id)["status"] == "canceled"
    assert "canceled (may have been sent)" in console.title
    last = console.all(".events li")[-1].text
    assert "canceled may have been sent" in last.replace("\n", " ").replace("⚠ ", "")
    assert "attempt" not in last
    console.go("#/notifications?status=canceled")
    console.type("Id or recipient", to)
    console.press("Search")
    wait_for(console.cells, lambda rows: len(rows) == 1 and "may have been sent" in rows[0][0], within=WITHIN)


def test_one_without_a_doubt_is_canceled_without_one(world: World, console: Browser) -> None:
    id = world.caller.post(mail(someone(), send_at=tomorrow()))
    console.go(f"#/notifications/{id}")
    console.press("Cancel it")
    press_in_dialog(console, "Cancel it")
    console.see("Nothing: canceled while it waited.")
    assert "may have been sent" not in console.text
    assert not [button for button in console.all(".next button") if button.text == "Cancel it"]


def test_a_cancel_that_comes_too_late_says_so(world: World, console: Browser) -> None:
    id = world.caller.post(mail(someone(), send_at=tomorrow()))
    console.go(f"#/notifications/{id}")
    console.press("Cancel it")
    console.see("Cancel it?")
    changed(world, id, status="sending", wake_at="2099-01-01 00:00:00.000000")
    console.refused.add(409)
    press_in_dialog(console, "Cancel it")
    console.see("It was not canceled", "Too late to cancel.", "Its status is sending: a worker has it")


def test_what_failed_after_a_doubt_is_replayed_with_a_warning(world: World, console: Browser) -> None:
    id = in_doubt(world)
    changed(world, id, status="failed", error_class="permanent", error_code="550", error_message="no")
    console.go(f"#/notifications/{id}")
    console.see("Nothing, unless someone replays it.", "It may have been sent:")
    console.press("Replay")
    console.see("It may double: an attempt may have been accepted.")
    press_in_dialog(console, "Replay")
    console.see("replayed: generation 2")
    world.caller.ended(id)


def test_what_has_expired_is_sent_again_with_a_new_time(world: World, console: Browser) -> None:
    world.emulator.fail("email", drop="after_accept", next=1)
    held = world.caller.post(mail(someone(), on_ambiguous="hold"))
    assert world.caller.ended(held)["status"] == "unknown"
    dead = failed(world, "5.1.1")
    for id, button in ((held, "Send it again"), (dead, "Replay")):
        expired(world, id)
        console.go(f"#/notifications/{id}")
        console.see(world.caller.get(id)["recipient"])
        console.press(button)
        console.see("It has expired: without a new time it is not sent.")
        press_in_dialog(console, button)
        console.see("A time that is still to come.")
        set_time(console, "Expires at", here(console, timedelta(hours=-1)))
        press_in_dialog(console, button)
        console.see("A time that is still to come.")
        set_time(console, "Expires at", here(console, timedelta(hours=1)))
        press_in_dialog(console, button)
        console.see("replayed: generation 2", "Nothing: smtp accepted it")
        assert world.caller.get(id)["expires_at"] > datetime.now(UTC).isoformat()


def test_a_replay_of_what_has_expired_counts_it_and_takes_a_new_time(world: World, console: Browser) -> None:
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


def test_a_replay_whose_answer_is_lost_says_so_and_follows_what_it_named(world: World, console: Browser) -> None:
    id = failed(world, "5.6.4")
    console.go("#/dead/group?status=failed&channel=email&code=5.6.4")
    console.press("Dry run")
    console.see("1 notification would be replayed.")
    lose_answers(console, "dead-letters/replay")
    console.press("Replay 1 now")
    console.see("no answer", "No answer came to a call", "Settled: 1 sent.")
    assert world.caller.get(id)["generation"] == 2


def test_a_decision_whose_answer_is_lost_is_asked_for_again(world: World, console: Browser) -> None:
    world.emulator.fail("email", drop="after_accept", next=1)
    id = world.caller.post(mail(someone(), on_ambiguous="hold"))
    assert world.caller.ended(id)["status"] == "unknown"
    console.go(f"#/notifications/{id}")
    console.press("It arrived")
    lose_answers(console, "/resolve")
    press_in_dialog(console, "Yes, it arrived")
    console.see("No answer came", "It may have been done all the same", "Asking once more is harmless.")
    console.press("Close")
    console.see("by an operator's word")


def lose_answers(console: Browser, path: str) -> None:
    """The next call of this path is made, and its answer does not come."""
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
