"""Caches of diffusers under their own names, with their own settings; what is not said is diffusers' default.

Left out is what no file can say, and what the trajectory knows better: callbacks, and MagCache's number of steps.
"""

from typing import Annotated, Literal

from pydantic import Field

from tstitch_search.config.models.base import Model, OneOf
from tstitch_search.config.quantities import Number, Steps, Text

TimestepRange = tuple[Number, Number]
Positive = Annotated[Number, Field(gt=0)]


class FirstBlockCache(Model):
    """Skips the blocks behind the first where that one's residual changed little, over the whole batch."""

    threshold: Positive | None = Field(None, description="Relative change up to which a call is skipped.")


class MagCache(Model):
    """Skips calls while the error summed up from known ratios of residuals stays small (arXiv 2506.09045)."""

    mag_ratios: tuple[Number, ...] = Field(description="The checkpoint's ratios along a trajectory.", min_length=2)
    threshold: Positive | None = Field(None, description="Summed error up to which calls are skipped.")
    max_skip_steps: Steps | None = Field(None, description="Most calls in a row that are skipped.")
    retention_ratio: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        None, description="Share of the trajectory at its noise end in which nothing is skipped."
    )


class PyramidAttentionBroadcast(Model):
    """Keeps answers of attention layers for some steps within a range of timesteps (arXiv 2408.12588)."""

    spatial_attention_block_skip_range: Steps | None = Field(
        None, description="Answers of spatial attention are computed every so many calls."
    )
    temporal_attention_block_skip_range: Steps | None = Field(
        None, description="Answers of temporal attention are computed every so many calls."
    )
    cross_attention_block_skip_range: Steps | None = Field(
        None, description="Answers of cross attention are computed every so many calls."
    )
    spatial_attention_timestep_skip_range: TimestepRange | None = Field(
        None, description="Timesteps between which answers of spatial attention are kept."
    )
    temporal_attention_timestep_skip_range: TimestepRange | None = Field(
        None, description="Timesteps between which answers of temporal attention are kept."
    )
    cross_attention_timestep_skip_range: TimestepRange | None = Field(
        None, description="Timesteps between which answers of cross attention are kept."
    )
    spatial_attention_block_identifiers: tuple[Text, ...] | None = Field(
        None, description="Regular expressions of the names of spatial attention layers."
    )
    temporal_attention_block_identifiers: tuple[Text, ...] | None = Field(
        None, description="Regular expressions of the names of temporal attention layers."
    )
    cross_attention_block_identifiers: tuple[Text, ...] | None = Field(
        None, description="Regular expressions of the names of cross attention layers."
    )


class FasterCache(Model):
    """Reuses attention, and derives the unconditional half from the conditional one (arXiv 2410.19355)."""

    spatial_attention_block_skip_range: Steps | None = Field(
        None, description="Answers of spatial attention are computed every so many calls."
    )
    temporal_attention_block_skip_range: Steps | None = Field(
        None, description="Answers of temporal attention are computed every so many calls."
    )
    spatial_attention_timestep_skip_range: TimestepRange | None = Field(
        None, description="Timesteps between which answers of spatial attention are kept."
    )
    temporal_attention_timestep_skip_range: TimestepRange | None = Field(
        None, description="Timesteps between which answers of temporal attention are kept."
    )
    low_frequency_weight_update_timestep_range: TimestepRange | None = Field(
        None, description="Timesteps between which alpha_low_frequency holds."
    )
    high_frequency_weight_update_timestep_range: TimestepRange | None = Field(
        None, description="Timesteps between which alpha_high_frequency holds."
    )
    alpha_low_frequency: Number | None = Field(
        None, description="Growth of the low frequencies of what the halves differ by."
    )
    alpha_high_frequency: Number | None = Field(
        None, description="Growth of the high frequencies of what the halves differ by."
    )
    unconditional_batch_skip_range: Steps | None = Field(
        None, description="The unconditional half is computed every so many calls."
    )
    unconditional_batch_timestep_skip_range: TimestepRange | None = Field(
        None, description="Timesteps between which it is derived."
    )
    spatial_attention_block_identifiers: tuple[Text, ...] | None = Field(
        None, description="Regular expressions of the names of spatial attention layers."
    )
    temporal_attention_block_identifiers: tuple[Text, ...] | None = Field(
        None, description="Regular expressions of the names of temporal attention layers."
    )
    tensor_format: Literal["BCFHW", "BFCHW", "BCHW"] | None = Field(
        None, description="Axes of the latents: batch, channels, frames, height, width."
    )
    is_guidance_distilled: bool | None = Field(None, description="Leave the halves of guidance alone.")


class TaylorSeer(Model):
    """Layers answer anew every few steps, and by a Taylor series in between (arXiv 2503.06923)."""

    cache_interval: Steps | None = Field(None, description="Layers are computed every so many steps.")
    disable_cache_before_step: Steps | None = Field(
        None, description="So many steps at the beginning are computed in full."
    )
    disable_cache_after_step: Steps | None = Field(None, description="From this step of a turn on all are computed.")
    max_order: Steps | None = Field(None, description="Order of the Taylor series.")
    taylor_factors_dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        None, description="Number format in which its factors are kept."
    )
    skip_predict_identifiers: tuple[Text, ...] | None = Field(
        None, description="Regular expressions of layers that answer zeros in between."
    )
    cache_identifiers: tuple[Text, ...] | None = Field(
        None, description="Regular expressions of layers whose answers are predicted in between."
    )
    use_lite_mode: bool | None = Field(None, description="Predict the last projection only, and skip the blocks.")


class CacheConfig(OneOf):
    """One cache of diffusers, as `{first_block: {threshold: 0.1}}`; `docs/caches.md` says which pipelines take it."""

    first_block: FirstBlockCache | None = Field(None, description="diffusers' FirstBlockCacheConfig.")
    mag_cache: MagCache | None = Field(None, description="diffusers' MagCacheConfig.")
    pyramid_attention_broadcast: PyramidAttentionBroadcast | None = Field(
        None, description="diffusers' PyramidAttentionBroadcastConfig."
    )
    faster_cache: FasterCache | None = Field(None, description="diffusers' FasterCacheConfig.")
    taylorseer: TaylorSeer | None = Field(None, description="diffusers' TaylorSeerCacheConfig.")
