"""Every door of the running service, on the demonstration model: each says what the main door says."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.service.conftest import DrawnFile
from tests.service.running import Service


def tensors(**texts: str) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": name, "shape": [1], "datatype": "BYTES", "data": [text]} for name, text in texts.items()
        ]
    }


def chat(uri: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "image_url", "image_url": {"url": uri}}]
    return {"messages": [{"role": "user", "content": content}], **more}


# path, what is sent (of the picture's bytes, data: URI and URL), where the caption stands in the answer
Door = tuple[str, Callable[[bytes, str, str], dict[str, Any]], Callable[[Any], str]]
DOORS: list[Door] = [
    ("/caption-url/", lambda data, uri, url: {"json": {"img_url": url}}, lambda body: body["Caption"]),
    ("/caption-file/", lambda data, uri, url: {"files": {"img_file": data}}, lambda body: body["Caption"]),
    ("/caption-base64/", lambda data, uri, url: {"json": {"base64_string": uri}}, lambda body: body["Caption"]),
    ("/image2caption/demo", lambda data, uri, url: {"files": {"image": data}}, lambda body: body["caption"]),
    (
        "/v2/models/demo/infer",
        lambda data, uri, url: {"json": tensors(img_url=url)},
        lambda body: body["outputs"][0]["data"][0],
    ),
    (
        "/v1/chat/completions",
        lambda data, uri, url: {"json": chat(uri)},
        lambda body: body["choices"][0]["message"]["content"],
    ),
    (
        "/api/v1/vision/caption",
        lambda data, uri, url: {"json": {"images": [uri]}},
        lambda body: body["result"]["caption"]["text"],
    ),
]


def body_of(response: requests.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def uri_of(scene: DrawnFile) -> str:
    return "data:image/png;base64," + base64.b64encode(scene.data).decode()


@pytest.mark.parametrize(("path", "sent", "caption"), DOORS, ids=[door[0] for door in DOORS])
def test_a_door_says_what_the_main_door_says(
    demo: Service,
    scenes: list[DrawnFile],
    site: str,
    path: str,
    sent: Callable[[bytes, str, str], dict[str, Any]],
    caption: Callable[[Any], str],
) -> None:
    for scene in scenes[:3]:
        expected = body_of(demo.get("/analyze", file=str(scene.path)))["predictions"][0]["text"]
        body = body_of(demo.post(path, **sent(scene.data, uri_of(scene), f"{site}/{scene.path.name}")))
        assert caption(body) == expected


def test_a_stream(demo: Service, scenes: list[DrawnFile]) -> None:
    response = demo.post("/v1/chat/completions", json=chat(uri_of(scenes[0]), stream=True))
    *events, done = response.text.strip().split("\n\n")
    deltas = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events]
    text = body_of(demo.get("/analyze", file=str(scenes[0].path)))["predictions"][0]["text"]
    assert ("".join(delta.get("content", "") for delta in deltas), done) == (text, "data: [DONE]")


def test_a_prompt_is_continued(demo: Service, scenes: list[DrawnFile]) -> None:
    path = str(scenes[0].path)
    analyzed = body_of(demo.get("/analyze", file=path, prompt="a small drawn picture of two"))
    text = analyzed["predictions"][0]["text"]
    assert text.startswith("a small drawn picture of two ")
    inferred = demo.post(
        "/v2/models/demo/infer",
        json=tensors(img_url=uri_of(scenes[0]), text="a small drawn picture of two"),
    )
    assert body_of(inferred)["outputs"][0]["data"] == [text]


@pytest.mark.parametrize("options", [{}, {"top_p": "0.9", "seed": "1"}])
def test_several_captions_are_as_many_predictions(
    demo: Service, scenes: list[DrawnFile], options: dict[str, str]
) -> None:
    ask = {"file": str(scenes[0].path), "num_captions": "4", **options}
    texts = [prediction["text"] for prediction in body_of(demo.get("/analyze", **ask))["predictions"]]
    assert len(set(texts)) == 4
    assert [prediction["text"] for prediction in body_of(demo.get("/analyze", **ask))["predictions"]] == texts


def test_what_the_model_has_no_room_for(demo: Service, scenes: list[DrawnFile]) -> None:
    for ask in ({"max_length": "65"}, {"max_length": "3"}, {"prompt": "a man " * 40}):
        response = demo.get("/analyze", file=str(scenes[0].path), **ask)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (400, "invalid_parameter")
        assert error["message"].endswith("at most 64")


def test_labels_are_nouns_of_the_caption(demo: Service, scenes: list[DrawnFile]) -> None:
    for scene in scenes[:5]:
        body = body_of(demo.post("/api/v1/vision/labels", json={"images": [uri_of(scene)]}))
        mapped = body_of(demo.get("/analyze", file=str(scene.path)))["predictions"][0]["emoji_mappings"]
        assert 0 < len(body["result"]["labels"]) <= len(mapped)
        assert all(0 < label["confidence"] <= 1 for label in body["result"]["labels"])
