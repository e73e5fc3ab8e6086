"""Every way in, to the caption that comes out."""

import base64
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import choose, health, opened
from tests.fakes import FakeCaptioner
from tests.web.answers import TEAL_PNG
from tests.web.listening import ListeningCaptioner

pytestmark = pytest.mark.slow

FROG = "A frog in the sunset"
# "Copied" stands there for two seconds, which a busy machine may miss
SHOWN_FOR_LONG = """{
    const later = window.setTimeout;
    window.setTimeout = (call, ms) => later(call, ms === 2000 ? 600000 : ms);
}"""
UNDER_THE_POINTER = """{
    const cover = document.createElement("div");
    cover.className = "cover";
    cover.style = "position: fixed; inset: 0";
    document.body.append(cover);
}"""
# dragCancel ends a drag without this event
LEAVE = """{
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File(["red"], "red.png"));
    document.elementFromPoint(500, 650).dispatchEvent(new DragEvent("dragleave", { bubbles: true, dataTransfer }));
}"""
INTO_CLIPBOARD = """async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const png = new Blob([bytes], { type: "image/png" });
    await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]);
}"""


def test_a_chosen_picture_and_all_that_its_card_says(browser: Browser, colours: list[Path]) -> None:
    with opened(browser, before=lambda page: page.add_init_script(SHOWN_FOR_LONG)) as page:
        choose(page, colours[0])
        card = page.locator(".card")
        expect(card.get_by_role("heading")).to_have_text(FROG)
        expect(card.locator(".emojis li")).to_have_text(["🐸frog", "🌇sunset"])
        expect(card.locator("h3 .named")).to_have_text(["frog", "sunset"])
        expect(card.locator(".source")).to_have_text("red.png")
        expect(card.locator(".confidence dd")).to_have_text("83 %")
        expect(card.locator(".time")).to_have_text(re.compile(r"^\d+\.\d\d s$"))
        expect(card.locator(".by")).to_have_text("fake/colours, cpu, fp32")
        assert card.locator("img").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [40, 30]
        card.get_by_role("button", name="Copy alt text").click()
        expect(card.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == FROG


def test_copying_where_browsers_give_pages_no_clipboard(browser: Browser, colours: list[Path]) -> None:
    """Over http from another machine."""

    def without_clipboard(page: Page) -> None:
        page.add_init_script(SHOWN_FOR_LONG)
        page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")

    with opened(browser, before=without_clipboard) as page:
        choose(page, colours[0])
        page.get_by_role("button", name="Copy alt text").click()
        expect(page.get_by_role("button", name="Copied")).to_be_focused()
        page.locator("#url").focus()
        page.keyboard.press("Control+V")
        expect(page.locator("#url")).to_have_value(FROG)


def dragging(page: Page, files: list[Path]) -> Callable[[str], None]:
    """What sends one event of a drag of `files` from outside, always at the same place: dragEnter, drop, ..."""
    drag = {"items": [], "files": [str(path) for path in files], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)

    def send(kind: str) -> None:
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 500, "y": 650, "data": drag})

    return send


@pytest.mark.parametrize("meanwhile", ["0", UNDER_THE_POINTER], ids=["still", "moved"])
def test_dropped_pictures(browser: Browser, colours: list[Path], meanwhile: str) -> None:
    """Also where the page moved under the pointer, as when the examples arrive."""
    with opened(browser, FakeCaptioner()) as page:
        expect(page.locator("#example-list button")).to_have_count(10)
        send = dragging(page, colours[:2])
        send("dragEnter")
        send("dragOver")
        expect(page.get_by_text("Drop to caption")).to_be_visible()
        page.evaluate(meanwhile)
        send("drop")
        expect(page.get_by_text("Drop to caption")).to_be_hidden()
        expect(page.locator(".card h3")).to_have_text(["Only #ff0000", "Only #00ff00"])


