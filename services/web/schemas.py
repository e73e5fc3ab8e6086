"""The bodies of the main door, of /health and of what surrounds them, as the OpenAPI document tells them.

They describe and check nothing at run time: what a request sends is read by `inputs.py` and `body.py`, which are
more tolerant than a schema can say. Tests hold real answers against them.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, JsonValue
from pydantic.json_schema import SkipJsonSchema

from services.pipeline import ModelStatus
from services.web.decoding import MAX_PROMPT_CHARACTERS, MAX_TOKENS, MAX_TURNS
from services.web.responses import ERRORS

# Codes that gunicorn's worker answers with, before there is a request for the table of errors.
PARSER_CODES = ("headers_too_large", "uri_too_long")

Share = Annotated[float, Field(ge=0, le=1)]
Absent = SkipJsonSchema[None]  # beside a type, with None as default: the key may be missing, and is never null
Upload = Annotated[bytes, Field(json_schema_extra={"format": "binary"})]


class EmojiMapping(BaseModel):
    emoji: str
    word: str = Field(description="as it stands in the caption, lower case; several words are joined by _")


class Prediction(BaseModel):
    text: str
    emoji_mappings: list[EmojiMapping]
    confidence: Share | None = Field(description="null where the engine has none")


class ModelInfo(BaseModel):
    framework: str
    model: str
    device: str
    precision: str
    engine: str


class AnalysisMetadata(BaseModel):
    processing_time: float = Field(ge=0, description="seconds from the request's arrival to its answer")
    model_info: ModelInfo
    emoji_map_version: str


class Analysis(BaseModel):
    service: str
    status: Literal["success"]
    predictions: list[Prediction] = Field(min_length=1)
    metadata: AnalysisMetadata


_CODES: list[JsonValue] = [*sorted({*PARSER_CODES, *(code for code, _ in ERRORS.values())})]


class ErrorDetail(BaseModel):
    code: str = Field(json_schema_extra={"enum": _CODES})
    message: str = Field(description="what is wrong, and what to do about it")


class FailureMetadata(BaseModel):
    processing_time: float = Field(ge=0)


class Failure(BaseModel):
    """What every route answers when something is wrong, unless its API has a shape of its own for errors."""

    service: str
    status: Literal["error"]
    predictions: list[Any] = Field(max_length=0)
    error: ErrorDetail
    metadata: FailureMetadata


class Decoding(BaseModel):
    """How the caption is made. All are optional; without any the model uses its own defaults."""

    model: str | Absent = Field(None, description="a model that is served; without it the default one")
    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)] | Absent = Field(
        None, description="what the caption continues; it stands in front of the caption"
    )
    question: str | Absent = Field(None, description="for models that answer questions")
    history: str | Absent = Field(None, description='earlier turns, as JSON: [{"question": …, "answer": …}]')
    num_beams: Annotated[int, Field(ge=1, le=10)] | Absent = Field(None, description="1 is greedy")
    max_length: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | Absent = Field(
        None, description="tokens, the prompt's included; a model may have less room, and says so"
    )
    min_length: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | Absent = Field(None, description="tokens likewise")
    top_p: Annotated[float, Field(gt=0, le=1)] | Absent = Field(
        None, description="sample from the likeliest tokens of this total probability, instead of beams"
    )
    num_captions: Annotated[int, Field(ge=1, le=10)] | Absent = Field(None, description="one prediction each")
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | Absent = Field(None, description="of the sampling")


class Turn(BaseModel):
    question: str
    answer: str


class AnalyzeQuery(Decoding):
    url: str | Absent = Field(None, description="a public http or https address of a picture")
    file: str | Absent = Field(None, description="the path of a picture inside the folders of IMAGE_ROOTS")


class AnalyzeJson(AnalyzeQuery):
    history: list[Turn] | Absent = Field(None, max_length=MAX_TURNS, description="what was asked before")  # type: ignore[assignment]
    image: str | Absent = Field(None, description="base64, or a data: URI with base64")


class AnalyzeUpload(Decoding):
    file: Upload | Absent = Field(None, description="the picture; `image` and `img_file` are read too")
    url: str | Absent = Field(None, description="instead of a file")


class ImageUrlQuery(Decoding):
    image_url: str = Field(description="a public http or https address of a picture")


class FilePathQuery(Decoding):
    file_path: str = Field(description="the path of a picture inside the folders of IMAGE_ROOTS")


class Queue(BaseModel):
    depth: int = Field(ge=0)
    capacity: int = Field(ge=1)


class EmojiMapState(BaseModel):
    source: str
    version: str
    sha256: str
    age_seconds: float = Field(ge=0, description="since its source gave or confirmed it")
    last_error: str | None


class Health(BaseModel):
    status: Literal["healthy", "starting", "unhealthy"]
    model_status: ModelStatus
    model: str
    models: dict[str, ModelStatus] | Absent = Field(None, description="where several are served")
    device: str | None
    device_reason: str | None = Field(description="why this device")
    precision: str | None
    engine: str | None
    error: str | Absent = Field(None, description="why a model or a device does not work")
    load_progress: Share | Absent = Field(None, description="while a model is loading")
    load_bytes: int | Absent = Field(None, description="while it is downloaded")
    load_total_bytes: int | Absent = Field(None, description="while it is downloaded")
    queue: Queue
    emoji_map: EmojiMapState
    uptime_seconds: float = Field(ge=0)


class Ready(BaseModel):
    ready: bool
    reason: str | Absent = Field(None, description="why not")


class Live(BaseModel):
    live: Literal[True]


class Index(BaseModel):
    service: str
    status: Literal["healthy", "starting", "unhealthy"]
    routes: list[str]


class Example(BaseModel):
    file: str
    caption: str


class Examples(BaseModel):
    examples: list[Example]
