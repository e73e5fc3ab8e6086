"""OpenAI-style chat: whole answers, streams, checks of a connection, errors."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from services.captioning.batcher import ModelStatus
from services.captioning.captioner import Captioner, ReportProgress
from services.web.compat.openai_chat import NO_IMAGE, NO_IMAGE_TO_ASK_ABOUT
from tests.fakes import FakeCaptioner, colour_caption, make_app, picture
from tests.web.answers import TEAL, TEAL_BASE64
from tests.web.listening import ListeningCaptioner

CAPTION = "two dogs and a girl handing flowers"
DATA_URI = f"data:image/png;base64,{TEAL_BASE64}"
ROUTE = "/v1/chat/completions"


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "auto"}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def ask(client: FlaskClient, *messages: dict[str, Any], **more: Any) -> TestResponse:
    return client.post(ROUTE, json={"model": "colours", "messages": messages} | more)


def without_id_and_time(body: Any) -> dict[str, Any]:
    assert body.pop("id").startswith("chatcmpl-")
    assert isinstance(body.pop("created"), int)
    whole: dict[str, Any] = body
    return whole


def completion(content: str) -> dict[str, Any]:
    return {
        "object": "chat.completion",
        "model": "colours",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


def test_a_caption(client: FlaskClient, web: str, captioner: ListeningCaptioner) -> None:
    for url in (web, DATA_URI):
        response = ask(client, user(text("What is this?"), image(url)))
        assert (response.status_code, without_id_and_time(response.json)) == (200, completion(CAPTION))
    assert captioner.asked[-1] is None  # the text is a question, and this model answers none


def test_the_last_user_message_counts(client: FlaskClient) -> None:
    system, reply = {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "a dog"}
    with_image, without = user(image(DATA_URI)), {"role": "user", "content": "Which breed?"}
    assert ask(client, system, without, reply, with_image).json["choices"][0]["message"]["content"] == CAPTION  # type: ignore[index]
    assert ask(client, with_image, reply, without).json["choices"][0]["message"]["content"] == NO_IMAGE  # type: ignore[index]


def test_several_images_get_a_line_each() -> None:
    import base64

    reds = base64.b64encode(picture((255, 0, 0))).decode()
    with make_app(FakeCaptioner()) as app:
        parts = [image(DATA_URI), text("and"), {"type": "image_url", "image_url": f"data:;base64,{reds}"}]
        body = ask(app.test_client(), user(*parts)).json
    lines = f"{colour_caption(TEAL)}\n{colour_caption((255, 0, 0))}"
    assert without_id_and_time(body) == completion(lines)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "Hi"},
        user(text("Create a concise title for this chat")),
        {"role": "system", "content": "You name chats."},
        {"role": "user", "content": None},
        {"role": "user", "content": []},
    ],
)
def test_without_an_image_there_is_a_note(client: FlaskClient, message: dict[str, Any]) -> None:
    response = ask(client, message)
    assert (response.status_code, without_id_and_time(response.json)) == (200, completion(NO_IMAGE))


def test_a_text_alone_needs_no_model() -> None:
    def load(_: ReportProgress) -> Captioner:
        raise OSError("no weights")

    with make_app(load=load, wait_until=ModelStatus.FAILED) as app:
        client = app.test_client()
        assert ask(client, {"role": "user", "content": "Hi"}).status_code == 200
        assert ask(client, user(image(DATA_URI))).status_code == 503
        # what may hold a picture is refused before it is read
        body = b"{".ljust(100_000)
        assert client.post(ROUTE, data=body, content_type="application/json").status_code == 503


def test_what_other_models_take_is_ignored(client: FlaskClient, captioner: ListeningCaptioner) -> None:
    more = {"temperature": "hot", "top_p": 7, "max_tokens": 1, "max_completion_tokens": -1, "tools": [{}], "n": 3}
    response = ask(client, user(image(DATA_URI)), **more)
    assert (response.status_code, without_id_and_time(response.json)) == (200, completion(CAPTION))
    assert captioner.asked[-1] is None


@pytest.mark.parametrize("model", ["colours", "fake/colours", "blip", "", None])
def test_names_of_the_model(client: FlaskClient, model: str | None) -> None:
    response = client.post(ROUTE, json={"model": model, "messages": [user(image(DATA_URI))]})
    assert (response.status_code, without_id_and_time(response.json)) == (200, completion(CAPTION))


@pytest.mark.parametrize("content", [[image(DATA_URI)], "Hi"])
def test_a_stream(client: FlaskClient, content: Any) -> None:
    response = ask(client, {"role": "user", "content": content}, stream=True)
    assert (response.status_code, response.mimetype) == (200, "text/event-stream")
    *events, done, end = response.get_data(as_text=True).split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    said = CAPTION if isinstance(content, list) else NO_IMAGE
    assert [without_id_and_time(chunk) for chunk in chunks] == [
        {
            "object": "chat.completion.chunk",
            "model": "colours",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        }
        for delta, reason in [
            ({"role": "assistant", "content": ""}, None),
            ({"content": said}, None),
            ({}, "stop"),
        ]
    ]


def test_models(client: FlaskClient) -> None:
    body = client.get("/v1/models").json
    assert body is not None
    assert isinstance(body["data"][0].pop("created"), int)
    assert body == {"object": "list", "data": [{"id": "colours", "object": "model", "owned_by": "blip2"}]}


def error(message: str, code: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


NO_MESSAGES = 'messages must be a list of messages: {"role", "content"}'
NO_URL = 'messages: image_url must be an object: {"url": "https://… or data:…"}'
NO_PARTS = "messages: content must be a text or a list of parts"


@pytest.mark.parametrize(
    ("request_args", "status", "body"),
    [
        ({"data": "{"}, 400, error("The body is not valid JSON", "bad_request")),
        ({"json": {}}, 400, error(NO_MESSAGES, "invalid_parameter")),
        ({"json": {"messages": []}}, 400, error(NO_MESSAGES, "invalid_parameter")),
        ({"json": {"messages": ["Hi"]}}, 400, error(NO_MESSAGES, "invalid_parameter")),
        ({"json": {"messages": [{"role": "user", "content": 5}]}}, 400, error(NO_PARTS, "invalid_parameter")),
        ({"json": {"messages": [{"role": "user", "content": ["a"]}]}}, 400, error(NO_PARTS, "invalid_parameter")),
        ({"json": {"messages": [user({"type": "image_url"})]}}, 400, error(NO_URL, "invalid_parameter")),
        ({"json": {"messages": [user(image(""))]}}, 400, error(NO_URL, "invalid_parameter")),
        (
            {"json": {"messages": [user(*[image(DATA_URI)] * 11)]}},
            400,
            error("messages: there may be 1 to 10 images in a message", "invalid_parameter"),
        ),
        (
            {"json": {"model": "gpt-9", "messages": [user(image(DATA_URI))]}},
            400,
            error("The model gpt-9 is not served here, only fake/colours is", "model_not_configured"),
        ),
        (
            {"json": {"model": 9, "messages": [user(image(DATA_URI))]}},
            400,
            error("model must be a string", "invalid_parameter"),
        ),
        (
            {"json": {"stream": True, "messages": [user(image("data:;base64,AAAA"))]}},
            415,
            error("File type not allowed", "unsupported_format"),
        ),
        (
            {"json": {"messages": [user(image("file:///etc/passwd"))]}},
            400,
            error("This URL is not allowed: only public http and https addresses are fetched", "url_not_allowed"),
        ),
    ],
)
def test_errors(client: FlaskClient, request_args: dict[str, Any], status: int, body: dict[str, Any]) -> None:
    response = client.post(ROUTE, **request_args)
    assert (response.status_code, response.json) == (status, body)


def test_text_beside_a_picture_is_a_question_to_a_model_that_answers() -> None:
    captions, answers = ListeningCaptioner(CAPTION), ListeningCaptioner("two of them")
    with make_app(captions, others={"blip2_opt/tiny": answers}) as app:
        client = app.test_client()
        message = user(text("How many dogs?"), image(DATA_URI), text("Be brief."))
        told = [
            ask(client, *messages, model=model).json["choices"][0]["message"]["content"]  # type: ignore[index]
            for model in ("colours", "tiny")
            for messages in ([message], [user(image(DATA_URI))], [user(text("Hi"))])
        ]
    assert told == [CAPTION, CAPTION, NO_IMAGE, "two of them", "two of them", NO_IMAGE_TO_ASK_ABOUT]
    assert captions.asked == [None, None]
    first, second = answers.asked
    assert first
    assert (first.question, second) == ("How many dogs?\nBe brief.", None)


def test_a_question_that_is_too_long_is_refused() -> None:
    with make_app(others={"blip2_opt/tiny": ListeningCaptioner()}) as app:
        answer = ask(app.test_client(), user(text("why " * 200), image(DATA_URI)), model="tiny")
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_parameter")  # type: ignore[index]
