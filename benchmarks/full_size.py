"""A checkpoint of the real format and size with random weights, where LAVIS looks for the published one.

    python -m tests.captioning.full_size HOME PICTURE

fills HOME/torch (TORCH_HOME) with `model_large_caption.pth` and HOME/hf (HF_HOME) with a synthetic
`bert-base-uncased`, then prints, as its last line, the caption that LAVIS itself gives for PICTURE.
"""

import json
import os
import sys
from pathlib import Path

MODEL = "blip_caption/large_coco"
SNAPSHOT = "0" * 40


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
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository.parent / "version.txt").write_text("1")  # of the cache's layout
    (repository / "refs" / "main").write_text(SNAPSHOT)
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    words = {104: "a", 105: "picture", 106: "of"}
    tokens = [(special | words).get(i, f"w{i}") for i in range(30_522)]
    (snapshot / "vocab.txt").write_text("\n".join(tokens) + "\n")
    (snapshot / "tokenizer_config.json").write_text('{"do_lower_case": true, "model_max_length": 512}')
    (snapshot / "config.json").write_text('{"model_type": "bert"}')


def main() -> None:
    home, picture = Path(sys.argv[1]), Path(sys.argv[2])
    write_tokenizer(home)
    os.environ.update(environment(home))
    import torch
    from omegaconf import OmegaConf
    from PIL import Image

    from services.captioning import lavis_zoo
    from services.captioning.checkpoints import cached_path

    name, model_type = lavis_zoo.find_captioner(MODEL)
    from lavis.models.blip_models.blip_caption import BlipCaption
    from lavis.models.med import XBertLMHeadDecoder
    from lavis.models.vit import VisionTransformerEncoder

    config = OmegaConf.load(BlipCaption.default_config_path(model_type)).model
    torch.manual_seed(0)
    model = BlipCaption(
        VisionTransformerEncoder.from_config(config), XBertLMHeadDecoder.from_config(config), config.prompt
    )
    path = cached_path(lavis_zoo.checkpoint_url(name, model_type))
    path.parent.mkdir(parents=True)
    torch.save({"model": model.state_dict()}, path)
    del model

    loaded, processors, _ = lavis_zoo.load_model_and_preprocess(name, model_type, is_eval=True)
    with Image.open(picture) as opened, torch.inference_mode():
        image = processors["eval"](opened.convert("RGB")).unsqueeze(0)
        captions = loaded.generate({"image": image})
    print(json.dumps(captions[0]))


if __name__ == "__main__":
    main()
