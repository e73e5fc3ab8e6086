"""How long does BLIP-2 take, and how much memory, in each precision: by us, and by plain LAVIS?

    .venv/bin/python -m benchmarks.blip2 HOME [--what lavis fp32 bf16 int8 int4] [--runs 1] [--threads N]

`blip2_opt/pretrain_opt2.7b` at full size with random weights, which are written into HOME first (8 GB, and kept),
on the CPU; each in a process of its own, one after the other. `lavis` needs 16 GB and `fp32` as much. A caption
has 5 beams and exactly 30 tokens; `first_s` is what comes before the second token: the image encoder, and the
language model's look at what it gave. `peak_gb` is the process's largest resident set, mapped files included;
`step_share` is the share of the memory's read rate that a step reaches, counted on the language model's weights.
`first_ratio` and `caption_ratio` are LAVIS's times divided by these, `same_text` whether the caption is LAVIS's:
all three only where `lavis` was measured in the same run. Prints a table and, as its last line, JSON.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import full_size
from config.values import CHECKOUT

MODEL = "blip2_opt/pretrain_opt2.7b"
LANGUAGE = "facebook/opt-2.7b"
BEAMS, TOKENS = 5, 30
RATIOS = ("first_ratio", "caption_ratio", "same_text")
WHAT = {
    "lavis": ("lavis", "auto"),
    "fp32": ("auto", "fp32"),
    "bf16": ("auto", "bf16"),
    "int8": ("auto", "int8"),
    "int4": ("auto", "int4"),
}
OPT_27 = {
    "model_type": "opt",
    "hidden_size": 2560,
    "word_embed_proj_dim": 2560,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "ffn_dim": 10_240,
    "vocab_size": 50_272,
    "max_position_embeddings": 2048,
    "architectures": ["OPTForCausalLM"],
}

TIMED = """
import json, re, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from PIL import Image
from services.captioning.captioner import DecodingOptions
from services.captioning.engines import load_captioner
model, engine, precision, runs, threads, beams, tokens = *sys.argv[2:5], *map(int, sys.argv[5:9])
torch.set_num_threads(threads)
started = time.perf_counter()
captioner = load_captioner(model, engine, "cpu", precision, lambda progress: None)
load_s = time.perf_counter() - started
picture = captioner.prepare(Image.linear_gradient("L").convert("RGB"))
module = captioner.blip2 if engine == "auto" else captioner._model
def n_bytes(part):
    held = {id(tensor): tensor.nbytes for tensor in (*part.parameters(), *part.buffers())}
    return sum(held.values())
texts = {}
def seconds(tokens):
    options = DecodingOptions(num_beams=beams, min_length=tokens, max_length=tokens)
    started = time.perf_counter()
    texts[tokens] = captioner.caption([picture], options)[0][0].text
    return time.perf_counter() - started