@pytest.mark.parametrize("cover", ["never", "comes", "goes"])
def test_pictures_dragged_away_again(browser: Browser, colours: list[Path], cover: str) -> None:
    """The veil stays while another element comes under the pointer, and goes when the last one is left."""
    with opened(browser, FakeCaptioner()) as page:
        expect(page.locator("#example-list button")).to_have_count(10)
        send = dragging(page, colours[:2])
        if cover == "goes":
            page.evaluate(UNDER_THE_POINTER)
        send("dragEnter")
        send("dragOver")
        if cover == "comes":
            page.evaluate(UNDER_THE_POINTER)
        if cover == "goes":
            page.evaluate("document.querySelector('.cover').remove()")
        send("dragOver")
        expect(page.get_by_text("Drop to caption")).to_be_visible()
        page.evaluate(LEAVE)
        expect(page.get_by_text("Drop to caption")).to_be_hidden()


def test_a_pasted_picture(browser: Browser) -> None:
    with opened(browser, FakeCaptioner()) as page:
        page.evaluate(INTO_CLIPBOARD, base64.b64encode(TEAL_PNG).decode())
        page.keyboard.press("Control+V")
        expect(page.locator(".card h3")).to_have_text("Only #008080")


def test_an_address_typed_or_pasted(browser: Browser) -> None:
    with opened(browser) as page:
        address = f"{page.url}examples/scene_30000_00012.jpg"
        page.get_by_label("The address of a picture").fill(address)
        page.get_by_role("button", name="Caption it").click()
        expect(page.locator(".card h3")).to_have_text(FROG)
        card = page.locator(".card")
        expect(card.locator(".host")).to_have_text(address.split("/")[2])
        expect(card.get_by_role("link", name="Open the picture")).to_have_attribute("href", address)
        expect(page.get_by_label("The address of a picture")).to_have_value("")

        page.evaluate("address => navigator.clipboard.writeText(address)", address)
        page.locator("#results-title").focus()
        page.keyboard.press("Control+V")
        expect(page.locator(".card h3")).to_have_text([FROG, FROG])


@pytest.mark.parametrize("typed", ["", "not an address", "ftp://example.org/a.jpg", "javascript:alert(1)"])
def test_what_is_no_address_is_said_at_the_field(browser: Browser, typed: str) -> None:
    with opened(browser) as page:
        field = page.get_by_label("The address of a picture")
        field.fill(typed)
        field.press("Enter")
        expect(page.get_by_role("alert").filter(has_text="it begins with https://")).to_be_visible()
        expect(field).to_be_focused()
        expect(field).to_have_attribute("aria-invalid", "true")
        assert page.locator(".card").count() == 0


def test_an_example(browser: Browser) -> None:
    with opened(browser) as page:
        examples = page.locator("#example-list").get_by_role("button")
        expect(examples).to_have_count(10)
        page.get_by_role("button", name="a frog in the sunset").click()
        expect(page.locator(".card h3")).to_have_text(FROG)


def test_several_pictures_in_a_row_and_how_far_it_is(browser: Browser, colours: list[Path]) -> None:
    gate = threading.Event()
    with opened(browser, FakeCaptioner(gate=gate)) as page:
        choose(page, *colours)
        headlines = page.locator(".card h3")
        expect(headlines).to_have_text(["Looking…", "Waiting its turn", "Waiting its turn"])
        expect(page.locator("#run-text")).to_have_text("0 of 3")
        expect(page.locator("#run-bar")).to_be_visible()
        gate.set()
        expect(headlines).to_have_text(["Only #ff0000", "Only #00ff00", "Only #0000ff"])
        expect(page.locator("#run-text")).to_have_text("3 captioned")
        expect(page.locator("#run-bar")).to_be_hidden()
        expect(page.locator("#announcer")).to_have_text("3 of 3: Only #0000ff")


