"""Train the bundled demonstration model on drawn scenes.

    python -m training.train_demo [--pictures N] [--run-dir DIR]

Goes on where the run in DIR stopped; writes demo_model/model.safetensors at the end. LAVIS's own modules are
trained, so what is saved loads through LAVIS. The learning rate falls to 0 at `--pictures`, which may be
changed when a run is taken up again.

Drawn scenes know more than their caption, and dense targets teach a vision transformer far sooner than some ten
words a picture do. So the encoder's output is asked more, by linear heads that are thrown away afterwards: each
patch, which thing or ground it shows, where that thing's centre is, whether the caption names it first, second or
third, and, of the class token too, how the things are arranged. And the training begins with crowded pictures,
without a caption.
"""

import argparse
import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
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
from services.captioning.torch_captioner import DEVIATION, MEAN
from training.backgrounds import BACKGROUNDS
from training.evaluate_demo import generate, score
from training.scenes import KINDS, Scene, draw_crowd, draw_scene
from training.things import THINGS

PICTURES = 240_000  # some three hours on two cores
FIRST_JUDGING_SEED = 20_000  # never trained on
VALIDATION_SEED = 19_999
PEAK_LEARNING_RATE = 1e-3
WARM_UP_STEPS = 500
WEIGHT_DECAY = 0.02
MAX_GRADIENT_NORM = 1.0
WEIGHTS = {"tokens": 1.0, "patches": 0.5, "orders": 0.5, "kinds": 0.5, "centres": 0.5}  # of the losses
UNASKED = -100
SAVE_EVERY_STEPS = 500
VALIDATE_EVERY_STEPS = 300
KEPT = 4096  # pictures that wait to be shown again, 48 KB each
CROWD_SHARE = 0.35  # of the training
CROWD_EVERY = 3  # batches, while it learns to read: so that it goes on learning to see
GROUND_WEIGHT = 0.1  # of a patch that shows the ground: there are many, and they are easy

Draw = Callable[[int, int], Scene]  # seed and index -> scene
Array = np.ndarray[Any, Any]
# pixels, caption, what the patches show, their places in the caption, the way to their centres, the arrangement
Example = tuple[Array, str, Array, Array, Array, int]


@dataclass
class Batch:
    pixels: Tensor  # (batch, 3, side, side) uint8
    captions: list[str]
    patches: Tensor  # (batch, patches) int64: index of the thing, or len(THINGS) + index of the ground
    orders: Tensor  # (batch, patches) int64: named first (0), second, third; UNASKED: ground
    centres: Tensor  # (batch, patches, 3) float32: right and down to the thing's centre, its size, in patches
    kinds: Tensor  # (batch,) int64: index of the arrangement; UNASKED for crowds


def patch_targets(scene: Scene, grid: int) -> tuple[Array, Array, Array]:
    """What each patch shows, its place in the caption, the way to its thing's centre: as in Batch."""
    targets = np.full((grid, grid), len(THINGS) + BACKGROUNDS.index(scene.background))
    orders = np.full((grid, grid), UNASKED)
    ways = np.zeros((grid, grid, 3), np.float32)
    named = [thing for _, thing in scene.words]
    centres = (np.arange(grid) + 0.5) / grid
    for placed in scene.placed:
        rows = np.abs(centres - placed.y) < 0.4 * placed.size
        columns = np.abs(centres - placed.x) < 0.4 * placed.size
        rows[int(placed.y * grid)] = columns[int(placed.x * grid)] = True
        targets[np.ix_(rows, columns)] = THINGS.index(placed.thing)
        right, down = np.meshgrid(placed.x - centres[columns], placed.y - centres[rows])
        ways[np.ix_(rows, columns)] = grid * np.stack([right, down, np.full_like(right, placed.size)], axis=-1)
        if named:
            orders[np.ix_(rows, columns)] = named.index(placed.thing)
    return targets.reshape(-1), orders.reshape(-1), ways.reshape(-1, 3)


