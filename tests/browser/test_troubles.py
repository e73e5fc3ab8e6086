"""What goes wrong, in words; keys; and a model that is not there yet."""

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from services.captioning.captioner import Captioner, LoadProgress, ReportProgress
from services.web.keys import ApiKeys
from tests.browser.conftest import choose, health, opened
from tests.fakes import WAIT_S, FakeCaptioner
from tests.web.listening import ListeningCaptioner

pytestmark = pytest.mark.slow

KEY = "the-key-of-somebody"
KEYS = ApiKeys({"somebody": hashlib.sha256(KEY.encode()).digest()})


def test_a_file_that_is_no_picture(browser: Browser, not_a_picture: Path) -> None:
    with opened(browser) as page:
        choose(page, not_a_picture)
        card = page.locator(".card")
        expect(card.get_by_role("heading")).to_have_text("This is no picture that can be read here.")
        expect(card.locator(".cure")).to_contain_text("PNG, JPEG, GIF, BMP and WebP can.")
        expect(card.locator(".said")).to_have_text("The service says: File type not allowed")
        expect(card.locator("img")).to_be_hidden()
        expect(page.locator("#announcer")).to_have_text("This is no picture that can be read here.")


def test_one_bad_picture_of_several_spoils_no_other(
    browser: Browser, colours: list[Path], not_a_picture: Path
) -> None:
    with opened(browser, FakeCaptioner()) as page:
        choose(page, colours[0], not_a_picture, colours[1])
        expected = ["Only #ff0000", "This is no picture that can be read here.", "Only #00ff00"]
        expect(page.locator(".card h3")).to_have_text(expected)
        expect(page.locator("#run-text")).to_have_text("2 captioned, 1 not")


def test_an_address_that_is_not_fetched(browser: Browser) -> None:
    with opened(browser, app={"url_policy": None}) as page:
        page.get_by_label("The address of a picture").fill("http://127.0.0.1/<b>a</b>.jpg")
        page.get_by_role("button", name="Caption it").click()
        expect(page.locator(".card h3")).to_have_text("This address is not fetched.")
        expect(page.locator(".card b")).to_have_count(0)


@pytest.mark.parametrize(
    ("answer", "headline"),
    [
        ({"status": 413, "body": "<html>Request Entity Too Large</html>"}, "The picture is too large."),
        ({"status": 502, "body": "Bad gateway"}, "Something between you and the service answered in its place."),
        ({"status": 500, "json": {"error": {"code": "new_code", "message": "?"}}}, "The service made a mistake."),
        (None, "The service does not answer."),
    ],
)
def test_answers_of_others_and_none(
    browser: Browser, colours: list[Path], answer: dict[str, Any] | None, headline: str
) -> None:
    def reply(route: Route) -> None:
        if answer:
            route.fulfill(**answer)
        else:
            route.abort()

    with opened(browser, before=lambda page: page.route("**/v3/analyze", reply)) as page:
        choose(page, colours[0])
        expect(page.locator(".card h3")).to_have_text(headline)
        page.unroute("**/v3/analyze")
        page.get_by_role("button", name="Try again").click()
        expect(page.locator(".card h3")).to_have_text("A frog in the sunset")


def test_a_fault_of_the_page_ends_nothing(browser: Browser, colours: list[Path]) -> None:
    """An answer that the page is not made for, here for the first picture alone."""
    tries: list[str] = []

    def odd_once(route: Route) -> None:
        tries.append(route.request.url)
        if len(tries) > 1:
            route.continue_()
        else:
            route.fulfill(json={"status": "success"})

    def before(page: Page) -> None:
        page.add_init_script("console.error = () => {}")  # where the page tells of it
        page.route("**/v3/analyze", odd_once)

    with opened(browser, before=before) as page:
        choose(page, *colours[:2])
        expect(page.locator(".card h3")).to_have_text(["The service made a mistake.", "A frog in the sunset"])
        choose(page, colours[2])
        expect(page.locator(".card h3").first).to_have_text("A frog in the sunset")


WITHOUT_LOOKBEHIND = """
    const Known = RegExp;
    window.RegExp = class extends Known {
        constructor(pattern, flags) {
            if (/[(][?]<[!=]/.test(String(pattern))) throw new SyntaxError("invalid group specifier name");
            super(pattern, flags);
        }
    };
"""


def test_browsers_that_cannot_look_behind_mark_the_words(browser: Browser, colours: list[Path]) -> None:
    sees = ListeningCaptioner("frog cat and a frog-cat in a bullfrog")
    with opened(browser, sees, before=lambda page: page.add_init_script(WITHOUT_LOOKBEHIND)) as page:
        choose(page, colours[0])
        expect(page.locator(".card h3")).to_have_text("Frog cat and a frog-cat in a bullfrog")
        expect(page.locator("h3 .named")).to_have_text(["Frog", "cat", "frog", "cat"])


