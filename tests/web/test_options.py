"""How a request wants its captions made: by which options, in which forms, within which ranges."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from services.captioning.captioner import DecodingOptions
from tests.fakes import FakeCaptioner, make_app
from tests.web.answers import TEAL_BASE64, TEAL_PNG, body_of, failure, multipart, upload
from tests.web.listening import CONFIDENCE, ListeningCaptioner

ALL = {
    "prompt": "a photo of",
    "num_beams": 5,
    "max_length": 40,
    "min_length": 2,
    "top_p": 0.9,
    "num_captions": 2,
    "seed": 7,
}
EVERYTHING = DecodingOptions(
    prompt="a photo of", num_beams=5, max_length=40, min_length=2, top_p=0.9, num_captions=2, seed=7
)


@pytest.fixture(scope="module")
def captioner() -> ListeningCaptioner:
    return ListeningCaptioner()


@pytest.fixture(scope="module")
def app(captioner: ListeningCaptioner) -> Iterator[Flask]:
    with make_app(captioner) as app:
        yield app


@pytest.mark.parametrize(
    "request_args",
    [
        {"query_string": ALL, **upload()},
        {"query_string": ALL, "data": TEAL_PNG, "content_type": "image/png"},
        {"json": {**ALL, "image": TEAL_BASE64}},
        {"json": {**{name: str(value) for name, value in ALL.items()}, "image": TEAL_BASE64}},
        multipart(
            *((name, None, str(value).encode()) for name, value in ALL.items()), ("file", "a.png", TEAL_PNG)
        ),
        {
            "query_string": {"prompt": "a photo of", "num_beams": 5, "max_length": 40, "seed": ""},
            "json": {"image": TEAL_BASE64, **{k: ALL[k] for k in ("min_length", "top_p", "num_captions", "seed")}},
        },
    ],
    ids=["query, upload", "query, raw", "json", "json texts", "multipart", "query and json"],
)
def test_options_in_every_form(
    client: FlaskClient, captioner: ListeningCaptioner, request_args: dict[str, Any]
) -> None:
    body = body_of(client.post("/v3/analyze", **request_args))
    assert captioner.asked[-1] == EVERYTHING
    assert [prediction["text"] for prediction in body["predictions"]] == [
        "a photo of a girl 1",
        "a photo of a girl 2",
    ]
    assert {prediction["confidence"] for prediction in body["predictions"]} == {CONFIDENCE}


def test_options_in_a_form_beside_the_name_of_a_file(images: Any) -> None:
    captioner = ListeningCaptioner()
    path = str(images / "teal.png")
    with make_app(captioner, image_roots=[images]) as app:
        client = app.test_client()
        client.post("/analyze", data={"file": path, "num_beams": "2"})
        client.get("/analyze", query_string={"file": path, "num_beams": "3"})
        client.get("/v2/analyze_file", query_string={"file_path": path, "num_beams": "4"})
    assert [options.num_beams for options in captioner.asked if options] == [2, 3, 4]


def test_without_options_the_model_uses_its_own(client: FlaskClient, captioner: ListeningCaptioner) -> None:
    nothing = {"prompt": None, "num_beams": "", "unknown": 1, "image": TEAL_BASE64}
    assert client.post("/analyze", json=nothing).status_code == 200
    assert captioner.asked[-1] is None


@pytest.mark.parametrize("n_captions", [1, 2, 10])
def test_each_caption_is_a_prediction(client: FlaskClient, n_captions: int) -> None:
    body = body_of(client.post("/analyze", query_string={"num_captions": n_captions}, **upload()))
    assert len({prediction["text"] for prediction in body["predictions"]}) == n_captions


@pytest.mark.parametrize(
    ("sent", "options"),
    [
        ({"max_length": 5}, DecodingOptions(max_length=5, min_length=5)),
        ({"max_length": 20}, DecodingOptions(max_length=20)),
        ({"min_length": 0}, DecodingOptions(min_length=0)),
        ({"min_length": 30}, DecodingOptions(min_length=30)),
        # a seed decides nothing without sampling, and would only keep requests out of one batch
        ({"num_beams": 1, "seed": 3}, DecodingOptions(num_beams=1)),
        ({"top_p": 1, "seed": 0}, DecodingOptions(top_p=1.0, seed=0)),
        ({"top_p": 0.00001}, DecodingOptions(top_p=0.00001)),
        ({"prompt": "x" * 500}, DecodingOptions(prompt="x" * 500)),
    ],
)
def test_what_becomes_of_the_options(
    client: FlaskClient, captioner: ListeningCaptioner, sent: dict[str, Any], options: DecodingOptions
) -> None:
    assert client.post("/analyze", json={**sent, "image": TEAL_BASE64}).status_code == 200
    assert captioner.asked[-1] == options


@pytest.mark.parametrize(
    ("name", "bad", "allowed"),
    [
        ("num_beams", [0, 11, -1, 1.5, 5.0, "five", "1e1", "٣", True, [3], {}], "a whole number from 1 to 10"),
        ("num_captions", [0, 11, "1 0"], "a whole number from 1 to 10"),
        ("max_length", [0, 257, "x"], "a whole number from 1 to 256"),
        ("min_length", [-1, 257], "a whole number from 0 to 256"),
        ("min_length", [31], "a whole number from 0 to 30, the max_length"),
        ("seed", [-1, 2**32, 0.5], "a whole number from 0 to 4294967295"),
        ("top_p", [0, 1.01, -0.5, "nan", "inf", True, 1e400, [0.5]], "a number above 0 and up to 1"),
        ("prompt", ["  ", "x" * 501, "\ud800", 5, ["a"]], "a text of 1 to 500 characters"),
    ],
)
def test_out_of_range(client: FlaskClient, name: str, bad: list[Any], allowed: str) -> None:
    for value in bad:
        response = client.post("/analyze", json={name: value, "image": TEAL_BASE64})
        assert (response.status_code, body_of(response)) == (
            400,
            failure("invalid_parameter", f"{name} must be {allowed}"),
        ), value


def test_an_option_more_than_once(client: FlaskClient) -> None:
    response = client.post("/analyze?num_beams=3", json={"num_beams": 3, "image": TEAL_BASE64})
    assert (response.status_code, body_of(response)) == (
        400,
        failure("conflicting_input", "Cannot provide num_beams more than once"),
    )


@pytest.mark.parametrize(
    ("name", "value"), [("question", "what is it?"), ("history", [{"question": "a?", "answer": "b"}])]
)
def test_questions_need_a_model_that_answers(client: FlaskClient, name: str, value: Any) -> None:
    by_json = client.post("/analyze", json={name: value, "image": TEAL_BASE64})
    by_query = client.post("/analyze", query_string={name: str(value)}, **upload())
    by_form = client.post("/analyze", **multipart((name, None, b"what?"), ("file", "a.png", TEAL_PNG)))
    refusal = failure(
        "invalid_parameter",
        f"{name}: the model fake/colours gives captions and cannot answer questions; "
        "of the models that are served here, none can",
    )
    for response in (by_json, by_query, by_form):
        assert (response.status_code, body_of(response)) == (400, refusal)


@pytest.mark.parametrize("name", ["fake/colours", "colours", "blip", ""])
def test_names_of_the_model_that_is_served(client: FlaskClient, name: str) -> None:
    by_json = client.post("/analyze", json={"model": name, "image": TEAL_BASE64})
    by_query = client.post("/analyze", query_string={"model": name}, **upload())
    assert (by_json.status_code, by_query.status_code) == (200, 200)
    assert body_of(by_json)["metadata"]["model_info"]["model"] == "fake/colours"


def test_what_the_model_cannot_follow_is_an_invalid_parameter() -> None:
    reason = "max_length is 200; it must be at most 64"
    with make_app(FakeCaptioner(error=ValueError(reason))) as app:
        asked = app.test_client().post("/analyze", query_string={"max_length": 200}, **upload())
        not_asked = app.test_client().post("/analyze", **upload())
    assert (asked.status_code, body_of(asked)) == (400, failure("invalid_parameter", reason))
    assert (not_asked.status_code, body_of(not_asked)["error"]["code"]) == (500, "internal_error")


def test_a_blank_caption_is_no_prediction() -> None:
    class HalfSilent(ListeningCaptioner):
        def caption(self, pictures: Any, options: DecodingOptions | None) -> Any:
            return [[of_one[0], type(of_one[0])(" ")] for of_one in super().caption(pictures, options)]

    with make_app(HalfSilent()) as app:
        body = body_of(app.test_client().post("/analyze", query_string={"num_captions": 2}, **upload()))
    assert [prediction["text"] for prediction in body["predictions"]] == ["a girl 1"]