class SceneBatches(IterableDataset[Batch]):
    """Endless batches of pictures by `draw`; each picture is shown `shows` times, far apart:
    drawing is half of the work otherwise."""

    def __init__(self, draw: Draw, seed: int, first: int, batch: int, shows: int, config: Any) -> None:
        if seed >= FIRST_JUDGING_SEED:
            raise ValueError(f"seeds from {FIRST_JUDGING_SEED} on are for judging, never for training: {seed}")
        self.draw, self.seed, self.first = draw, seed, first
        self.batch, self.shows = batch, shows
        self.side_px, self.grid = config.image_size, config.image_size // config.vit_patch_size

    def _example(self, index: int) -> Example:
        scene = self.draw(self.seed, index)
        # the same resampling as LAVIS's processor
        picture = scene.picture.resize((self.side_px, self.side_px), Image.Resampling.BICUBIC)
        kind = KINDS.index(scene.kind) if scene.kind else UNASKED
        return np.asarray(picture).transpose(2, 0, 1), scene.caption, *patch_targets(scene, self.grid), kind

    def _shown(self) -> Iterator[Example]:
        lot = random.Random(self.first)
        again: list[Example] = []
        for index in itertools.count(self.first):
            fresh = self._example(index)
            yield fresh
            again += [fresh] * (self.shows - 1)
            while len(again) > KEPT:
                place = lot.randrange(len(again))
                again[place], again[-1] = again[-1], again[place]
                yield again.pop()

    def __iter__(self) -> Iterator[Batch]:
        shown = self._shown()
        while True:
            examples = itertools.islice(shown, self.batch)
            pixels, captions, patches, orders, centres, kinds = zip(*examples, strict=True)
            arrays = [torch.from_numpy(np.stack(array)) for array in (pixels, patches, orders, centres)]
            yield Batch(arrays[0], list(captions), arrays[1], arrays[2], arrays[3], torch.tensor(kinds))


@dataclass(frozen=True)
class Phase:
    """A stretch of the training, in steps."""

    reads: bool  # whether the decoder learns too, from scenes; every CROWD_EVERYth batch is a crowd even then
    start: int
    end: int

    def crowded(self, step: int) -> bool:
        return not self.reads or step % CROWD_EVERY == 0


def plan(pictures: int, batch: int) -> list[Phase]:
    """First the encoder learns to see in crowded pictures; then both learn to caption scenes."""
    steps = pictures // batch
    looked = round(steps * CROWD_SHARE)
    return [Phase(False, 0, looked), Phase(True, looked, steps)]


def learning_rate(step: int, phase: Phase, steps: int) -> float:
    """Half a cosine over the whole training, warmed up at the start of each phase."""
    warm = min(1.0, (step - phase.start + 1) / WARM_UP_STEPS)
    return PEAK_LEARNING_RATE * warm * 0.5 * (1 + math.cos(math.pi * step / steps))


def fused_attention(attention: Any, x: Tensor, register_hook: bool = False) -> Tensor:
    """LAVIS's ViT attention by torch's fused kernel: the same values, a sixth faster in training."""
    batch, tokens, width = x.shape
    qkv = attention.qkv(x).view(batch, tokens, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    mixed = functional.scaled_dot_product_attention(*qkv.unbind(0))
    out: Tensor = attention.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))
    return out


