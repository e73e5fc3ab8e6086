"""Train the bundled demonstration model on drawn scenes.

    python -m training.train_demo [--pictures N] [--run-dir DIR]

Goes on where the run in DIR stopped; writes demo_model/model.safetensors at the end. LAVIS's own modules are
trained, so what is saved loads through LAVIS. The learning rate falls to 0 at `--pictures`, which may be
changed when a run is taken up again.

Beside the caption, every patch of the encoder's output is asked which thing or ground it shows (a linear head
that is thrown away afterwards): drawn scenes know the answer for free, and such dense targets teach a vision
transformer far sooner than some ten words a picture do.
"""

import argparse
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from services.captioning.lavis_zoo import DEMO_MODEL, DemoBlipCaption
from training.backgrounds import BACKGROUNDS
from training.evaluate_demo import generate, score
from training.scenes import Scene, draw_scene
from training.things import THINGS

FIRST_JUDGING_SEED = 20_000  # never trained on
VALIDATION_SEED = 19_999
PEAK_LEARNING_RATE = 1e-3
WARM_UP_STEPS = 500
WEIGHT_DECAY = 0.02
MAX_GRADIENT_NORM = 1.0
PATCH_LOSS_SHARE = 0.5
SAVE_EVERY_STEPS = 500
VALIDATE_EVERY_STEPS = 750
REPLAYED = 16_384  # pictures kept, 48 KB each; each is shown again once, which halves the work of drawing

# CLIP's, as in LAVIS's BlipImageBaseProcessor
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)

Example = tuple[np.ndarray[Any, Any], str, np.ndarray[Any, Any]]


@dataclass
class Batch:
    pixels: Tensor  # (batch, 3, side, side) uint8
    captions: list[str]
    patches: Tensor  # (batch, patches) int64: index of the thing, or len(THINGS) + index of the ground


def patch_targets(scene: Scene, grid: int) -> np.ndarray[Any, Any]:
    """(grid · grid,) int64: what each patch shows."""
    targets = np.full((grid, grid), len(THINGS) + BACKGROUNDS.index(scene.background))
    centres = (np.arange(grid) + 0.5) / grid
    for placed in scene.placed:
        rows = np.abs(centres - placed.y) < 0.4 * placed.size
        columns = np.abs(centres - placed.x) < 0.4 * placed.size
        rows[int(placed.y * grid)] = columns[int(placed.x * grid)] = True
        targets[np.ix_(rows, columns)] = THINGS.index(placed.thing)
    return targets.reshape(-1)


class SceneBatches(IterableDataset[Batch]):
    """Endless batches, half of them drawn anew and half shown for the second time."""

    def __init__(self, seed: int, first: int, batch: int, side_px: int, patch_px: int) -> None:
        if seed >= FIRST_JUDGING_SEED:
            raise ValueError(f"seeds from {FIRST_JUDGING_SEED} on are for judging, never for training: {seed}")
        self.seed, self.first, self.batch = seed, first, batch
        self.side_px, self.grid = side_px, side_px // patch_px

    def _example(self, index: int) -> Example:
        scene = draw_scene(self.seed, index)
        # the same resampling as LAVIS's processor
        picture = scene.picture.resize((self.side_px, self.side_px), Image.Resampling.BICUBIC)
        return np.asarray(picture).transpose(2, 0, 1), scene.caption, patch_targets(scene, self.grid)

    def __iter__(self) -> Iterator[Batch]:
        lot = random.Random(self.first)
        kept: list[Example] = []
        index = self.first
        while True:
            fresh = [self._example(index + i) for i in range(self.batch // 2)]
            index += len(fresh)
            kept += fresh
            again = [kept.pop(lot.randrange(len(kept))) for _ in fresh] if len(kept) > REPLAYED else fresh
            examples = fresh + again
            pixels, captions, patches = zip(*examples, strict=True)
            yield Batch(
                torch.from_numpy(np.stack(pixels)), list(captions), torch.from_numpy(np.stack(patches))
            )


def learning_rate(step: int, steps: int) -> float:
    if step < WARM_UP_STEPS:
        return PEAK_LEARNING_RATE * (step + 1) / WARM_UP_STEPS
    return PEAK_LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / steps))


