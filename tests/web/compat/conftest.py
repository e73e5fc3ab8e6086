from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.fakes import make_app
from tests.images.servers import THIS_MACHINE, raw, sends
from tests.web.answers import TEAL_PNG
from tests.web.listening import ListeningCaptioner


@pytest.fixture(scope="module")
def captioner() -> ListeningCaptioner:
    return ListeningCaptioner("two dogs and a girl handing flowers")


@pytest.fixture(scope="module")
def app(captioner: ListeningCaptioner) -> Iterator[Flask]:
    with make_app(captioner, url_policy=THIS_MACHINE) as app:
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """The URL of a picture."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(TEAL_PNG)}\r\nConnection: close\r\n\r\n".encode()
    with raw(sends(head + TEAL_PNG)) as port:
        yield f"http://127.0.0.1:{port}/teal.png"
