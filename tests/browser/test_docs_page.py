"""A reader tries the API on the page `/docs`."""

from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from tidings.api.examples import SUBMITTED

from tests.browser.chromium import WITHIN, browsing
from tests.browser.conftest import World

FIRST_EXAMPLE = next(iter(SUBMITTED.values()))


def test_a_reader_tries_the_api_and_the_browser_asks_no_other_server(world: World, chrome: Chrome) -> None:
    intake = world.stack.url
    waiting = WebDriverWait(chrome, WITHIN)

    def found(selector: str) -> Any:
        return waiting.until(lambda opened: opened.find_element(By.CSS_SELECTOR, selector))

    def click(selector: str) -> None:
        chrome.execute_script("arguments[0].click()", found(selector))

    with browsing(chrome, world.stack.ops_url) as browser:
        browser.asked()  # by the console
        chrome.get(f"{intake}/docs?url=http://example.com/other.json")
        click("button.authorize")
        found(".auth-container input").send_keys(world.key)
        click(".auth-container button.authorize")
        click(".auth-btn-wrapper button.btn-done")
        click("#operations-notifications-send .opblock-summary-control")
        example = found("#operations-notifications-send textarea.body-param__text")
        waiting.until(lambda _: FIRST_EXAMPLE["recipient"] in str(example.get_attribute("value")))
        click("#operations-notifications-send button.execute")
        status = found("#operations-notifications-send .live-responses-table tr.response .response-col_status")
        waiting.until(lambda _: status.text.strip().startswith("202"))
        addresses = [url for url in browser.asked() if url.startswith("http")]  # the browser's own pages have others
        assert f"{intake}/v1/notifications" in addresses
        assert [url for url in addresses if not url.startswith(f"{intake}/")] == []
        assert browser.complaints() == [], "its own policy would be told here"
