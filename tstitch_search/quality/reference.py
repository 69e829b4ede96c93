"""The real images that FID compares with, as statistics of their features. numpy only: the driver reads it too."""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.files import require_itself, write_whole
from tstitch_search.quality.moments import moments_of
from tstitch_search.zoo import PREFIX, embedded_path

# Images whose own features are kept beside the statistics: KID, precision and recall need some, not all.
MAX_KEPT = 10_000
# A variance below this share of the squared mean is float32 rounding, not images that differ.
ROUNDING = 1e-10
# A covariance computed in float32 is symmetric up to this share of its largest variance.
ASYMMETRY = 1e-4


@dataclass(frozen=True)
class Reference:
    """Mean `mu` (d,) and covariance `sigma` (d, d), float64, of the features of `n_images` real images.

    `features` (m, d) float32 are those of some of the images. `n_images` and `features` are None where the file does
    not say. `sha256` is that of the file, or of the images.
    """

    mu: np.ndarray
    sigma: np.ndarray
    n_images: int | None
    features: np.ndarray | None
    sha256: str

    def __post_init__(self) -> None:
        d = self.mu.shape[0] if self.mu.ndim == 1 else 0
        if d == 0 or self.sigma.shape != (d, d):
            raise ConfigError(f"expected mu (d,) and sigma (d, d), got {self.mu.shape} and {self.sigma.shape}")
        if not (np.isfinite(self.mu).all() and np.isfinite(self.sigma).all()):
            raise ConfigError("mu and sigma must be finite")
        scale = float(np.abs(np.diag(self.sigma)).max())
        if np.abs(self.sigma - self.sigma.T).max() > ASYMMETRY * scale:
            raise ConfigError("sigma must be symmetric, as a covariance is")
        if (np.diag(self.sigma) < -ASYMMETRY * scale).any():
            raise ConfigError("sigma has a negative variance on its diagonal: it is no covariance")
        if self.features is not None and (self.features.ndim != 2 or self.features.shape[1] != d):
            raise ConfigError(f"expected features (m, {d}), got {self.features.shape}")
        if self.features is not None and not np.isfinite(self.features).all():
            raise ConfigError("features must be finite")

    @cached_property
    def root(self) -> np.ndarray:
        """The root (d, d) of sigma, factored once. Raises ConfigError when sigma is no covariance."""
        values, vectors = np.linalg.eigh(self.sigma)
        if values[0] < -1e-3 * abs(values[-1]):
            raise ConfigError(
                f"the reference's sigma has an eigenvalue of {values[0]:.3g}: it is no covariance",
                hint="make the statistics again",
            )
        root: np.ndarray = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
        return root

    @classmethod
    def of_features(cls, features: np.ndarray) -> "Reference":
        """The reference made of images whose features (m, d) are at hand."""
        exact = features.astype(np.float64)
        return cls(exact.mean(axis=0), np.cov(exact, rowvar=False), len(features), features, sha256="")


def load_reference(text: str, near: Path) -> Reference:
    """The reference `zoo:FAMILY`, or the .npz file at `text` relative to `near`, from its statistics or features.

    Raises EnvironmentProblem when it cannot be read, ConfigError when it holds neither.
    """
    path = reference_path(text, near)
    reference = read_statistics(path, file_sha256(text, path))
    if reference is None:
        raise ConfigError(f"the reference {path} holds images only", hint="make features of them first: `run` does")
    return reference


def save_reference(reference: Reference, path: Path) -> None:
    """Write the reference as an .npz that `read_statistics` reads; whole or not at all."""
    arrays = {"mu": reference.mu, "sigma": reference.sigma}
    if reference.n_images is not None:
        arrays["n_images"] = np.array(reference.n_images)
    if reference.features is not None:
        arrays["features"] = reference.features
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]  # numpy types its flags, not the arrays
    write_whole(path, content.getvalue())