seconds(1)  # warms caches, and maps the weights in
first_s, caption_s = (sorted(seconds(n) for _ in range(runs))[runs // 2] for n in (1, tokens))
# of this program alone: what getrusage says can be what its parent had before
peak_kib = int(re.search(r"VmHWM:\\s*([0-9]+)", Path("/proc/self/status").read_text())[1])
block = torch.ones(1 << 28)
def read_s():
    started = time.perf_counter()
    block.sum()
    return time.perf_counter() - started
rate = block.nbytes / min(read_s() for _ in range(3))
language = module.language_model if engine == "auto" else module.opt_model
floor_s = n_bytes(language) / rate
print(json.dumps({
    "load_s": load_s, "parameters_gb": n_bytes(module) / 1e9,
    "peak_gb": peak_kib * 1024 / 1e9, "first_s": first_s, "caption_s": caption_s,
    "step_share": floor_s * (tokens - 1) / (caption_s - first_s), "text": texts[tokens],
}))
"""


def write_files(home: Path) -> None:
    """All that LAVIS and we load, where both look for it when HOME is the current folder."""
    from services.captioning.checkpoints import cached_path

    os.environ.update(full_size.environment(home))
    from services.captioning.blip2.model import BLIP2_MODELS

    model = BLIP2_MODELS[MODEL]
    _write_language_model(home / LANGUAGE)
    _write_bert(home / "bert-base-uncased")
    paths = [cached_path(str(url)) for url in (model.checkpoint, model.vision_checkpoint)]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    if not all(path.exists() for path in paths):
        _write_checkpoints(home / LANGUAGE, *paths)


def _write_checkpoints(language: Path, checkpoint: Path, vision: Path) -> None:
    import torch

    from services.captioning.blip2.architecture import build
    from services.captioning.blip2.model import BLIP2_MODELS

    blip2 = build(BLIP2_MODELS[MODEL], language).state_dict()
    held: dict[str, dict[str, Any]] = {"trained": {}, "vision": {}}
    for name, weight in blip2.items():
        if name.startswith("visual_encoder."):
            own = name.removeprefix("visual_encoder.")
            if own.endswith("qkv.bias"):
                width = len(weight) // 3
                for part in ("q_bias", "v_bias"):
                    held["vision"][own.replace("qkv.bias", part)] = torch.zeros(width, dtype=torch.float16)
            else:
                held["vision"][own] = _random(weight, torch.float16)
        elif not name.startswith("language_model."):
            held["trained"][name.replace("language_projection", "opt_proj")] = _random(weight, torch.float32)
    torch.save(held["vision"], vision)
    torch.save({"model": held["trained"]}, checkpoint)


def _write_language_model(folder: Path) -> None:
    import torch

    from services.captioning import lavis_zoo

    folder.mkdir(parents=True, exist_ok=True)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "\u0120", "\u010a", *map(chr, range(33, 127))]
    tokens += [f"w{number}" for number in range(len(tokens), OPT_27["vocab_size"])]  # type: ignore[call-overload]
    special = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    config = {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, **special}
    for name, content in {
        "config.json": OPT_27,
        "vocab.json": {token: number for number, token in enumerate(tokens)},
        "special_tokens_map.json": special,
        "tokenizer_config.json": config,
    }.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    path = folder / "pytorch_model.bin"
    if path.exists():
        return
    with torch.device("meta"):
        model = lavis_zoo.OPTForCausalLM(lavis_zoo.AutoConfig.from_pretrained(str(folder)))
    names = [name for name in model.state_dict() if name != "lm_head.weight"]
    torch.save({name: _random(model.state_dict()[name], torch.float16) for name in names}, path)


def _write_bert(folder: Path) -> None:
    """What LAVIS alone takes from there: a configuration, a vocabulary, and weights that it replaces."""
    import torch

    from services.captioning import lavis_zoo

    folder.mkdir(exist_ok=True)
    lavis_zoo.BertConfig().save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]), encoding="utf-8")
    torch.save({}, folder / "pytorch_model.bin")


def _random(like: Any, dtype: Any) -> Any:
    """Made of one small lot, again and again: the speed does not depend on the values."""
    import torch

    if like.dtype is torch.int64:  # positions
        return torch.arange(like.shape[-1])[None]
    if like.ndim == 1:
        return torch.ones(like.shape, dtype=dtype)
    lot = torch.randn(999_983, generator=torch.Generator().manual_seed(0)).mul_(0.02).to(dtype)
    return lot.repeat(-(-like.numel() // len(lot)))[: like.numel()].view(like.shape).clone()


def measure(home: Path, what: str, runs: int, threads: int) -> dict[str, Any]:
    arguments = [str(CHECKOUT), MODEL, *WHAT[what], *map(str, (runs, threads, BEAMS, TOKENS))]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TIMED, *arguments],
        cwd=home,
        env=os.environ | full_size.environment(home),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {key: value if key == "text" else round(value, 3) for key, value in measured.items()}


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    columns = [name for name in next(iter(results.values())) if name not in ("text", *RATIOS)]
    columns += [name for name in RATIOS if any(name in found for found in results.values())]
    lines = [["", *columns], ["---"] * (1 + len(columns))]
    lines += [[what, *(str(found.get(name, "")) for name in columns)] for what, found in results.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time BLIP-2, and weigh it.")
    parser.add_argument("home", type=Path)
    parser.add_argument("--what", nargs="+", choices=WHAT, default=list(WHAT))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    home = args.home.absolute()
    # in a process of its own, which gives all its memory back
    writer = multiprocessing.get_context("spawn").Process(target=write_files, args=(home,))
    writer.start()
    writer.join()
    if writer.exitcode:
        sys.exit("The files could not be written")
    results: dict[str, dict[str, Any]] = {}
    for what in args.what:
        results[what] = found = measure(home, what, args.runs, args.threads)
        if lavis := results.get("lavis"):
            found["first_ratio"] = round(lavis["first_s"] / found["first_s"], 2)
            found["caption_ratio"] = round(lavis["caption_s"] / found["caption_s"], 2)
            found["same_text"] = found["text"] == lavis["text"]
        print(what, json.dumps(found), flush=True)  # each at once: the next may not fit into the memory
    print(f"{MODEL}, {args.threads} threads, {BEAMS} beams, {TOKENS} tokens\n{table(results)}")
    print(json.dumps({"model": MODEL, "threads": args.threads, "beams": BEAMS, "tokens": TOKENS, **results}))


if __name__ == "__main__":
    main()
