"""How log lines look: text for a terminal, or one JSON object a line; with the id of the request."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from flask import has_request_context
from gunicorn.glogging import Logger

from services.web.request import current_request

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class TextFormatter(logging.Formatter):
    """Behind a line that was logged while a request was answered stands its id, unless it stands there already."""

    def __init__(self) -> None:
        super().__init__(TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:
        line, request_id = super().formatMessage(record), _request_id()
        return line if request_id in line else f"{line} (request {request_id})"


class JsonFormatter(logging.Formatter):
    """time (UTC), level, logger, message; request_id and exception where there are such; and the record's
    `fields`, a mapping that was logged with `extra={"fields": …}`.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := _request_id():
            line["request_id"] = request_id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)  # ASCII: what reads a log may not know that it is UTF-8


class GunicornJsonLogger(Logger):  # type: ignore[misc]
    """gunicorn's own messages, likewise."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(JsonFormatter())


def begin_logging(log_format: str) -> None:
    """All loggers write to standard error from now on. log_format: "text" or "json"."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler])


def _request_id() -> str:
    """"" outside of a request, as in the threads of devices."""
    return current_request().id if has_request_context() else ""
