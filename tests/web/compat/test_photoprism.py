"""PhotoPrism's vision service: captions and labels, in the shapes that its client decodes."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.fakes import FakeCaptioner, make_app
from tests.web.answers import TEAL_BASE64
from tests.web.listening import CONFIDENCE, ListeningCaptioner

CAPTION = "two dogs and a girl handing flowers"
DATA_URI = f"data:image/png;base64,{TEAL_BASE64}"
MODEL = {"name": "colours", "version": "latest"}
# As its client sends it, with what is of no use here.
SENT = {
    "id": "b1f6",
    "model": "colours",
    "version": "latest",
    "prompt": "Create a caption with exactly one sentence in the active voice",
    "suffix": "",
    "stream": False,
    "images": [DATA_URI],
}


@pytest.mark.parametrize("path", ["", "/", "/colours", "/blip", "/colours/latest", "/colours/2.0"])
def test_caption(client: FlaskClient, captioner: ListeningCaptioner, path: str) -> None:
    response = client.post(
        f"/api/v1/vision/caption{path}", json=SENT, headers={"Authorization": "Bearer nobody-asked"}
    )
    assert response.status_code == 200
    assert response.json == {
        "id": "b1f6",
        "model": MODEL,
        "result": {"caption": {"text": CAPTION, "confidence": CONFIDENCE}},
    }
    assert captioner.asked[-1] is None  # its prompt is an instruction, not the beginning of a caption


@pytest.mark.parametrize("model", ["", None, "colours", "colours:latest", "blip:latest"])
def test_names_of_the_model(client: FlaskClient, model: str | None) -> None:
    response = client.post("/api/v1/vision/caption", json={**SENT, "model": model})
    assert response.json["model"] == MODEL  # type: ignore[index]


@pytest.mark.parametrize(
    "images", [{"images": [DATA_URI]}, {"images": ["WEB"]}, {"url": "WEB"}, {"images": [DATA_URI, "ignored"]}]
)
def test_where_the_picture_is(client: FlaskClient, web: str, images: dict[str, Any]) -> None:
    sent = {"images": [web if image == "WEB" else image for image in images.get("images", [])]}
    response = client.post("/api/v1/vision/caption", json=sent | ({"url": web} if "url" in images else {}))
    assert response.status_code == 200
    assert response.json["result"]["caption"]["text"] == CAPTION  # type: ignore[index]
    assert response.json["id"] == response.headers["X-Request-ID"]  # type: ignore[index]


@pytest.mark.parametrize("path", ["", "/colours", "/colours/latest"])
def test_labels(client: FlaskClient, path: str) -> None:
    response = client.post(f"/api/v1/vision/labels{path}", json=SENT)
    sure = {"source": "image", "confidence": CONFIDENCE, "topicality": CONFIDENCE, "categories": []}
    assert (response.status_code, response.json) == (
        200,
        {
            "id": "b1f6",
            "model": MODEL,
            # "handing" has an emoji too, and is no noun
            "result": {"labels": [{"name": name, **sure} for name in ("dog", "girl", "flower")]},
        },
    )


@pytest.mark.parametrize(("confidence", "shown"), [(None, 0.8), (0.0, 0.0001), (0.12345, 0.1235)])
def test_labels_always_have_a_confidence(confidence: float | None, shown: float) -> None:
    with make_app(ListeningCaptioner(confidence=confidence)) as app:
        body = app.test_client().post("/api/v1/vision/labels", json=SENT).json
    assert body is not None
    assert [(label["name"], label["confidence"]) for label in body["result"]["labels"]] == [("girl", shown)]


def test_a_caption_without_a_confidence() -> None:
    with make_app(ListeningCaptioner(confidence=None)) as app:
        body = app.test_client().post("/api/v1/vision/caption", json=SENT).json
    assert body is not None
    assert body["result"] == {"caption": {"text": "a girl"}}


def test_labels_of_several_pictures_are_one_list() -> None:
    class Turns(ListeningCaptioner):
        def caption(self, pictures: Any, options: Any) -> Any:
            self.text = ["a dog", "a girl and dogs", "nothing"][len(self.asked)]
            self.confidence = 0.5 + len(self.asked) / 10
            return super().caption(pictures, options)

    with make_app(Turns()) as app:
        body = app.test_client().post("/api/v1/vision/labels", json={**SENT, "images": [DATA_URI] * 3}).json
    assert body is not None
    assert [(label["name"], label["confidence"]) for label in body["result"]["labels"]] == [
        ("dog", 0.6),
        ("girl", 0.6),
    ]


def test_nothing_to_label() -> None:
    with make_app(FakeCaptioner()) as app:
        body = app.test_client().post("/api/v1/vision/labels", json=SENT).json
    assert body == {"id": "b1f6", "model": MODEL, "result": {"labels": []}}


@pytest.mark.parametrize("kind", ["caption", "labels"])
@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ({"images": []}, 400, "images must hold a data: URI or a URL of a picture"),
        ({"images": "a"}, 400, "images must be a list of data: URIs or URLs"),
        ({"images": [5]}, 400, "images must be a list of data: URIs or URLs"),
        ({"images": [DATA_URI] * 11}, 400, "images must hold 1 to 10 pictures"),
        ({"images": ["data:image/png;base64,!"]}, 400, "images is not valid base64"),
        ({"images": ["data:;base64,AAAA"]}, 415, "File type not allowed"),
        ({"model": "kosmos-2"}, 400, "The model kosmos-2 is not served here, only fake/colours is"),
    ],
)
def test_errors(client: FlaskClient, kind: str, more: dict[str, Any], code: int, message: str) -> None:
    response = client.post(f"/api/v1/vision/{kind}", json={**SENT, **more})
    assert (response.status_code, response.json) == (code, {"id": "b1f6", "code": code, "error": message})


def test_a_body_that_is_no_json(client: FlaskClient) -> None:
    response = client.post("/api/v1/vision/caption", data="{", headers={"X-Request-ID": "mine"})
    error = {"id": "mine", "code": 400, "error": "The body is not valid JSON"}
    assert (response.status_code, response.json) == (400, error)
