"""Accessibility: screen readers, small screens, dark mode, contrast."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.browser.chromium import PHONE, WITHIN, Browser
from tests.browser.conftest import QUIET, World
from tests.browser.test_operator import mail, someone
from tests.foundations import on_embedded
from tests.scenarios.caller import wait_for

pytestmark = on_embedded


@pytest.fixture
def first_page() -> tuple[str, str]:
    return QUIET


NAMED = {"button", "link", "textbox", "searchbox", "combobox", "spinbutton", "checkbox", "table", "region", "dialog"}


@pytest.fixture(scope="module")
def example(world: World) -> str:
    """The ID of a failed notification, so that every page has something to show."""
    world.emulator.fail("email", status=550, enhanced="5.1.1", next=1, message="Nobody of that name")
    id = world.caller.post(mail(someone()))
    assert world.caller.ended(id)["status"] == "failed"
    return id


@pytest.fixture
def pages(example: str) -> Sequence[tuple[str, str]]:
    """Each page, and a text that it has and that the page before it has not."""
    return (
        ("#/", "Retry schedule"),
        ("#/notifications", "shown"),
        (f"#/notifications/{example}", "What happens next"),
        ("#/dead", "grouped by last error"),
        ("#/dead/group?status=failed&channel=email&code=5.1.1", "← Dead letters"),
        ("#/suppressions", "Export what is in force"),
        ("#/webhooks", "No webhooks."),
        ("#/test", "Sends a real notification"),
    )


# --- a screen reader --------------------------------------------------------------------------------------------------


def tree(window: Browser) -> list[dict[str, Any]]:
    nodes = window.cdp("Accessibility.getFullAXTree")["nodes"]
    return [node for node in nodes if not node.get("ignored")]


def value(node: dict[str, Any], what: str) -> str:
    return str(node.get(what, {}).get("value", ""))


def test_everything_has_a_name_and_headings_are_in_order(console: Browser, pages: Sequence[tuple[str, str]]) -> None:
    titles = set()
    for page, text in pages:
        console.go(page)
        console.see(text)
        assert "undefined" not in console.text, page
        nodes = tree(console)
        nameless = [value(n, "role") for n in nodes if value(n, "role") in NAMED and not value(n, "name").strip()]
        assert not nameless, page
        roles = [value(node, "role") for node in nodes]
        assert roles.count("main") == roles.count("banner") == roles.count("navigation") == 1, page
        levels = [
            int(level)
            for level in console.js(
                "return [...document.querySelectorAll('main :is(h1,h2,h3)')].map(h => h.tagName[1])"
            )
        ]
        assert levels[0] == 1, page
        assert levels.count(1) == 1, page
        assert all(later - earlier <= 1 for earlier, later in pairwise(levels)), (page, levels)
        ids = console.js("return [...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids)), page
        titles.add(console.title)
    assert len(titles) == len(pages)
    assert console.js("return document.documentElement.lang") == "en"


def test_a_chart_has_a_text_alternative(world: World, console: Browser) -> None:
    console.go("#/")
    wait_for(
        lambda: [n for n in tree(console) if value(n, "role") in ("img", "image") and "Email" in value(n, "name")],
        within=WITHIN,
    )
    charts = [value(node, "name") for node in tree(console) if value(node, "role") in ("img", "image")]
    assert all(
        word in charts[0]
        for word in ("Email", "accepted", "sent", "retries", "failures", "unknown", "expired", "canceled")
    ), charts
    console.tried(lambda: console.one("//summary[contains(., 'As numbers')]").click())
    console.see("Email, newest first")
    assert console.all(".numbers table th[scope=col]")
    assert console.all(".numbers table th[scope=row]")


def test_a_status_change_is_announced_once_and_politely(world: World, console: Browser) -> None:
    console.js(
        "window.said = []; new MutationObserver(() => { const t = document.getElementById('announcement').textContent;"
        " if (t) window.said.push(t); }).observe(document.getElementById('announcement'), {childList: true})"
    )
    # It is scheduled, so that the page has loaded it before its status changes.
    id = world.caller.post(mail(someone(), send_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat()))
    console.go(f"#/notifications/{id}")
    console.see("It is due in ")
    assert world.caller.cancel(id).status == 200
    console.see("Nothing: canceled while waiting")
    wait_for(lambda: console.js("return window.said"), lambda said: "Status: canceled." in said, within=WITHIN)
    for _ in range(2):  # after two more refreshes
        seen = console.text
        wait_for(lambda before=seen: console.text != before, within=WITHIN)  # type: ignore[misc]
    assert console.js("return window.said").count("Status: canceled.") == 1
    assert console.js("return document.getElementById('announcement').getAttribute('aria-live')") == "polite"


# --- sizes and colours ------------------------------------------------------------------------------------------------


def test_nothing_is_wider_than_a_phone(console: Browser, pages: Sequence[tuple[str, str]]) -> None:
    console.size(*PHONE)
    for page, text in pages:
        console.go(page)
        console.see(text)
        assert console.js("return document.documentElement.scrollWidth") <= PHONE[0], page
        small = console.js(
            "return [...document.querySelectorAll('button, select, nav a')].filter(e => e.offsetParent"
            " && e.getBoundingClientRect().height < 24).map(e => e.textContent)"
        )
        assert small == [], page  # WCAG 2.2, 2.5.8


CUT = """
return [...document.querySelectorAll("main table, main .scroll, main .rows td")]
  .filter(e => e.offsetParent && (e.getBoundingClientRect().right > innerWidth || e.scrollWidth > e.clientWidth + 1
    || e.querySelector(":scope > table")?.scrollWidth > e.clientWidth + 1))
  .map(e => [e.className, e.textContent.slice(0, 60)]);
