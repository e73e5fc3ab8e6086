"""The models of LAVIS's zoo that are BLIP-2 (Li et al. 2023): their sizes, and where their parts are."""

from dataclasses import dataclass
from pathlib import Path

PATCH_PX = 14


@dataclass(frozen=True)
class VisionSize:
    """Of the vision tower: EVA's ViT, or CLIP's, which LAVIS builds with one layer less than `layers`."""

    kind: str  # "eva" or "clip"
    width: int
    layers: int
    heads: int
    mlp_width: int


@dataclass(frozen=True)
class QFormerSize:
    """Of the transformer between picture and language: BERT base, looking at the picture in every other layer."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    queries: int = 32  # what a picture is to the language model: so many tokens


EVA_G = VisionSize("eva", width=1408, layers=39, heads=16, mlp_width=6144)
CLIP_L = VisionSize("clip", width=1024, layers=22, heads=16, mlp_width=4096)


@dataclass(frozen=True)
class Blip2Model:
    """What LAVIS's configuration files say of a model; a test compares them."""

    language_model: str  # a repository of the Hugging Face hub, or a folder that holds its files
    checkpoint: str | Path  # a URL, or a file
    # None: the checkpoint holds the vision tower's weights too, as where it was trained along
    vision_checkpoint: str | Path | None
    parameters: int  # in millions, all parts together
    image_px: int = 224
    prompt: str = ""  # not shown
    vision: VisionSize = EVA_G
    qformer: QFormerSize = QFormerSize()


_BUCKET = "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/models/BLIP2"
_EVA = f"{_BUCKET}/eva_vit_g.pth"


def _pretrained(language_model: str, name: str, parameters: int) -> Blip2Model:
    return Blip2Model(language_model, f"{_BUCKET}/blip2_pretrained_{name}.pth", _EVA, parameters)


def _captioner(language_model: str, name: str, parameters: int) -> Blip2Model:
    checkpoint = f"{_BUCKET}/blip2_caption_{name}.pth"
    return Blip2Model(language_model, checkpoint, None, parameters, image_px=364, prompt="a photo of")


BLIP2_MODELS = {
    "blip2_opt/pretrain_opt2.7b": _pretrained("facebook/opt-2.7b", "opt2.7b", 3745),
    "blip2_opt/caption_coco_opt2.7b": _captioner("facebook/opt-2.7b", "opt2.7b", 3745),
    "blip2_opt/pretrain_opt6.7b": _pretrained("facebook/opt-6.7b", "opt6.7b", 7753),
    "blip2_opt/caption_coco_opt6.7b": _captioner("facebook/opt-6.7b", "opt6.7b", 7753),
    "blip2_t5/pretrain_flant5xl": _pretrained("google/flan-t5-xl", "flant5xl", 3942),
    "blip2_t5/caption_coco_flant5xl": _captioner("google/flan-t5-xl", "flant5xl", 3942),
    "blip2_t5/pretrain_flant5xl_vitL": Blip2Model(
        "google/flan-t5-xl",
        f"{_BUCKET}/blip2_pretrained_flant5xl_vitL.pth",
        f"{_BUCKET}/clip_vit_L.pth",
        3231,
        vision=CLIP_L,
    ),
    "blip2_t5/pretrain_flant5xxl": _pretrained("google/flan-t5-xxl", "flant5xxl", 12230),
}
