"""How long a slider of the playground takes: from its move to the new mask on the canvas, in a real Chromium.

Beside it, in the same rounds, what a photo takes that the server has not seen, as each move would without the cache of
encodings. Browser and server share the machine.
"""

from __future__ import annotations

import shutil
from base64 import b64encode
from typing import Any

from selenium import webdriver

from harness.photos import photo, unseen
from harness.turns import Spread, figures_by_turns, show, table, times_as_fast
from harness.workplace import NotHereError, Workplace
from support.server_process import ServerProcess

SIZES = ((600, 400), (2048, 1365))
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1000")
NEW, THRESHOLD, GROW = "new photo", "threshold moves", "grow moves"

# Each acts, and says how many milliseconds later the page has nothing left to ask: the mask is drawn by then.
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


def measure(workplace: Workplace) -> dict[str, Any]:
    """Milliseconds by size and case."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise NotHereError("it takes chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(flag)
    store = workplace.folder / "playground.sqlite3"
    figures: dict[str, Any] = {}
    with (
        ServerProcess("--port", 0, "--http-port", 0, "--store", store) as server,
        webdriver.Chrome(options, webdriver.ChromeService(driver)) as browser,
    ):
        browser.set_script_timeout(60)
        for width, height in SIZES:
            browser.get(f"http://{server.http_address}/")
            figures[f"{width}×{height}"] = _move(browser, photo(width, height), workplace.pick(40, 1))
    return figures


def _move(browser: webdriver.Chrome, jpeg: bytes, rounds: int) -> dict[str, Spread]:
    browser.find_element("css selector", "#prompt").send_keys("cup")

    def timed(script: str, what: str, value: object) -> dict[str, float]:
        return {"ms": float(browser.execute_async_script(script, what, value))}

    jobs = {
        NEW: lambda turn: timed(PASTE, b64encode(unseen(jpeg)).decode(), f"{turn}.jpg"),
        THRESHOLD: lambda turn: timed(MOVE, "#threshold", 0.3 + 0.01 * (turn % 9)),
        GROW: lambda turn: timed(MOVE, "#grow", 11 + turn % 9),
    }
    return {case: one["ms"] for case, one in figures_by_turns(jobs, rounds).items()}


def markdown(figures: dict[str, Any]) -> str:
    """Lay out the table."""
    rows = [
        (size, *(show(row[case]) for case in (NEW, THRESHOLD, GROW)), f"{times_as_fast(row[NEW], row[GROW]):.1f}")
        for size, row in figures.items()
    ]
    return (
        "**The playground** (from the move of a slider to the new mask on the canvas, in Chromium on the server's own "
        "threads; milliseconds):\n\n" + table(("photo", NEW, THRESHOLD, GROW, "a move is faster by"), rows)
    )
