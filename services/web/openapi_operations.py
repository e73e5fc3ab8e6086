"""What each route takes and answers, for the OpenAPI document: endpoint -> Operation."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gunicorn.http.errors import ParseException
from pydantic import BaseModel
from werkzeug.exceptions import NotFound, RequestEntityTooLarge

from services import errors
from services.web import openapi_examples as examples
from services.web import schemas, schemas_doors
from services.web.access import HostNotAllowed
from services.web.callers import RateLimited, Unauthorized
from services.web.compat.fastapi_errors import FieldError
from services.web.openapi_examples import Examples
from services.web.slow_clients import ReadTimeout

Errors = tuple[type[Exception], ...]
Model = type[BaseModel]

JSON, FORM, MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data"
RAW, IMAGE = "application/octet-stream", "image/*"
HTML, EVENTS = "text/html", "text/event-stream"

OF_ANY: Errors = (ParseException, ReadTimeout, HostNotAllowed, RateLimited, Unauthorized, Exception)
OF_ADMISSION: Errors = (errors.Overloaded, errors.ModelNotReady)
OF_A_BODY: Errors = (errors.BadRequest, RequestEntityTooLarge)
OF_BYTES: Errors = (
    *OF_ADMISSION, errors.UnsupportedFormat, errors.UnreadableImage, errors.TooLarge, errors.NoCaption,
    errors.DeadlineExceeded, errors.InvalidParameter,
)  # fmt: skip
OF_A_URL: Errors = (*OF_BYTES, errors.UrlNotAllowed, errors.UrlUnreachable)
OF_A_FILE: Errors = (*OF_BYTES, errors.FileNotAllowed, errors.FileMissing)
OF_ANALYZE: Errors = (errors.NoInput, errors.ConflictingInput, errors.ModelNotConfigured)
OF_ALL: Errors = (*OF_ANALYZE, *OF_A_URL, *OF_A_FILE, *OF_A_BODY)
OF_A_CHAT: Errors = (errors.ModelNotConfigured, *OF_A_URL, *OF_A_BODY)


@dataclass(frozen=True)
class Door:
    """The errors of a blueprint: their body, and the HTTP statuses that differ from those of the common table."""

    tag: str
    error: Model = schemas.Failure
    statuses: Mapping[type[Exception], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    summary: str
    answer: Model | None = None  # of 200, as JSON; None: none of it
    answers_also: tuple[str, ...] = ()  # more media types of 200
    errors: Errors = ()
    unavailable: Model | None = None  # of 503, where that is no error
    query: Model | None = None
    takes: Mapping[str, Model | None] = field(default_factory=dict)  # media type of a body -> it; None: bytes
    needs_body: bool = True
    examples: Mapping[str, Examples] = field(default_factory=dict)  # by media type
    cached: bool = False  # whether it knows If-None-Match and If-Match


DOORS = {
    "analyze": Door("Captions and emojis"),
    "alt_text": Door("Alt Text API", schemas_doors.Detail, {FieldError: 422}),
    "image2caption": Door(
        "image2caption", schemas_doors.Detail, {FieldError: 422, errors.ModelNotConfigured: 404}
    ),
    "inference_v2": Door("Open Inference Protocol", schemas_doors.InferError),
    "openai_chat": Door("OpenAI-style chat", schemas_doors.OpenAiError),
    "photoprism": Door("PhotoPrism", schemas_doors.VisionError, {errors.Overloaded: 429}),
    "health": Door("Health"),
    "metrics": Door("Health"),
    "page": Door("Pages"),
    "docs": Door("Pages"),
}

_ANALYZE_BODIES: dict[str, Model | None] = {
    JSON: schemas.AnalyzeJson, MULTIPART: schemas.AnalyzeUpload, FORM: schemas.AnalyzeQuery,
    IMAGE: None, RAW: None,
}  # fmt: skip
_ANALYZE = Operation("A caption and its emojis", schemas.Analysis, errors=OF_ALL, query=schemas.AnalyzeQuery)
_OF_AN_UPLOAD: Errors = (FieldError, *OF_BYTES, *OF_A_BODY)


def _vision(summary: str, answer: Model) -> Operation:
    return Operation(
        summary, answer, takes={JSON: schemas_doors.VisionRequest}, examples={JSON: examples.VISION},
        errors=(errors.NoInput, *OF_A_CHAT),
    )  # fmt: skip


# endpoint and method where they differ, else the endpoint
OPERATIONS: dict[str, Operation] = {
    "analyze.analyze GET": _ANALYZE,
    "analyze.analyze POST": Operation(
        "A caption and its emojis", schemas.Analysis, errors=OF_ALL, query=schemas.AnalyzeQuery,
        takes=_ANALYZE_BODIES, needs_body=False,
        examples={JSON: examples.ANALYZE, FORM: examples.ANALYZE_FORM},
    ),
    "analyze.analyze_url": Operation(
        "As version 2 was asked: a URL", schemas.Analysis, query=schemas.ImageUrlQuery,
        errors=(*OF_ANALYZE, *OF_A_URL),
    ),
    "analyze.analyze_file": Operation(
        "As version 2 was asked: a file of the server", schemas.Analysis, query=schemas.FilePathQuery,
        errors=(*OF_ANALYZE, *OF_A_FILE),
    ),
    "alt_text.caption_url": Operation(
        "A caption for a URL", schemas_doors.CaptionedUrl, takes={JSON: schemas_doors.ImgUrl},
        examples={JSON: examples.IMG_URL}, errors=(FieldError, *OF_A_URL, *OF_A_BODY),
    ),
    "alt_text.caption_file": Operation(
        "A caption for an upload", schemas_doors.Captioned, takes={MULTIPART: schemas_doors.ImgFile},
        errors=_OF_AN_UPLOAD,
    ),
    "alt_text.caption_base64": Operation(
        "A caption for base64", schemas_doors.Captioned, takes={JSON: schemas_doors.Base64String},
        examples={JSON: examples.BASE64}, errors=_OF_AN_UPLOAD,
    ),
    "alt_text.encode_base64": Operation(
        "Base64 for an upload", schemas_doors.Encoded, takes={MULTIPART: schemas_doors.ImgFile},
        errors=(FieldError, errors.TooLarge, *OF_A_BODY),
    ),
    "image2caption.caption": Operation(
        "A caption for an upload", schemas_doors.CaptionOnly, takes={MULTIPART: schemas_doors.ImageUpload},
        errors=(errors.ModelNotConfigured, *_OF_AN_UPLOAD),
    ),
    "inference_v2.metadata": Operation(
        "A model's tensors", schemas_doors.ModelMetadata, errors=(errors.ModelNotConfigured,)
    ),
    "inference_v2.ready": Operation(
        "Whether a model would take a request", schemas_doors.ModelReady,
        errors=(errors.ModelNotConfigured, *OF_ADMISSION),
    ),
    "inference_v2.infer": Operation(
        "A caption, as a tensor", schemas_doors.InferResponse, takes={JSON: schemas_doors.InferRequest},
        examples={JSON: examples.INFER}, errors=(*OF_ANALYZE, *OF_A_URL, *OF_A_BODY),
    ),
    "openai_chat.models": Operation("The models that are served", schemas_doors.ModelList),
    "openai_chat.complete": Operation(
        "Captions of the pictures in a message", schemas_doors.ChatCompletion, answers_also=(EVENTS,),
        takes={JSON: schemas_doors.ChatRequest}, examples={JSON: examples.CHAT}, errors=OF_A_CHAT,
    ),
    "photoprism.caption": _vision("A caption", schemas_doors.VisionCaptionAnswer),
    "photoprism.labels": _vision("The things in a caption", schemas_doors.VisionLabelsAnswer),
    "health.health": Operation("How the service is", schemas.Health, unavailable=schemas.Health),
    "health.ready": Operation(
        "Whether a picture would be taken now", schemas.Ready, unavailable=schemas.Ready
    ),
    "health.live": Operation("Whether the process answers", schemas.Live),
    "metrics.show": Operation("What Prometheus reads", answers_also=("text/plain",)),
    "page.index": Operation("The page for people; for programs, the routes", schemas.Index, (HTML,), cached=True),
    "page.file": Operation(
        "A file of the page", answers_also=("text/css", "text/javascript", "image/svg+xml"),
        errors=(NotFound,), cached=True,
    ),
    "page.examples": Operation("Pictures to try", schemas.Examples, cached=True),
    "page.example": Operation("A picture to try", answers_also=("image/jpeg",), errors=(NotFound,), cached=True),
    "docs.document": Operation("This document", answers_also=(JSON,), cached=True),
    "docs.page": Operation("This document, to read and to try", answers_also=(HTML,), cached=True),
    "docs.file": Operation(
        "A file of that page", answers_also=("text/css", "text/javascript", "image/png"),
        errors=(NotFound,), cached=True,
    ),
}  # fmt: skip
