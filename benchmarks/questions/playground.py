"""The playground in a real Chromium: the time from the move of a slider to the new mask on the canvas.

In the same rounds also the time of a new photo: without the cache of encodings, each move of a slider would take as
long. Browser and server share the machine.
"""

from __future__ import annotations

import shutil
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from harness.options import MissingRequirementError, RunOptions, requires
from harness.photos import photo, unseen
from harness.tables import format_spread, table
from harness.timing import Spread, measure_in_turns, speedup
from support.server_process import ServerProcess

if TYPE_CHECKING:
    from selenium import webdriver

SIZES = ((600, 400), (2048, 1365))
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1000")
NEW, THRESHOLD, GROW = "new photo", "threshold moves", "grow moves"

# Each script acts, and returns after how many milliseconds the page is idle again: the mask is drawn by then.
SETTLED = """
const [what, value, done] = arguments;
const stage = document.querySelector("#stage");
const started = performance.now();
new MutationObserver((_, observer) => {
  if (stage.getAttribute("aria-busy") !== "false") return;
  observer.disconnect();
  done(performance.now() - started);
}).observe(stage, { attributes: true });
"""
MOVE = f"""{SETTLED}
const slider = document.querySelector(what);
slider.value = value;
slider.dispatchEvent(new Event("input", {{ bubbles: true }}));
"""
PASTE = f"""{SETTLED}
const data = new DataTransfer();
data.items.add(new File([Uint8Array.from(atob(what), (byte) => byte.charCodeAt(0)), value], "it.jpg", {{
  type: "image/jpeg",
}}));
document.body.dispatchEvent(new ClipboardEvent("paste", {{ clipboardData: data, bubbles: true }}));
"""


def measure(options: RunOptions) -> dict[str, Any]:
    """Measure milliseconds by size and case.

    Raises
    ------
    MissingRequirementError
        There is no Chromium, or no selenium.
    """
    with requires("the extra dev"):
        from selenium import webdriver
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise MissingRequirementError("needs chromium and chromedriver (apt-get install chromium chromium-driver)")
    browser_options = webdriver.ChromeOptions()
    browser_options.binary_location = chromium
    for flag in FLAGS:
        browser_options.add_argument(flag)
    store = options.folder / "playground.sqlite3"
    figures: dict[str, Any] = {}
    with (
        ServerProcess("--port", 0, "--http-port", 0, "--store", store) as server,
        webdriver.Chrome(browser_options, webdriver.ChromeService(driver)) as browser,
    ):
        browser.set_script_timeout(60)
        for width, height in SIZES[: options.pick(None, 1)]:
            browser.get(f"http://{server.http_address}/static/style.css")
            browser.execute_script("sessionStorage.clear()")  # or the page would restore the photo of the other size
            browser.get(f"http://{server.http_address}/")
            figures[f"{width}×{height}"] = _time_actions(browser, photo(width, height), options)
    return figures


def _time_actions(browser: webdriver.Chrome, jpeg: bytes, options: RunOptions) -> dict[str, Spread]:
    browser.find_element("css selector", "#prompt").send_keys("cup")

    def timed(script: str, what: str, value: object) -> dict[str, float]:
        return {"ms": float(browser.execute_async_script(script, what, value))}

    jobs = {
        NEW: lambda turn: timed(PASTE, b64encode(unseen(jpeg)).decode(), f"{turn}.jpg"),
        THRESHOLD: lambda turn: timed(MOVE, "#threshold", 0.3 + 0.01 * (turn % 9)),
        GROW: lambda turn: timed(MOVE, "#grow", 11 + turn % 9),
    }
    return {case: one["ms"] for case, one in measure_in_turns(jobs, options.pick(40, 1), warm=options.warm).items()}


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    rows = [
        (size, *(format_spread(row[case]) for case in (NEW, THRESHOLD, GROW)), f"{speedup(row[NEW], row[GROW]):.1f}")
        for size, row in figures.items()
    ]
    return (
        "**The playground** (from the move of a slider to the new mask on the canvas, in Chromium on the server's own "
        "threads; milliseconds):\n\n" + table(("photo", NEW, THRESHOLD, GROW, "a move is faster by"), rows)
    )
