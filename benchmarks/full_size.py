"""A checkpoint of the real format and size with random weights, where LAVIS looks for the published one.

    python -m benchmarks.full_size HOME [MODEL]

fills HOME/torch (TORCH_HOME) with the checkpoint of MODEL (default blip_caption/large_coco) and HOME/hf (HF_HOME)
with a synthetic `bert-base-uncased`; `environment(HOME)` is what a process needs to find them.
"""

import argparse
import os
from pathlib import Path

DEFAULT_MODEL = "blip_caption/large_coco"
SNAPSHOT = "0" * 40
SPECIAL = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
WORDS = {104: "a", 105: "picture", 106: "of"}  # the prompt's
TOKENS = 30_522


def environment(home: Path) -> dict[str, str]:
    """What a process needs to find them and nothing else, without a network."""
    return {
        "TORCH_HOME": str(home / "torch"),
        "HF_HOME": str(home / "hf"),
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_OFFLINE": "1",
    }


def write_tokenizer(home: Path) -> None:
    """A vocabulary of BERT's size and layout, in the cache layout of the hub's client."""
    repository = home / "hf" / "hub" / "models--bert-base-uncased"
    snapshot = repository / "snapshots" / SNAPSHOT
    snapshot.mkdir(parents=True, exist_ok=True)
    (repository / "refs").mkdir(exist_ok=True)
    (repository.parent / "version.txt").write_text("1")  # of the cache's layout
    (repository / "refs" / "main").write_text(SNAPSHOT)
    tokens = [(SPECIAL | WORDS).get(i, f"w{i}") for i in range(TOKENS)]
    (snapshot / "vocab.txt").write_text("\n".join(tokens) + "\n")
    (snapshot / "tokenizer_config.json").write_text('{"do_lower_case": true, "model_max_length": 512}')
    (snapshot / "config.json").write_text('{"model_type": "bert"}')


def write_checkpoint(model: str) -> Path:
    """The checkpoint of a model that has LAVIS's own start values; TORCH_HOME and HF_HOME are set."""
    import torch
    from omegaconf import OmegaConf

    from services.captioning import lavis_zoo
    from services.captioning.checkpoints import cached_path

    name, model_type = lavis_zoo.names_in_lavis(model)
    from lavis.models.blip_models.blip_caption import BlipCaption
    from lavis.models.med import XBertLMHeadDecoder
    from lavis.models.vit import VisionTransformerEncoder

    config = OmegaConf.load(BlipCaption.default_config_path(model_type)).model
    torch.manual_seed(0)
    made = BlipCaption(
        VisionTransformerEncoder.from_config(config), XBertLMHeadDecoder.from_config(config), config.prompt
    )
    path = cached_path(lavis_zoo.checkpoint_url(name, model_type))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": made.state_dict()}, path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a checkpoint of full size with random weights.")
    parser.add_argument("home", type=Path)
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL)
    args = parser.parse_args()
    write_tokenizer(args.home)
    os.environ.update(environment(args.home))
    print(write_checkpoint(args.model))


if __name__ == "__main__":
    main()
