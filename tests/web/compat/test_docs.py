"""docs/doors.md: its commands run as they stand, and are answered as it says."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from config.models import models_table, read_models, short_name
from tests.fakes import make_app
from tests.images.servers import THIS_MACHINE
from tests.web.listening import ListeningCaptioner

ROOT = Path(__file__).parents[3]
DOORS = (ROOT / "docs" / "doors.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```bash\n(.*?)```\n(?:```json\n(.*?)```)?", DOORS, re.DOTALL)
CAPTION = "a skateboard on a red carpet"
VOLATILE = {"id", "created", "Base64 String"}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with make_app(ListeningCaptioner(CAPTION), url_policy=THIS_MACHINE) as app:
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def steady(value: Any) -> Any:
    """`value` without what differs from answer to answer, or between the models."""
    match value:
        case dict():
            return {name: "…" if name in VOLATILE else steady(one) for name, one in value.items()}
        case list():
            return [steady(one) for one in value]
        case "demo":
            return "colours"
        case _:
            return value


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="needs curl and bash")
@pytest.mark.parametrize(("command", "answer"), EXAMPLES)
def test_commands_and_answers(port: int, web: str, command: str, answer: str) -> None:
    command = command.replace("localhost:7777", f"127.0.0.1:{port}").replace("https://example.org/photo.jpg", web)
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    if answer:
        assert steady(told) == steady(json.loads(answer.replace("https://example.org/photo.jpg", web)))
    else:
        texts = [prediction["text"] for prediction in told["predictions"]]
        assert texts == [f"{CAPTION} 1", f"{CAPTION} 2"]


def test_each_door_has_an_example() -> None:
    commands = "".join(command for command, _ in EXAMPLES)
    for route in (
        "/v3/analyze", "/caption-url/", "/caption-file/", "/caption-base64/", "/encode-base64/", "/image2caption/",
        "/v2/models/blip/infer", "/v1/chat/completions", "/v1/models", "/vision/caption", "/vision/labels",
    ):  # fmt: skip
        assert route in commands


def test_the_table_of_models_is_up_to_date() -> None:
    block = DOORS.partition("<!-- models -->")[2].partition("<!-- /models -->")[0]
    assert block.strip() == models_table().strip(), "paste the output of: python -m config.models"


def test_short_names() -> None:
    names = [entry.short_name for entry in read_models().values()]
    assert len(set(names)) == len(names)
    assert not [name for name in names if "/" in name or name == "blip"]
    assert short_name("blip_caption/large_coco") == "blip-large"
    assert short_name("blip2_t5/something_new") == "blip2_t5-something_new"
