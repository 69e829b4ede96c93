"""The anchor's own images, kept once per study and lossless, named by their content: what pairs are compared with."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tstitch_search.errors import MeasurementError
from tstitch_search.files import write_whole


@dataclass(frozen=True)
class KeptImages:
    """Images (n, h, w, 3) uint8 in the file at `path`, whose hash is `sha256`.

    Pickled with its content, so that a worker elsewhere needs no shared disk.
    """

    path: Path
    sha256: str
    content: bytes | None = None

    def __reduce__(self) -> tuple[Callable[..., "KeptImages"], tuple[Any, ...]]:
        return KeptImages, (self.path, self.sha256, self.content or self.path.read_bytes())

    @classmethod
    def write(cls, folder: Path, images: np.ndarray) -> "KeptImages":
        """Keep images (n, h, w, 3) uint8 in `folder`."""
        content = io.BytesIO()
        np.savez_compressed(content, images=images)
        sha256 = hashlib.sha256(content.getbuffer()).hexdigest()
        write_whole(cls.place(folder, sha256), content.getbuffer())
        return cls(cls.place(folder, sha256), sha256)

    @staticmethod
    def place(folder: Path, sha256: str) -> Path:
        """Where images of this hash are kept."""
        return folder / f"{sha256}.npz"

    @property
    def is_whole(self) -> bool:
        """Whether the file is there and what was written."""
        try:
            return hashlib.sha256(self.path.read_bytes()).hexdigest() == self.sha256
        except OSError:
            return False

    def read(self) -> np.ndarray:
        """The images. Raises MeasurementError for a file that is missing or not what was written."""
        if self.content is None and not self.is_whole:
            raise MeasurementError(f"the anchor's images in {self.path} are missing or damaged", hint="run again")
        source = self.path if self.content is None else io.BytesIO(self.content)
        with np.load(source) as file:
            images: np.ndarray = file["images"]
        return images
