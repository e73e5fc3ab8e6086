"""The page at /, its files and the pictures to try: who gets what, and what a browser may do with it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from services.captioning.captioner import ANSWERING
from services.web import page
from services.web.keys import ApiKeys
from services.web.page import EXAMPLES, FOLDER, read_examples
from services.web.responses import ERRORS
from tests.fakes import make_app
from tests.web.answers import body_of, failure, upload

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"}
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob: data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
SOME_KEY = ApiKeys({"somebody": bytes(32)})
FILES = sorted(FOLDER.iterdir())
ASSETS = [path.name for path in FILES if path.name != "index.html"]
PICTURES = sorted(path.name for path in EXAMPLES.glob("*.jpg"))
PATHS = ["/", *(f"/page/{name}" for name in ASSETS), "/examples", *(f"/examples/{name}" for name in PICTURES)]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with make_app(image_roots=[tmp_path_factory.mktemp("elsewhere")]) as app:
        yield app


def get(client: FlaskClient, path: str, **headers: str) -> TestResponse:
    return client.get(path, headers={**BROWSER, **headers})


def policy_of(response: TestResponse) -> dict[str, str]:
    parts = [part.strip().partition(" ") for part in response.headers["Content-Security-Policy"].split(";")]
    return {name: value for name, _, value in parts}


def test_there_is_something_to_serve() -> None:
    assert {"main.js", "base.css", "icon.svg"} <= set(ASSETS)
    assert len(PICTURES) == 10


@pytest.mark.parametrize(
    "accept", [BROWSER["Accept"], "text/html", "text/html, application/json;q=0.5", "text/*;q=0.9, */*;q=0.1"]
)
def test_browsers_get_the_page(client: FlaskClient, accept: str) -> None:
    response = client.get("/", headers={"Accept": accept})
    assert (response.status_code, response.content_type) == (200, "text/html; charset=utf-8")
    assert response.data == (FOLDER / "index.html").read_bytes()
    assert "Accept" in response.vary


@pytest.mark.parametrize(
    "accept", [None, "*/*", "application/json", "application/json, text/html;q=0.9", "text/plain"]
)
def test_programs_get_the_list_of_routes_as_ever(client: FlaskClient, accept: str | None) -> None:
    response = client.get("/", headers={"Accept": accept} if accept else {})
    assert response.content_type == "application/json"
    assert response.json is not None
    assert list(response.json) == ["service", "status", "routes"]
    assert "Accept" in response.vary  # or a cache would give a browser this, and a program the page


@pytest.mark.parametrize("path", PATHS)
def test_what_a_browser_may_do_with_it(client: FlaskClient, path: str) -> None:
    response = get(client, path)
    assert response.status_code == 200
    assert policy_of(response) == POLICY
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", PATHS)
def test_what_a_browser_has_is_not_sent_again(client: FlaskClient, path: str) -> None:
    first = get(client, path)
    again = get(client, path, **{"If-None-Match": first.headers["ETag"]})
    changed = get(client, path, **{"If-None-Match": '"of another version"'})
    assert first.headers["Cache-Control"] == "no-cache"  # a new version shows at once
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert (changed.status_code, changed.data) == (200, first.data)


def test_each_file_has_a_tag_of_its_own(client: FlaskClient) -> None:
    assert len({get(client, path).headers["ETag"] for path in PATHS}) == len(PATHS)


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("main.js", "text/javascript; charset=utf-8"),
        ("base.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
def test_browsers_run_a_file_only_as_what_it_is(client: FlaskClient, name: str, content_type: str) -> None:
    assert get(client, f"/page/{name}").content_type == content_type


@pytest.mark.parametrize(
    "path",
    [
        "/page/nothing.js",
        "/page/index.html",
        "/page/../page.py",
        "/page/..%2Fpage.py",
        "/page/%2e%2e/page.py",
        "/page/",
        "/examples/README.md",
        "/examples/captions.jsonl",
        "/examples/..%2FREADME.md",
        "/examples/..%2F..%2F..%2F..%2Fetc%2Fpasswd",
        "/examples/%2Fetc%2Fpasswd",
        "/examples/scene_30000_00001.jpg%00",
    ],
)
def test_nothing_else_is_served(client: FlaskClient, path: str) -> None:
    response = get(client, path)
    assert response.status_code == 404
    assert body_of(response)["error"]["code"] == "not_found"


def test_the_examples_wherever_image_roots_points(client: FlaskClient) -> None:
    listed = get(client, "/examples").json
    assert listed is not None
    assert sorted(row["file"] for row in listed["examples"]) == PICTURES
    assert all(re.fullmatch("[a-z ]+", row["caption"]) for row in listed["examples"])
    for name in PICTURES:
        response = get(client, f"/examples/{name}")
        assert (response.content_type, response.data) == ("image/jpeg", (EXAMPLES / name).read_bytes())
    # the folder is not opened to the `file` input by that
    refused = client.get("/analyze", query_string={"file": str(EXAMPLES / PICTURES[0])})
    assert body_of(refused)["error"]["code"] == "file_not_allowed"


def test_without_the_folder_there_are_no_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "EXAMPLES", tmp_path / "nowhere")
    with make_app() as app:
        client = app.test_client()
        assert get(client, "/examples").json == {"examples": []}
        assert get(client, "/").status_code == 200


def test_only_what_the_list_names_is_an_example(tmp_path: Path) -> None:
    lines = ('{"file": "a.jpg", "caption": "a cat"}', '{"file": "gone.jpg", "caption": "a dog"}')
    (tmp_path / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for name in ("a.jpg", "private.jpg"):
        (tmp_path / name).write_bytes(b"picture")
    listing, pictures = read_examples(tmp_path)
    assert listing.content == b'{"examples":[{"file":"a.jpg","caption":"a cat"}]}\n'
    assert pictures.keys() == {"a.jpg"}


def test_the_page_comes_while_the_service_refuses_pictures() -> None:
    with make_app() as stopping:
        stopping.extensions["drain"].set()
        client = stopping.test_client()
        assert body_of(client.post("/analyze", **upload())) == failure("overloaded", "The service is stopping")
        assert {get(client, path).status_code for path in PATHS} == {200}


def test_a_page_and_its_files_are_open_without_a_key_and_uncounted() -> None:
    """A browser cannot send the key with them, and asks for all of them at once."""
    with make_app(api_keys=SOME_KEY, rate_limit="1/hour") as app:
        client = app.test_client()
        assert {get(client, path).status_code for path in PATHS} == {200}
        assert client.post("/analyze", **upload()).status_code == 401


# --- what stands in the files ---


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_names_another_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = set(re.findall(r"""(?:https?:)?//[A-Za-z0-9][^\s"'`)]*""", text)) - {"http://www.w3.org/2000/svg"}
    assert [address for address in found if "." in address] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_addresses_are_relative_so_that_any_prefix_works(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"""(?:href|src|action|from|import|url\(|fetch\(|send\()\s*[=(]?\s*["'`]/""", text) == []


