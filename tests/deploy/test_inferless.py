"""The class that Inferless calls, called as it does: by the name in app.py, without arguments of its own."""

import importlib.util
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from services.captioning.batcher import ModelStatus
from services.captioning.captioner import Captioner, DecodingOptions, ReportProgress
from services.errors import InvalidParameter, UnsupportedFormat, UrlNotAllowed
from tests.fakes import make_app
from tests.web.answers import TEAL_BASE64
from tests.web.listening import ListeningCaptioner

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "inferless"
DATA_URI = f"data:image/png;base64,{TEAL_BASE64}"


def loaded(name: str) -> ModuleType:
    """A file of the folder as a module: the folder is no package."""
    spec = importlib.util.spec_from_file_location(f"inferless_{name}", FOLDER / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def captioner() -> ListeningCaptioner:
    return ListeningCaptioner("a girl")


@pytest.fixture
def model(captioner: ListeningCaptioner) -> Iterator[Any]:
    with ExitStack() as stack:
        model = loaded("app").InferlessPythonModel(lambda: stack.enter_context(make_app(captioner)))
        model.initialize()
        yield model


def test_a_caption(model: Any, captioner: ListeningCaptioner) -> None:
    assert model.infer({"img_url": DATA_URI}) == {"generated_output": "a girl"}
    assert model.infer({"img_url": DATA_URI, "text": ""}) == {"generated_output": "a girl"}
    assert captioner.asked == [None, None]


def test_text_is_what_the_caption_continues(model: Any, captioner: ListeningCaptioner) -> None:
    answer = model.infer({"img_url": DATA_URI, "text": "a photography of"})
    assert answer == {"generated_output": "a photography of a girl"}
    assert captioner.asked == [DecodingOptions(prompt="a photography of")]


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({"img_url": "http://127.0.0.1/a.png"}, UrlNotAllowed),
        ({"img_url": "data:;base64,AAAA"}, UnsupportedFormat),
        ({"img_url": DATA_URI, "text": "x" * 501}, InvalidParameter),
    ],
)
def test_the_limits_are_those_of_the_service(model: Any, inputs: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        model.infer(inputs)


@pytest.mark.parametrize("arguments", [(), (None,)])
def test_finalize(model: Any, arguments: tuple[None, ...]) -> None:
    drain = model._doorway.drain
    model.finalize(*arguments)
    assert drain.is_set()


def test_a_model_that_cannot_be_loaded_says_why() -> None:
    def load(_: ReportProgress) -> Captioner:
        raise OSError("no weights")

    with ExitStack() as stack:
        model = loaded("app").InferlessPythonModel(
            lambda: stack.enter_context(make_app(load=load, wait_until=ModelStatus.FAILED))
        )
        with pytest.raises(RuntimeError, match="could not be loaded: no weights"):
            model.initialize()


def test_initialize_waits_for_the_model() -> None:
    may_load = threading.Event()

    def load(_: ReportProgress) -> Captioner:
        may_load.wait(10)
        return ListeningCaptioner("a girl")

    with ExitStack() as stack:
        model = loaded("app").InferlessPythonModel(
            lambda: stack.enter_context(make_app(load=load, wait_until=None))
        )
        timer = threading.Timer(0.3, may_load.set)
        timer.start()
        model.initialize()
        assert may_load.is_set()
        assert model.infer({"img_url": DATA_URI}) == {"generated_output": "a girl"}
        timer.join()


def test_the_schema_names_the_inputs() -> None:
    schema = loaded("input_schema").INPUT_SCHEMA
    assert {name: row["required"] for name, row in schema.items()} == {"img_url": True, "text": False}


def test_the_runtime_has_the_versions_that_are_tested() -> None:
    runtime = yaml.safe_load((FOLDER / "inferless-runtime-config.yaml").read_text(encoding="utf-8"))
    installed = (ROOT / "requirements.installed.txt").read_text(encoding="utf-8")
    pins = {pin.lower() for pin in re.findall(r"^[\w.-]+==[\w.]+", installed, re.MULTILINE)}
    packages = runtime["build"]["python_packages"]
    assert [package for package in packages if package.lower() not in pins] == []
