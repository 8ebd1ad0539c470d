"""The playground in a real browser, against a real server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf import json_format
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import automask
from automask.service.keys.sqlite import SqliteKeyStore
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.browser import Playground, needs_browser, running_browser
from support.threaded_server import serving

COFFEE = Path(__file__).parents[2] / "examples" / "coffee.jpg"

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with running_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("playground"), http_port=0) as server:
        yield f"http://{server.http_address}/"


@pytest.fixture
def page(browser: webdriver.Chrome, origin: str) -> Playground:
    page = Playground(browser, origin)
    page.open()
    page.console(), page.requested()
    return page


def test_a_mask_is_seen(page: Playground) -> None:
    with page.clean():
        page.open()
        page.masked(COFFEE, "cup")
        shown = page.pixels()
        photo = np.asarray(Image.open(COFFEE).convert("RGB"), np.int16)
        assert shown.shape[:2] == photo.shape[:2]
        changed = shown[..., :3].astype(np.int16) - photo
        cup, table = changed[150, 300], changed[380, 20]
        assert cup[2] > cup[1] + 20  # tinted violet
        assert max(table) <= 0  # only darker
        assert "Cup masked" in page.status()
        assert page.at("#found").text.startswith("cup 0.")


def test_sliders_and_switches_change_the_mask(page: Playground) -> None:
    with page.clean():
        page.masked(COFFEE, "cup")
        seen = [page.pixels()]
        page.move("#grow", 60)
        seen.append(page.pixels())
        page.settle_after("document.querySelector('#invert').click()")
        seen.append(page.pixels())
        page.run("document.querySelector('#cutout').click()")
        seen.append(page.pixels())
        assert not any(np.array_equal(one, other) for i, one in enumerate(seen) for other in seen[:i])
        assert seen[-1][150, 300, 3] == 0  # the cup is removed …
        assert seen[-1][380, 20, 3] == 255  # … its surroundings stay
        page.move("#threshold", 1)
        assert "No cup was found. A lower threshold may help." in page.status()


def test_superseded_requests_are_aborted(page: Playground) -> None:
    page.masked(COFFEE, "cup")
    page.requested()
    slow = {"offline": False, "latency": 2000, "downloadThroughput": -1, "uploadThroughput": -1}
    page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
    try:
        page.browser.execute_async_script("""
            const done = arguments[0], words = ["person", "dog", "table"];
            const next = () => {
                document.querySelector("#prompt").value = words.shift();
                document.querySelector("#panel").requestSubmit();
                setTimeout(words.length ? next : done, 20);
            };
            next();
        """)
        page.settle()
    finally:
        page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", {**slow, "latency": 0})
    assert page.at("#found").text.startswith("dining table 0.")
    assert page.run("return document.querySelector('#history').children.length") == 2
    ends = [event["method"] for event in page.events() if event["params"].get("canceled")]
    assert ends == ["Network.loadingFailed"] * 2


def test_before_and_after(page: Playground) -> None:
    page.masked(COFFEE, "cup")
    after = page.pixels()
    slider = page.at("#compare")
    slider.send_keys(Keys.END)
    before = page.pixels()
    photo = np.asarray(Image.open(COFFEE).convert("RGB"), np.int16)
    assert np.abs(before[..., :3] - photo).mean() < 2  # Pillow and Chromium decode JPEG a little differently
    slider.send_keys(*[Keys.PAGE_DOWN] * 5)
    value = float(slider.get_attribute("value") or 0)
    assert 0 < value < 100
    split = round(value * 6)
    half = page.pixels()
    assert np.array_equal(half[:, : split - 1], before[:, : split - 1])
    assert np.array_equal(half[:, split + 1 :], after[:, split + 1 :])


def test_an_error_is_shown_and_the_old_mask_removed(page: Playground) -> None:
    page.masked(COFFEE, "cup")
    page.at("#prompt").send_keys(Keys.CONTROL, "a")
    page.at("#prompt").send_keys("asdfgh", Keys.ENTER)
    page.until("document.querySelector('#status').classList.contains('error')")
    assert page.status().startswith("'asdfgh' is not among the 80 kinds of object")
    assert page.at("#status").get_attribute("aria-live") == "polite"
    photo = np.asarray(Image.open(COFFEE).convert("RGB"), np.int16)
    assert np.abs(page.pixels()[..., :3] - photo).mean() < 2
    assert not page.at("[data-save=mask]").is_enabled()
    assert all("400 (Bad Request)" in one for one in page.console())  # logged by the browser itself


def test_a_file_that_is_not_an_image_is_named(page: Playground, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    page.at("#file").send_keys(str(tmp_path / "notes.png"))
    page.until("document.querySelector('#status').classList.contains('error')")
    assert page.status() == "notes.png is not an image that this browser can read."


def test_a_large_photo_is_scaled_down(page: Playground, tmp_path: Path) -> None:
    Image.open(COFFEE).resize((3000, 2000)).save(tmp_path / "large.png")
    with page.clean():
        page.masked(tmp_path / "large.png", "cup")
        assert page.pixels().shape[:2] == (1365, 2048)
        assert "2048 × 1365, from 3000 × 2000" in page.at("#facts").text


def test_keyboard_alone(page: Playground) -> None:
    """From the top of the page: the sample, another word, a slider, a switch, and the history."""
    with page.clean():
        page.run("document.activeElement.blur()")
        press(page, "[data-do=sample]", Keys.ENTER)
        page.until("document.querySelector('#found').children.length")
        press(page, "#prompt", Keys.CONTROL, "a")
        page.browser.switch_to.active_element.send_keys("table", Keys.ENTER)
        page.until("document.querySelector('#history').children.length === 2")
        page.settle()
        before = page.pixels()
        press(page, "#grow", Keys.END)
        assert page.at("#grow-value").text == "100 px"
        page.until("document.querySelector('#stage').getAttribute('aria-busy') === 'false'")
        press(page, "#invert", Keys.SPACE)
        page.settle()
        assert not np.array_equal(page.pixels(), before)
        press(page, "#history li:last-child button", Keys.ENTER)
        assert page.at("#prompt").get_attribute("value") == "cup"
        assert page.at("#found").text.startswith("cup 0.")


def press(page: Playground, selector: str, *keys: str) -> None:
    """Move the focus to an element with Tab, check that the focus is visible, and press keys."""
    wanted = page.at(selector)
    for _ in range(60):
        page.browser.switch_to.active_element.send_keys(Keys.TAB)
        if page.browser.switch_to.active_element == wanted:
            break
    assert page.browser.switch_to.active_element == wanted
    assert page.run("return getComputedStyle(arguments[0]).outlineStyle", wanted) == "solid"
    wanted.send_keys(*keys)


def test_every_control_has_a_name(page: Playground) -> None:
    page.masked(COFFEE, "cup")
    controls = page.browser.find_elements(By.CSS_SELECTOR, "button, input:not([type=file]), select")
    assert [one.get_attribute("outerHTML") for one in controls if one.is_displayed() and not one.accessible_name] == []


def test_history_restores_a_mask_without_a_request(page: Playground) -> None:
    page.masked(COFFEE, "cup")
    first = page.pixels()
    page.at("#prompt").send_keys(Keys.CONTROL, "a")
    page.at("#prompt").send_keys("table", Keys.ENTER)
    page.until("document.querySelector('#history').children.length === 2")
    page.settle()
    assert not np.array_equal(page.pixels(), first)
    page.requested()
    page.at("#history li:last-child button").click()
    assert np.array_equal(page.pixels(), first)
    assert page.requested() == []


def test_downloads_equal_the_responses_of_the_server(page: Playground, tmp_path: Path, origin: str) -> None:
    page.masked(COFFEE, "cup")
    for kind, ending in (("mask", "mask.png"), ("cutout", "cutout.png"), ("rle", "rle.json")):
        page.save(kind, tmp_path / f"coffee-cup-{ending}")
    mask = np.asarray(Image.open(tmp_path / "coffee-cup-mask.png"))
    form = {"prompt": "cup", "return_mask": "true"}
    with COFFEE.open("rb") as photo:
        hosted = httpx.post(f"{origin}v1/automatic-mask-generator", data=form, files={"image": photo}, timeout=60)
    assert (tmp_path / "coffee-cup-mask.png").read_bytes() == hosted.content
    cutout = np.asarray(Image.open(tmp_path / "coffee-cup-cutout.png"))
    assert np.array_equal(cutout[..., 3], mask)
    assert json.loads((tmp_path / "coffee-cup-rle.json").read_text())["size"] == [400, 600]


def test_the_camera_takes_a_photo(page: Playground) -> None:
    page.at("[data-do=camera]").click()
    page.until("document.querySelector('#video').videoWidth")
    page.at("[data-do=shoot]").click()
    page.until("!document.querySelector('#picture').hidden && document.querySelector('#video').srcObject === null")
    assert page.pixels()[..., :3].std() > 0


def test_a_photo_is_pasted_or_dropped(page: Playground) -> None:
    for event, carrier in (("ClipboardEvent('paste'", "clipboardData"), ("DragEvent('drop'", "dataTransfer")):
        page.open()
        page.browser.execute_async_script(f"""
            const done = arguments[0];
            fetch("static/sample.jpg").then((response) => response.blob()).then((blob) => {{
                const data = new DataTransfer();
                data.items.add(new File([blob], "it.jpg", {{type: "image/jpeg"}}));
                document.body.dispatchEvent(new {event}, {{{carrier}: data, bubbles: true}}));
                done();
            }});
        """)
        page.until("!document.querySelector('#picture').hidden")
        assert page.pixels().shape[:2] == (400, 600)


NASTY = """cup 'of' "$(touch pwned)" `touch pwned` \\ @tea"""  # a cup, and ignored words


def example(page: Playground, language: str, prompt: str) -> str:
    """The code example for a photo and parameters; special characters must not matter."""
    page.masked(COFFEE, prompt)
    page.move("#grow", 25)
    page.settle_after("document.querySelector('#invert').click()")
    page.at(f"[value={language}] + span").click()
    return str(page.at("#example").get_attribute("textContent"))


def expected(segmenter: automask.Segmenter) -> bytes:
    return segmenter.mask(COFFEE, NASTY, grow_mask=25, invert_mask=True).encode("mask")


def run_in(folder: Path, *command: str) -> bytes:
    shutil.copy(COFFEE, folder)
    output = subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout
    assert not (folder / "pwned").exists()
    return output


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on the PATH")
def test_the_curl_example_works(page: Playground, tmp_path: Path, segmenter: automask.Segmenter) -> None:
    run_in(tmp_path, "sh", "-c", example(page, "curl", NASTY))
    assert (tmp_path / "mask.png").read_bytes() == expected(segmenter)


def test_the_python_example_works(page: Playground, tmp_path: Path, segmenter: automask.Segmenter) -> None:
    run_in(tmp_path, sys.executable, "-c", example(page, "python", NASTY))
    assert (tmp_path / "mask.png").read_bytes() == expected(segmenter)


def test_the_grpc_example_works(page: Playground, tmp_path: Path, segmenter: automask.Segmenter) -> None:
    """All but grpcurl itself: its input is sent to its address."""
    body, _, rest = example(page, "grpc", NASTY).partition(" |\ngrpcurl")
    request = json_format.Parse(run_in(tmp_path, "sh", "-c", body), messages.GenerateRequest())
    assert "automask.v1.MaskService/Generate" in rest
    address = next(word for word in rest.split() if word.startswith("127.0.0.1:"))
    with grpc.insecure_channel(address) as channel:
        response = MaskServiceStub(channel).Generate(request).response
    assert response.results[0].media[0].data == expected(segmenter)


def test_a_phone_does_not_scroll_sideways(page: Playground) -> None:
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.masked(COFFEE, "cup")
        assert page.run("return document.documentElement.scrollWidth") == 390
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_key_is_required(browser: webdriver.Chrome, tmp_path: Path) -> None:
    with (
        closing(SqliteKeyStore(tmp_path / "keys.sqlite3", create=True)) as file,
        serving(tmp_path, http_port=0, keys=tmp_path / "keys.sqlite3") as server,
    ):
        key = file.add("guest", credits=2)
        page = Playground(browser, f"http://{server.http_address}/")
        page.open()
        assert browser.switch_to.active_element == page.at("#key")
        page.at("#key").send_keys("nonsense", Keys.ENTER)
        page.until("document.querySelector('#status').textContent")
        assert "key" in page.status()
        page.at("#key").send_keys(key, Keys.ENTER)
        page.until("document.querySelector('#key-form').hidden")
        page.masked(COFFEE, "cup")
        assert "Cup masked" in page.status()
        stored = page.run("return {...sessionStorage}")
        assert stored.pop("automask-key") == key
        assert key not in json.dumps(stored)  # the form, for a reload
        assert page.run("return localStorage.length + document.cookie.length") == 0
        page.move("#grow", 20)
        page.move("#grow", 30)
        assert "credits" in page.status()  # the same limits as all calls
        assert file.list()[0].credits == 0


def test_the_content_security_policy_is_strict(origin: str) -> None:
    for path in ("", "static/app.js"):
        headers = httpx.get(origin + path, timeout=60).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' blob: data:",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        assert headers["x-content-type-options"] == "nosniff"


def test_files_are_cached_by_etag(origin: str) -> None:
    first = httpx.get(f"{origin}static/style.css", timeout=60)
    assert (first.status_code, first.headers["content-type"]) == (200, "text/css; charset=utf-8")
    again = httpx.get(f"{origin}static/style.css", headers={"if-none-match": first.headers["etag"]}, timeout=60)
    assert (again.status_code, again.content) == (304, b"")
    assert httpx.get(f"{origin}static/..%2fplayground.py", timeout=60).status_code == 404
    assert httpx.get(f"{origin}static/none.js", timeout=60).status_code == 404


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"prompt": "cup", "threshold": "high"}, 400, "threshold must be a number in [0, 1], got 'high'"),
        ({"prompt": "cup", "threshold": "nan"}, 400, "threshold must be a number in [0, 1], got nan"),
        ({"prompt": "cup", "grow_mask": "101"}, 400, "grow_mask must be an integer in [0, 100], got 101"),
        ({"prompt": " "}, 400, "prompt must name what to mask, got ' '"),
        ({"prompt": "cup", "model": "none"}, 404, "no model 'none' is loaded here; there is 'default'"),
    ],
)
def test_invalid_fields_are_named(origin: str, form: dict[str, str], status: int, error: str) -> None:
    response = httpx.post(f"{origin}playground/mask", data=form, files={"image": COFFEE.read_bytes()}, timeout=60)
    assert (response.status_code, response.json()["error"]) == (status, error)


@pytest.mark.parametrize("form", [{"prompt": "cup"}, {"prompt": "cup", "image": "http://127.0.0.1/cup.jpg"}])
def test_a_missing_image_is_an_error(origin: str, form: dict[str, str]) -> None:
    response = httpx.post(f"{origin}playground/mask", data=form, timeout=60)
    assert (response.status_code, response.json()["reason"]) == (400, "INVALID_IMAGE")


def test_an_incomplete_form_is_an_error(origin: str) -> None:
    kind = {"content-type": "multipart/form-data; boundary=b"}
    response = httpx.post(f"{origin}playground/mask", content=b"what", headers=kind, timeout=60)
    assert (response.status_code, response.json()["reason"]) == (400, "INVALID_PARAMETER")


def test_edges_and_the_soft_cutout(page: Playground, segmenter: automask.Segmenter) -> None:
    with page.clean():
        page.masked(COFFEE, "cup")
        grown = page.pixels()
        page.settle_after("document.querySelector('#soft').click()")
        assert page.at("#cutout").is_selected()
        assert page.at("#grow-value").text == "0 px"
        assert not page.at("#grow").is_enabled()
        expected = segmenter.mask(COFFEE, "cup", grow_mask=0, alpha="soft").alpha
        page.run("document.querySelector('#outlines').click()")
        shown = page.pixels()
        assert np.abs(shown[..., 3].astype(int) - expected[..., 3]).max() <= 1
        assert ((shown[..., 3] > 0) & (shown[..., 3] < 255)).any()
        for name in ('alpha="soft"', "grow_mask=0"):
            page.run("document.querySelector('[name=language][value=python]').click()")
            assert name in page.at("#example").text
        page.settle_after(choose_edges("model"))
        drawn = page.pixels()
        assert not np.array_equal(drawn, shown)
        assert 'edges="model"' in page.at("#example").text
        page.settle_after("document.querySelector('#soft').click()")
        assert not page.at("#cutout").is_selected()
        page.settle_after(choose_edges("fast"))
        page.run("document.querySelector('#outlines').click()")
        np.testing.assert_array_equal(page.pixels(), grown)


def choose_edges(value: str) -> str:
    return (
        f"const edges = document.querySelector('#edges'); edges.value = '{value}'; "
        "edges.dispatchEvent(new Event('change'))"
    )
