"""Chromium, driven by Selenium."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

TIMEOUT = 120  # seconds
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_DRIVER = shutil.which("chromedriver")
_FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream "
    "--window-size=1280,1000"
).split()
REBOUND = "rebound.example"
"""A host name that resolves to this machine in the browser."""

needs_browser = pytest.mark.skipif(
    _CHROMIUM is None or _DRIVER is None,
    reason="chromium and chromedriver are not on the PATH (Debian: apt-get install chromium chromium-driver)",
)


@contextmanager
def running_browser(folder: Path) -> Iterator[webdriver.Chrome]:
    """Start Chromium with a profile and downloads in a folder."""
    options = webdriver.ChromeOptions()
    options.binary_location = _CHROMIUM or ""
    for flag in (*_FLAGS, f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1", f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "downloads")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(_DRIVER))
    driver.set_script_timeout(TIMEOUT)
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """A page of a server, open in a browser."""

    def __init__(self, browser: webdriver.Chrome, origin: str) -> None:
        self.browser, self.origin = browser, origin
        self._log: Any = browser.get_log  # selenium has no types for it

    def at(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def until(self, condition: str) -> None:
        WebDriverWait(self.browser, TIMEOUT, 0.02).until(
            lambda browser: browser.execute_script(f"return Boolean({condition})"), condition
        )

    def console(self) -> list[str]:
        """Errors in the console since the last call."""
        return [entry["message"] for entry in self._log("browser") if entry["level"] == "SEVERE"]

    def events(self) -> list[dict[str, Any]]:
        """Network events since the last call."""
        return [json.loads(entry["message"])["message"] for entry in self._log("performance")]

    def requested(self) -> list[str]:
        """URLs requested since the last call."""
        sent = [event for event in self.events() if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    @contextmanager
    def clean(self) -> Iterator[None]:
        """Check that there are no errors in the console, and no requests to another host."""
        yield
        assert self.console() == []
        assert {url for url in self.requested() if not url.startswith((self.origin, "blob:", "data:"))} == set()


class Playground(Page):
    """The playground, open in a browser."""

    def open(self) -> None:
        """Open the page without the state of earlier tests."""
        self.browser.get(f"{self.origin}static/style.css")  # of the same origin, without scripts that store anything
        self.browser.execute_script("sessionStorage.clear()")
        self.browser.get(self.origin)
        self.until("document.querySelector('#model').options.length || !document.querySelector('#key-form').hidden")

    def settle(self) -> None:
        """Wait until no request is running."""
        self.until("document.querySelector('#stage').getAttribute('aria-busy') === 'false'")

    def settle_after(self, action: str) -> None:
        """Run a script that makes the page send a request, and wait for its response."""
        assert self.run(f"{action}; return document.querySelector('#stage').getAttribute('aria-busy')") == "true"
        self.settle()

    def masked(self, photo: Path, prompt: str) -> None:
        self.at("#file").send_keys(str(photo))
        self.until("!document.querySelector('#picture').hidden")
        self.at("#prompt").send_keys(prompt)
        self.settle()

    def move(self, slider: str, value: float) -> None:
        self.settle_after(f"""
            const slider = document.querySelector("{slider}");
            slider.value = {value};
            slider.dispatchEvent(new Event("input", {{bubbles: true}}));
        """)

    def pixels(self) -> Any:
        """Pixels of the canvas, (H, W, 4)."""
        url = self.run("return document.querySelector('#canvas').toDataURL()")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA"))

    def save(self, kind: str, path: Path) -> None:
        """Download what a button of the page saves, to the path with the name that the page gives it."""
        path.unlink(missing_ok=True)
        settings = {"behavior": "allow", "downloadPath": str(path.parent)}
        self.browser.execute_cdp_cmd("Browser.setDownloadBehavior", settings)
        self.at(f"[data-save={kind}]").click()
        # The browser reserves the name with an empty file, and renames the complete one to it.
        WebDriverWait(self.browser, TIMEOUT, 0.02).until(lambda _: path.exists() and path.stat().st_size > 0)

    def status(self) -> str:
        return self.at("#status").text
