"""Everything that can go wrong, as one tree that knows no HTTP (`web.responses` holds the statuses).

    CaptioningError
    ├─ NoInput                 the request names no image
    ├─ ConflictingInput        it names more than one
    ├─ InvalidParameter        a parameter is unknown in value or out of range
    ├─ ModelNotConfigured      it asks for a model that is not served
    ├─ BadRequest              malformed JSON, multipart or HTTP
    ├─ UrlNotAllowed           policy refuses the address; always the same text, so that nothing can be probed
    ├─ UrlUnreachable          DNS, connection, TLS, status or time-out
    ├─ FileNotAllowed          a path outside of the allowed folders
    ├─ FileMissing             no such file inside the allowed folders
    ├─ UnsupportedFormat       the bytes are none of the five picture formats
    ├─ UnreadableImage         they are, but broken
    ├─ TooLarge                too many bytes or pixels
    ├─ NoCaption               the model had nothing to say
    ├─ Overloaded              the queue is full            (retry_after_s)
    ├─ ModelNotReady           loading, or failed for good  (retry_after_s, None when failed)
    └─ DeadlineExceeded        the request's time is over

The message of each is for the person who sent the request: what is wrong, and what to do about it.
"""


class CaptioningError(Exception):
    """Base of all errors that a request can be answered with."""

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class NoInput(CaptioningError): ...


class ConflictingInput(CaptioningError): ...


class InvalidParameter(CaptioningError): ...


class ModelNotConfigured(CaptioningError): ...


class BadRequest(CaptioningError): ...


class UrlNotAllowed(CaptioningError):
    def __init__(self) -> None:
        super().__init__("This URL is not allowed: only public http and https addresses are fetched")


class UrlUnreachable(CaptioningError): ...


class FileNotAllowed(CaptioningError): ...


class FileMissing(CaptioningError): ...


class UnsupportedFormat(CaptioningError):
    def __init__(self) -> None:
        super().__init__("File type not allowed")


class UnreadableImage(CaptioningError): ...


class TooLarge(CaptioningError): ...


class NoCaption(CaptioningError): ...


class Overloaded(CaptioningError): ...


class ModelNotReady(CaptioningError): ...


class DeadlineExceeded(CaptioningError): ...


def innermost(exc: BaseException) -> BaseException:
    """What began it: requests wraps a failed look-up or connection three deep, in texts that quote the URL."""
    while deeper := getattr(exc, "reason", None) or exc.__cause__ or exc.__context__:
        if not isinstance(deeper, BaseException):
            break
        exc = deeper
    return exc
