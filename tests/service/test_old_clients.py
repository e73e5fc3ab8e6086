"""Programs and command lines written against the old service, as its documentation shows them.

Only the port, and the places of the pictures, are this test's own.
"""

import json
import shutil
import subprocess
import sys

import pytest

from tests.service.conftest import DrawnFile
from tests.service.running import Service
from tests.service.test_captions import lavis_caption

curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

ANSWER_KEYS = {"metadata", "predictions", "service", "status"}

SNIPPET = """
import requests

def analyze_image_with_blip2(image_url):
    response = requests.get(
        "http://localhost:7777/v3/analyze",
        params={"url": image_url}
    )

    result = response.json()
    if result["status"] == "success":
        prediction = result["predictions"][0]
        caption = prediction["text"]
        emojis = [m["emoji"] for m in prediction["emoji_mappings"]]
        return {
            "caption": caption,
            "emojis": emojis,
            "processing_time": result["metadata"]["processing_time"]
        }
"""


def shell(command: str, demo: Service) -> "dict[str, object]":
    command = command.replace("localhost:7777", f"localhost:{demo.port}")
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@curl
def test_its_curl_lines(demo: Service, scenes: list[DrawnFile], site: str) -> None:
    path, name = scenes[5].path, scenes[5].path.name
    for command in (
        f'curl -s "http://localhost:7777/v3/analyze?url={site}/{name}"',
        f'curl -s "http://localhost:7777/analyze?url={site}/{name}"',
        f'curl -s "http://localhost:7777/v3/analyze?file={path}"',
        f'curl -s -X POST -F "file=@{path}" http://localhost:7777/v3/analyze',
    ):
        answer = shell(command, demo)
        assert set(answer) == ANSWER_KEYS
        assert (answer["service"], answer["status"]) == ("blip2", "success")
        assert answer["predictions"][0]["text"] == lavis_caption(path)  # type: ignore[index]
    health = shell("curl -s http://localhost:7777/health", demo)
    assert health.items() >= {"status": "healthy", "model_status": "loaded", "device": "cpu"}.items()


def test_its_python_snippet(demo: Service, scenes: list[DrawnFile], site: str) -> None:
    program = SNIPPET.replace("localhost:7777", f"localhost:{demo.port}")
    program += f'\nimport json; print(json.dumps(analyze_image_with_blip2("{site}/{scenes[6].path.name}")))'
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["caption"] == lavis_caption(scenes[6].path)
    assert result["emojis"]
    assert result["processing_time"] >= 0
