import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from services.pipeline import BytesSource, DecodingOptions
from services.web.responses import analysis_body
from tests.fakes import FakeCaptioner, bundled_map, make_app, make_pipeline, picture
from tests.images.servers import raw, sends
from tests.web.answers import TEAL, TEAL_BASE64, TEAL_PNG, body_of, colour_analysis, multipart, upload

ROUTES = ("/analyze", "/v3/analyze", "/analyze/", "/v3/analyze/")

EXAMPLE = "a man in a military uniform handing flowers to a little girl"
EXAMPLE_ANSWER = """{
  "service": "blip2",
  "status": "success",
  "predictions": [{
    "text": "a man in a military uniform handing flowers to a little girl",
    "emoji_mappings": [{"emoji": "🧑", "word": "man"}, {"emoji": "👔", "word": "military_uniform"},
                       {"emoji": "✋", "word": "handing"}, {"emoji": "🌼", "word": "flowers"},
                       {"emoji": "👧", "word": "girl"}],
    "confidence": null
  }],
  "metadata": {
    "processing_time": 0,
    "model_info": {"framework": "BLIP2 (Bootstrapping Language-Image Pre-training v2)",
                   "model": "fake/colours", "device": "cpu", "precision": "fp32",
                   "engine": "fake"},
    "emoji_map_version": "VERSION"
  }
}"""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """The URL of a picture."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(TEAL_PNG)}\r\nConnection: close\r\n\r\n".encode()
    with raw(sends(head + TEAL_PNG)) as port:
        yield f"http://127.0.0.1:{port}/teal.png"


def test_the_example_of_the_contract_to_the_letter() -> None:
    with make_app(FakeCaptioner(EXAMPLE)) as app:
        response = app.test_client().post("/v3/analyze", **upload())
    text = response.get_data(as_text=True)
    assert "🧑" in text  # as itself, not escaped
    answer, expected = json.loads(text), json.loads(EXAMPLE_ANSWER.replace("VERSION", bundled_map().version))
    answer["metadata"]["processing_time"] = 0
    assert json.dumps(answer) == json.dumps(expected)  # the order of the keys too


def test_each_caption_is_a_prediction_with_its_own_emojis() -> None:
    with make_pipeline(FakeCaptioner("a girl")) as pipeline:
        analysis = pipeline.analyze(BytesSource(TEAL_PNG), 10, options=DecodingOptions(num_captions=3))
    prediction = {"text": "a girl", "emoji_mappings": [{"emoji": "👧", "word": "girl"}], "confidence": None}
    assert analysis_body("blip2", analysis, 0)["predictions"] == [prediction] * 3


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_query_url(client: FlaskClient, web: str, method: str, route: str) -> None:
    response = client.open(route, method=method, query_string={"url": web})
    assert (response.status_code, body_of(response)) == (200, colour_analysis(TEAL))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_query_file(client: FlaskClient, images: Path, method: str, route: str) -> None:
    response = client.open(route, method=method, query_string={"file": str(images / "teal.png")})
    assert (response.status_code, body_of(response)) == (200, colour_analysis(TEAL))


@pytest.mark.parametrize("field", ["file", "image", "img_file"])
@pytest.mark.parametrize("route", ROUTES)
def test_multipart_file(client: FlaskClient, route: str, field: str) -> None:
    response = client.post(route, **upload(field=field, name="no matter what.txt"))
    assert (response.status_code, body_of(response)) == (200, colour_analysis(TEAL))


def test_multipart_file_so_large_that_it_waits_on_disk(client: FlaskClient) -> None:
    large = picture(TEAL, size=(600, 400), file_format="BMP")
    assert len(large) > 512_000
    response = client.post("/analyze", **upload(large))
    assert (response.status_code, body_of(response)) == (200, colour_analysis(TEAL))


@pytest.mark.parametrize("as_form", [True, False], ids=["form", "json"])
@pytest.mark.parametrize("name", ["url", "file"])
def test_form_and_json_name_urls_and_files(
    client: FlaskClient, web: str, images: Path, name: str, as_form: bool
) -> None:
    values = {name: web if name == "url" else str(images / "teal.png")}
    response = client.post("/v3/analyze", **({"data": values} if as_form else {"json": values}))
    assert (response.status_code, body_of(response)) == (200, colour_analysis(TEAL))


@pytest.mark.parametrize("image", [TEAL_BASE64, f"data:image/png;base64,{TEAL_BASE64}"], ids=["bare", "data URI"])
def test_json_image(client: FlaskClient, image: str) -> None:
    response = client.post("/v3/analyze", json={"image": image})
    assert (response.status_code, body_of(response)) == (200, colour_analysis(TEAL))


@pytest.mark.parametrize(
    "content_type",
    ["image/png", "image/jpeg", "application/octet-stream", None, "application/x-www-form-urlencoded"],
    ids=["its own", "another", "bytes", "none", "what curl says"],
)
def test_raw_body(client: FlaskClient, content_type: str | None) -> None:
    response = client.post("/v3/analyze", data=TEAL_PNG, content_type=content_type)
    assert (response.status_code, body_of(response)) == (200, colour_analysis(TEAL))


def test_the_routes_of_version_2(client: FlaskClient, web: str, images: Path) -> None:
    by_url = client.get("/v2/analyze", query_string={"image_url": web})
    by_file = client.get("/v2/analyze_file", query_string={"file_path": str(images / "teal.png")})
    assert (by_url.status_code, body_of(by_url)) == (200, colour_analysis(TEAL))
    assert (by_file.status_code, body_of(by_file)) == (200, colour_analysis(TEAL))


def test_all_five_formats(client: FlaskClient) -> None:
    for file_format in ("PNG", "GIF", "BMP", "JPEG", "WEBP"):
        response = client.post("/analyze", **upload(picture((255, 255, 255), file_format=file_format)))
        assert (response.status_code, body_of(response)) == (200, colour_analysis((255, 255, 255)))


def test_the_model_may_be_named_when_it_is_the_one_that_is_served(client: FlaskClient) -> None:
    by_query = client.post("/analyze", query_string={"model": "fake/colours"}, **upload())
    by_form = client.post("/analyze", **multipart(("model", None, b"fake/colours"), ("file", "a.png", TEAL_PNG)))
    by_json = client.post("/analyze", json={"model": "fake/colours", "image": TEAL_BASE64})
    assert [response.status_code for response in (by_query, by_form, by_json)] == [200, 200, 200]
