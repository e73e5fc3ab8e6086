"""The default model's real path, whole: a checkpoint of full size where LAVIS looks for it, and no network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.values import CHECKOUT
from tests.captioning.full_size import MODEL, environment
from tests.service.conftest import DrawnFile
from tests.service.running import service


@pytest.mark.slow
def test_large_coco_from_the_cache_captions_as_lavis_does(tmp_path: Path, scenes: list[DrawnFile]) -> None:
    picture = scenes[0].path
    command = [sys.executable, "-W", "ignore", "-m", "tests.captioning.full_size", str(tmp_path), str(picture)]
    made = subprocess.run(command, cwd=CHECKOUT, env=os.environ, stdout=subprocess.PIPE, text=True, check=True)
    by_lavis = json.loads(made.stdout.splitlines()[-1])
    assert len(by_lavis.split()) >= 5  # 10 tokens at least, the prompt's among them

    # no MODEL: it is the default
    with service(DEVICE="cpu", IMAGE_ROOTS=str(picture.parent), **environment(tmp_path)) as large:
        assert large.wait_until("loaded")["precision"] == "fp32"
        answer = large.get("/v3/analyze", file=str(picture)).json()
    assert answer["predictions"][0]["text"] == by_lavis.strip()
    assert answer["metadata"]["model_info"]["model"] == MODEL