def test_a_busy_service_is_asked_again_when_it_said(browser: Browser, colours: list[Path]) -> None:
    tries: list[str] = []

    def busy_once(route: Route) -> None:
        tries.append(route.request.url)
        if len(tries) > 1:
            route.continue_()
        else:
            body = {"error": {"code": "overloaded", "message": "All 2 places of the queue are taken"}}
            route.fulfill(status=503, headers={"Retry-After": "5"}, json=body)

    with opened(browser, before=lambda page: page.route("**/v3/analyze", busy_once)) as page:
        choose(page, colours[0])
        expect(page.locator(".card h3")).to_have_text("The service is busy; the next try is in 5 s")
        expect(page.locator(".card h3")).to_have_text("A frog in the sunset")
    assert len(tries) == 2


def test_a_key_is_asked_for_kept_for_the_tab_and_sent(browser: Browser, colours: list[Path]) -> None:
    with opened(browser, app={"api_keys": KEYS}) as page:
        choose(page, colours[0], colours[1])
        dialog = page.get_by_role("dialog", name="This service asks for a key")
        give(page, "")
        expect(dialog.get_by_role("alert")).to_contain_text("Type or paste the key")
        expect(page.get_by_label("Key", exact=True)).to_have_attribute("aria-invalid", "true")
        expect(page.get_by_label("Key", exact=True)).to_be_focused()
        give(page, "wrong")
        expect(dialog.get_by_role("alert")).to_contain_text("This key was not accepted.")
        give(page, KEY)
        expect(page.locator(".card h3")).to_have_text(["A frog in the sunset"] * 2)
        expect(dialog).to_be_hidden()
        kept = "[Object.values(sessionStorage), localStorage.length, document.cookie]"
        assert page.evaluate(kept) == [[KEY], 0, ""]

        page.reload()
        choose(page, colours[2])
        expect(page.locator(".card h3")).to_have_text("A frog in the sunset")


def test_who_gives_no_key_is_asked_once(browser: Browser, colours: list[Path]) -> None:
    with opened(browser, app={"api_keys": KEYS}) as page:
        choose(page, *colours)
        page.get_by_role("dialog").wait_for()
        page.keyboard.press("Escape")
        expect(page.locator(".card h3")).to_have_text(["The service asks for a key."] * 3)
        expect(page.get_by_role("dialog")).to_be_hidden()


def test_loading_shows_how_far_and_pictures_wait_for_it(browser: Browser, colours: list[Path]) -> None:
    reported, may_load = threading.Event(), threading.Event()

    def load(report: ReportProgress) -> Captioner:
        report(LoadProgress("downloading", 450_000_000, 1_800_000_000))
        reported.set()
        may_load.wait(WAIT_S * 3)
        return FakeCaptioner()

    with opened(browser, app={"load": load, "wait_until": None}) as page:
        panel = page.get_by_role("region", name="The model is loading")
        expect(panel).to_contain_text("25 %, 450 of 1800 MB")
        expect(panel.get_by_role("progressbar")).to_have_attribute("value", "0.25")
        expect(page.locator("#model-line")).to_have_text("fake/colours is loading")
        choose(page, colours[0])
        expect(page.locator(".card h3")).to_have_text("Waiting for the model…")
        may_load.set()
        expect(page.locator(".card h3")).to_have_text("Only #ff0000")
        expect(panel).to_be_hidden()
        expect(page.locator("#model-line")).to_have_text("fake/colours on cpu")


def test_a_model_that_could_not_be_loaded(browser: Browser, colours: list[Path]) -> None:
    def load(_: ReportProgress) -> Captioner:
        raise OSError("no weights in /cache")

    with opened(browser, app={"load": load, "wait_until": None}) as page:
        panel = page.get_by_role("region", name="The model could not be loaded")
        expect(panel).to_contain_text("no weights in /cache")
        choose(page, colours[0])
        expect(page.locator(".card h3")).to_have_text("The model is not ready.")
        expect(page.locator(".said")).to_contain_text("no weights in /cache")


def test_the_demonstration_model_says_what_it_knows(browser: Browser) -> None:
    with opened(browser, before=health(model="demo", engine="blip")) as page:
        expect(page.get_by_text("It knows drawn scenes only")).to_be_visible()
    with opened(browser) as page:
        expect(page.locator("#model-line")).to_have_text("fake/colours on cpu")
        expect(page.get_by_text("It knows drawn scenes only")).to_be_hidden()


def give(page: Page, key: str) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Use this key").click()