class Trainer:
    def __init__(self, run_dir: Path, batch: int, seed: int, device: str) -> None:
        self.config = OmegaConf.load(DEMO_MODEL / "config.yaml").model
        self.device = torch.device(device)
        self.mean = torch.tensor(MEAN, device=self.device).view(3, 1, 1)
        self.deviation = torch.tensor(DEVIATION, device=self.device).view(3, 1, 1)
        torch.manual_seed(seed)
        self.model = DemoBlipCaption.untrained(self.config).to(self.device)
        for block in self.model.visual_encoder.blocks:
            block.attn.forward = partial(fused_attention, block.attn)
        answers = {"patches": len(THINGS) + len(BACKGROUNDS), "orders": 3, "kinds": len(KINDS), "centres": 3}
        width = self.config.vit_width
        self.heads = nn.ModuleDict({name: nn.Linear(width, n) for name, n in answers.items()}).to(self.device)
        self.parameters = [*self.model.parameters(), *self.heads.parameters()]
        decayed = [p for p in self.parameters if p.ndim > 1]
        plain = [p for p in self.parameters if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
        self.path, self.batch, self.seed, self.step = run_dir / "last.pt", batch, seed, 0

    def resume(self) -> None:
        if self.path.exists():
            state = torch.load(self.path, map_location=self.device)
            self.model.load_state_dict(state["model"])
            self.heads.load_state_dict(state["heads"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        temporary = self.path.with_suffix(".part")
        torch.save(state, temporary)
        temporary.replace(self.path)

    def losses(self, batch: Batch, reads: bool) -> dict[str, Tensor]:
        """Mean negative log-likelihoods: of the patches, and if `reads` of the captions' tokens and the layout."""
        pixels = (batch.pixels.to(self.device).float() / 255 - self.mean) / self.deviation
        features = self.model.visual_encoder.forward_features(pixels)
        shown, patches = features[:, 1:].flatten(0, 1), batch.patches.to(self.device).flatten()
        is_thing = patches < len(THINGS)
        ways = batch.centres.to(self.device).flatten(0, 1)
        # a large thing has many patches, and is easy: small ones would hardly count
        weights = torch.where(is_thing, 1 / ways[:, 2].clamp(min=1), GROUND_WEIGHT)
        of_patches = functional.cross_entropy(self.heads["patches"](shown), patches, reduction="none")
        losses = {
            "patches": (weights * of_patches).sum() / weights.sum(),
            "centres": functional.smooth_l1_loss(self.heads["centres"](shown[is_thing]), ways[is_thing]),
        }
        if not reads:
            return losses
        orders, kinds = batch.orders.to(self.device).flatten(), batch.kinds.to(self.device)
        losses["orders"] = functional.cross_entropy(self.heads["orders"](shown), orders, ignore_index=UNASKED)
        kinds_of_patches = kinds.repeat_interleave(features.shape[1] - 1)[is_thing]
        seen = torch.cat([features[:, 0], shown[is_thing]])
        losses["kinds"] = functional.cross_entropy(self.heads["kinds"](seen), torch.cat([kinds, kinds_of_patches]))
        texts = [self.config.prompt + caption for caption in batch.captions]
        # the logits only: LAVIS's own loss smooths the labels, which would blur the confidence
        output, targets = self.model.forward_decoder({"text_input": texts}, features)
        losses["tokens"] = functional.cross_entropy(output.logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())
        return losses

    def train(self, pictures: int) -> None:
        phases = plan(pictures, self.batch)
        steps = phases[-1].end
        bar: tqdm[Any]
        with tqdm(total=pictures, initial=self.step * self.batch, unit="picture", smoothing=0.05) as bar:
            for phase in phases:
                if self.step < phase.end:
                    self._train_phase(phase, steps, bar)
        self.save()

    def _train_phase(self, phase: Phase, steps: int, bar: "tqdm[Any]") -> None:
        crowds, scenes = self._batches(draw_crowd, 4), self._batches(draw_scene, 2)
        while self.step < phase.end:
            crowded = phase.crowded(self.step)
            batch = next(crowds if crowded else scenes)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.step, phase, steps)
            self.optimizer.zero_grad(set_to_none=True)
            losses = self.losses(batch, reads=not crowded)
            total = sum((WEIGHTS[name] * loss for name, loss in losses.items()), torch.zeros(()))
            total.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.parameters, MAX_GRADIENT_NORM)
            self.optimizer.step()
            self.step += 1
            bar.update(self.batch)
            bar.set_postfix({name: f"{loss.item():.3f}" for name, loss in losses.items()}, refresh=False)
            if self.step % SAVE_EVERY_STEPS == 0:
                self.save()
            if phase.reads and self.step % VALIDATE_EVERY_STEPS == 0:
                tqdm.write(f"{self.step * self.batch} pictures: {self.validate()}")

    def _batches(self, draw: Draw, shows: int) -> Iterator[Batch]:
        """Endless batches from a process of their own, none shown before; it starts with the first batch."""
        pictures = SceneBatches(draw, self.seed, self.step * self.batch, self.batch, shows, self.config)
        yield from DataLoader(pictures, batch_size=None, num_workers=1, prefetch_factor=8)

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
    parser.add_argument("--pictures", type=int, default=PICTURES)
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
