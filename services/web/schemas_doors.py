"""The bodies of the doors that speak as other captioning services do; see `schemas.py`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from services.web.compat.openai_chat import MAX_IMAGES as MAX_CHAT_IMAGES
from services.web.compat.photoprism import MAX_IMAGES as MAX_VISION_IMAGES
from services.web.schemas import Absent, Share, Upload

# --- Alt Text API and image2caption ---


class ImgUrl(BaseModel):
    img_url: str = Field(description="http(s), or a data: URI")


class ImgFile(BaseModel):
    img_file: Upload


class Base64String(BaseModel):
    base64_string: str


class Captioned(BaseModel):
    caption: str = Field(alias="Caption")
    close: Literal["yes"] = Field(alias="close explicit")


class CaptionedUrl(Captioned):
    url: str = Field(alias="Img URL")


class Encoded(BaseModel):
    base64: str = Field(alias="Base64 String")


class FieldRow(BaseModel):
    type: str
    loc: list[str]
    msg: str


class Detail(BaseModel):
    detail: str | list[FieldRow] = Field(description="rows for fields of the body that are missing or wrong")


class ImageUpload(BaseModel):
    image: Upload


class CaptionOnly(BaseModel):
    caption: str


# --- Open Inference Protocol ---


class TensorMetadata(BaseModel):
    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReady(BaseModel):
    name: str
    ready: Literal[True]


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: Literal["BYTES", "STRING"]
    data: Annotated[list[str], Field(min_length=1, max_length=1)]


class InferRequest(BaseModel):
    id: str | Absent = None
    inputs: list[Tensor] = Field(description="`img_url`: a URL or a data: URI; `text`: what the caption continues")


class InferResponse(BaseModel):
    model_name: str
    id: str | Absent = Field(None, description="the request's")
    outputs: list[Tensor]


class InferError(BaseModel):
    error: str


# --- OpenAI-style chat ---


class ChatMessage(BaseModel):
    role: str
    content: str | list[dict[str, Any]] | None = Field(
        None, description=f"parts of the type image_url hold the pictures, up to {MAX_CHAT_IMAGES}"
    )


class ChatRequest(BaseModel):
    model: str | Absent = None
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool | Absent = Field(None, description="true: server-sent events")


class ChatAnswer(BaseModel):
    role: Literal["assistant"]
    content: str


class ChatChoice(BaseModel):
    index: int
    message: ChatAnswer
    finish_reason: Literal["stop"]


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class ModelRow(BaseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[ModelRow]


class OpenAiErrorDetail(BaseModel):
    message: str
    type: str
    param: None
    code: str


class OpenAiError(BaseModel):
    error: OpenAiErrorDetail


# --- PhotoPrism ---


class VisionRequest(BaseModel):
    id: str | Absent = None
    model: str | Absent = None
    images: list[str] | Absent = Field(None, max_length=MAX_VISION_IMAGES, description="data: URIs or URLs")
    url: str | Absent = Field(None, description="instead of images")


class VisionModel(BaseModel):
    name: str
    version: str


class VisionCaption(BaseModel):
    text: str
    confidence: Share | Absent = None


class VisionCaptionResult(BaseModel):
    caption: VisionCaption


class VisionCaptionAnswer(BaseModel):
    id: str
    model: VisionModel
    result: VisionCaptionResult


class VisionLabel(BaseModel):
    name: str
    source: str
    confidence: Share
    topicality: Share
    categories: list[str]


class VisionLabelsResult(BaseModel):
    labels: list[VisionLabel]


class VisionLabelsAnswer(BaseModel):
    id: str
    model: VisionModel
    result: VisionLabelsResult


class VisionError(BaseModel):
    id: str
    code: int
    error: str
