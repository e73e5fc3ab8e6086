"""Requests to try, as the OpenAPI document shows them. On the demonstration model each gives a caption."""

from typing import Any

FILE = "scene_30000_00012.jpg"  # in examples/, which the service offers unless IMAGE_ROOTS says otherwise

# That picture once more, as a WebP of 96 pixels. The demonstration model says "a frog in the sunset".
PICTURE = (
    "UklGRi4BAABXRUJQVlA4ICIBAACQCACdASpgAGAAPu12tVSppyUxJHZoAiAdiUB2A6hJIgOfNLFkxolQGGDf2SY/hjomFCtcrN0U"
    "vbvtl2yFaR1Y6KKbFuE8MmieSrXMAAD+5u1jfkcmedXtRml89FgreaVBUeydXgjWKmNBe50p5EsF1a3Kd/ai1cQuGkRd3W7M1Vmp"
    "s1EQSBV/hlVxFbO1An+MKBiVDm6rzbbHJ+1dibEtjjQWDsbvbaROM7u/Wy5bFzjpMMisG+bkBJYghZWYLf/P4G/NjJnLA5N6mv8X"
    "CJgbOWDFdkJOZXe8Hj/P++voDor1ldku13v37yuFRLLTS20gThzq9XOoA3Oluba2St5Qh9dEeQCvCbrTLQ7lmtvPxZmtd9wOkWDe"
    "+Da1QrMnKzdoAA=="
)
DATA_URI = f"data:image/webp;base64,{PICTURE}"

Examples = dict[str, Any]  # title -> value


def _tensor(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "shape": [1], "datatype": "BYTES", "data": [text]}


def _chat(**more: Any) -> dict[str, Any]:
    content = [{"type": "image_url", "image_url": {"url": DATA_URI}}]
    return {"model": "blip", "messages": [{"role": "user", "content": content}], **more}


ANALYZE: Examples = {
    "A picture as base64": {"image": PICTURE},
    "Three captions of a file": {"file": f"examples/{FILE}", "num_captions": 3},
}
ANALYZE_FORM: Examples = {"A file of the server": {"file": f"examples/{FILE}"}}
IMG_URL: Examples = {"A data: URI": {"img_url": DATA_URI}}
BASE64: Examples = {"A picture as base64": {"base64_string": PICTURE}}
INFER: Examples = {
    "A picture": {"inputs": [_tensor("img_url", DATA_URI)]},
    "A caption that begins so": {"inputs": [_tensor("img_url", DATA_URI), _tensor("text", "a frog")]},
}
CHAT: Examples = {"A picture": _chat(), "As server-sent events": _chat(stream=True)}
VISION: Examples = {"A picture": {"images": [DATA_URI]}}

# name of a parameter in a query or a path -> what to try it with
PARAMETERS = {
    "file": f"examples/{FILE}",
    "file_path": f"examples/{FILE}",
    "image_url": "https://example.org/photo.jpg",
    "model": "blip",
    "version": "latest",
}