def test_no_script_or_style_inside_of_the_markup() -> None:
    html = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", html) == []
    assert re.findall(r"<script(?![^>]*\bsrc=)", html) == []


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".js"], ids=lambda path: path.name)
def test_scripts_never_make_markup_or_code_of_text(path: Path) -> None:
    dangerous = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc|DOMParser"
    assert re.findall(dangerous, path.read_text(encoding="utf-8")) == []


def test_every_file_that_is_named_is_there() -> None:
    html = (FOLDER / "index.html").read_text(encoding="utf-8")
    named = set(re.findall(r'"page/([^"]+)"', html))
    for path in FILES:
        if path.suffix == ".js":
            named |= set(re.findall(r'from "\./([^"]+)"', path.read_text(encoding="utf-8")))
    assert named == set(ASSETS)  # and none is there that nobody names


def test_each_error_of_the_service_has_its_words() -> None:
    words = (FOLDER / "errors.js").read_text(encoding="utf-8")
    told = set(re.findall(r"^  ([a-z_]+): \[", words, re.MULTILINE))
    by_path = {"file_not_allowed", "file_not_found", "method_not_allowed"}  # the page sends no `file` path
    assert {code for code, _ in ERRORS.values()} - by_path <= told


def test_questions_are_offered_for_the_models_that_answer_them() -> None:
    listed = re.search(r"ANSWERING = (\[.*\]);", (FOLDER / "wishes.js").read_text(encoding="utf-8"))
    assert listed
    assert tuple(json.loads(listed[1])) == ANSWERING
