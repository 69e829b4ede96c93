"""Which images are made: image i of a set has its own condition and its own noise, whatever is made beside it.

Imports no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from tstitch_search.config import Study
from tstitch_search.config.models import ProxyFiles
from tstitch_search.measurement import Chunk, SetName

# Part of every seed: images of the two sets never share one.
_SET_KEYS: dict[SetName, int] = {"search": 0, "confirm": 1}

NO_FILES = ProxyFiles()

T = TypeVar("T")


@dataclass(frozen=True)
class Condition:
    """What one image is made from, beside its noise; None for what the study does not give.

    `inputs`: further images by the argument of the pipeline's call.
    """

    label: int
    prompt: str | None = None
    negative_prompt: str | None = None
    control_image: Path | None = None
    inputs: tuple[tuple[str, Path], ...] = ()


def prompts_of(conditions: Sequence[Condition]) -> tuple[list[str], list[str] | None]:
    """Prompts and negative prompts as diffusers pipelines take them: None where no condition has a negative one."""
    negative = [condition.negative_prompt or "" for condition in conditions]
    return [condition.prompt or "" for condition in conditions], negative if any(negative) else None


@dataclass(frozen=True)
class ProxySet:
    """The images of a study. All about image i follows from (seed, set name, i), and entry i of the study's files."""

    seed: int
    labels: str
    n_classes: int
    negative_prompt: str | None = None
    files: ProxyFiles = NO_FILES

    @classmethod
    def of_study(cls, study: Study) -> "ProxySet":
        """The proxy set, and the confirmation set, of `study`."""
        config = study.config.proxy_set
        return cls(config.seed, config.labels, study.space.n_classes, config.negative_prompt, study.proxy_files)

    def conditions_of(self, chunk: Chunk) -> list[Condition]:
        """One condition per image."""
        labels = self.labels_of(chunk)
        prompts = self._entries(self.files.prompts, chunk)
        control_images = self._entries(self.files.control_images, chunk)
        inputs = {name: self._entries(paths, chunk) for name, paths in self.files.inputs}
        return [
            Condition(
                label,
                prompt,
                self.negative_prompt,
                control_image,
                tuple((n, path) for n, paths in inputs.items() if (path := paths[i])),
            )
            for i, (label, prompt, control_image) in enumerate(zip(labels, prompts, control_images, strict=True))
        ]

    def labels_of(self, chunk: Chunk) -> list[int]:
        """One class label in [0, n_classes) per image.

        "balanced" repeats one seeded permutation of the classes, so that every n_classes consecutive images hold each
        class once; "random" draws each label from the image's own seed; otherwise they are the file's.
        """
        images = range(chunk.first, chunk.last)
        if self.files.labels is not None:
            return [label for label in self._entries(self.files.labels, chunk) if label is not None]
        if self.labels == "random":
            return [int(self._rng(chunk.set_name, i).integers(self.n_classes)) for i in images]
        order = self._rng(chunk.set_name).permutation(self.n_classes)
        return [int(order[i % self.n_classes]) for i in images]

    def groups_of(self, chunk: Chunk) -> list[str]:
        """The group of each image: what the column of its prompt says, or its class label."""
        if self.files.categories is None:
            return [str(label) for label in self.labels_of(chunk)]
        return [category or "none" for category in self._entries(self.files.categories, chunk)]

    def seeds_of(self, chunk: Chunk) -> list[int]:
        """One seed of 64 bits per image, for the generator of its start and step noise."""
        images = range(chunk.first, chunk.last)
        return [int(self._sequence(chunk.set_name, i).generate_state(1, np.uint64)[0]) for i in images]

    def _entries(self, entries: Sequence[T] | None, chunk: Chunk) -> list[T | None]:
        """A file's entry for each image; images beyond their set (a larger timed batch) begin again at its first."""
        if entries is None:
            return [None] * chunk.n_images
        n_search = self.files.n_search
        own = entries[:n_search] if chunk.set_name == "search" else entries[n_search:]
        return [own[i % len(own)] for i in range(chunk.first, chunk.last)]

    def _rng(self, set_name: SetName, *image: int) -> np.random.Generator:
        return np.random.default_rng(self._sequence(set_name, *image))

    def _sequence(self, set_name: SetName, *image: int) -> np.random.SeedSequence:
        return np.random.SeedSequence(self.seed, spawn_key=(_SET_KEYS[set_name], *image))