class Trainer:
    def __init__(self, run_dir: Path, batch: int, seed: int, device: str) -> None:
        self.config = OmegaConf.load(DEMO_MODEL / "config.yaml").model
        self.device = torch.device(device)
        torch.manual_seed(seed)
        self.model = DemoBlipCaption.untrained(self.config).to(self.device)
        self.patch_head = nn.Linear(self.config.vit_width, len(THINGS) + len(BACKGROUNDS)).to(self.device)
        self.parameters = [*self.model.parameters(), *self.patch_head.parameters()]
        decayed = [p for p in self.parameters if p.ndim > 1]
        plain = [p for p in self.parameters if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
        self.path, self.batch, self.seed, self.step = run_dir / "last.pt", batch, seed, 0

    def resume(self) -> None:
        if self.path.exists():
            state = torch.load(self.path, map_location=self.device)
            self.model.load_state_dict(state["model"])
            self.patch_head.load_state_dict(state["patch_head"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "patch_head": self.patch_head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        temporary = self.path.with_suffix(".part")
        torch.save(state, temporary)
        temporary.replace(self.path)

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean negative log-likelihood of the captions' tokens, and of the patches."""
        pixels = (batch.pixels.to(self.device).float() / 255 - MEAN.to(self.device)) / DEVIATION.to(self.device)
        features = self.model.visual_encoder.forward_features(pixels)
        texts = [self.config.prompt + caption for caption in batch.captions]
        # the logits only: LAVIS's own loss smooths the labels, which would blur the confidence
        output, targets = self.model.forward_decoder({"text_input": texts}, features)
        tokens = functional.cross_entropy(output.logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())
        seen = self.patch_head(features[:, 1:]).flatten(0, 1)
        return tokens, functional.cross_entropy(seen, batch.patches.to(self.device).flatten())

    def train(self, pictures: int) -> None:
        steps = pictures // self.batch
        drawn = self.step * self.batch // 2
        scenes = SceneBatches(
            self.seed, drawn, self.batch, self.config.image_size, self.config.vit_patch_size
        )
        bar = tqdm(total=pictures, initial=self.step * self.batch, unit="picture", smoothing=0.05)
        for batch in DataLoader(scenes, batch_size=None, num_workers=1, prefetch_factor=16):
            if self.step >= steps:
                break
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.step, steps)
            self.optimizer.zero_grad(set_to_none=True)
            tokens, patches = self.losses(batch)
            (tokens + PATCH_LOSS_SHARE * patches).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.parameters, MAX_GRADIENT_NORM)
            self.optimizer.step()
            self.step += 1
            bar.update(self.batch)
            bar.set_postfix(tokens=f"{tokens.item():.3f}", patches=f"{patches.item():.3f}", refresh=False)
            if self.step % SAVE_EVERY_STEPS == 0:
                self.save()
            if self.step % VALIDATE_EVERY_STEPS == 0:
                tqdm.write(f"{self.step * self.batch} pictures: {self.validate()}")
        self.save()

    def validate(self, count: int = 150) -> dict[str, float]:
        scenes = [draw_scene(VALIDATION_SEED, index) for index in range(count)]
        self.model.eval()
        captions = generate(self.model, [scene.picture for scene in scenes])
        self.model.train()
        return score(scenes, captions)

    def export(self) -> None:
        weights = {name: tensor.cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        # the decoder's last layer is its embedding, one tensor under two names; safetensors wants copies
        weights = {name: tensor.clone() for name, tensor in weights.items()}
        temporary = DEMO_MODEL / "model.safetensors.part"
        save_file(weights, temporary)
        temporary.replace(DEMO_MODEL / self.config.finetuned)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demonstration model.")
    parser.add_argument("--pictures", type=int, default=340_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--run-dir", type=Path, default=Path(__file__).with_name("runs") / "demo")
    parser.add_argument("--export-only", action="store_true", help="write the weights of the run as it stands")
    args = parser.parse_args()
    trainer = Trainer(args.run_dir, args.batch, args.seed, args.device)
    trainer.resume()
    if not args.export_only:
        trainer.train(args.pictures)
    trainer.export()


if __name__ == "__main__":
    main()
