"""What every door leads to: the one pipeline, under the limits that all doors share."""

from dataclasses import dataclass
from threading import Event

from services.errors import Overloaded
from services.pipeline import Analysis, DecodingOptions, ImageSource, Pipeline
from services.web.inputs import read_timeout_s
from services.web.models import ServedModel, ServedModels
from services.web.options import WebOptions
from services.web.request import current_request
from services.web.turns import end_turn

RETRY_ELSEWHERE_S = 5  # by then this process is gone, and another answers


@dataclass(frozen=True)
class Doorway:
    """Doors differ in the shapes of their requests and answers; the way of a picture is this one."""

    options: WebOptions
    pipeline: Pipeline
    models: ServedModels
    drain: Event  # set: the service is stopping

    def check_admitting(self, model: ServedModel | None = None) -> None:
        """To be called before the body is read; without a model where that says which is asked for.

        Raises Overloaded and ModelNotReady.
        """
        if self.drain.is_set():
            raise Overloaded("The service is stopping", retry_after_s=RETRY_ELSEWHERE_S)
        self.pipeline.check_admitting(model.name if model else None)

    def analyze(
        self, source: ImageSource, decoding: DecodingOptions | None = None, model: ServedModel | None = None
    ) -> Analysis:
        """One picture of the current request, within what is left of that request's time; by the default model
        unless another one is given.

        Raises InvalidParameter for its X-Request-Timeout, and what Pipeline.analyze raises.
        """
        request = current_request()
        end_turn(request.environ)
        timeout_s = read_timeout_s(request, self.options.request_timeout_s)
        return self.pipeline.analyze(
            source,
            timeout_s,
            spent_s=request.seconds,
            options=decoding,
            client_left=request.client_left,
            model=(model or self.models.default).name,
            timed=request.timed,
        )

    def caption(
        self, source: ImageSource, decoding: DecodingOptions | None = None, model: ServedModel | None = None
    ) -> str:
        """The likeliest caption; raises what `analyze` does."""
        return self.analyze(source, decoding, model).predictions[0].caption.text
