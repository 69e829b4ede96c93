"""The prompts of a run's images, encoded by its workers before images are made, each batch once."""

import os
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.measurement import Chunk, EncodedOnce, chunks_of
from tstitch_search.sampling.encoded_prompts import EncodedPrompts
from tstitch_search.sampling.stitching.prefixes import Answerer

FOLDER = "prompts"


class _Begun(Exception):
    """A pipeline asks its denoiser for the first time: its prompts are encoded."""


class Prompts:
    """What a worker knows of its pipeline's prompts. Outside a run, and without prompts, it does nothing."""

    def __init__(
        self, study: Study, encoded: EncodedPrompts | None, sample: Callable[[Allocation, Chunk, Answerer], object]
    ):
        """`sample` calls the pipeline for the images of a batch, an answerer in its denoisers' place."""
        self._study, self._encoded, self._sample = study, encoded, sample
        self._ahead_for: int | None = None
        self._freed_mb = encoded.encoders_mb if encoded else 0.0
        if encoded and study.run_folder and study.run_folder.is_dir():  # not on another machine of a cluster
            encoded.folder = study.run_folder / FOLDER

    def ahead(self, batch_size: int) -> None:
        """Have the prompts of all images of the run encoded in batches of this size, and free the text encoders.

        Workers begin at different batches, and leave out what another one has done.
        """
        if not self._encoded or not self._encoded.folder or self._ahead_for == batch_size:
            return
        batches = self._batches(batch_size)
        random.Random(os.getpid()).shuffle(batches)
        anchor = Allocation.of([(self._study.space.names[-1], self._study.space.n_steps)])
        for n_left, batch in zip(range(len(batches), 0, -1), batches, strict=True):
            self._encoded.n_expected = n_left
            try:
                self._sample(anchor, batch, _leave)
            except _Begun:
                continue
        self._encoded.n_expected, self._ahead_for = 1, batch_size
        self.leave()

    def _batches(self, batch_size: int) -> list[Chunk]:
        config = self._study.config
        size = config.proxy_set.chunk_size
        chunks = chunks_of("search", config.quality.n_images, size) + chunks_of(
            "confirm", config.confirm.n_images, size
        )
        return [batch for chunk in chunks for batch in chunk.parts(batch_size)]

    def leave(self) -> None:
        """Have text encoders without weights until something is to be encoded, where answers are kept."""
        if self._encoded:
            self._encoded.leave()

    def afresh(self) -> AbstractContextManager[None]:
        """Meanwhile every prompt is encoded, as in a deployed pipeline: what is timed includes it."""
        return self._encoded.afresh() if self._encoded else nullcontext()

    def saved(self) -> EncodedOnce | None:
        """What was saved since this was last asked; None where nothing is kept."""
        if not self._encoded or not self._encoded.folder:
            return None
        saved_s, self._encoded.saved_s = self._encoded.saved_s, 0.0
        return EncodedOnce(saved_s, self._freed_mb)


def _leave(_path: object, _put: object) -> object:
    raise _Begun
