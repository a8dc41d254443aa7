"""Keyboard use, and refreshes that keep focus, typed text and scroll position."""

from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.browser.chromium import WITHIN, Browser
from tests.browser.conftest import World
from tests.browser.test_operator import mail, someone
from tests.foundations import on_embedded
from tests.scenarios.caller import wait_for

pytestmark = on_embedded


def tab_to(window: Browser, name: str) -> None:
    """Press Tab until the control or link of this name has the focus."""
    script = (
        "const e = document.activeElement; if (e === document.body) return ['', false];"
        "return [e.labels?.[0]?.textContent ?? e.textContent, e.matches(':focus-visible')]"
    )
    seen = []
    for _ in range(80):
        ActionChains(window.driver).send_keys(Keys.TAB).perform()
        text, visible = window.js(script)
        seen.append(text.strip())
        if name in text:
            assert visible, f"the focus on {name} is not visible"
            return
    raise AssertionError(f"no Tab leads to {name}: {seen}")


def press(window: Browser, *keys: str) -> None:
    ActionChains(window.driver).send_keys(*keys).perform()


def test_signing_in_and_a_replay_need_no_mouse(world: World, window: Browser) -> None:
    world.emulator.fail("email", status=553, next=1, message="Only for keyboards")
    id = world.caller.post(mail(someone()))
    world.caller.ended(id)
    window.see("Sign in")
    press(window, world.key, Keys.ENTER)  # the field has the focus already
    window.see("Live.")
    tab_to(window, "Dead letters")
    press(window, Keys.ENTER)
    window.see("Only for keyboards")
    tab_to(window, "Only for keyboards")
    press(window, Keys.ENTER)
    window.see("A dry run counts")
    tab_to(window, "Dry run")
    press(window, Keys.ENTER)
    window.see("1 notification would be replayed.")
    tab_to(window, "Replay 1 now")
    press(window, Keys.ENTER)
    window.see("Settled: 1 sent.")


def test_the_first_tab_leads_past_the_navigation(console: Browser) -> None:
    console.js("document.activeElement.blur()")
    tab_to(console, "Skip to content")
    press(console, Keys.ENTER)
    assert console.js("return document.activeElement.tagName") == "H1"
    assert "#main" not in console.driver.current_url


def test_a_dialog_keeps_the_focus_and_escape_declines(world: World, console: Browser) -> None:
    console.press("Pause Push")
    console.see("Pause Push?")
    assert console.js("return document.activeElement.closest('dialog') !== null")
    press(console, Keys.ESCAPE)
    wait_for(lambda: console.all("dialog") == [], within=WITHIN)
    assert console.js("return document.activeElement.textContent") == "Pause Push", "the focus is back where it was"
    assert "is paused" not in console.text


def test_a_refresh_keeps_typed_text_and_scroll_position(world: World, console: Browser) -> None:
    console.size(900, 400)
    console.go("#/notifications")
    console.see("shown")
    console.type("ID or recipient", "someone@exam")
    text = console.control("ID or recipient")
    console.js("scrollTo(0, 40)")
    id = world.caller.post(mail(someone()))
    to = world.caller.ended(id)["recipient"]
    wait_for(lambda: to in str(console.cells()), within=WITHIN)
    assert text.get_attribute("value") == "someone@exam"
    assert console.driver.switch_to.active_element == text
    assert console.js("return scrollY") == 40


def test_a_refresh_keeps_focus_open_details_and_inner_scrolling(console: Browser) -> None:
    console.tried(lambda: console.one("//summary[contains(., 'As numbers')]").click())
    console.see("Email, newest first")
    console.js(
        "window.kept = document.querySelector('a.tile.failed, a.tile.none'); kept.focus();"
        "window.table = document.querySelector('.numbers .scroll'); table.scrollTop = 40"
    )
    for _ in range(2):
        clock = console.one("//*[@class='fresh']").text
        wait_for(lambda before=clock: console.one("//*[@class='fresh']").text != before, within=WITHIN)  # type: ignore[misc]
    assert console.js("return document.activeElement === window.kept")
    assert console.js("return window.table.isConnected && window.table.scrollTop") == 40
    assert console.js("return document.querySelector('.numbers').open")
