"""`/docs` is complete, loads nothing from other servers, and works in a real browser."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tidings_swagger
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from tidings.api import docs_page
from tidings.api.examples import SUBMITTED

from tests.browser.chromium import chrome_or_skip
from tests.functions.served import Answer, Caller, Keys, Process, process

ASSETS = Path(tidings_swagger.__file__).parent
PAGES = ("intake", "replay")
FIRST_EXAMPLE = next(iter(SUBMITTED.values()))


@pytest.fixture(params=PAGES)
def caller(request: pytest.FixtureRequest) -> Caller:
    found: Caller = request.getfixturevalue(request.param)
    return found


def loads(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]+)"', page)


def test_the_page_loads_only_files_that_the_function_serves(caller: Caller) -> None:
    page = caller("GET", "/docs", key=None)
    assert page.headers["content-type"].startswith("text/html")
    files = [name for name in loads(page.body) if not name.startswith("data:")]
    assert {f"docs/{name}" for name in docs_page.ASSETS} | {"openapi.json"} == set(files)
    for name in files:
        assert caller("GET", f"/{name}", key=None).status == 200, name


def test_neither_the_page_nor_its_styles_name_another_server() -> None:
    for name in ("page.html", "page.js", "page.css"):
        assert "://" not in (ASSETS / name).read_text(encoding="utf-8"), name
    styles = (ASSETS / "swagger-ui.css").read_text(encoding="utf-8")
    assert not re.search(r"""(@import|url\()[\s"']*(https?:)?//""", styles)


def _is_guarded(answer: Answer) -> bool:
    policy = answer.headers["content-security-policy"]
    return (
        "default-src 'none'" in policy
        and "script-src 'self';" in policy
        and "connect-src 'self'" in policy
        and "frame-ancestors 'none'" in policy
        and "unsafe-eval" not in policy
        and answer.headers["x-frame-options"] == "DENY"
        and answer.headers["x-content-type-options"] == "nosniff"
        and answer.headers["referrer-policy"] == "no-referrer"
    )


def test_the_page_and_its_files_have_security_headers(caller: Caller) -> None:
    for path in ("/docs", *(f"/docs/{name}" for name in docs_page.ASSETS)):
        assert _is_guarded(caller("GET", path, key=None)), path


def test_the_page_has_no_inline_script() -> None:
    page = (ASSETS / "page.html").read_text(encoding="utf-8")
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == ["", ""]
    assert not re.search(r"\son\w+=", page)


@pytest.mark.parametrize("name", ["README.md", "LICENSE.txt", "..", "page.html", "../__init__.py", "%2e%2e"])
def test_only_the_listed_assets_are_served(caller: Caller, name: str) -> None:
    assert caller("GET", f"/docs/{name}", key=None).status == 404


def test_third_party_assets_have_the_listed_checksums() -> None:
    table = dict(re.findall(r"\| `([^`]+)` \| `([0-9a-f]{64})` \|", (ASSETS / "README.md").read_text()))
    assert set(table) == {"swagger-ui-bundle.js", "swagger-ui.css"}
    for name, digest in table.items():
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == digest, name


# --- in a browser -----------------------------------------------------------------------------------------------------

WITHIN = 60  # seconds; everything is far quicker, unless the machine is busy with something else


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with chrome_or_skip() as started:
        yield started


@pytest.fixture
def running(settings: dict[str, str], tmp_path: Path) -> Iterator[Process]:
    with process("intake", settings, tmp_path) as started:
        yield started


def asked(browser: webdriver.Chrome) -> list[str]:
    """Every address that the browser has requested since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]  # type: ignore[no-untyped-call]
    return [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]


def test_a_reader_tries_the_api_and_the_browser_asks_no_other_server(
    browser: webdriver.Chrome, running: Process, keys: Keys
) -> None:
    def found(selector: str) -> Any:
        return WebDriverWait(browser, WITHIN).until(lambda opened: opened.find_element(By.CSS_SELECTOR, selector))

    def click(selector: str) -> None:
        browser.execute_script("arguments[0].click()", found(selector))

    browser.get(f"{running.url}/docs?url=http://example.com/other.json")
    click("button.authorize")
    found(".auth-container input").send_keys(keys.send)
    click(".auth-container button.authorize")
    click(".auth-btn-wrapper button.btn-done")
    click("#operations-notifications-send .opblock-summary-control")
    example = found("#operations-notifications-send textarea.body-param__text")
    WebDriverWait(browser, WITHIN).until(lambda _: FIRST_EXAMPLE["recipient"] in str(example.get_attribute("value")))
    click("#operations-notifications-send button.execute")
    status = found("#operations-notifications-send .live-responses-table tr.response .response-col_status")
    WebDriverWait(browser, WITHIN).until(lambda _: status.text.strip().startswith("202"))
    addresses = [url for url in asked(browser) if url.startswith("http")]  # the browser's own pages have others
    assert f"{running.url}/v1/notifications" in addresses
    assert [url for url in addresses if not url.startswith(f"{running.url}/")] == []
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]
    assert severe == [], "its own policy would be told here"
