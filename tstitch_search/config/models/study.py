"""A study file: all its sections."""

from pydantic import Field, ValidationInfo, field_validator

from tstitch_search.config.models.base import Model
from tstitch_search.config.models.latency import LatencyConfig
from tstitch_search.config.models.measure import MeasureConfig
from tstitch_search.config.models.proxy_set import ProxySetConfig
from tstitch_search.config.models.quality import FRECHET, QualityConfig
from tstitch_search.config.models.search import MIN_RACING_CHUNK, ConfirmConfig, FocusConfig, SearchConfig
from tstitch_search.config.models.space import SpaceConfig
from tstitch_search.config.models.workers import ExecutionConfig, WorkersConfig
from tstitch_search.config.quantities import FileName, Number, Text, Whole


class StudyConfig(Model):
    """A study: one question about one search space."""

    name: FileName = Field(
        description="Names the run folder reports/NAME: letters, digits, _ . - and no . or - in front."
    )
    search_space: Text | SpaceConfig = Field(
        description="Path of the search space file, relative to this file; or the search space itself."
    )
    guidance_scale: Number = Field(1.5, description="Classifier-free guidance weight; 1 switches it off.", ge=1)
    sampler_seed: Whole = Field(0, description="Seed of the allocation sampler.", ge=0)
    focus: FocusConfig = FocusConfig()
    rivals: Text | None = Field(
        None,
        description="CSV with the columns name, latency_s, fid, source: what others published, drawn beside the front; "
        "relative to this file.",
    )
    proxy_set: ProxySetConfig = ProxySetConfig()
    measure: MeasureConfig = MeasureConfig()
    quality: QualityConfig
    search: SearchConfig = SearchConfig()
    confirm: ConfirmConfig = ConfirmConfig()
    latency: LatencyConfig = LatencyConfig()
    execution: ExecutionConfig = ExecutionConfig()
    workers: WorkersConfig = WorkersConfig()
    storage: Text | None = Field(
        None,
        description="SQLAlchemy URL of the Optuna database, for example postgresql://user@host/studies; default: "
        "study.db in the run folder. Whatever else is there, the study's name must be free.",
        pattern=r"^[a-z0-9_+]+://",
    )

    @field_validator("measure")
    @classmethod
    def _groups_of_images(cls, measure: MeasureConfig, info: ValidationInfo) -> MeasureConfig:
        proxy_set = info.data.get("proxy_set")
        if measure.recorded and proxy_set is not None and proxy_set.groups is not None:
            raise ValueError(f"got recorded {measure.recorded!r:.60}, expected none: proxy_set.groups are of images")
        return measure

    @field_validator("search")
    @classmethod
    def _racing_compares(cls, search: SearchConfig, info: ValidationInfo) -> SearchConfig:
        quality, proxy_set = info.data.get("quality"), info.data.get("proxy_set")
        if search.racing and quality is not None and quality.objective not in FRECHET:
            raise ValueError(
                f"racing needs control variates, which are for FID, and the objective is {quality.objective}"
            )
        if search.racing and proxy_set is not None and proxy_set.chunk_size < MIN_RACING_CHUNK:
            raise ValueError(
                f"racing judges an allocation by one chunk of {proxy_set.chunk_size} images, expected "
                f"proxy_set.chunk_size of at least {MIN_RACING_CHUNK}"
            )
        return search

    @property
    def races(self) -> bool:
        """Whether images are given chunk by chunk; unless stated, wherever it is possible and there are two chunks."""
        if self.search.racing is not None:
            return self.search.racing
        chunk_size = self.proxy_set.chunk_size
        can = self.search.sampler == "known_latency" and self.quality.objective in FRECHET
        return can and MIN_RACING_CHUNK <= chunk_size < self.quality.n_images

    @property
    def control_level(self) -> int | None:
        """The number of images of the control variates, at which every FID is estimated; None without them."""
        n_images, control_images = self.quality.n_images, self.quality.control_images
        if self.races:
            return control_images or n_images
        return control_images if control_images != n_images else None

    @field_validator("quality")
    @classmethod
    def _reference_where_needed(cls, quality: QualityConfig, info: ValidationInfo) -> QualityConfig:
        measure = info.data.get("measure")
        if measure is None:  # wrong itself, and reported
            return quality
        if measure.recorded and quality.reference:
            raise ValueError(f"got reference {quality.reference!r:.60}, expected none: it comes with measure.recorded")
        if not measure.recorded and not quality.reference and quality.comparing:
            raise ValueError(
                f"reference is missing: {quality.comparing[0]} compares with real images. Without them say which "
                "question you ask: the same pictures, faster (objective: psnr, ssim or lpips), or as good, faster "
                "(clip_score, pick_score or hps_v2)"
            )
        return quality
