"""Fashion-MNIST (Xiao et al., arXiv 1708.07747; MIT licence) as 32x32 arrays, from disk or by download."""

import gzip
from pathlib import Path

import numpy as np

from tstitch_search.errors import EnvironmentProblem

# Where Debian's package `dataset-fashion-mnist` puts the four files.
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
N_CLASSES = 10
RESOLUTION = 32


def load_fashion_mnist(split: str, download_to: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32) uint8, zero-padded from 28x28, and labels (n,) int64 of `split` ("train" or "t10k").

    Reads Debian's files where they are, otherwise lets torchvision download the same files to `download_to`.
    Raises EnvironmentProblem when neither works.
    """
    folder = SYSTEM_FOLDER if SYSTEM_FOLDER.exists() else _download(download_to)
    images = _read_idx(folder / f"{split}-images-idx3-ubyte.gz", header=16).reshape(-1, 28, 28)
    labels = _read_idx(folder / f"{split}-labels-idx1-ubyte.gz", header=8)
    return np.pad(images, ((0, 0), (2, 2), (2, 2))), labels.astype(np.int64)


def _read_idx(path: Path, header: int) -> np.ndarray:
    with gzip.open(path, "rb") as stream:
        return np.frombuffer(stream.read(), dtype=np.uint8, offset=header)


def _download(root: Path) -> Path:
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(str(root), download=True)
    except Exception as error:
        raise EnvironmentProblem(
            f"Fashion-MNIST is neither in {SYSTEM_FOLDER} nor could torchvision download it to {root}: {error}",
            hint="install the Debian package dataset-fashion-mnist, or put the four .gz files there",
        ) from error
    return root / "FashionMNIST" / "raw"
