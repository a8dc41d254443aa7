"""The console's page of suppressions, in a real browser."""

import json
from pathlib import Path

from selenium.webdriver.common.keys import Keys

from tests.browser.chromium import WITHIN, Browser
from tests.browser.conftest import World
from tests.browser.test_keyboard import press, tab_to
from tests.browser.test_operator import mail, someone
from tests.foundations import on_embedded
from tests.scenarios.caller import wait_for

pytestmark = on_embedded


def found(world: World, recipient: str) -> list[dict[str, object]]:
    answer = world.caller.ask(f"{world.caller.ops_url}/v1/suppressions?recipient={recipient}")
    return list(answer.body["suppressions"])


def test_an_entry_is_added_suppresses_and_is_removed_once_by_keyboard(world: World, console: Browser) -> None:
    ada = someone()
    console.follow_nav("Suppressions")
    console.see("Suppression is on")
    console.refused.add(422)
    console.type("Recipient to suppress", "nobody")
    console.press("Suppress")
    console.see("is not valid for the channel email")
    console.type("Recipient to suppress", ada)
    console.type("Only this category", "news")
    console.type("Note", "<b>asked by phone</b>")
    console.press("Suppress")
    console.see(f"{ada} is suppressed on Email for news.", "<b>asked by phone</b>")
    news, orders = (world.caller.post(mail(ada, category=one)) for one in ("news", "orders"))
    assert [world.caller.ended(id)["status"] for id in (news, orders)] == ["suppressed", "sent"]
    console.go(f"#/notifications/{news}")
    console.see("Nothing, unless it is replayed once the recipient is off the list", "opted out of news")

    console.driver.back()
    console.type("Recipient", ada)
    console.press("Search")
    console.see("All 1 shown.")
    assert ada not in console.driver.current_url
    tab_to(console, "Remove")
    press(console, Keys.ENTER)
    console.see("Remove this suppression?")
    console.press("Keep it")
    assert found(world, ada)[0]["in_force"] is True
    tab_to(console, "Remove")
    press(console, Keys.ENTER)
    console.press("Remove it")
    console.see("removed by the API key")
    (entry,) = found(world, ada)
    assert entry["in_force"] is False
    console.see(f"{ada}: removed by the API key {entry['removed_by']}. Messages of news are sent on Email again.")
    console.choose("State", "expired or removed")
    console.see(f"by key {entry['removed_by']}")


def test_a_file_is_imported_each_bad_line_is_named_and_all_is_exported_and_paged(
    world: World, console: Browser, tmp_path: Path
) -> None:
    stem = someone()
    file = tmp_path / "old.csv"
    rows = [f"email,{number}.{stem},opted_out" for number in range(60)]
    file.write_text("\n".join(["channel,recipient,reason", *rows, "email,nobody,", "pigeon,coop,"]), encoding="utf-8")
    console.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    console.follow_nav("Suppressions")
    console.press("Import")
    console.see("Choose a file.")
    console.tried(lambda: console.control("File").send_keys(str(file)))
    console.press("Import")
    console.see("60 stored, 2 bad lines.", "Line 62: recipient is not valid for the channel email", "Line 63: channel")
    console.see("50 shown.")
    console.press("Show more")
    wait_for(console.cells, lambda cells: len(cells) >= 60, within=WITHIN)
    console.press("Export what is in force")
    wait_for(lambda: [*tmp_path.glob("suppressions*.ndjson")], within=WITHIN)
    exported = (tmp_path / "suppressions.ndjson").read_text(encoding="utf-8").splitlines()
    assert {f"{number}.{stem}" for number in range(60)} <= {json.loads(line)["recipient"] for line in exported}
