"""The interactive API page in a real browser, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from selenium import webdriver

from automask.service.keys.sqlite import SqliteKeyStore
from support.browser import Page, needs_browser, running_browser
from support.threaded_server import serving

COFFEE = Path(__file__).parents[2] / "examples" / "coffee.jpg"
GENERATE = "#operations-default-generate_v1_automatic_mask_generator_post"

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with running_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def key_and_page(browser: webdriver.Chrome, tmp_path: Path) -> Iterator[tuple[str, Page]]:
    """The key of a server, and the page of that server with all its operations."""
    with (
        closing(SqliteKeyStore(tmp_path / "keys.sqlite3", create=True)) as keys,
        serving(tmp_path, http_port=0, keys=tmp_path / "keys.sqlite3") as server,
    ):
        page = Page(browser, f"http://{server.http_address}/")
        page.console(), page.requested()
        browser.get(f"{page.origin}docs")
        page.until("document.querySelectorAll('.opblock').length")
        yield keys.add("guest"), page


def click(page: Page, selector: str) -> None:
    page.until(f"document.querySelector('{selector}')")
    page.at(selector).click()


def fill(page: Page) -> None:
    """Open the form of the operation and choose a photo; the prompt is filled in by its example."""
    click(page, f"{GENERATE} .opblock-summary-control")
    click(page, f"{GENERATE} .try-out__btn")
    page.until(f"document.querySelector('{GENERATE} input[type=file]')")
    page.at(f"{GENERATE} input[type=file]").send_keys(str(COFFEE))
    assert page.at(f"{GENERATE} tr[data-property-name=prompt] input").get_attribute("value") == "cup"


def execute(page: Page) -> str:
    """Send the request of the open operation and return the status and the body of the response."""
    click(page, f"{GENERATE} .execute")
    page.until(f"document.querySelector('{GENERATE} .live-responses-table .response-col_status')")
    return page.at(f"{GENERATE} .live-responses-table tbody").text


def test_a_request_can_be_made_under_the_content_security_policy(key_and_page: tuple[str, Page]) -> None:
    key, page = key_and_page
    with page.clean():
        paths = page.run("return [...document.querySelectorAll('.opblock-summary-path')].map((path) => path.innerText)")
        assert {path.replace("\u200b", "") for path in paths} == {
            "/v1/automatic-mask-generator",
            "/v2/automatic-mask-generator",
            "/v2/requests/{request_id}",
            "/v2/requests/{request_id}/status",
            "/v2/requests/{request_id}/output.{ending}",
            "/healthz",
        }
        click(page, ".auth-wrapper .authorize")
        page.until("document.querySelector('.auth-container input')")
        page.at(".auth-container input").send_keys(key)
        click(page, ".auth-container .authorize")
        click(page, ".auth-container .btn-done")
        fill(page)
        assert execute(page).startswith("200")
        picture = f"document.querySelector('{GENERATE} .live-responses-table img')"
        page.until(f"{picture}?.naturalWidth")
        assert page.run(f"return [{picture}.naturalWidth, {picture}.naturalHeight]") == [600, 400]


def test_an_error_is_shown(key_and_page: tuple[str, Page]) -> None:
    _, page = key_and_page
    fill(page)
    response = execute(page)
    assert response.startswith("401")
    assert "this server requires an API key" in response
