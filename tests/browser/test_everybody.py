"""The page for everybody: by keyboard, on a phone, in the dark, read by axe-core, under any path."""

import importlib.resources
import threading
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PREFIX, choose, health, opened, under_prefix
from tests.fakes import FakeCaptioner

pytestmark = pytest.mark.slow

PHONE: dict[str, Any] = {"viewport": {"width": 375, "height": 667}, "has_touch": True, "is_mobile": True}
AXE = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js")
SCREENS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": PHONE,
    "dark phone": {**PHONE, "color_scheme": "dark"},
}


def violations(page: Page) -> list[str]:
    """All that axe-core finds, whatever its weight: the rule, and where."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")["violations"]
    return [f"{rule['id']} ({rule['impact']}): {node['html'][:200]}" for rule in found for node in rule["nodes"]]


def fill(page: Page, colours: list[Path], not_a_picture: Path) -> None:
    """Cards of all kinds: captioned, refused, and of an address."""
    choose(page, *colours, not_a_picture)
    expect(page.locator(".card[data-state=failed]")).to_have_count(1)
    page.get_by_label("The address of a picture").fill(f"{page.url}examples/scene_30000_00012.jpg")
    page.keyboard.press("Enter")
    expect(page.locator(".card[data-state=done]")).to_have_count(4)


@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_nothing(browser: Browser, colours: list[Path], not_a_picture: Path, screen: str) -> None:
    wanted = {**SCREENS[screen], "reduced_motion": "reduce"}  # colours are judged when nothing moves
    with opened(browser, before=health(model="demo", engine="blip"), **wanted) as page:
        expect(page.locator("#example-list button")).to_have_count(10)
        expect(page.locator("#demo-note")).to_be_visible()
        assert violations(page) == []
        fill(page, colours, not_a_picture)
        assert violations(page) == []


def test_axe_finds_nothing_while_loading_and_in_the_dialog(browser: Browser, colours: list[Path]) -> None:
    loading = health(model="demo", model_status="loading", load_progress=0.4)
    with opened(browser, before=loading, reduced_motion="reduce") as page:
        expect(page.locator("#loading-bar")).to_be_visible()
        choose(page, *colours)
        expect(page.locator("#run-bar")).to_be_visible()
        assert violations(page) == []
        page.evaluate("document.getElementById('key-dialog').showModal()")
        assert violations(page) == []


def test_axe_is_really_looking(browser: Browser) -> None:
    with opened(browser) as page:
        page.evaluate("document.querySelector('label[for=url]').remove()")
        page.locator("#url").evaluate("field => field.removeAttribute('placeholder')")
        assert any(found.startswith("label (critical)") for found in violations(page))


def test_by_keyboard_alone(browser: Browser, colours: list[Path]) -> None:
    with opened(browser, FakeCaptioner(), before=health(model="x/y", engine="blip")) as page:
        # now: expect_file_chooser would ask for the dialog at the moment of the key, and may come second
        page.once("filechooser", lambda chooser: chooser.set_files(colours))
        expect(page.get_by_label("Begin the caption with")).to_be_visible()
        expect(page.locator("#example-list button")).to_have_count(10)
        order = [tab(page) for _ in range(5)]
        assert order == ["files", "url", "Caption it", "prompt", "Example: a skateboard on a red carpet"]

        page.locator("#files").focus()
        page.keyboard.press("Space")
        expect(page.locator(".card h3")).to_have_text(["Only #ff0000", "Only #00ff00", "Only #0000ff"])

        assert [tab(page) for _ in range(5)][3:] == ["Clear all", "Copy alt text"]
        page.keyboard.press("Enter")
        expect(page.locator("#announcer")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == "Only #ff0000"
        assert tab(page) == "Remove"
        page.keyboard.press("Enter")
        expect(page.locator(".card h3")).to_have_text(["Only #00ff00", "Only #0000ff"])
        expect(page.get_by_role("button", name="Remove").first).to_be_focused()


def test_the_focus_stays_when_stop_goes(browser: Browser, colours: list[Path]) -> None:
    gate = threading.Event()
    with opened(browser, FakeCaptioner(gate=gate)) as page:
        choose(page, colours[0])
        page.get_by_role("button", name="Stop").focus()
        gate.set()
        expect(page.locator(".card h3")).to_have_text("Only #ff0000")
        expect(page.locator("#results-title")).to_be_focused()


def test_the_buttons_of_cards_say_whose_they_are(browser: Browser, colours: list[Path]) -> None:
    with opened(browser, FakeCaptioner()) as page:
        choose(page, *colours[:2])
        expect(page.locator(".card[data-state=done]")).to_have_count(2)
        buttons = page.get_by_role("button", name="Remove")
        expect(buttons.nth(0)).to_have_accessible_description("red.png")
        expect(buttons.nth(1)).to_have_accessible_description("green.png")


def test_the_focus_is_seen(browser: Browser, colours: list[Path]) -> None:
    with opened(browser) as page:
        choose(page, colours[0])
        expect(page.locator(".card[data-state=done]")).to_have_count(1)
        page.locator("body").click(position={"x": 2, "y": 2})
        for _ in range(9):
            name = tab(page)
            shown = page.evaluate(
                """() => {
                    const focused = document.activeElement;
                    const choose = document.querySelector(".choose"); // stands for the unseen file input
                    const style = getComputedStyle(focused.id === "files" ? choose : focused);
                    return `${style.outlineStyle} ${style.outlineWidth}`;
                }"""
            )
            assert (name, shown) == (name, "solid 3px")


@pytest.mark.parametrize("width", [320, 375])
def test_on_a_phone(browser: Browser, colours: list[Path], not_a_picture: Path, width: int) -> None:
    screen: dict[str, Any] = {**PHONE, "viewport": {"width": width, "height": 667}}
    with opened(browser, before=health(model="demo", engine="blip"), **screen) as page:
        fill(page, colours, not_a_picture)
        sizes = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert sizes == [width, width]  # nothing to scroll sideways for
        small = page.evaluate(
            """() => Array.from(document.querySelectorAll("button, .choose, input:not(.off-screen), select"))
                .filter((part) => part.offsetParent && part.getBoundingClientRect().height < 44)
                .map((part) => part.outerHTML)"""
        )
        assert small == []  # for a thumb
        card = page.locator(".card").nth(1)
        picture, label = card.locator("figure").bounding_box(), card.locator(".label").bounding_box()
        assert picture is not None
        assert label is not None
        assert label["y"] > picture["y"] + picture["height"] - 0.5  # they touch, but for parts of a pixel


def test_dark_and_light_follow_the_system(browser: Browser) -> None:
    def brightness(page: Page, what: str) -> float:
        script = f"getComputedStyle(document.body).{what}.match(/[0-9.]+/g).slice(0, 3).reduce((a, b) => +a + +b)"
        return float(page.evaluate(script)) / 765

    with opened(browser, color_scheme="dark") as page:
        assert brightness(page, "backgroundColor") < 0.2
        assert brightness(page, "color") > 0.8
        page.emulate_media(color_scheme="light")
        assert brightness(page, "backgroundColor") > 0.8
        assert brightness(page, "color") < 0.2


def test_under_a_path_of_a_proxy(browser: Browser, colours: list[Path]) -> None:
    with opened(browser, around=under_prefix, path=f"{PREFIX[1:]}/") as page:
        expect(page.locator("#model-line")).to_have_text("fake/colours on cpu")
        expect(page.locator("#example-list img")).to_have_count(10)
        page.get_by_role("button", name="a frog in the sunset").click()
        choose(page, colours[0])
        expect(page.locator(".card h3")).to_have_text(["A frog in the sunset"] * 2)
        link = page.get_by_role("link", name="health").evaluate("link => new URL(link.href).pathname")
        assert link == f"{PREFIX}/health"


def test_without_scripts_it_says_what_to_do(browser: Browser) -> None:
    with opened(browser, java_script_enabled=False) as page:
        expect(page.locator("noscript .note")).to_be_visible()


def tab(page: Page) -> str:
    """Goes one on; the id, or what a screen reader calls what has the focus then."""
    page.keyboard.press("Tab")
    name: str = page.evaluate(
        """() => {
            const focused = document.activeElement;
            return focused.id && focused.matches("input, select") ? focused.id
                : focused.querySelector("img")?.alt || focused.textContent.trim();
        }"""
    )
    return name
