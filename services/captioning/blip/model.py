"""BLIP's captioner (Li et al. 2022) as one module, and the models of LAVIS's zoo that have its shape."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from services.captioning.blip.text import TextDecoder, TextDimensions
from services.captioning.blip.vision import VisionDimensions, VisionEncoder

DEMO_MODEL = Path(__file__).parents[3] / "demo_model"
BERT_BASE_UNCASED = "bert-base-uncased"  # on the Hugging Face hub


@dataclass(frozen=True)
class BlipModel:
    """What LAVIS's configuration files say of a model; a test compares them."""

    vision: VisionDimensions
    text: TextDimensions
    prompt: str
    checkpoint: str | Path  # a URL, or a file of ours
    vocabulary: str | Path  # a repository of the hub, or a file of ours


_BUCKET = "https://storage.googleapis.com/sfr-vision-language-research"

BLIP_MODELS = {
    "blip_caption/base_coco": BlipModel(
        VisionDimensions(image_px=384, patch_px=16, width=768, layers=12, heads=12),
        TextDimensions(vocabulary=30_524, positions=512, width=768, layers=12, heads=12, image_width=768),
        prompt="a picture of ",
        checkpoint=f"{_BUCKET}/LAVIS/models/BLIP/blip_coco_caption_base.pth",
        vocabulary=BERT_BASE_UNCASED,
    ),
    "blip_caption/large_coco": BlipModel(
        VisionDimensions(image_px=384, patch_px=16, width=1024, layers=24, heads=16),
        TextDimensions(vocabulary=30_524, positions=512, width=768, layers=12, heads=12, image_width=1024),
        prompt="a picture of ",
        checkpoint=f"{_BUCKET}/BLIP/models/model_large_caption.pth",
        vocabulary=BERT_BASE_UNCASED,
    ),
    "demo": BlipModel(
        VisionDimensions(image_px=224, patch_px=16, width=192, layers=6, heads=6),
        TextDimensions(vocabulary=379, positions=64, width=192, layers=3, heads=6, image_width=192),
        prompt="a small drawn picture of ",
        checkpoint=DEMO_MODEL / "model.safetensors",
        vocabulary=DEMO_MODEL / "vocab.txt",
    ),
}


class Blip(nn.Module):
    def __init__(self, model: BlipModel) -> None:
        super().__init__()
        self.vision = VisionEncoder(model.vision)
        self.text = TextDecoder(model.text)
