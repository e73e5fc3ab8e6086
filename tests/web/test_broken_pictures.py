"""A sample of the broken pictures through the application, from one end to the other."""

import io
import json
import random

from tests.fakes import FakeCaptioner, make_app
from tests.images.bombs import MAX_PIXELS
from tests.images.broken import all_broken

N_PICTURES = 200
PICTURE_ERRORS = {("unsupported_format", 415), ("unreadable_image", 400), ("too_large", 413)}


def test_broken_pictures_get_an_error_of_the_contract_or_a_caption() -> None:
    every = list(all_broken())
    chosen = random.Random(5).sample(every, N_PICTURES)
    seen = set()
    with make_app(FakeCaptioner("a duck"), max_image_bytes=2**22, max_image_pixels=MAX_PIXELS) as app:
        client = app.test_client()
        for broken in chosen:
            response = client.post("/v3/analyze", data={"file": (io.BytesIO(broken.data), "a.jpg")})
            body = json.loads(response.data)
            assert response.mimetype == "application/json"
            assert body["status"] == ("success" if response.status_code == 200 else "error"), broken.name
            if response.status_code == 200:
                assert body["predictions"][0]["text"] == "a duck"
                seen.add(("ok", 200))
            else:
                assert (body["error"]["code"], response.status_code) in PICTURE_ERRORS, broken.name
                assert body["predictions"] == []
                seen.add((body["error"]["code"], response.status_code))
    assert {("ok", 200), *PICTURE_ERRORS} == seen
