"""Drives a private Chromium as a person would: by visible texts, with keys and clicks."""

import base64
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from local.services import packages
from local.services.access import free_port
from local.services.process import ServiceError
from tests.scenarios.caller import wait_for

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WITHIN = 120.0  # seconds; everything is far quicker, unless the machine is busy with something else
WIDE = (1280, 900)
PHONE = (360, 740)

TEXT = "[...document.querySelectorAll('header, #banner, main, dialog')].map(part => part.innerText).join('\\n')"
LOOK = f"""
const [texts] = arguments, until = performance.now() + 3000;
return new Promise(done => {{
  (function look() {{
    const seen = {TEXT};
    if (texts.every(text => seen.includes(text)) || performance.now() > until) done(seen);
    else setTimeout(look, 100);
  }})();
}});
"""
"""The visible text, once it has all of the wanted texts, or as it is after a while."""

TYPE = """
const [control, text] = arguments;
control.focus();
control.select();
if (!document.execCommand("insertText", false, text)) throw new Error("the control takes no text");
"""
"""As a paste does, so that the page gets the events of typing."""

T = TypeVar("T")
Json = dict[str, Any]


class NoBrowser(Exception):
    """No browser is installed or can be installed; the message says what to do."""


def programs() -> tuple[str, str]:
    """The browser and its driver, installed with apt if they are missing and we may. Raise NoBrowser."""
    for install in (False, True):
        if install:
            with contextlib.suppress(ServiceError):
                packages.install(["chromium", "chromium-driver"])
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        driver = shutil.which("chromedriver")
        if browser and driver:
            return browser, driver
    raise NoBrowser("no Chromium here: install the packages chromium and chromium-driver")


@dataclass(kw_only=True)
class Browser:
    """The window. `base` is the console's address."""

    driver: Chrome
    base: str
    addresses: list[str] = field(default_factory=list)  # of all requests that `asked` has seen
    refused: set[int] = field(default_factory=set)  # statuses that the test provokes, which the browser logs as errors

    # --- actions -------------------------------------------------------------------------------------------

    def open(self, page: str = "") -> None:
        self.driver.get(f"{self.base}{page}")

    def load(self, page: str, *, first: str) -> None:
        """Load the whole console anew, after this script has run."""
        script = self.cdp("Page.addScriptToEvaluateOnNewDocument", source=first)["identifier"]
        if self.driver.current_url.startswith(self.base):  # there, another page would be no new document
            self.js("history.replaceState(null, '', arguments[0])", f"{self.base}{page}")
            self.driver.refresh()
        else:
            self.open(page)
        self.cdp("Page.removeScriptToEvaluateOnNewDocument", identifier=script)

    def go(self, page: str) -> None:
        """Go to another page of the console, as a bookmark would, without a reload."""
        self.driver.execute_script("location.hash = arguments[0]", page)

    def sign_in(self, key: str) -> None:
        self.type("API key", key)
        self.press("Sign in")

    def press(self, name: str) -> None:
        """Press the button with this text, once it is enabled."""
        self.tried(lambda: self.one(f"//button[normalize-space()={quoted(name)} and not(@disabled)]").click())

    def follow(self, text: str) -> None:
        """Follow the link with this text."""
        self.tried(lambda: self.one(f"//main//a[contains(normalize-space(), {quoted(text)})]").click())

    def follow_nav(self, text: str) -> None:
        self.tried(lambda: self.one(f"//nav//a[normalize-space()={quoted(text)}]").click())

    def control(self, label: str) -> WebElement:
        return self.one(f"//*[@id=//label[normalize-space()={quoted(label)}]/@for]")

    def type(self, label: str, text: str) -> None:
        """Replace the control's text, all at once: a stroke of a key for each character takes more than the rest of a
        test. tests/browser/test_keyboard.py types with keys."""
        self.tried(lambda: self.js(TYPE, self.control(label), text))

    def choose(self, label: str, option: str) -> None:
        self.tried(
            lambda: self.control(label).find_element(By.XPATH, f"option[normalize-space()={quoted(option)}]").click()
        )

    def one(self, xpath: str) -> WebElement:
        return self.driver.find_element(By.XPATH, xpath)

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def tried(self, act: Callable[[], T]) -> T:
        """Call `act` until the page has the elements that it needs; its result."""
        found: list[T] = []

        def worked() -> bool:
            with contextlib.suppress(WebDriverException):
                found.append(act())
                return True
            return False

        wait_for(worked, within=WITHIN)
        return found[-1]

    # --- what is visible -------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """All visible text, without announcements for screen readers."""
        return str(self.js(f"return {TEXT}"))

    @property
    def title(self) -> str:
        return str(self.driver.title)

    def see(self, *texts: str) -> None:
        """Wait until each of these is visible. The page itself looks, for some seconds at a time: a question from here
        costs ten times as much."""

        def look() -> str:
            try:
                return str(self.js(LOOK, list(texts)))
            except WebDriverException as left:  # the page was left meanwhile
                return f"no page: {left.msg}"

        wait_for(look, lambda seen: all(text in seen for text in texts), within=WITHIN)

    def cells(self) -> list[list[str]]:
        """The rows of the visible list."""
        rows = "[...document.querySelectorAll('.found .rows tbody tr')]"
        return list(self.js(f"return {rows}.map(row => [...row.cells].map(cell => cell.innerText))"))

    def js(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def cdp(self, command: str, **parameters: object) -> Json:
        return dict(self.driver.execute_cdp_cmd(command, parameters))

    # --- display ------------------------------------------------------------------------------------------

    def size(self, width: int, height: int) -> None:
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, **features: str) -> None:
        """As `prefers_color_scheme="dark"`."""
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.cdp("Emulation.setEmulatedMedia", features=wanted)

    def picture(self) -> bytes:
        """PNG of what is visible."""
        return base64.b64decode(self.cdp("Page.captureScreenshot")["data"])

    # --- logs ---------------------------------------------------------------------------------------------

    def complaints(self) -> list[str]:
        """Unprovoked errors and warnings since the last call; a violation of the policy would be among them."""
        logged = [entry for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]  # type: ignore[no-untyped-call]
        return [
            entry["message"]
            for entry in logged
            if not any(f"status of {status} " in entry["message"] for status in self.refused)
        ]

    def requests(self) -> list[Json]:
        """The requests since the last call: `url`, `method`, and `postData` if there is any."""
        logged = self.driver.get_log("performance")  # type: ignore[no-untyped-call]
        entries = [json.loads(entry["message"])["message"] for entry in logged]
        found = [entry["params"]["request"] for entry in entries if entry["method"] == "Network.requestWillBeSent"]
        self.addresses += [str(request["url"]) for request in found]
        return found

    def asked(self) -> list[str]:
        """The URLs of `requests`."""
        return [str(request["url"]) for request in self.requests()]


