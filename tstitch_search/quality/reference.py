"""The real images that FID compares with, as statistics of their features. numpy only: the driver reads it too."""

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.zoo import PREFIX, embedded_path


@dataclass(frozen=True)
class Reference:
    """Mean `mu` (d,) and covariance `sigma` (d, d), float64, of the features of `n_images` real images.

    `features` (m, d) float32 are those of some of the images. `n_images` and `features` are None where the file does
    not say. `sha256` is the file's.
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
        if self.features is not None and (self.features.ndim != 2 or self.features.shape[1] != d):
            raise ConfigError(f"expected features (m, {d}), got {self.features.shape}")

    @classmethod
    def of_features(cls, features: np.ndarray) -> "Reference":
        """The reference made of images whose features (m, d) are at hand."""
        exact = features.astype(np.float64)
        return cls(exact.mean(axis=0), np.cov(exact, rowvar=False), len(features), features, sha256="")


def load_reference(text: str, near: Path) -> Reference:
    """The reference `zoo:FAMILY`, or the .npz file at `text` relative to `near` with arrays mu and sigma.

    Optional arrays: n_images, features. Nothing in the file is ever unpickled. Raises EnvironmentProblem when it
    cannot be read, ConfigError when it does not hold a reference.
    """
    path = near / text
    if text.startswith(PREFIX):
        path = embedded_path(text) / "reference.npz"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot read the reference {text!r} at {path}: {error.strerror}",
            hint="check quality.reference: a .npz file with mu and sigma, or zoo:FAMILY",
        ) from error
    try:
        return _parse(content)
    except ConfigError as error:
        raise ConfigError(
            f"the reference {path} is not usable: {error.message}", hint="save it again with numpy.savez"
        ) from error


def _parse(content: bytes) -> Reference:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {key: file[key] for key in ("mu", "sigma", "n_images", "features") if key in file}
            keys = list(file)
        if not {"mu", "sigma"} <= set(arrays):
            raise ConfigError(f"expected arrays mu and sigma, found {', '.join(keys) or 'none'}")
        return Reference(
            mu=arrays["mu"].astype(np.float64),
            sigma=arrays["sigma"].astype(np.float64),
            n_images=int(arrays["n_images"]) if "n_images" in arrays else None,
            features=arrays["features"].astype(np.float32) if "features" in arrays else None,
            sha256=hashlib.sha256(content).hexdigest(),
        )
    except (ValueError, EOFError, AttributeError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # what numpy and zipfile raise on a damaged file
        raise ConfigError("expected a .npz file of plain arrays of numbers") from error
