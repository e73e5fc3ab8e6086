"""Which inputs a request may have, in which forms; the sources are never fetched or decoded here."""

import base64
import contextlib
import json
import tracemalloc
from typing import Any

import pytest
from flask import Flask

from services.errors import BadRequest, CaptioningError, ConflictingInput, InvalidParameter, NoInput, TooLarge
from services.images.source import BytesSource, FileSource, ImageSource, UrlSource
from services.web.base64_text import decode_base64
from services.web.inputs import read_inputs, read_timeout_s
from services.web.request import ApiRequest, current_request
from tests.web.answers import multipart

MAX_IMAGE_BYTES = 1000
JPEG = b"\xff\xd8\xff\xe0 and so on"
BASE64 = base64.b64encode(JPEG).decode()
FORM = "application/x-www-form-urlencoded"

app = Flask(__name__)
app.request_class = ApiRequest


def source_of(**request_args: Any) -> ImageSource:
    with app.test_request_context("/analyze", method="POST", **request_args):
        return read_inputs(current_request(), MAX_IMAGE_BYTES).source


def typed(data: str | bytes, content_type: str) -> dict[str, Any]:
    return {"data": data, "content_type": content_type}


@pytest.mark.parametrize(
    ("request_args", "source"),
    [
        ({"query_string": "url=http://a/b.png%3Fc=d"}, UrlSource("http://a/b.png?c=d")),
        ({"query_string": {"file": "/images/ü ö.png"}}, FileSource("/images/ü ö.png")),
        (typed("url=http%3A%2F%2Fa%2Fb", FORM), UrlSource("http://a/b")),
        (typed(b"file=/images/%C3%BC.png", f"{FORM}; charset=utf-8"), FileSource("/images/ü.png")),
        (typed("file=/images/ü.png".encode(), FORM), FileSource("/images/ü.png")),
        (multipart(("url", None, b"http://a/b")), UrlSource("http://a/b")),
        (multipart(("file", None, b"/images/a.png")), FileSource("/images/a.png")),
        (multipart(("file", "a.png", JPEG)), BytesSource(JPEG)),
        (multipart(("img_file", "../../a.php", JPEG), ("other", "b.png", b"ignored")), BytesSource(JPEG)),
        (multipart(("file", "a.png", b"")), BytesSource(b"")),
        (multipart(("file", "a.png", bytes(5000))), BytesSource(bytes(MAX_IMAGE_BYTES + 1))),
        ({"json": {"url": "http://a/b", "unknown": 1}}, UrlSource("http://a/b")),
        ({"json": {"url": None, "file": "/a.png"}}, FileSource("/a.png")),
        ({"json": {"image": BASE64}}, BytesSource(JPEG)),
        ({"json": {"image": f"data:image/jpeg;base64,{BASE64}"}}, BytesSource(JPEG)),
        ({"json": {"image": BASE64, "ignored": [0] * 90_000}}, BytesSource(JPEG)),
        (typed('\ufeff{"file": "/a.png"}', "application/json"), FileSource("/a.png")),
        (typed('{"file": "/a.png"}'.encode("utf-16"), "application/json"), FileSource("/a.png")),
        (typed('{"file": "/a.png"}', "application/vnd.api+json"), FileSource("/a.png")),
        (typed(JPEG, "image/jpeg"), BytesSource(JPEG)),
        (typed(JPEG, "IMAGE/X-WHATEVER; q=1"), BytesSource(JPEG)),
        (typed(JPEG, "application/octet-stream"), BytesSource(JPEG)),
        (typed(JPEG, FORM), BytesSource(JPEG)),
        ({"data": JPEG}, BytesSource(JPEG)),
        (typed(b"", "image/jpeg"), BytesSource(b"")),
        # what is empty does not count
        ({"query_string": "url=&file=/a.png"}, FileSource("/a.png")),
        ({"query_string": "file=/a.png", **typed(b"", "image/jpeg")}, FileSource("/a.png")),
        ({"query_string": "file=/a.png", **typed(b"", "application/json")}, FileSource("/a.png")),
        ({"query_string": "file=/a.png", **typed(b"", "text/plain")}, FileSource("/a.png")),
        (multipart(("url", None, b"http://a/b"), ("file", "", b"")), UrlSource("http://a/b")),
    ],
)
def test_one_input(request_args: dict[str, Any], source: ImageSource) -> None:
    assert source_of(**request_args) == source


MISSING = NoInput("Must provide either url or file parameter, or POST a file")
BOTH = ConflictingInput("Cannot provide both url and file parameters")
NOT_JSON = BadRequest("The body is not valid JSON")
NO_OBJECT = BadRequest('The JSON body must be an object, such as {"url": "https://…"}')
TOO_MANY_VALUES = TooLarge("The JSON body has more than 100,000 values: send one picture")
NO_FORM = BadRequest("The multipart body is malformed or incomplete")


