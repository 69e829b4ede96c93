"""Past measurements in place of a device."""

from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from tstitch_search.config.models.base import Model
from tstitch_search.config.quantities import Fraction, Text


class MeasureConfig(Model):
    """Past measurements in place of a device; without `recorded` everything is measured now."""

    recorded: Text | None = Field(
        None,
        description="CSV with the columns allocation, latency_s, fid and optionally fid_se, n_images; relative to this "
        "file.",
    )
    source: Text | None = Field(None, description="Where the recorded numbers were published, for the report.")
    device: Text = Field("unknown (recorded)", description="The device that the recorded times were taken on.")
    features: Text | None = Field(
        None,
        description="Folder with the features of real images made by each allocation, AxN-BxM.npy, same images in the "
        "same order, and reference.npz (mu, sigma); default: images are simulated with the recorded FID.",
    )
    noise: Fraction | None = Field(
        None,
        description="Of simulated images: relative standard deviation of FID over quality.n_images images, for example "
        "2%; default: as the table's fid_se says, else none.",
        le=1,
    )
    noise_correlation: Fraction = Field(
        0.0, description="Of simulated images: correlation of that noise between any two allocations.", le=1
    )

    @field_validator("features", "source", "noise")
    @classmethod
    def _about_a_record(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("recorded") is None:
            raise ValueError(f"got {value!r:.60} without recorded, the table that it belongs to")
        return value

    @field_validator("noise")
    @classmethod
    def _only_of_simulated_images(cls, noise: float | None, info: ValidationInfo) -> float | None:
        if noise is not None and info.data.get("features") is not None:
            raise ValueError("got noise together with features, whose noise is their own; expected one of the two")
        return noise
