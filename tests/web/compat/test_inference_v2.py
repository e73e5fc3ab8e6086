"""The Open Inference Protocol: its routes, and the tensors that Inferless names."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from services.captioning.captioner import DecodingOptions
from tests.web.answers import TEAL_BASE64
from tests.web.listening import ListeningCaptioner

DATA_URI = f"data:image/png;base64,{TEAL_BASE64}"
CAPTION = "two dogs and a girl handing flowers"


def tensor(name: str, *data: Any, datatype: str = "BYTES") -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": list(data)}


def answer(text: str) -> dict[str, Any]:
    output = {"name": "generated_output", "shape": [1], "datatype": "BYTES", "data": [text]}
    return {"model_name": "colours", "outputs": [output]}


@pytest.mark.parametrize("model", ["colours", "blip"])
@pytest.mark.parametrize("datatype", ["BYTES", "STRING"])
def test_infer(client: FlaskClient, web: str, model: str, datatype: str) -> None:
    for image in (web, DATA_URI):
        inputs = [tensor("img_url", image, datatype=datatype)]
        response = client.post(f"/v2/models/{model}/infer", json={"inputs": inputs})
        assert (response.status_code, response.json) == (200, answer(CAPTION))


def test_text_is_what_the_caption_continues(client: FlaskClient, captioner: ListeningCaptioner) -> None:
    text = {**tensor("text", "a photography of"), "optional": True}
    sent = {"id": "42", "inputs": [tensor("img_url", DATA_URI), text], "outputs": [{"name": "generated_output"}]}
    response = client.post("/v2/models/colours/infer", json=sent)
    assert response.json == {**answer(f"a photography of {CAPTION}"), "id": "42"}
    assert captioner.asked[-1] == DecodingOptions(prompt="a photography of")


def test_an_empty_text_is_none(client: FlaskClient, captioner: ListeningCaptioner) -> None:
    inputs = [tensor("img_url", DATA_URI), tensor("text", "")]
    response = client.post("/v2/models/colours/infer", json={"inputs": inputs})
    assert (response.json, captioner.asked[-1]) == (answer(CAPTION), None)


def test_what_the_server_and_its_model_are(client: FlaskClient) -> None:
    bytes_tensor = {"datatype": "BYTES", "shape": [1]}
    assert client.get("/v2/health/live").json == {"live": True}
    assert client.get("/v2/health/ready").json == {"ready": True}
    for model in ("colours", "blip"):
        assert client.get(f"/v2/models/{model}/ready").json == {"name": "colours", "ready": True}
        assert client.get(f"/v2/models/{model}").json == {
            "name": "colours",
            "versions": ["1"],
            "platform": "pytorch",
            "inputs": [{"name": "img_url", **bytes_tensor}, {"name": "text", **bytes_tensor}],
            "outputs": [{"name": "generated_output", **bytes_tensor}],
        }


@pytest.mark.parametrize("route", ["", "/ready"])
def test_a_model_that_is_not_served(client: FlaskClient, route: str) -> None:
    error = {"error": "The model gpt is not served here, only fake/colours is"}
    known, infer = client.get(f"/v2/models/gpt{route}"), client.post("/v2/models/gpt/infer", json={})
    assert (known.status_code, known.json) == (infer.status_code, infer.json) == (400, error)


NO_TENSORS = 'inputs must be a list of tensors: {"name", "shape", "datatype", "data"}'
NO_IMAGE = 'inputs must hold a tensor {"name": "img_url", "data": ["https://…"], …}'


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({}, NO_TENSORS),
        ({"inputs": {"img_url": "a"}}, NO_TENSORS),
        ({"inputs": ["a"]}, NO_TENSORS),
        ({"inputs": []}, NO_IMAGE),
        ({"inputs": [tensor("text", "a")]}, NO_IMAGE),
        ({"inputs": [tensor("img_url", "")]}, NO_IMAGE),
        ({"inputs": [tensor("img_url", "a", "b")]}, "img_url: data must be a list of one string"),
        ({"inputs": [tensor("img_url", 5)]}, "img_url: data must be a list of one string"),
        ({"inputs": [tensor("img_url", "a", datatype="FP32")]}, "img_url: datatype must be BYTES or STRING"),
        ({"inputs": [tensor("img_url", "a")] * 2}, "Cannot provide img_url more than once"),
        (
            {"inputs": [tensor("img_url", DATA_URI), tensor("text", "x" * 501)]},
            "prompt must be a text of 1 to 500 characters",
        ),
        ({"inputs": [tensor("img_url", "data:image/png;base64,!")]}, "img_url is not valid base64"),
        ({"inputs": [tensor("img_url", "/etc/passwd")]}, "This URL is not allowed: only public http and https"),
    ],
)
def test_errors(client: FlaskClient, message: dict[str, Any], error: str) -> None:
    response = client.post("/v2/models/colours/infer", json=message)
    assert response.json is not None
    assert (response.status_code, list(response.json)) == (400, ["error"])
    assert response.json["error"].startswith(error)


def test_binary_tensors_are_refused_with_the_cure(client: FlaskClient) -> None:
    response = client.post("/v2/models/blip/infer", data=b"{}", headers={"Inference-Header-Content-Length": "2"})
    error = "Binary tensors are not read here: send the data as JSON (binary_data=False)"
    assert (response.status_code, response.json) == (400, {"error": error})