"""


def test_no_table_is_cut(world: World, console: Browser, pages: Sequence[tuple[str, str]]) -> None:
    for page, text in pages:
        console.go(page)
        console.see(text)
        for summary in console.all(".numbers summary"):
            console.js("arguments[0].parentElement.open || arguments[0].click()", summary)
        if page == "#/":
            console.see("Push, newest first")
        for width in (PHONE[0], 800):
            console.size(width, PHONE[1])
            assert console.js(CUT) == [], (page, width)
            assert console.js("return document.documentElement.scrollWidth") <= width, page


CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
function rgba(colour) {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
}
function over([r, g, b, a], below) { return [r, g, b].map((c, i) => (c * a + below[i] * (255 - a)) / 255); }
function ground(node) {
  if (!node) return [255, 255, 255];
  return over(rgba(getComputedStyle(node).backgroundColor), ground(node.parentElement));
}
function luminance(colour) {
  const [r, g, b] = colour.map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
}
const low = [];
for (const node of document.querySelectorAll("body *")) {
  const own = [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim());
  if (!own || !node.offsetParent || node.closest("svg, :disabled, option")) continue;
  const below = ground(node), text = over(rgba(getComputedStyle(node).color), below);
  const [light, dark] = [luminance(text), luminance(below)].sort((a, b) => b - a);
  const ratio = (light + .05) / (dark + .05);
  if (ratio < 4.5) low.push([node.textContent.slice(0, 40), ratio.toFixed(2)]);
}
return low;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(console: Browser, pages: Sequence[tuple[str, str]], scheme: str) -> None:
    console.prefer(
        prefers_color_scheme=scheme, prefers_reduced_motion="reduce"
    )  # no colour is in transition while it is measured
    for page, text in pages:
        console.go(page)
        console.see(text)
        assert console.js(CONTRAST) == [], page  # WCAG 2.2, 1.4.3
    page_colour = console.js("return getComputedStyle(document.body).backgroundColor")
    assert (page_colour == "rgb(20, 20, 19)") == (scheme == "dark")


def test_reduced_motion_turns_transitions_off(console: Browser) -> None:
    console.go("#/")
    console.see("Retry schedule")
    console.prefer(prefers_reduced_motion="reduce")
    durations = "[...document.querySelectorAll('*')].map(e => parseFloat(getComputedStyle(e).transitionDuration))"
    assert console.js(f"return Math.max(...{durations})") == 0
