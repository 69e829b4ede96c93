"""Images on disk that were not sampled: where they are, and how they are read. numpy and Pillow only.

Nothing here resizes: resizing before the feature network changes FID (Parmar et al., arXiv 2104.11222), so an image of
another size than the study's is refused. `measure/datasets.py` reads the third kind, torch-fidelity's datasets.
"""

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.files import require_itself, what_instead

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
# The array of images in an .npz, as guided-diffusion (ADM) names it.
ARRAY = "arr_0"
# Pillow's names for bits, grey, palette and colour of 8 bits.
_MODES = ("1", "L", "P", "RGB")
_NO_RESIZING = "crop or resize them once yourself and keep them as PNG: nothing is resized here, since that changes FID"


@dataclass(frozen=True)
class ImageFiles:
    """Image files under a folder, in the order of `names`, each `resolution` pixels wide and high."""

    folder: Path
    names: tuple[str, ...]
    resolution: int

    @property
    def n_images(self) -> int:
        return len(self.names)

    def part(self, first: int, last: int) -> "ImageFiles":
        """Images first..last-1 of these."""
        return replace(self, names=self.names[first:last])

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """uint8 (n, h, w, 3) of up to `size` images each. Raises ConfigError naming a file that cannot be used."""
        for i in range(0, self.n_images, size):
            yield np.stack([read_image(self.folder / name, self.resolution) for name in self.names[i : i + size]])

    def sha256(self) -> str:
        """One hash over (name, bytes) of all images; every header is checked on the way, without decoding."""
        digest = hashlib.sha256()
        for name in self.names:
            content = _content(self.folder / name)
            with _opened(content, self.folder / name) as image:
                _check(image, self.folder / name, self.resolution)
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + hashlib.sha256(content).digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class NpzImages:
    """Images first..last-1 of `arr_0`, uint8 (n, h, w, 3), in the .npz at `path`; never loaded whole."""

    path: Path
    first: int
    last: int
    resolution: int

    @property
    def n_images(self) -> int:
        return self.last - self.first

    def part(self, first: int, last: int) -> "NpzImages":
        """Images first..last-1 of these."""
        return replace(self, first=self.first + first, last=min(self.first + last, self.last))

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """uint8 (n, h, w, 3) of up to `size` images each. Raises ConfigError when the file is damaged."""
        shape = (self.resolution, self.resolution, 3)
        n_bytes = self.resolution * self.resolution * 3
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{ARRAY}.npy") as stream:
                _read_header(stream)
                stream.seek(self.first * n_bytes, os.SEEK_CUR)
                for i in range(self.first, self.last, size):
                    n = min(size, self.last - i)
                    yield np.frombuffer(stream.read(n * n_bytes), dtype=np.uint8).reshape(n, *shape)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise ConfigError(f"{self.path}: {ARRAY} cannot be read: {error}", hint="fetch the file again") from error


@dataclass(frozen=True)
class RegisteredDataset:
    """Images first..last-1 (None: to the end) of a dataset registered with torch-fidelity; only workers can read it."""

    name: str
    resolution: int
    first: int = 0
    last: int | None = None

    def part(self, first: int, last: int) -> "RegisteredDataset":
        """Images first..last-1 of these."""
        return replace(self, first=self.first + first, last=self.first + last)


RealImages: TypeAlias = ImageFiles | NpzImages | RegisteredDataset


def list_images(folder: Path) -> tuple[str, ...]:
    """Names, relative to `folder`, of all image files in and below it, sorted. Raises ConfigError for none."""
    found = (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    names = tuple(sorted(p.relative_to(folder).as_posix() for p in found))
    if not names:
        raise ConfigError(
            f"{folder} holds no images", hint=f"expected files ending in {', '.join(sorted(SUFFIXES))} in or below it"
        )
    return names


def npz_images(path: Path, resolution: int) -> NpzImages | None:
    """The images in `arr_0` of the .npz at `path`, from its header alone; None when there is no such array.

    Raises ConfigError when they are not uint8 (n, resolution, resolution, 3).
    """
    require_itself(path, "images")
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{ARRAY}.npy" not in archive.namelist():
                return None
            with archive.open(f"{ARRAY}.npy") as stream:
                shape, fortran, dtype = _read_header(stream)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{path}: {ARRAY} cannot be read: {error}", hint="fetch the file again") from error
    if len(shape) != 4 or shape[3] != 3 or not shape[0] or dtype != np.uint8 or fortran:
        raise ConfigError(
            f"{path}: {ARRAY} is {dtype} {shape}, expected uint8 (n, h, w, 3) in C order",
            hint="save the images with numpy.savez(path, arr_0=images)",
        )
    if shape[1:3] != (resolution, resolution):
        raise _of_another_size(f"{path}: an image in {ARRAY}", (shape[2], shape[1]), resolution)
    return NpzImages(path, 0, shape[0], resolution)


def read_image(path: Path, resolution: int) -> np.ndarray:
    """The image as uint8 (resolution, resolution, 3); grey becomes RGB.

    Raises ConfigError naming the file when it cannot be decoded, has an alpha channel or another size.
    """
    with _opened(_content(path), path) as image:
        _check(image, path, resolution)
        try:
            return np.asarray(image.convert("RGB"))
        except Exception as error:  # a damaged image can raise nearly anything
            raise _unreadable(path, error) from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EnvironmentProblem(f"cannot read {path}: {error.strerror}", hint="check the file") from error


def _opened(content: bytes, path: Path) -> Image.Image:
    if instead := what_instead(content):
        raise ConfigError(f"{path} {instead[0]}", instead[1])
    try:
        return Image.open(io.BytesIO(content))
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ConfigError:
    why = "no image format is recognised" if isinstance(error, UnidentifiedImageError) else str(error)
    return ConfigError(f"{path} is not a readable image: {why}", hint="replace the file, or remove it from the folder")


def _check(image: Image.Image, path: Path, resolution: int) -> None:
    if "A" in image.getbands() or "transparency" in image.info:
        raise ConfigError(f"{path} has an alpha channel", hint="flatten the images onto a background first")
    if image.mode not in _MODES:
        raise ConfigError(f"{path} is of Pillow's mode {image.mode}, expected RGB or grey", hint="save it as 8-bit RGB")
    if image.size != (resolution, resolution):
        raise _of_another_size(str(path), image.size, resolution)


def _of_another_size(what: str, size: tuple[int, int], resolution: int) -> ConfigError:
    return ConfigError(
        f"{what} is {size[0]} x {size[1]} pixels, the study's images are {resolution} x {resolution}", hint=_NO_RESIZING
    )


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, Fortran order and dtype of the .npy at the beginning of `stream`."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    header: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(stream)
    return header
