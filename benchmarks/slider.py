"""How long a slider of the playground takes: from its move to the new mask on the canvas, in a real Chromium.

Beside it, in the same rounds, what a photo takes that the server has not seen, as each move would without the cache of
encodings. Browser and server share the machine. Needs chromium and chromedriver (Debian: apt-get install
chromium chromium-driver).
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from selenium import webdriver

import machine
from server_process import ServerProcess

PHOTO = Path(__file__).parents[1] / "examples" / "coffee.jpg"
SIZES = ((600, 400), (2048, 1365))
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1000")

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


def measure(browser: webdriver.Chrome, photo: bytes, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each case, a number for each round."""
    found: dict[str, list[float]] = {"new photo": [], "threshold": [], "grow": []}
    browser.find_element("css selector", "#prompt").send_keys("cup")
    for number in range(-1, rounds):
        taken = {
            # What stands behind the picture's end makes it a file that is new.
            "new photo": browser.execute_async_script(PASTE, b64encode(photo).decode(), f"{number}"),
            "threshold": browser.execute_async_script(MOVE, "#threshold", 0.3 + 0.01 * (number % 9)),
            "grow": browser.execute_async_script(MOVE, "#grow", 11 + number % 9),
        }
        if number >= 0:
            for case, ms in taken.items():
                found[case].append(float(ms))
    return found


def sized(width: int, height: int) -> bytes:
    """Give the photo in another size, as a JPEG."""
    file = io.BytesIO()
    with Image.open(PHOTO) as image:
        image.resize((width, height)).save(file, "JPEG", quality=90)
    return file.getvalue()


def run(rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds by size and case: p50 and p95."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in FLAGS:
        options.add_argument(flag)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ServerProcess("--port", 0, "--http-port", 0, "--store", folder / "store") as server:
            with webdriver.Chrome(options, webdriver.ChromeService(str(shutil.which("chromedriver")))) as browser:
                browser.set_script_timeout(60)
                for width, height in SIZES:
                    browser.get(f"http://{server.http_address}/")
                    taken = measure(browser, sized(width, height), rounds)
                    figures[f"{width}×{height}"] = {case: quantiles(ms) for case, ms in taken.items()}
            server.end()
    return figures


def quantiles(ms: list[float]) -> dict[str, float]:
    """Give p50 and p95."""
    p50, p95 = np.percentile(ms, (50, 95))
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="moves of each slider (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        print("slider: left out, chromium and chromedriver are not on the PATH")
        return
    figures: dict[str, Any] = run(arguments.rounds)
    print(f"milliseconds, p50 (p95) of {arguments.rounds}, {machine.line()}\n")
    print("| photo | new photo | threshold moves | grow moves |\n|---|---|---|---|")
    for size, row in figures.items():
        print(f"| {size} | " + " | ".join(f"{one['p50']:.0f} ({one['p95']:.0f})" for one in row.values()) + " |")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"machine": machine.describe(), "ms": figures}, indent=2, ensure_ascii=False) + "\n"
        )


if __name__ == "__main__":
    main()
