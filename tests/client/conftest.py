import threading
from collections.abc import Iterator

import pytest
from werkzeug.serving import make_server

from tests.fakes import make_app
from tests.images.servers import THIS_MACHINE
from tests.web.listening import ListeningCaptioner

CAPTION = "a skateboard on a red carpet"


@pytest.fixture(scope="package")
def captioner() -> ListeningCaptioner:
    return ListeningCaptioner(CAPTION)


@pytest.fixture(scope="package")
def server(captioner: ListeningCaptioner) -> Iterator[str]:
    """The URL of the application on a captioner that sees the same in every picture."""
    with make_app(captioner, url_policy=THIS_MACHINE) as app:
        served = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=served.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{served.server_port}"
        finally:
            served.shutdown()
            thread.join()
            served.server_close()
