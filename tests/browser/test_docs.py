"""/docs in a browser: nothing of another host, nothing that its policy refuses, and its examples run."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import PREFIX, Wsgi, opened, under_prefix

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"


def executed(page: Page, operation: str) -> Locator:
    """What is shown of the answer, after "Try it out" with what stands there already."""
    block = page.locator(f".opblock[id$='-{operation}']")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    return block.locator(".live-responses-table")


@pytest.mark.parametrize(
    ("path", "around"),
    [("docs", lambda app: app), ("docs/", lambda app: app), (f"{PREFIX[1:]}/docs", under_prefix)],
)
def test_examples_can_be_tried(browser: Browser, path: str, around: Callable[[Wsgi], Wsgi]) -> None:
    with opened(browser, path=path, around=around, app={"image_roots": [EXAMPLES]}) as page:
        for operation in ("get_v3_analyze", "post_v3_analyze", "post_v1_chat_completions"):
            answer = executed(page, operation)
            expect(answer.locator(".response-col_status").last).to_contain_text("200")
            expect(answer).to_contain_text("a frog in the sunset")
