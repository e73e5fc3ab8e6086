"""The default model's real path, whole: a checkpoint of full size where LAVIS looks for it, and no network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.full_size import DEFAULT_MODEL, environment
from config.values import CHECKOUT
from tests.service.conftest import DrawnFile
from tests.service.running import service

BY_LAVIS = """
import json, sys
import torch
from services.captioning import lavis_zoo
from PIL import Image
model, processors, _ = lavis_zoo.load_model_and_preprocess(*lavis_zoo.names_in_lavis(sys.argv[1]), is_eval=True)
with Image.open(sys.argv[2]) as opened, torch.inference_mode():
    image = processors["eval"](opened.convert("RGB")).unsqueeze(0)
    print(json.dumps(model.generate({"image": image})[0]))
"""

@pytest.mark.slow
def test_large_coco_from_the_cache_captions_as_lavis_does(tmp_path: Path, scenes: list[DrawnFile]) -> None:
    """By both engines; LAVIS's own `generate` says what is right."""
    picture = scenes[0].path
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.full_size", str(tmp_path)]
    subprocess.run(command, cwd=CHECKOUT, env=os.environ, check=True)
    command = [sys.executable, "-W", "ignore", "-c", BY_LAVIS, DEFAULT_MODEL, str(picture)]
    given = subprocess.run(
        command,
        cwd=CHECKOUT,
        env=os.environ | environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    by_lavis = json.loads(given.stdout.splitlines()[-1])
    assert len(by_lavis.split()) >= 5  # 10 tokens at least, the prompt's among them

    for engine, named in (("auto", "blip"), ("lavis", "lavis")):
        # no MODEL: it is the default
        settings = {"ENGINE": engine, "DEVICE": "cpu", "IMAGE_ROOTS": str(picture.parent)}
        with service(**settings, **environment(tmp_path)) as large:
            health = large.wait_until("loaded")
            answer = large.get("/v3/analyze", file=str(picture)).json()
        assert (health["precision"], health["engine"]) == ("fp32", named)
        assert answer["predictions"][0]["text"] == by_lavis.strip()
        info = answer["metadata"]["model_info"]
        assert (info["model"], info["engine"]) == (DEFAULT_MODEL, named)
