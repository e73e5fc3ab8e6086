"""How long does it take from the start of a process to its first caption, and how much memory?

    .venv/bin/python -m benchmarks.load [--model blip_caption/large_coco] [--rounds 3]

The checkpoint (full size, random weights) is on disk, in the page cache, and its hash is recorded. LAVIS itself
and the fast path, each in fresh processes, in turn. Medians; the last line is JSON: `lavis_s`, `ours_s`,
`lavis_peak_bytes`, `ours_peak_bytes` (resident at most, pages of mapped files included), `weights_bytes`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import full_size
from config.values import CHECKOUT

PROLOGUE = """
import resource, sys
from PIL import Image
picture = Image.new("RGB", (384, 384))
"""
EPILOGUE = """
print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
FIRST_CAPTION = {
    "lavis": """
import torch
from services.captioning import lavis_zoo  # makes LAVIS importable, and imports it
model, processors, _ = lavis_zoo.load_model_and_preprocess(*lavis_zoo.names_in_lavis(sys.argv[1]), is_eval=True)
with torch.inference_mode():
    model.generate({"image": processors["eval"](picture).unsqueeze(0)})
""",
    "ours": """
from services.captioning.engines import load_captioner
captioner = load_captioner(sys.argv[1], "auto", "cpu", "auto", lambda progress: None)
captioner.caption([captioner.prepare(picture)], None)
""",
}


def first_caption(name: str, model: str, environment: dict[str, str]) -> tuple[float, int]:
    """Seconds until it has come, and the most bytes that were resident."""
    command = [sys.executable, "-W", "ignore", "-c", PROLOGUE + FIRST_CAPTION[name] + EPILOGUE, model]
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=CHECKOUT, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return time.perf_counter() - started, int(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description="Time from the start of a process to its first caption.")
    parser.add_argument("--model", default=full_size.DEFAULT_MODEL)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    measured: dict[str, list[tuple[float, int]]] = {name: [] for name in FIRST_CAPTION}
    with tempfile.TemporaryDirectory() as folder:
        environment = full_size.environment(Path(folder))
        write = [sys.executable, "-W", "ignore", "-m", "benchmarks.full_size", folder, args.model]
        written = subprocess.run(write, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, text=True)
        checkpoint = Path(written.stdout.splitlines()[-1])
        weights_bytes = checkpoint.stat().st_size
        first_caption("ours", args.model, environment)  # fills the page cache, records the hash
        for _ in range(args.rounds):
            for name, runs in measured.items():
                runs.append(first_caption(name, args.model, environment))
    result: dict[str, float] = {}
    for name, runs in measured.items():
        result[f"{name}_s"] = round(statistics.median(seconds for seconds, _ in runs), 2)
        result[f"{name}_peak_bytes"] = max(peak for _, peak in runs)
    result["weights_bytes"] = weights_bytes
    print(f"{args.model}, {os.cpu_count()} CPUs, fp32, medians of {args.rounds} rounds")
    print(f"{'':<28}{'LAVIS':>8}{'ours':>8}{'ratio':>8}")
    ratio = result["lavis_s"] / result["ours_s"]
    print(f"{'first caption, s':<28}{result['lavis_s']:8.2f}{result['ours_s']:8.2f}{ratio:8.2f}")
    peaks = [result[f"{name}_peak_bytes"] for name in FIRST_CAPTION]
    print(f"{'peak memory, GB':<28}{peaks[0] / 1e9:8.2f}{peaks[1] / 1e9:8.2f}{peaks[0] / peaks[1]:8.2f}")
    print(f"{'peak / bytes of the weights':<28}{peaks[0] / weights_bytes:8.2f}{peaks[1] / weights_bytes:8.2f}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