@contextlib.contextmanager
def chromium() -> Iterator[Chrome]:
    """A new browser with its own profile. It reaches this machine only. Raise NoBrowser."""
    browser, driver = programs()
    folder = Path(tempfile.mkdtemp(prefix="tidings-browser-"))
    options = ChromeOptions()
    options.binary_location = browser
    for argument in (
        "--headless=new",
        "--no-sandbox",  # root cannot use the sandbox
        "--disable-dev-shm-usage",
        "--disable-lcd-text",
        "--hide-scrollbars",
        # No test needs these, and they take a fifth of the browser's processor time.
        "--disable-gpu",
        "--disable-extensions",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-features=SpareRendererForSitePerProcess",
        f"--user-data-dir={folder}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.add_experimental_option("perfLoggingPrefs", {"enableNetwork": True, "enablePage": False})
    chrome = Chrome(options=options, service=Service(driver, port=free_port()))
    try:
        yield chrome
    finally:
        chrome.quit()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def chrome_or_skip() -> Iterator[Chrome]:
    """A browser; without one, tests are skipped with the reason, and fail in CI."""
    try:
        programs()
    except NoBrowser as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
    with chromium() as chrome:
        yield chrome


@contextlib.contextmanager
def browsing(chrome: Chrome, url: str, *, key: str | None = None, page: str = "") -> Iterator[Browser]:
    """The browser's tab as if it were new, at this page of the console of the stack at `url`; with a key, signed in, as
    after a reload. It shares no console state with earlier uses: what the page had in memory goes with the page, and
    the tab's storage and history are emptied. (A new tab needs a new process, which takes more than most tests.)"""
    home = chrome.current_window_handle
    window = Browser(driver=chrome, base=f"{url}/console/")
    window.cdp("Emulation.setTimezoneOverride", timezoneId="")
    window.prefer()
    window.size(*WIDE)
    window.complaints()  # of the use before
    window.asked()
    window.addresses.clear()
    kept = f"sessionStorage.setItem('tidings-key', {json.dumps(key)})" if key is not None else ""
    window.load(page, first=f"sessionStorage.clear(); localStorage.clear(); {kept}")
    window.cdp("Page.resetNavigationHistory")
    try:
        yield window
    finally:
        for handle in chrome.window_handles:
            if handle != home:
                chrome.switch_to.window(handle)
                chrome.close()
        chrome.switch_to.window(home)


def quoted(text: str) -> str:
    """As an XPath string, which has no escapes."""
    return f'"{text}"' if '"' not in text else f"'{text}'"


def host(url: str) -> str:
    return urlsplit(url).netloc
