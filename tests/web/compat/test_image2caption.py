import pytest
from flask.testing import FlaskClient

from tests.web.answers import upload

PICTURE = upload(field="image")


@pytest.mark.parametrize("model", ["blip", "colours", "fake/colours", "blip/"])
def test_caption(client: FlaskClient, model: str) -> None:
    response = client.post(f"/image2caption/{model}", **PICTURE)
    assert (response.status_code, response.json) == (200, {"caption": "two dogs and a girl handing flowers"})


@pytest.mark.parametrize("model", ["blip-large", "gpt", "__import__('os')", "blip2_opt/pretrain_opt2.7b"])
def test_a_model_that_is_not_served(client: FlaskClient, model: str) -> None:
    response = client.post(f"/image2caption/{model}", **PICTURE)
    detail = f"Not supported model {model}, please choose from ['blip', 'colours']"
    assert (response.status_code, response.json) == (404, {"detail": detail})


def test_errors(client: FlaskClient) -> None:
    no_picture, no_image = client.post("/image2caption/blip"), client.post("/image2caption/blip", **upload())
    row = {"type": "missing", "loc": ["body", "image"], "msg": "Field required"}
    for response in (no_picture, no_image):
        assert (response.status_code, response.json) == (422, {"detail": [row]})
    text = client.post("/image2caption/blip", **upload(b"text", "image"))
    assert (text.status_code, text.json) == (415, {"detail": "File type not allowed"})
