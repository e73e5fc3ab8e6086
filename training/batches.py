"""Drawn scenes as batches for training, with what each patch of a picture shows."""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset

from training.backgrounds import BACKGROUNDS
from training.scenes import KINDS, Scene
from training.things import THINGS

FIRST_JUDGING_SEED = 20_000  # never trained on
UNASKED = -100
KEPT = 4096  # pictures that wait to be shown again, 48 KB each

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