def reference_path(text: str, near: Path) -> Path:
    """The file or folder that `quality.reference` means."""
    return embedded_path(text) / "reference.npz" if text.startswith(PREFIX) else near / text


def file_sha256(text: str, path: Path) -> str:
    """The sha256 of the file, read piece by piece. Raises EnvironmentProblem when it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot read the reference {text!r} at {path}: {error.strerror}",
            hint="check quality.reference: a .npz file, a folder of images, dataset:NAME or zoo:FAMILY",
        ) from error


def read_statistics(path: Path, sha256: str) -> Reference | None:
    """The reference in an .npz: its `mu` and `sigma`, or those of its `features`; None when it holds `arr_0` alone.

    `n_images` and `features` are optional beside `mu` and `sigma`; other arrays, `arr_0` among them, are not touched,
    and nothing is ever unpickled. Raises ConfigError when the file does not hold a reference.
    """
    require_itself(path, "quality.reference")
    try:
        return _parse(path, sha256)
    except ConfigError as error:
        raise ConfigError(
            f"the reference {path} is not usable: {error.message}", hint=error.hint or "save it again with numpy.savez"
        ) from error


def _parse(path: Path, sha256: str) -> Reference | None:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            keys = set(file)
            arrays = {key: file[key] for key in ("mu", "sigma", "n_images", "features") if key in keys}
        if {"mu", "sigma"} <= keys:
            return _of_statistics(arrays, sha256)
        if keys & {"mu", "sigma"} or not keys & {"features", "arr_0"}:
            found = ", ".join(sorted(keys)) or "none"
            raise ConfigError(f"expected arrays mu and sigma, or features, or arr_0 (images); found {found}")
        return _of_features(arrays["features"], sha256) if "features" in arrays else None
    except (ValueError, EOFError, AttributeError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # what numpy and zipfile raise on a damaged file
        raise ConfigError("expected a .npz file of plain arrays of numbers") from error


def _of_statistics(arrays: dict[str, Any], sha256: str) -> Reference:
    return Reference(
        mu=arrays["mu"].astype(np.float64),
        sigma=arrays["sigma"].astype(np.float64),
        n_images=int(arrays["n_images"]) if "n_images" in arrays else None,
        features=arrays["features"].astype(np.float32) if "features" in arrays else None,
        sha256=sha256,
    )


def _of_features(features: np.ndarray, sha256: str) -> Reference:
    if features.ndim != 2 or not features.shape[1]:
        raise ConfigError(f"expected features (m, d), got {features.shape}")
    require_enough(*features.shape)
    return summarise([features.astype(np.float32)], len(features), sha256)


def require_enough(n_images: int, n_features: int) -> None:
    """Nothing, when the covariance of that many images can have full rank. Raises ConfigError otherwise."""
    if n_images <= n_features:
        raise ConfigError(
            f"got {n_images} real images, expected at least {n_features + 1}: one more than the {n_features} features",
            hint="add images, or take statistics (mu, sigma) that were made from enough",
        )


def summarise(chunks: Iterable[np.ndarray], n_images: int, sha256: str) -> Reference:
    """The reference of `n_images` images, at least 2, from chunks (n_i, d) float32 of their features, in order.

    One chunk is in memory at a time, and at most MAX_KEPT rows, evenly spread, are kept. Raises ConfigError when all
    images are equal.
    """
    n_kept = min(n_images, MAX_KEPT)
    wanted, kept = np.arange(n_kept) * n_images // n_kept, []

    def passing() -> Iterator[np.ndarray]:
        first = 0
        for chunk in chunks:
            kept.append(chunk[wanted[(wanted >= first) & (wanted < first + len(chunk))] - first])
            first += len(chunk)
            yield chunk

    moments = moments_of(passing())
    sigma = moments.covariance
    if np.trace(sigma) <= ROUNDING * (moments.mean @ moments.mean):
        raise ConfigError(f"all {n_images} real images are equal", hint="check what quality.reference points to")
    return Reference(moments.mean, sigma, n_images, np.concatenate(kept), sha256)
