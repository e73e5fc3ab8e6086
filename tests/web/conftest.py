from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.fakes import make_app
from tests.images.servers import THIS_MACHINE
from tests.web.answers import TEAL_PNG


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder inside of which files may be named; beside it lies one that may not be."""
    root = tmp_path_factory.mktemp("served")
    folder = root / "images"
    folder.mkdir()
    (folder / "teal.png").write_bytes(TEAL_PNG)
    (root / "secret.png").write_bytes(TEAL_PNG)
    return folder


@pytest.fixture(scope="module")
def app(images: Path) -> Iterator[Flask]:
    with make_app(image_roots=[images], url_policy=THIS_MACHINE) as app:
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