def test_stopping_a_row_and_going_on(browser: Browser, colours: list[Path]) -> None:
    gate = threading.Event()
    with opened(browser, FakeCaptioner(gate=gate)) as page:
        choose(page, *colours)
        expect(page.locator(".card h3").first).to_have_text("Looking…")
        page.get_by_role("button", name="Stop").click()
        expect(page.locator(".card h3")).to_have_text(["Stopped before it was captioned."] * 3)
        gate.set()
        page.get_by_role("button", name="Try again").last.click()
        expect(page.locator(".card h3").last).to_have_text("Only #0000ff")


def test_taking_pictures_away(browser: Browser, colours: list[Path]) -> None:
    gate = threading.Event()
    with opened(browser, FakeCaptioner(gate=gate)) as page:
        choose(page, *colours)
        expect(page.locator(".card h3").first).to_have_text("Looking…")
        page.get_by_role("button", name="Remove").nth(1).click()  # one that waits
        page.get_by_role("button", name="Remove").nth(0).click()  # the one that is looked at
        gate.set()
        expect(page.locator(".card h3")).to_have_text(["Only #0000ff"])
        expect(page.get_by_role("button", name="Clear all")).to_be_visible()
        page.get_by_role("button", name="Clear all").click()
        expect(page.locator("#results")).to_be_hidden()
        expect(page.get_by_label("Choose pictures")).to_be_focused()


def test_a_beginning_and_a_question_where_the_model_can(browser: Browser, colours: list[Path]) -> None:
    captioner = ListeningCaptioner("a frog")
    with opened(browser, captioner, before=health(model="blip_caption/large_coco", engine="blip")) as page:
        expect(page.get_by_label("Ask about the picture")).to_be_hidden()
        page.get_by_label("Begin the caption with").fill("a drawing of")
        choose(page, colours[0])
        expect(page.locator(".card h3")).to_have_text("A drawing of a frog")
        expect(page.locator(".asked")).to_have_text("a drawing of…")
    assert [options.prompt for options in captioner.asked if options] == ["a drawing of"]

    with opened(browser, before=health(model="blip2_opt/pretrain_opt2.7b", engine="blip2")) as page:
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.post_data or ""))
        page.get_by_label("Begin the caption with").fill("a drawing of")
        page.get_by_label("Ask about the picture").fill("Which colour is it?")
        expect(page.get_by_label("Begin the caption with")).to_be_disabled()
        choose(page, colours[0])
        # the fake cannot answer, and what the service says is shown
        expect(page.locator(".card h3")).to_have_text("The model cannot follow this wish.")
        expect(page.locator(".asked")).to_have_text("Which colour is it?")
        assert 'name="question"\r\n\r\nWhich colour is it?' in sent[-1]
        assert 'name="prompt"' not in sent[-1]

    with opened(browser, before=health(model="albef/x", engine="lavis")) as page:
        expect(page.locator("#model-line")).to_have_text("albef/x on cpu")
        expect(page.get_by_label("Begin the caption with")).to_be_hidden()

    with opened(browser, before=health(model="blip_vqa/vqav2", engine="lavis")) as page:
        expect(page.get_by_label("Ask about the picture")).to_be_visible()
        expect(page.get_by_label("Begin the caption with")).to_be_hidden()

    both = {"albef/x": "loaded", "albef/y": "loaded"}
    with opened(browser, before=health(model="albef/x", engine="lavis", models=both)) as page:
        page.get_by_label("Model", exact=True).select_option("albef/y")
        expect(page.get_by_label("Begin the caption with")).to_be_hidden()


def test_one_of_several_models(browser: Browser, colours: list[Path]) -> None:
    others = {"other/stripes": ListeningCaptioner("a striped cat")}
    with opened(browser, app={"others": others}) as page:
        page.get_by_label("Model", exact=True).select_option("other/stripes")
        choose(page, colours[0])
        expect(page.locator(".card h3")).to_have_text("A striped cat")
