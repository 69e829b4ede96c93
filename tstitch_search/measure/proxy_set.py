"""Which images are made: image i of a set has its own label and its own noise, whatever is made beside it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from tstitch_search.measurement import Chunk, SetName

# Part of every seed: images of the two sets never share one.
_SET_KEYS: dict[SetName, int] = {"search": 0, "confirm": 1}


@dataclass(frozen=True)
class ProxySet:
    """The images of a study. Labels and noise of image i follow from (seed, set name, i) alone."""

    seed: int
    labels: Literal["balanced", "random"]
    n_classes: int

    def labels_of(self, chunk: Chunk) -> list[int]:
        """One class label in [0, n_classes) per image.

        "balanced" repeats one seeded permutation of the classes, so that every n_classes consecutive images hold each
        class once; "random" draws each label from the image's own seed.
        """
        images = range(chunk.first, chunk.last)
        if self.labels == "random":
            return [int(self._rng(chunk.set_name, i).integers(self.n_classes)) for i in images]
        order = self._rng(chunk.set_name).permutation(self.n_classes)
        return [int(order[i % self.n_classes]) for i in images]

    def generators_of(self, chunk: Chunk) -> list[torch.Generator]:
        """One fresh generator per image, for its start and step noise; on the CPU, so that every device agrees."""
        images = range(chunk.first, chunk.last)
        seeds = [self._sequence(chunk.set_name, i).generate_state(1, np.uint64)[0] for i in images]
        return [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    def _rng(self, set_name: SetName, *image: int) -> np.random.Generator:
        return np.random.default_rng(self._sequence(set_name, *image))

    def _sequence(self, set_name: SetName, *image: int) -> np.random.SeedSequence:
        return np.random.SeedSequence(self.seed, spawn_key=(_SET_KEYS[set_name], *image))
