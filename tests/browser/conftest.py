"""The page in Debian's Chromium, driven by Playwright, on an application whose captioner is a fake.

Without that browser the tests are skipped; `make test-browser` installs it and runs them.
"""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from werkzeug.serving import make_server

from tests.fakes import FakeCaptioner, make_app, picture
from tests.images.servers import THIS_MACHINE
from tests.web.listening import ListeningCaptioner

CHROMIUM = shutil.which("chromium")
WAIT_MS = 60_000  # for what should come at once; more than a busy machine needs
PREFIX = "/tools/captions"

expect.set_options(timeout=WAIT_MS)

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Any]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("needs Debian's chromium; make test-browser installs it")
    with sync_playwright() as playwright:
        # root, which containers and CI run as, cannot have Chromium's sandbox; the pages are our own
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def serving(app: Wsgi) -> Iterator[str]:
    """A server of `app` on this machine; its address, with a slash at the end."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def under_prefix(app: Wsgi) -> Wsgi:
    """As behind a proxy that passes on what is asked for under PREFIX, without it, and knows nothing else."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ["PATH_INFO"]
        if not path.startswith(f"{PREFIX}/"):
            start_response("404 Not Found", [("Content-Type", "text/html")])
            return [b"<h1>Not here</h1>"]
        return app({**environ, "PATH_INFO": path.removeprefix(PREFIX)}, start_response)

    return answer


@contextmanager
def a_context(browser: Browser, origin: str, **wanted: Any) -> Iterator[BrowserContext]:
    context = browser.new_context(**wanted)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=origin)
    context.set_default_timeout(WAIT_MS)
    try:
        yield context
    finally:
        context.close()


@contextmanager
def opened(
    browser: Browser,
    captioner: FakeCaptioner | None = None,
    *,
    path: str = "",
    around: Callable[[Wsgi], Wsgi] = lambda app: app,
    before: Callable[[Page], object] = lambda page: None,
    app: dict[str, Any] | None = None,
    **wanted: Any,
) -> Iterator[Page]:
    """The page at `path`, with a frog on every picture unless `captioner` sees otherwise.

    around: what stands between browser and application. before: is done with the page before it loads. app: what
    make_app takes. The rest is what a browser's context takes. Fails for whatever the browser complains about,
    and for every request to another host.
    """
    sees = captioner or ListeningCaptioner("a frog in the sunset")
    with (
        make_app(sees, **{"url_policy": THIS_MACHINE, **(app or {})}) as application,
        serving(around(application.wsgi_app)) as address,
        a_context(browser, address, **wanted) as context,
    ):
        page, complaints = context.new_page(), []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if _is_bad(message) else None)
        page.on("request", lambda sent: complaints.append(sent.url) if not _is_near(sent.url, address) else None)
        before(page)
        page.goto(address + path)
        yield page
        assert complaints == []


def choose(page: Page, *files: Path) -> None:
    page.get_by_label("Choose pictures").set_input_files(list(files))


def health(**answer: Any) -> Callable[[Page], object]:
    """Done with a page before it loads: its /health says this."""
    told = {"status": "healthy", "model_status": "loaded", "device": "cpu", "precision": "fp32", **answer}
    return lambda page: page.route("**/health", lambda route: route.fulfill(json=told))


def _is_bad(message: Any) -> bool:
    """Chromium logs every answer of 400 and above; those are the page's to tell."""
    return message.type in {"error", "warning"} and "Failed to load resource" not in message.text


def _is_near(url: str, address: str) -> bool:
    return url.startswith((address, "blob:", "data:"))


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three pictures of a colour each, which the fake captioner tells apart."""
    folder = tmp_path_factory.mktemp("colours")
    files = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    for name, colour in files.items():
        (folder / f"{name}.png").write_bytes(picture(colour, (40, 30)))
    return [folder / f"{name}.png" for name in files]


@pytest.fixture(scope="session")
def not_a_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "letter.pdf"
    path.write_bytes(b"%PDF-1.7 no picture")
    return path
