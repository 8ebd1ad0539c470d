"""Picking and marking objects in the playground, suggestions, downloads in full size and reloads, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import automask
from automask.service.keys.rate_limits import Rate
from automask.service.keys.sqlite import SqliteKeyStore
from support.browser import Playground, needs_browser, running_browser
from support.threaded_server import serving

COFFEE = Path(__file__).parents[2] / "examples" / "coffee.jpg"
IN_CUP, FAR = (300, 180), (585, 25)

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with running_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("playground"), http_port=0) as server:
        yield f"http://{server.http_address}/"


@pytest.fixture(params=[1280, 390])
def page(browser: webdriver.Chrome, origin: str, request: pytest.FixtureRequest) -> Iterator[Playground]:
    metrics = {"width": request.param, "height": 1000, "deviceScaleFactor": 1, "mobile": request.param < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page = Playground(browser, origin)
    page.open()
    page.console(), page.requested()
    with page.clean():
        yield page
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def click(page: Playground, x: float, y: float, *keys: str) -> None:
    """Click a pixel of the photo with keys held down, and wait for the next mask."""
    width, height = page.run("const {width, height} = document.querySelector('#canvas'); return [width, height]")
    picture = page.at("#compare")
    page.run("arguments[0].scrollIntoView({block: 'center'})", picture)
    size = picture.size
    actions = ActionChains(page.browser)
    for key in keys:
        actions.key_down(key)
    actions.move_to_element_with_offset(
        picture, round((x / width - 0.5) * size["width"]), round((y / height - 0.5) * size["height"])
    ).click()
    for key in keys:
        actions.key_up(key)
    actions.perform()
    page.settle()


def chips(page: Playground) -> list[tuple[str, str | None]]:
    """Text and state of each button below the photo."""
    buttons = page.browser.find_elements(By.CSS_SELECTOR, "#found button")
    return [(button.text.split(" 0.")[0], button.get_attribute("aria-pressed")) for button in buttons]


def mask(page: Playground, tmp_path: Path, name: str) -> Any:
    """The mask of the page, downloaded."""
    path = tmp_path / name
    page.save("mask", path)
    return np.asarray(Image.open(path))


def test_objects_are_dropped_and_kept_by_their_chips_and_in_the_picture(page: Playground, tmp_path: Path) -> None:
    page.masked(COFFEE, "cup and table")
    before = page.pixels()
    both = chips(page)
    assert sorted(label for label, _ in both) == ["cup", "dining table"]
    assert {state for _, state in both} == {"true"}
    cup = [label for label, _ in both].index("cup")
    page.settle_after(f"document.querySelectorAll('#found button')[{cup}].click()")
    assert chips(page)[cup] == ("cup", "false")
    assert "Dining table masked." in page.status()
    assert not np.array_equal(page.pixels(), before)
    click(page, *IN_CUP)  # its outline is still there
    assert chips(page) == both
    click(page, *IN_CUP)
    expected = automask.load(device="cpu").mask(COFFEE, "cup and table", drop=[cup]).mask
    assert np.array_equal(mask(page, tmp_path, "coffee-cup-and-table-mask.png"), expected)
    assert page.run("return document.querySelector('#compare').value") == "0"  # the slider did not move
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")


def test_another_prompt_forgets_what_was_dropped(page: Playground) -> None:
    page.masked(COFFEE, "cup")
    click(page, *IN_CUP)
    assert "All objects are left out." in page.status()
    page.at("#prompt").send_keys(Keys.CONTROL, "a")
    page.at("#prompt").send_keys("table", Keys.ENTER)
    page.settle()
    assert chips(page) == [("dining table", "true")]


def test_points_correct_the_mask(page: Playground, tmp_path: Path, segmenter: automask.Segmenter) -> None:
    page.masked(COFFEE, "cup")
    click(page, *IN_CUP, Keys.ALT)
    assert chips(page)[-1][0] == "Remove 1 point"
    found = mask(page, tmp_path, "coffee-cup-mask.png")
    assert found[IN_CUP[::-1]] == 0
    assert segmenter.mask(COFFEE, "cup").mask[IN_CUP[::-1]] == 255
    click(page, *FAR, Keys.SHIFT)
    assert mask(page, tmp_path, "coffee-cup-mask.png")[FAR[::-1]] == 255
    click(page, *FAR, Keys.SHIFT)  # on the point itself: it goes
    assert np.array_equal(mask(page, tmp_path, "coffee-cup-mask.png"), found)
    page.browser.find_elements(By.CSS_SELECTOR, "#found button")[-1].click()
    page.settle()
    assert chips(page) == [("cup", "true")]


def test_a_point_needs_no_prompt_and_a_tool_no_key(page: Playground, tmp_path: Path) -> None:
    page.at("#file").send_keys(str(COFFEE))
    page.until("!document.querySelector('#picture').hidden")
    page.at("[name=tool][value=add] + span").click()
    click(page, *IN_CUP)
    assert chips(page) == [("object", None), ("Remove 1 point", None)]
    assert mask(page, tmp_path, "coffee-object-mask.png")[IN_CUP[::-1]] == 255
    assert "--form-string points=" in str(page.at("#example").get_attribute("textContent"))


def test_suggestions_are_what_is_in_the_photo(page: Playground) -> None:
    page.at("#file").send_keys(str(COFFEE))
    page.until("document.querySelector('#chips').ariaLabel === 'Found in this photo'")
    words = [chip.text for chip in page.browser.find_elements(By.CSS_SELECTOR, "#chips button")]
    assert {"cup", "dining table"} <= set(words)
    assert "dog" not in words
    page.at("#chips button").click()
    page.settle()
    assert "masked" in page.status()


def test_downloads_have_the_size_of_the_photo(page: Playground, tmp_path: Path, segmenter: automask.Segmenter) -> None:
    large = tmp_path / "large.png"
    Image.open(COFFEE).resize((3000, 2000)).save(large)
    page.masked(large, "cup")
    assert "2048 × 1365, from 3000 × 2000; downloads have 3000 × 2000" in page.at("#facts").text
    click(page, 1200, 600, Keys.ALT)
    found = mask(page, tmp_path, "large-cup-mask.png")
    assert found.shape == (2000, 3000)
    assert "3000 × 2000" in page.status()
    whole = segmenter.mask(large, "cup", grow_mask=15).mask
    assert 0.5 < (found > 0).sum() / (whole > 0).sum() < 0.99


def test_an_error_speaks_of_the_page_and_goes_with_the_prompt(page: Playground) -> None:
    page.masked(COFFEE, "skyscraper")
    assert "is not among the 80 kinds of object that this model knows" in page.status()
    assert "Choose a word below the prompt" in page.status()
    assert "`" not in page.status()
    page.console()  # the browser logs the status 400
    page.at("#prompt").send_keys(Keys.CONTROL, "a")
    page.at("#prompt").send_keys(Keys.DELETE)
    page.until("document.querySelector('#status').textContent === ''")
    assert page.run("return document.querySelector('#status.error')") is None


def test_a_reload_keeps_the_photo_and_the_prompt(page: Playground) -> None:
    page.masked(COFFEE, "cup")
    page.move("#grow", 30)
    before = page.pixels()
    page.browser.refresh()
    page.until("document.querySelector('#found').children.length")
    page.settle()
    assert np.array_equal(page.pixels(), before)
    assert page.at("#prompt").get_attribute("value") == "cup"
    assert page.at("#grow-value").text == "30 px"
    page.open()  # as a new tab
    assert page.run("return document.querySelector('#picture').hidden")


def test_objects_of_a_photo(origin: str) -> None:
    call: dict[str, Any] = {
        "url": f"{origin}playground/objects",
        "files": {"image": COFFEE.read_bytes()},
        "timeout": 60,
    }
    response = httpx.post(**call)
    labels = [one["label"] for one in response.json()["objects"]]
    assert {"cup", "dining table"} <= set(labels)
    assert all(0.2 <= one["score"] <= 1 and one["count"] >= 1 for one in response.json()["objects"])
    assert httpx.post(**call, data={"model": "none"}).status_code == 404


def test_objects_cost_no_credit_and_have_a_rate_limit_of_their_own(tmp_path: Path) -> None:
    with (
        closing(SqliteKeyStore(tmp_path / "keys.sqlite3", create=True)) as file,
        serving(tmp_path, http_port=0, keys=tmp_path / "keys.sqlite3") as server,
    ):
        texts = {name: file.add(name, **options) for name, options in _GUESTS.items()}

        def post(path: str, key: str, **data: str) -> int:
            url, photo = f"http://{server.http_address}/playground/{path}", {"image": COFFEE.read_bytes()}
            return httpx.post(url, data=data, files=photo, headers={"x-api-key": key}, timeout=60).status_code

        assert post("objects", "wrong") == 401
        assert [post("objects", texts["guest"]) for _ in range(3)] == [200, 200, 429]
        assert post("mask", texts["guest"], prompt="cup") == 200
        assert post("mask", texts["guest"], prompt="cup") == 200
        assert next(one for one in file.list() if one.name == "guest").credits == 0
        assert post("objects", texts["poor"]) == 406
        assert post("objects", texts["stranger"]) == 403


_GUESTS: dict[str, dict[str, Any]] = {
    "guest": {"credits": 2, "rate": Rate(2, "h")},
    "poor": {"credits": 0},
    "stranger": {"models": ["clipseg"]},
}


def test_with_a_key_the_page_shows_what_is_in_the_photo(browser: webdriver.Chrome, tmp_path: Path) -> None:
    with (
        closing(SqliteKeyStore(tmp_path / "keys.sqlite3", create=True)) as file,
        serving(tmp_path, http_port=0, keys=tmp_path / "keys.sqlite3") as server,
    ):
        page = Playground(browser, f"http://{server.http_address}/")
        page.open()
        page.at("#key").send_keys(file.add("guest", credits=1), Keys.ENTER)
        page.until("document.querySelector('#key-form').hidden")
        page.at("#file").send_keys(str(COFFEE))
        page.until("document.querySelector('#chips').getAttribute('aria-label') === 'Found in this photo'")
        assert "cup" in page.at("#chips").text.split()
        assert file.list()[0].credits == 1
