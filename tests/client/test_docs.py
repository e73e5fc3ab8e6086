"""docs/client.md: its examples run as they stand, and OpenAI's and Triton's own clients are content."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

from tests.client.conftest import CAPTION
from tests.web.answers import TEAL_BASE64

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```(bash|python|javascript)\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = {
    "bash": ["bash", "-c"],
    "python": [sys.executable, "-W", "error", "-c"],
    "javascript": ["node", "--input-type=module", "-e"],
}


@pytest.mark.parametrize(("language", "code"), EXAMPLES)
def test_an_example_runs_as_it_stands(server: str, language: str, code: str) -> None:
    command = COMMANDS[language]
    if not shutil.which(command[0]):
        pytest.skip(f"needs {command[0]}")
    code = code.replace("http://localhost:7777", server).replace("localhost:7777", server.removeprefix("http://"))
    if ".venv/bin/python" in code:
        module = f"services.client --server {server}"
        code = code.replace(".venv/bin/python", sys.executable).replace("services.client", module)
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [*command, code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert CAPTION in done.stdout


def test_there_is_an_example_in_each_language() -> None:
    assert {language for language, _ in EXAMPLES} == set(COMMANDS)
    assert "make caption FILE=" in TEXT


def test_make_caption_runs_the_client() -> None:
    done = subprocess.run(
        ["make", "-n", "caption", "FILE=a b.png", "SERVER=http://there:1"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    command = '.venv/bin/python -m services.client --server "http://there:1" "a b.png"'
    assert command in done.stdout.splitlines()  # among what make says of itself, within another make


@pytest.fixture
def openai(server: str) -> OpenAI:
    return OpenAI(base_url=f"{server}/v1", api_key="any", max_retries=0)


def test_openai_lists_the_models(openai: OpenAI) -> None:
    with openai:
        assert [model.id for model in openai.models.list()] == ["colours"]


def test_openai_streams(openai: OpenAI) -> None:
    image: Any = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{TEAL_BASE64}"}}
    messages: Any = [{"role": "user", "content": [image, {"type": "text", "text": "What is this?"}]}]
    with openai, openai.chat.completions.create(model="blip", messages=messages, stream=True) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == CAPTION
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"


def test_openai_raises_its_own_errors(openai: OpenAI) -> None:
    with openai, pytest.raises(BadRequestError) as caught:
        openai.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "Hi"}])
    assert caught.value.code == "model_not_configured"
