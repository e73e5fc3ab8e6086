"""A current transformers' BLIP of the size of `blip_caption/large_coco`, in an environment of its own.

`python_of_its_own()` makes that environment once (`.venv-transformers`): a venv that holds the newer
transformers and what comes with it, and finds torch in the project's .venv. Run by that Python, this file times
captions of random weights and prints the seconds of each run as JSON.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

TRANSFORMERS = "5.23.0"
FOLDER = Path(__file__).parents[1] / ".venv-transformers"
PROMPT = (30_522, 104, 105, 106, 102)  # [DEC] a picture of [SEP]; it drops the last


def python_of_its_own() -> str:
    """The path of its interpreter. Raises CalledProcessError where packages cannot be installed."""
    python = FOLDER / "bin" / "python"
    site = FOLDER / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    if not (site / f"transformers-{TRANSFORMERS}.dist-info").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER], check=True)
        import torch

        (site / "project.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
        install: list[str | Path] = [python, "-m", "pip", "install", "--quiet", f"transformers=={TRANSFORMERS}"]
        # what pip says of LAVIS's wishes is about the project's environment, which stays as it is
        subprocess.run(install, check=True, stderr=subprocess.DEVNULL)
    return str(python)


def main(runs: int, threads: int) -> None:
    sys.modules["torchvision"] = None  # type: ignore[assignment]  # its build may not fit torch's; not needed here
    import torch
    from transformers import BlipConfig, BlipForConditionalGeneration

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    vision = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    text = {"vocab_size": 30_524, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
    text |= {"encoder_hidden_size": 1024, "bos_token_id": 30_522, "sep_token_id": 102, "pad_token_id": 0}
    config = BlipConfig(
        vision_config={**vision, "image_size": 384, "patch_size": 16, "hidden_act": "gelu"},
        text_config={**text, "max_position_embeddings": 512, "intermediate_size": 3072},
    )
    model = BlipForConditionalGeneration(config).eval()
    pixels = torch.randn(1, 3, 384, 384)
    given = torch.tensor([PROMPT])

    def seconds(**lengths: int) -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            out = model.generate(
                pixel_values=pixels, input_ids=given, attention_mask=torch.ones_like(given), num_beams=3, **lengths
            )
        if out.shape[1] < lengths["min_length"]:
            raise RuntimeError(f"{out.shape[1]} tokens came out, not {lengths['min_length']}")
        return time.perf_counter() - started

    asked = {"fixed": {"min_length": 20, "max_length": 20}, "defaults": {"min_length": 10, "max_length": 30}}
    seconds(**asked["fixed"])
    print(json.dumps({name: [seconds(**lengths) for _ in range(runs)] for name, lengths in asked.items()}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
