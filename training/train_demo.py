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
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from tqdm import tqdm

from services.captioning.lavis_zoo import DEMO_MODEL, DemoBlipCaption
from services.captioning.torch_captioner import DEVIATION, MEAN
from training.backgrounds import BACKGROUNDS
from training.batches import UNASKED, Batch, Draw, SceneBatches
from training.evaluate_demo import generate, score
from training.scenes import KINDS, draw_crowd, draw_scene
from training.things import THINGS

PICTURES = 240_000  # some three hours on two cores
VALIDATION_SEED = 19_999
PEAK_LEARNING_RATE = 1e-3
WARM_UP_STEPS = 500
WEIGHT_DECAY = 0.02
MAX_GRADIENT_NORM = 1.0
WEIGHTS = {"tokens": 1.0, "patches": 0.5, "orders": 0.5, "kinds": 0.5, "centres": 0.5}  # of the losses
SAVE_EVERY_STEPS = 500
VALIDATE_EVERY_STEPS = 300
CROWD_SHARE = 0.35  # of the training
CROWD_EVERY = 3  # batches, while it learns to read: so that it goes on learning to see
GROUND_WEIGHT = 0.1  # of a patch that shows the ground: there are many, and they are easy

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