@pytest.mark.parametrize(
    ("request_args", "error"),
    [
        ({}, MISSING),
        ({"query_string": "url="}, MISSING),
        ({"query_string": "image=abc"}, MISSING),
        ({"json": {}}, MISSING),
        ({"json": {"image": ""}}, MISSING),
        (typed(b"", "application/json"), MISSING),
        (typed("uri=/a.png", FORM), MISSING),
        (multipart(("picture", "a.png", JPEG)), MISSING),
        (multipart(("file", "", b"")), NoInput("No file selected")),
        ({"query_string": "url=a&file=b"}, BOTH),
        ({"query_string": "file=b&url=a"}, BOTH),
        ({"json": {"file": "b", "url": "a"}}, BOTH),
        (typed("file=b&url=a", FORM), BOTH),
        ({"query_string": "file=b", "json": {"url": "a"}}, BOTH),
        ({"query_string": "url=a&url=b"}, ConflictingInput("Cannot provide url more than once")),
        (
            multipart(("file", "a.png", JPEG), ("image", "b.png", JPEG)),
            ConflictingInput("Cannot provide an uploaded file more than once"),
        ),
        (
            {"query_string": "url=a", **multipart(("file", "a.png", JPEG))},
            ConflictingInput("Cannot provide both url and an uploaded file"),
        ),
        (
            {"query_string": "file=a", **typed(JPEG, "image/jpeg")},
            ConflictingInput("Cannot provide both file and a raw body"),
        ),
        (
            {"json": {"url": "a", "image": BASE64}},
            ConflictingInput("Cannot provide both url and a JSON image"),
        ),
        ({"json": {"url": 1}}, InvalidParameter("url must be a string")),
        ({"json": {"file": ["/a.png"]}}, InvalidParameter("file must be a string")),
        ({"json": {"image": {}}}, InvalidParameter("image must be a string")),
        ({"json": {"url": "a", "model": False}}, InvalidParameter("model must be a string")),
        ({"json": ["a"]}, NO_OBJECT),
        ({"json": "a"}, NO_OBJECT),
        (typed("null", "application/json"), NO_OBJECT),
        (typed('{"url": ', "application/json"), NOT_JSON),
        (typed(JPEG, "application/json"), NOT_JSON),
        (typed("[" * 100_000, "application/json"), NOT_JSON),
        (typed("1" * 5000, "application/json"), NOT_JSON),
        ({"json": {"image": "!!!"}}, BadRequest("image is not valid base64")),
        (typed('{"a": [' + "0," * 100_000 + "0]}", "application/json"), TOO_MANY_VALUES),
        (typed('{"a": [' + "[]," * 50_000 + "0]}", "application/json"), TOO_MANY_VALUES),
        (
            multipart(*[(f"x{n}", "a.png", b"") for n in range(4)]),
            TooLarge("The form holds more than 3 files: send one picture"),
        ),
        (typed("--limit\r\n", "multipart/form-data; boundary=limit"), NO_FORM),
        (typed("whatever", "multipart/form-data"), NO_FORM),
        (
            typed("<a/>", "text/xml; charset=utf-8"),
            BadRequest(
                "Content-Type text/xml cannot carry an image here; "
                "send image/*, application/octet-stream, multipart/form-data or application/json"
            ),
        ),
    ],
)
def test_no_input_or_a_wrong_one(request_args: dict[str, Any], error: CaptioningError) -> None:
    with pytest.raises(type(error)) as raised:
        source_of(**request_args)
    assert raised.value.message == error.message


@pytest.mark.parametrize(
    "text",
    [
        BASE64,
        f"  {BASE64[:8]}\r\n{BASE64[8:]}\n",
        BASE64.rstrip("="),
        BASE64.replace("/", "_").replace("+", "-"),
        f"data:image/jpeg;base64,{BASE64}",
        f"DATA:;BASE64,{BASE64}",
        f"data:image/jpeg;name=a.jpg;base64,{BASE64.replace('/', '%2F').replace('=', '%3D')}",
        f"data:;base64,{BASE64[:8]}%0D%0A%20{BASE64[8:].replace('/', '%2f').replace('=', '%3d')}",
        f"{BASE64[:8]}\t \v\f{BASE64[8:]}",
    ],
)
def test_base64(text: str) -> None:
    assert decode_base64(text, "image") == JPEG


@pytest.mark.parametrize(
    "text", ["ab " * 500_000, "data:;base64," + "%2B" * 500_000, "data:;base64," + "%41" * 500_000]
)
def test_base64_in_many_pieces_takes_a_few_times_its_length(text: str) -> None:
    tracemalloc.start()
    try:
        with contextlib.suppress(BadRequest):
            decode_base64(text, "image")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * len(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "image is not valid base64"),
        ("abc!", "image is not valid base64"),
        ("ab=cd", "image is not valid base64"),
        ("Zürich", "image is not valid base64"),
        ("https://example.org/a.png", "image is not valid base64"),
        ("data:image/png,abcd", "image is a data: URI without base64: write data:image/png;base64,…"),
    ],
)
def test_what_is_not_base64(text: str, message: str) -> None:
    with pytest.raises(BadRequest) as raised:
        decode_base64(text, "image")
    assert raised.value.message == message


@pytest.mark.parametrize(
    ("header", "timeout_s"), [(None, 120), ("5", 5), ("0.25", 0.25), ("120", 120), ("1000000", 120)]
)
def test_timeout(header: str | None, timeout_s: float) -> None:
    headers = {"X-Request-Timeout": header} if header else {}
    with app.test_request_context(headers=headers):
        assert read_timeout_s(current_request(), most_s=120) == timeout_s


@pytest.mark.parametrize("header", ["", "0", "0.0", "-1", "1e3", "nan", "inf", "1_0", "5 s", "٣"])
def test_bad_timeout(header: str) -> None:
    with (
        app.test_request_context(environ_overrides={"HTTP_X_REQUEST_TIMEOUT": header}),
        pytest.raises(InvalidParameter) as raised,
    ):
        read_timeout_s(current_request(), most_s=120)
    assert raised.value.message == "X-Request-Timeout must be a number of seconds, above 0 and up to 120"


def test_models_are_collected_from_wherever_they_are_named() -> None:
    body = json.dumps({"file": "/a.png", "model": "b"})
    with app.test_request_context("/?model=a", method="POST", data=body, content_type="application/json"):
        assert read_inputs(current_request(), MAX_IMAGE_BYTES).models == ["a", "b"]
