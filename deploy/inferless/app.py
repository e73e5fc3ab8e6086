"""The service as a model of Inferless: `initialize`, `infer`, `finalize`, without a web server of its own.

Inferless looks for this file, and for input_schema.py, at the root of a repository: copy both there. All
settings are those of the service, from the environment.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from REST import create_app
from services.pipeline import ModelStatus
from services.web.app import Application
from services.web.decoding import read_decoding
from services.web.doorway import Doorway
from services.web.inputs import picture_at

LOOK_EVERY_S = 0.1


class InferlessPythonModel:
    """`make_app` builds what answers; Inferless itself gives no arguments."""

    def __init__(self, make_app: Callable[[], Application] = create_app) -> None:
        self._make_app = make_app

    def initialize(self) -> None:
        """Returns when the model is loaded. Raises RuntimeError with the reason when it cannot be."""
        self._app = self._make_app()
        self._doorway: Doorway = self._app.extensions["doorway"]
        while (state := self._doorway.pipeline.state).status is ModelStatus.LOADING:
            time.sleep(LOOK_EVERY_S)
        if state.status is ModelStatus.FAILED:
            raise RuntimeError(f"The model could not be loaded: {state.error}")

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, str]:
        """inputs: `img_url`, a URL or a data: URI; `text`, what the caption continues (optional).

        Raises what the pipeline raises (services.errors), each with a message for who sent the picture.
        """
        options, model = self._doorway.options, self._doorway.models.default
        decoding = read_decoding([("prompt", inputs.get("text"))], model.name)
        picture = picture_at(str(inputs["img_url"]), "img_url")
        analysis = self._doorway.pipeline.analyze(picture, options.request_timeout_s, options=decoding)
        return {"generated_output": analysis.predictions[0].caption.text}

    def finalize(self, args: object = None) -> None:
        """Nothing more is taken; what runs may finish. Some versions of Inferless give an argument."""
        self._app.extensions["begin_drain"]()
